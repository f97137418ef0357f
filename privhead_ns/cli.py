"""The command `privhead`: everything around training, which is Nerfstudio's own `ns-train privhead`."""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal

import tyro
from rich.console import Console

from privhead_ns.errors import UserError

app = tyro.extras.SubcommandApp()


@app.command
def prepare(
    data: Path,
    output_dir: Path,
    masks: Path | None = None,
    neutral: tuple[str, ...] = (),
    sensitive: tuple[str, ...] = (),
    marker_mm: float | None = None,
    pupils_mm: float | None = None,
    max_side: int = 1600,
    frames: int = 80,
) -> None:
    """Turn photographs of a head, a video, or a capture of another program into a raw capture, on this machine.

    It finds cameras and masks, says which photographs show the face, and draws sheet.png for you to check. Nothing is
    uploaded or downloaded. The same command goes on where it was killed.

    Args:
        data: Folder of photographs, a video, or a capture with cameras: COLMAP, Nerfstudio, instant-ngp, Blender,
            Polycam, Record3D, NeRFCapture, Metashape or RealityCapture.
        output_dir: Folder to write the raw capture into; it must not exist yet. It shows the face: keep it.
        masks: Folder with a mask for each photograph, white on the head, of the same name or named IMAGE.png.
        neutral: Globs of photographs that show no face, whatever was found.
        sensitive: Globs of photographs that show a face, whatever was found.
        marker_mm: Side in millimetres of a printed ArUco or AprilTag marker beside the head.
        pupils_mm: Distance of the pupils in millimetres.
        max_side: Longer side in pixels to which larger photographs are reduced.
        frames: Frames to take from a video: the sharpest of as many equal stretches.
    """
    from privhead_ns.prepare.prepare import prepare as make_capture
    from privhead_ns.prepare.wishes import Wishes

    wishes = Wishes(masks, neutral, sensitive, marker_mm, pupils_mm, max_side, frames)
    print(make_capture(data, output_dir, wishes, Console()).in_plain_words())


@app.command
def protect(
    data: Path,
    output_dir: Path,
    operator: str = "sobel",
    blur: float = 0.0,
    levels: int = 65536,
    size: int = 128,
    background: tuple[float, float, float] = (0.0, 0.0, 0.0),
    neutral: tuple[str, ...] = (),
    sensitive: tuple[str, ...] = (),
    face_direction: tuple[float, float, float] | None = None,
    neutral_beyond_deg: float = 100.0,
    allow_face: tuple[str, ...] = (),
    box: tuple[float, float, float, float, float, float] | None = None,
    ignore_masks: bool = False,
    preview: Path | None = None,
) -> None:
    """Turn raw photographs of a head into a protected capture: the only folder that may leave this machine.

    A photograph that nothing declares neutral counts as sensitive: neither "sensitive": false in transforms.json, nor
    --neutral, nor --face-direction.

    Args:
        data: Folder of the raw capture: transforms.json and the photographs.
        output_dir: Folder to write the protected capture into; it must not exist yet. Its owner alone may read it.
        operator: What protects a sensitive photograph: sobel, scharr, prewitt, central, or one of your own.
        blur: Standard deviation in pixels of a Gaussian blur before the operator.
        levels: Number of values that a stored magnitude can take, 2 to 65536.
        size: Side of the stored views in pixels: squares about the head, never enlarged.
        background: Colour between 0 and 1 to put behind the head where there is a mask or an alpha channel.
        neutral: Globs of photographs that show no face.
        sensitive: Globs of photographs that show a face.
        face_direction: Direction in which the face looks, in the capture's frame.
        neutral_beyond_deg: With --face-direction: photographs taken from farther off it than this are neutral.
        allow_face: Globs of neutral photographs to accept although a face detector fires.
        box: Box that holds the head, x0 y0 z0 x1 y1 z1 in the capture's frame; by default found from the masks.
        ignore_masks: Use neither masks nor alpha channels: all views keep their surroundings.
        preview: PNG to write that shows each photograph beside what leaves: for your own eyes.
    """
    from privhead_ns.capture import protect as capture_side
    from privhead_ns.operators import OperatorConfig

    summary = capture_side.protect(
        data,
        output_dir,
        OperatorConfig(operator, blur, levels),
        size=size,
        background=background,
        neutral=neutral,
        sensitive=sensitive,
        face_direction=face_direction,
        neutral_beyond_deg=neutral_beyond_deg,
        allow_face=allow_face,
        box=box,
        ignore_masks=ignore_masks,
        preview=preview,
    )
    print(summary.in_plain_words())


@app.command
def export(
    load_config: tuple[Path, ...],
    output_path: Path,
    resolution: int = 256,
    millimetres: bool = False,
    load_step: int | None = None,
    frame_of: Path | None = None,
) -> None:
    """Write the mesh of a trained head: geometry alone, no colour.

    Args:
        load_config: config.yml of the training run; of several, the newest counts.
        output_path: File to write: .ply, .obj, .stl or .glb.
        resolution: Voxels along the longest side of the head's box.
        millimetres: Write millimetres instead of the capture's own units; the capture must know its scale.
        load_step: Step of the checkpoint to load; by default the latest.
        frame_of: Raw capture with geographic poses (UTM, ECEF) into whose frame to put the mesh; needs .obj.
    """
    from privhead_ns.mesh.export import export_mesh, newest

    mesh = export_mesh(newest(load_config), output_path, resolution, millimetres, load_step, frame_of)
    closed = "closed" if mesh.is_watertight else "not closed"
    print(f"{output_path}: {len(mesh.vertices)} vertices, {len(mesh.faces)} faces, {closed}.")


@app.command
def forget(load_config: tuple[Path, ...], load_step: int | None = None) -> None:
    """Remove from checkpoints the colours that training painted on the face; a finished run has done so by itself.

    Run it before a run that was stopped early, or that kept earlier checkpoints, leaves this machine.

    Args:
        load_config: config.yml of the training run, or of several.
        load_step: Step of the one checkpoint to rewrite; by default all are.
    """
    from privhead_ns.forget import forget as forget_run

    for path in load_config:
        print(forget_run(path, load_step))


@app.command
def evaluate(
    mesh: Path,
    data: Path,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
    heat_map: Path | None = None,
) -> None:
    """Compare a mesh with the ground truth of a raw capture: distances from visible points to the other surface.

    Args:
        mesh: Mesh file in the capture's frame and units, or in those of the protected capture.
        data: Folder of the raw capture, with gt_mesh.ply.
        as_json: Print JSON instead of a table.
        heat_map: Picture to write: normals of truth and mesh, and the distance between them.
    """
    from privhead_ns.mesh.evaluate import evaluate as compare
    from privhead_ns.mesh.evaluate import table
    from privhead_ns.mesh.files import check_target, load_mesh
    from privhead_ns.mesh.pictures import save_heat_map

    if heat_map is not None:
        check_target(heat_map, (".png",))
    shape = load_mesh(mesh)
    evaluation = compare(shape, data)
    if as_json:
        print(json.dumps(evaluation.to_dict(), indent=1))
    else:
        Console().print(table(evaluation))
    if heat_map is not None:
        save_heat_map(heat_map, shape, data)


@app.command
def demo(output_dir: Path = Path("privhead-demo"), size: int = 64) -> None:
    """Show the whole path on a head that the program draws itself: photograph, protect, train, export, evaluate.

    Args:
        output_dir: Folder for everything the demo makes; it must not exist yet.
        size: Width and height of the photographs in pixels.
    """
    from privhead_ns.demo.demo import run_demo

    run_demo(output_dir, size)


@app.command
def benchmark(
    data: tuple[Path, ...],
    output_dir: Path,
    variants: tuple[Literal["silhouettes", "stage-2", "full-rgb", "no-lipschitz", "paper"], ...] = (
        "silhouettes",
        "stage-2",
        "full-rgb",
        "no-lipschitz",
    ),
    size: int = 128,
    seed: int = 42,
    phase2_steps: int | None = None,
    paper_minutes: float = 60.0,
) -> None:
    """Measure stage 1, stage 2, full RGB and stage 2 without Lipschitz regularisation on captures with ground truth.

    The output folder's picture shows the photographs: keep it on their owner's machine. The same command again goes on
    where it was stopped; further captures or variants are added.

    Args:
        data: Folders of raw captures, each with gt_mesh.ply.
        output_dir: Folder for meshes, tables and the picture.
        variants: What to train; stage 1 is measured on the way to stage 2. `silhouettes` is where training starts, and
            `paper` the paper's own configuration.
        size: Side of the protected views in pixels; smaller where the photographs have fewer on the head.
        seed: Seed of every run.
        phase2_steps: Steps of phase 2 at 64 pixels, by default as in ns-train; full RGB gets as many in all.
        paper_minutes: Time that `paper` gets per head, at least what 6 of its steps take; phase 1 is 40 % of them.
    """
    from privhead_ns.benchmark.benchmark import Settings, run_benchmark
    from privhead_ns.benchmark.report import write_report
    from privhead_ns.capture.transforms import capture_folder
    from privhead_ns.phases import PhaseSchedule

    console = Console()
    schedule = PhaseSchedule() if phase2_steps is None else PhaseSchedule(phase2_steps=phase2_steps)
    settings = Settings(seed, size, schedule.phase2_steps, paper_minutes)
    heads = [capture_folder(path) for path in data]
    measurements = run_benchmark(heads, output_dir, list(variants), settings, console)
    write_report(measurements, heads, output_dir, console)


@app.command
def audit(
    data: Path,
    output_dir: Path,
    protected: Path | None = None,
    load_config: tuple[Path, ...] = (),
    rgb_config: Path | None = None,
    transfer_config: Path | None = None,
    transfer_data: Path | None = None,
    others: tuple[Path, ...] = (),
    onnx: tuple[Path, ...] = (),
    onnx_threshold: float = 0.5,
    onnx_size: int = 112,
    limit_recognition: float | None = None,
) -> None:
    """Attack your own capture: measure what can be learned from everything that leaves the machine.

    The report shows photographs of the face: keep it on their owner's machine. Exit status 1 if a rung is worse than
    --limit-recognition, or a file holds something of a sensitive photograph.

    Args:
        data: Folder of the raw capture.
        output_dir: Folder for the report; it must not exist yet.
        protected: Its protected capture; by default one made for the audit alone, with the default settings.
        load_config: config.yml of an ns-train privhead run on it; of several, the newest counts.
        rgb_config: config.yml of an ns-train privhead-rgb run on it, to compare with.
        transfer_config: config.yml of a run on another head, whose colours are painted on this one's mesh: one of
            ns-train privhead-rgb, or --keep-painted-colors True, for others have forgotten the face's colours.
        transfer_data: Raw capture of that head, one of --others.
        others: Raw captures of other people, to tell apart and to learn from.
        onnx: Face recognition models to use beside dlib.
        onnx_threshold: Cosine distance up to which they call two faces the same.
        onnx_size: Side in pixels of the aligned face that they take.
        limit_recognition: Highest share of pictures, 0 to 1, that an attack may give the right name.
    """
    from privhead_ns.audit.audit import Inputs, run_audit
    from privhead_ns.audit.recogniser import load_recognisers
    from privhead_ns.audit.report import WARNING, Verdict, print_verdict, write_report
    from privhead_ns.folders import check_new_folder
    from privhead_ns.mesh.export import newest

    console = Console()
    check_new_folder(output_dir)
    recognisers = load_recognisers(onnx, onnx_threshold, onnx_size)
    run = newest(load_config) if load_config else None
    inputs = Inputs(data, protected, run, rgb_config, transfer_config, transfer_data, others)
    verdicts = [
        Verdict(recogniser.name, recogniser.threshold, rungs, limit_recognition)
        for recogniser, rungs in zip(recognisers, run_audit(inputs, recognisers, console), strict=True)
    ]
    write_report(output_dir, verdicts, {"capture": str(data), "other people": len(others)})
    for verdict in verdicts:
        console.rule(verdict.recogniser)
        print_verdict(verdict, console)
    console.print(f"{output_dir / 'report.html'}, audit.json and audit.png. {WARNING}", highlight=False)
    if any(verdict.failed for verdict in verdicts):
        raise SystemExit(1)


@app.command
def audit_sweep(
    data: tuple[Path, ...],
    output_dir: Path,
    others: tuple[Path, ...] = (),
    operators: tuple[str, ...] = ("sobel", "central"),
    blurs: tuple[float, ...] = (0.0, 1.0, 2.0),
    levels: tuple[int, ...] = (65536, 32),
    sizes: tuple[int, ...] = (),
    onnx: tuple[Path, ...] = (),
    onnx_threshold: float = 0.5,
    onnx_size: int = 112,
    phase2_steps: int | None = None,
) -> None:
    """Draw privacy against geometry over protection settings, varied one at a time from the first of each kind.

    Every setting is attacked and trained on for every head, which takes minutes each; the same command again goes on
    where it was stopped.

    Args:
        data: Folders of raw captures with gt_mesh.ply; figures are means over them.
        output_dir: Folder for the results, which name the captures.
        others: Raw captures of more people, to tell apart and to learn from; with those in `data` four or more.
        operators: What protects.
        blurs: Standard deviations in pixels of the blur before the operator.
        levels: Numbers of values of a stored magnitude.
        sizes: Sides of the views in pixels; by default that of `protect`.
        onnx: Face recognition models to use beside dlib; of all, the one counts that an attack gets farthest with.
        onnx_threshold: Cosine distance up to which they call two faces the same.
        onnx_size: Side in pixels of the aligned face that they take.
        phase2_steps: Steps of phase 2 at 64 pixels, by default those of ns-train privhead.
    """
    from privhead_ns.audit.recogniser import load_recognisers
    from privhead_ns.audit.sweep import run_sweep, settings, write_sweep
    from privhead_ns.capture.transforms import capture_folder
    from privhead_ns.phases import PhaseSchedule

    console = Console()
    chosen = settings(operators, blurs, levels, sizes)
    schedule = PhaseSchedule() if phase2_steps is None else PhaseSchedule(phase2_steps=phase2_steps)
    recognisers = load_recognisers(onnx, onnx_threshold, onnx_size)
    heads = tuple(capture_folder(path) for path in data)
    results = run_sweep(heads, others, chosen, output_dir, recognisers, schedule, console)
    write_sweep(results, output_dir, console)


def entrypoint() -> None:
    """Runs the command line.

    What it writes, its owner alone may read (umask 077). A signal that ends it lets temporary folders be removed, and
    what the system refuses (a full or read-only disk) is told in one sentence.
    """
    warnings.filterwarnings("ignore", category=FutureWarning)  # raised by Nerfstudio's imports
    os.umask(os.umask(0o077) | 0o077)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # which nohup sets
            signal.signal(number, _end)
    if sys.argv[1:] == ["--version"]:
        print(f"privhead-ns {version('privhead-ns')}")
        return
    try:
        app.cli(prog="privhead", description="Head meshes from photographs whose faces never leave their owner.")
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        raise SystemExit(128 + signal.SIGINT) from None
    except BrokenPipeError:  # `privhead … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE) from None
    except OSError as error:
        reason = error.strerror or str(error)
        where = "" if error.filename is None else f"{error.filename}: "
        raise UserError(f"{where}{reason}; free space or choose a path that can be read and written.") from None


def _end(number: int, _: FrameType | None) -> None:
    """Turns a signal into an exit that unwinds."""
    raise SystemExit(128 + number)
