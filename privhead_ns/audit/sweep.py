"""Privacy against geometry over protection settings: what a stronger protection costs, to choose one by.

One result per setting lies in a file of its own, so that a sweep goes on where it was stopped.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from rich.console import Console
from rich.table import Table

from privhead_ns.audit import adapted, inversion, off_the_shelf
from privhead_ns.audit.heads import load_others, load_subject
from privhead_ns.audit.recogniser import Recogniser
from privhead_ns.audit.report import shown
from privhead_ns.capture.protect import protect
from privhead_ns.capture.protected import load_protected_capture
from privhead_ns.capture.transforms import read_json
from privhead_ns.errors import UserError
from privhead_ns.mesh.evaluate import evaluate, load_truth
from privhead_ns.mesh.export import export_mesh
from privhead_ns.mesh.files import replacing
from privhead_ns.operators import OperatorConfig
from privhead_ns.phases import PhaseSchedule
from privhead_ns.training_run import train

RESOLUTION = 192
"""Voxels along the longest side of the box in the meshes that are measured."""


@dataclass(frozen=True)
class Setting:
    """How a capture is protected."""

    operator: OperatorConfig
    size: int | None
    """Longer side of the views in pixels; None for that of the photographs."""

    @property
    def label(self) -> str:
        """Its name, also of its folder."""
        size = "" if self.size is None else f"-size{self.size}"
        return f"{self.operator.name}-blur{self.operator.blur:g}-levels{self.operator.levels}{size}"


def settings(
    operators: tuple[str, ...], blurs: tuple[float, ...], levels: tuple[int, ...], sizes: tuple[int, ...]
) -> list[Setting]:
    """Varies one choice at a time from the first of each; a grid of all would take days."""
    size = sizes[0] if sizes else None
    first = OperatorConfig(operators[0], blurs[0], levels[0])
    result = [Setting(first, size)]
    result += [Setting(OperatorConfig(name, first.blur, first.levels), size) for name in operators[1:]]
    result += [Setting(OperatorConfig(first.name, blur, first.levels), size) for blur in blurs[1:]]
    result += [Setting(OperatorConfig(first.name, first.blur, count), size) for count in levels[1:]]
    result += [Setting(first, other) for other in sizes[1:]]
    for setting in result:
        setting.operator.setup()
    return result


def run_sweep(
    data: Path,
    others: tuple[Path, ...],
    chosen: list[Setting],
    output_dir: Path,
    recogniser: Recogniser,
    schedule: PhaseSchedule,
    console: Console,
) -> list[dict[str, Any]]:
    """Measures each setting that is not yet measured.

    Raises:
        UserError: if a capture cannot be used or has no truth, `output_dir` holds something else, or training fails.
    """
    load_truth(data)
    about = {"data": str(data.resolve()), "others": [str(path.resolve()) for path in others]} | asdict(schedule)
    note = output_dir / "sweep_of.json"
    if output_dir.exists() and not note.exists() and any(output_dir.iterdir()):
        raise UserError(f"--output-dir {output_dir} exists and is no sweep; choose another folder.")
    if note.exists() and read_json(note) != json.loads(json.dumps(about)):
        raise UserError(f"{output_dir} holds a sweep of other captures or steps; choose another --output-dir.")
    output_dir.mkdir(parents=True, exist_ok=True)
    _write(note, about)
    results = []
    for number, setting in enumerate(chosen):
        console.rule(f"{number + 1} of {len(chosen)}: {setting.label}")
        path = output_dir / f"{setting.label}.json"
        if not path.exists():
            folder = output_dir / f".{setting.label}"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            try:
                _write(path, measure(data, others, setting, folder, recogniser, schedule, console))
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        results.append(read_json(path))
    return results


def measure(
    data: Path,
    others: tuple[Path, ...],
    setting: Setting,
    folder: Path,
    recogniser: Recogniser,
    schedule: PhaseSchedule,
    console: Console,
) -> dict[str, Any]:
    """Attacks the protected views of one setting, then trains on them and measures the mesh."""
    protected = folder / "protected"
    protect(data, protected, setting.operator, size=setting.size, console=console)
    capture = load_protected_capture(protected)
    heads = [load_subject(data, protected), *load_others(others, data, capture, console)]
    gallery = off_the_shelf.photographs(recogniser, heads, console)
    exhibits = {off_the_shelf.RAW: heads[0].photographs, off_the_shelf.PROTECTED: heads[0].protected}
    rungs = [
        off_the_shelf.attack(gallery, exhibits, console),
        adapted.attack(gallery, heads, console),
        inversion.attack(gallery, heads, capture.operator, console),
    ]
    attacks = {rung.title: rung.recognition for rung in rungs} | {adapted.TITLE: adapted.mean_rank1(rungs[1])}
    flags: dict[str, object] = {
        "--steps-per-eval-image": 0,
        "--pipeline.phases.phase1-steps": schedule.phase1_steps,
        "--pipeline.phases.phase2-steps": schedule.phase2_steps,
    }
    steps = schedule.for_size(max(capture.width, capture.height)).total_steps
    run = train("privhead", protected, folder / "training", steps, console, flags)
    figures = evaluate(export_mesh(run.config, folder / "mesh.ply", RESOLUTION, millimetres=False), data)
    return {
        "setting": setting.label,
        "attacks": attacks,
        "recognition": max((rate for rate in attacks.values() if rate is not None), default=None),
        "chamfer": figures.head.chamfer,
        "face_chamfer": figures.face.chamfer if figures.face else None,
        "unit": figures.unit,
    }


def write_sweep(results: list[dict[str, Any]], output_dir: Path, console: Console) -> None:
    """Writes sweep.json and sweep.png, and prints the table; rungs are as the audit numbers them."""
    _write(output_dir / "sweep.json", {"settings": results})
    unit = results[0]["unit"]
    rungs = [f"rung {title[0]}" for title in results[0]["attacks"]]
    table = Table(
        "setting", *rungs, "best", f"head ({unit})", f"face ({unit})", title="Recognition and Chamfer distance"
    )
    table.columns[0].no_wrap = True
    for result in results:
        rates = [shown("rank-1", rate) for rate in (*result["attacks"].values(), result["recognition"])]
        lengths = [shown("chamfer", result[key]) for key in ("chamfer", "face_chamfer")]
        table.add_row(result["setting"], *rates, *lengths)
    console.print(table)
    figure = Figure(figsize=(7, 5), dpi=120, layout=ConstrainedLayoutEngine())
    axes = figure.subplots()
    for result in results:
        if result["recognition"] is not None:
            axes.plot(result["chamfer"], result["recognition"], "o", label=result["setting"])
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    axes.set(xlabel=f"Chamfer distance, head ({unit})", ylabel="recognised by the best attack", ylim=(-0.05, 1.05))
    with replacing(output_dir / "sweep.png") as temporary:
        FigureCanvasAgg(figure).print_png(temporary)


def _write(path: Path, content: dict[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1))
