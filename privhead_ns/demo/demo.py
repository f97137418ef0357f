"""Runs the whole chain on a rendered scene: photograph, protect, train, export, evaluate and draw."""

from __future__ import annotations

import time
from pathlib import Path

import trimesh
from rich.console import Console
from rich.table import Table

from privhead_ns.capture.protect import protect
from privhead_ns.capture.protected import load_protected_capture
from privhead_ns.data.dataparser import PrivheadDataParserConfig
from privhead_ns.data.dataset import PrivheadDataset
from privhead_ns.demo.capture import write_demo_capture
from privhead_ns.demo.reading_report import read_letters, reading_table
from privhead_ns.demo.scene import Scene
from privhead_ns.errors import UserError
from privhead_ns.folders import check_new_folder, make_private
from privhead_ns.mesh.comparison import Row, chosen_views, save_comparison
from privhead_ns.mesh.evaluate import Evaluation, evaluate
from privhead_ns.mesh.export import export_mesh
from privhead_ns.mesh.extract import extract_mesh
from privhead_ns.operators import OperatorConfig
from privhead_ns.phases import PhaseSchedule
from privhead_ns.start import compare_views, start_sdf
from privhead_ns.training_run import train

RESOLUTION = 192
"""Voxels along the longest side of the box in the demo's meshes."""


def run_demo(output_dir: Path, size: int, scene: Scene) -> None:
    """Runs every step, prints tables and writes one picture.

    Args:
        output_dir: folder for everything that is made; it must not exist.
        size: width and height of the photographs in pixels.
        scene: what is photographed.

    Raises:
        UserError: if `output_dir` exists, or training fails.
    """
    check_new_folder(output_dir)
    if not 32 <= size <= 512:
        raise UserError(f"--size must lie between 32 and 512 pixels, not {size}.")
    console, start = Console(), time.monotonic()
    raw, protected = output_dir / "raw", output_dir / "protected"
    make_private(output_dir)
    console.rule(f"1. Photographs of {scene.in_words}")
    write_demo_capture(raw, size, scene)
    console.rule("2. privhead protect: what may leave the owner's machine")
    summary = protect(raw, protected, OperatorConfig(), size=size, subject=scene.subject, console=console)
    console.print(summary.in_plain_words())
    console.rule("3. ns-train privhead: two phases")
    schedule = PhaseSchedule().for_size(size)
    last_of_phase1 = schedule.phase1_steps - 1  # a checkpoint is kept there
    flags: dict[str, object] = {"--steps-per-save": last_of_phase1, "--vis": "viewer"}
    run = train("privhead", protected, output_dir / "outputs", schedule.total_steps, console, flags)
    console.rule("4. privhead export and privhead evaluate")
    borders = {"phase 1": last_of_phase1, "phase 2": None}
    meshes: dict[str, trimesh.Trimesh] = {}
    for phase, step in borders.items():
        path = output_dir / f"{scene.subject}{'' if step is None else '-phase1'}.ply"
        meshes[phase] = export_mesh(run.config, path, RESOLUTION, millimetres=False, load_step=step)
    readings = read_letters(scene.lettering, raw, protected, run, meshes) if scene.lettering else None
    run.keep_last_checkpoint()  # earlier ones of phase 2 hold the colours painted on what is sensitive
    measured = ({"no training": start_mesh(protected)} if scene.subject == "room" else {}) | meshes
    evaluations = {phase: evaluate(mesh, raw) for phase, mesh in measured.items()}
    capture = load_protected_capture(protected)
    rows = [Row(capture.frames[view].kind, raw, protected, view, meshes) for view in chosen_views(capture)]
    save_comparison(output_dir / "demo.png", rows)
    console.print(demo_table(evaluations))
    if readings:
        console.print(reading_table(readings))
    console.print(
        f"Trained for {run.seconds:.0f} s, {time.monotonic() - start:.0f} s in all. "
        f"Mesh: {output_dir / scene.subject}.ply; picture: {output_dir / 'demo.png'}; "
        f"to look around: ns-viewer --load-config {run.config}"
    )


def start_mesh(protected: Path) -> trimesh.Trimesh:
    """Returns the surface that training starts from in a room, in the capture's frame."""
    dataset = PrivheadDataset(PrivheadDataParserConfig(data=protected).setup().get_dataparser_outputs())
    sdf = start_sdf(dataset, compare_views(dataset))
    assert sdf is not None
    mesh = extract_mesh(sdf, dataset.scene_box.aabb, RESOLUTION, "cpu", inside_out=True)
    mesh.vertices = dataset.metadata["frame"].to_capture(mesh.vertices)
    return mesh


def demo_table(evaluations: dict[str, Evaluation]) -> Table:
    """Returns Chamfer distance to the surface and normal error after each phase, of the subject and of its region."""
    first = next(iter(evaluations.values()))
    whole, part = first.subject, first.region
    table = Table(title=f"Distance to the true surface ({first.unit}), normal error (degrees)")
    for heading in ("after", f"Chamfer, {whole}", f"Chamfer, {part}", f"normals, {whole}", f"normals, {part}"):
        table.add_column(heading, justify="left" if heading == "after" else "right")
    for phase, evaluation in evaluations.items():
        head, face = evaluation.head, evaluation.face
        assert face is not None  # the demo's captures know region and scale
        values = (head.chamfer, face.chamfer, head.normal_error, face.normal_error)
        table.add_row(phase, *(f"{value:.2f}" for value in values))
    return table
