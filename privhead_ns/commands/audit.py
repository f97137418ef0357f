"""The commands that attack a capture."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console


def audit(
    data: Path,
    output_dir: Path,
    protected: Path | None = None,
    load_config: tuple[Path, ...] = (),
    rgb_config: Path | None = None,
    transfer_config: tuple[Path, ...] = (),
    transfer_data: tuple[Path, ...] = (),
    others: tuple[Path, ...] = (),
    recognisers: tuple[str, ...] = ("Dlib",),
    onnx: tuple[Path, ...] = (),
    onnx_threshold: float = 0.5,
    onnx_size: int = 112,
    swapper: Path | None = None,
    limit_recognition: float | None = None,
) -> None:
    """Attack your own capture: measure what can be learned from everything that leaves the machine.

    The report shows photographs of the face: keep it on their owner's machine. Exit status 1 if an attack is worse than
    --limit-recognition, or a file holds something of a sensitive photograph.

    Args:
        data: Folder of the raw capture.
        output_dir: Folder for the report; it must not exist yet.
        protected: Its protected capture; by default one made for the audit alone, with the default settings.
        load_config: config.yml of an ns-train privhead run on it; of several, the newest counts.
        rgb_config: config.yml of an ns-train privhead-rgb run on it, to compare with.
        transfer_config: config.yml of runs on other heads, whose meshes and colours are exchanged with this one's: of
            ns-train privhead-rgb, or --keep-painted-colors True, for others have forgotten the face's colours. This
            one's own colours are those of --rgb-config, or of --load-config where it has not forgotten them.
        transfer_data: Raw captures of those heads, in the same order, all among --others.
        others: Raw captures of other people, to tell apart and to learn from.
        recognisers: Of VGG-Face, Facenet, Facenet512, ArcFace, Dlib, SFace and GhostFaceNet. All but Dlib come through
            deepface, which fetches their weights once.
        onnx: Face recognition models to use beside them.
        onnx_threshold: Cosine distance up to which they call two faces the same.
        onnx_size: Side in pixels of the aligned face that they take.
        swapper: Face-swapping network with the inputs of inswapper, to use beside a swap without weights; it needs the
            ArcFace network that it was trained with as --onnx.
        limit_recognition: Highest share of pictures, 0 to 1, that an attack may give the right name.
    """
    from privhead_ns.audit.audit import Inputs, run_audit
    from privhead_ns.audit.learned_swap import load_swappers
    from privhead_ns.audit.report import WARNING, Verdict, comparison, print_verdict, write_report
    from privhead_ns.audit.systems import load_recognisers
    from privhead_ns.folders import check_new_folder
    from privhead_ns.mesh.export import newest

    console = Console()
    check_new_folder(output_dir)
    systems = load_recognisers(onnx, onnx_threshold, onnx_size, recognisers)
    swappers = load_swappers(swapper, systems)
    run = newest(load_config) if load_config else None
    inputs = Inputs(data, protected, run, rgb_config, transfer_config, transfer_data, others)
    verdicts = [
        Verdict(recogniser.name, recogniser.threshold, results, limit_recognition)
        for recogniser, results in zip(systems, run_audit(inputs, systems, console, swappers), strict=True)
    ]
    write_report(output_dir, verdicts, {"capture": str(data), "other people": len(others)})
    for verdict in verdicts:
        console.rule(verdict.recogniser)
        print_verdict(verdict, console)
    console.print(comparison(verdicts))
    console.print(f"{output_dir / 'report.html'}, audit.json and pictures. {WARNING}", highlight=False)
    if any(verdict.failed for verdict in verdicts):
        raise SystemExit(1)


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
    workers: int = 1,
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
        workers: Settings and heads at a time, on this machine.
    """
    from privhead_ns.audit.sweep import run_sweep, settings, write_sweep
    from privhead_ns.audit.systems import load_recognisers
    from privhead_ns.batch.executors import local_executor
    from privhead_ns.capture.transforms import capture_folder
    from privhead_ns.phases import PhaseSchedule

    console, executor = Console(), local_executor(workers)
    chosen = settings(operators, blurs, levels, sizes)
    schedule = PhaseSchedule() if phase2_steps is None else PhaseSchedule(phase2_steps=phase2_steps)
    recognisers = load_recognisers(onnx, onnx_threshold, onnx_size)
    heads = tuple(capture_folder(path) for path in data)
    results = run_sweep(heads, others, chosen, output_dir, recognisers, schedule, console, executor)
    write_sweep(results, output_dir, console)
