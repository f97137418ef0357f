"""Measures privacy against geometry over protection settings.

The result of each setting on each head is stored in its own file, so that a sweep continues where it was stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from rich.console import Console
from rich.table import Table

from privhead_ns.audit import adapted, inversion, off_the_shelf
from privhead_ns.audit.faces import mean
from privhead_ns.audit.heads import load_others, load_subject
from privhead_ns.audit.recogniser import Recogniser
from privhead_ns.audit.report import shown
from privhead_ns.batch.board import run_all
from privhead_ns.batch.jobs import Executor, Job
from privhead_ns.capture.protect import protect
from privhead_ns.capture.protected import load_protected_capture
from privhead_ns.capture.views import DEFAULT_SIZE
from privhead_ns.errors import UserError
from privhead_ns.folders import replacing, temporary_folder
from privhead_ns.mesh.evaluate import MEASURE, evaluate
from privhead_ns.mesh.export import export_mesh
from privhead_ns.mesh.ground_truth import load_truth
from privhead_ns.operators import OperatorConfig
from privhead_ns.phases import PhaseSchedule
from privhead_ns.results_folder import open_results
from privhead_ns.text_files import as_read, read_json, write_json
from privhead_ns.training_run import train

NOTE = "sweep_of.json"
"""File in the folder of a sweep that says what it is of."""
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
    data: tuple[Path, ...],
    others: tuple[Path, ...],
    chosen: list[Setting],
    output_dir: Path,
    recognisers: Sequence[Recogniser],
    schedule: PhaseSchedule,
    console: Console,
    executor: Executor | None = None,
) -> list[dict[str, Any]]:
    """Measures each setting on each head that it is not yet measured on; returns a summary of each setting.

    Where one fails, the others are measured first; `executor` runs them, by default one after the other.

    Raises:
        UserError: if a capture cannot be used or has no truth, two have the same name, `output_dir` holds something
            else, or training fails.
    """
    for head in data:
        load_truth(head)
    names = [head.resolve().name for head in data]
    if len(set(names)) < len(names):
        raise UserError(f"Two captures of --data have the same name ({', '.join(names)}); rename a folder.")
    about = {
        "data": [str(path.resolve()) for path in data],
        "others": [str(path.resolve()) for path in others],
        "recognisers": [recogniser.name for recogniser in recognisers],
        "distance": MEASURE,
        **asdict(schedule),
    }
    claim(output_dir, about)
    jobs, paths = [], {}
    for setting, (head, name) in product(chosen, zip(data, names, strict=True)):
        path = output_dir / f"{setting.label}-{name}.json"
        paths[path] = setting
        if not path.exists():
            people = (*(other for other in data if other != head), *others)
            do = partial(measure_once, path, name, head, people, setting, recognisers, schedule)
            jobs.append(Job(f"{setting.label}, {name}", do))
    run_all(jobs, executor, console)
    found = [(setting, read_json(path)) for path, setting in paths.items()]
    return [summary([one for of, one in found if of == setting]) for setting in chosen]


def measure_once(
    path: Path,
    name: str,
    data: Path,
    others: tuple[Path, ...],
    setting: Setting,
    recognisers: Sequence[Recogniser],
    schedule: PhaseSchedule,
    console: Console,
) -> None:
    """Measures a setting on a head, and writes the result to `path`; see `measure`."""
    with temporary_folder(path.with_name("setting")) as folder:
        result = measure(data, others, setting, folder, recognisers, schedule, console)
    write_json(path, {"setting": setting.label, "head": name, **result})


def claim(output_dir: Path, about: dict[str, Any]) -> None:
    """Creates a sweep's folder with a note of its inputs, or checks that an existing folder has the same.

    Raises:
        UserError: if it holds something else.
    """
    noted = open_results(output_dir, NOTE, "sweep")
    if noted is not None and noted != as_read(about):
        raise UserError(
            f"{output_dir} holds a sweep of other captures, recognisers or steps, or with another measure of distance; "
            "choose another --output-dir."
        )
    write_json(output_dir / NOTE, about)


def measure(
    data: Path,
    others: tuple[Path, ...],
    setting: Setting,
    folder: Path,
    recognisers: Sequence[Recogniser],
    schedule: PhaseSchedule,
    console: Console,
) -> dict[str, Any]:
    """Attacks the protected views of one head and setting, then trains on them and measures the mesh."""
    protected = folder / "protected"
    protect(data, protected, setting.operator, size=setting.size or DEFAULT_SIZE, console=console)
    capture = load_protected_capture(protected)
    heads = [load_subject(data, protected), *load_others(others, data, capture, console)]
    galleries = [off_the_shelf.photographs(recogniser, heads, console) for recogniser in recognisers]
    exhibits = {off_the_shelf.RAW: heads[0].photographs, off_the_shelf.PROTECTED: heads[0].protected}
    inverted = inversion.invert(heads, capture.operator, console)
    attacks = {
        off_the_shelf.TITLE: [off_the_shelf.attack(gallery, exhibits, console).recognition for gallery in galleries],
        adapted.TITLE: [adapted.mean_rank1(adapted.attack(gallery, heads, console)) for gallery in galleries],
        inversion.TITLE: [inversion.attack(gallery, heads, inverted).recognition for gallery in galleries],
    }
    flags: dict[str, object] = {
        "--steps-per-eval-image": 0,
        "--pipeline.phases.phase1-steps": schedule.phase1_steps,
        "--pipeline.phases.phase2-steps": schedule.phase2_steps,
    }
    steps = schedule.for_size(max(capture.width, capture.height)).total_steps
    run = train("privhead", protected, folder / "training", steps, console, flags)
    figures = evaluate(export_mesh(run.config, folder / "mesh.ply", RESOLUTION, millimetres=False), data)
    return {
        "attacks": attacks,
        "chamfer": figures.head.chamfer,
        "face_chamfer": figures.face.chamfer if figures.face else None,
        "unit": figures.unit,
    }


def summary(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the means over heads of one setting; of several recognisers that counts which gets farthest."""
    attacks = {
        attack: best(average(rates) for rates in zip(*(one["attacks"][attack] for one in results), strict=True))
        for attack in results[0]["attacks"]
    }
    return {
        "setting": results[0]["setting"],
        "attacks": attacks,
        "recognition": best(attacks.values()),
        "chamfer": average([one["chamfer"] for one in results]),
        "face_chamfer": average([one["face_chamfer"] for one in results]),
        "unit": results[0]["unit"],
    }


def best(rates: Iterable[float | None]) -> float | None:
    """Returns the highest of what was measured."""
    return max((rate for rate in rates if rate is not None), default=None)


def average(values: Iterable[float | None]) -> float | None:
    """Returns the mean of what was measured."""
    return mean(np.array([value for value in values if value is not None]))


def write_sweep(results: list[dict[str, Any]], output_dir: Path, console: Console) -> None:
    """Writes sweep.json and sweep.png, and prints the table; attacks are as the audit numbers them."""
    write_json(output_dir / "sweep.json", {"settings": results})
    unit = results[0]["unit"]
    attacks = [f"attack {title[0]}" for title in results[0]["attacks"]]
    title = "Recognition and Chamfer distance to the true surface"
    table = Table("setting", *attacks, "best", f"head ({unit})", f"face ({unit})", title=title)
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
