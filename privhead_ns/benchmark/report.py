"""Reports the measurements of a benchmark: table, CSV, JSON and picture."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from privhead_ns.benchmark.figures import save_figures
from privhead_ns.benchmark.results import Measurement
from privhead_ns.benchmark.variants import ORACLE, OURS, PAPER, STAGE_1, VARIANTS
from privhead_ns.capture.protected import load_protected_capture
from privhead_ns.folders import replacing
from privhead_ns.mesh.comparison import Row, chosen_views, save_comparison
from privhead_ns.mesh.evaluate import MEASURE
from privhead_ns.mesh.files import load_mesh
from privhead_ns.text_files import write_json

Figures = dict[str, Callable[[Measurement], float | None]]

COLUMNS: Figures = {
    "Chamfer, head": lambda m: m.chamfer,
    "Chamfer, face": lambda m: m.face_chamfer,
    "normals, head (°)": lambda m: m.normal_error,
    "normals, face (°)": lambda m: m.face_normal_error,
    "seconds": lambda m: m.seconds,
    "memory (MB)": lambda m: m.peak_memory,
}
"""Columns of the table."""
START, *LATER = (variant.label for variant in VARIANTS.values())
ORDER = [START, STAGE_1, *LATER]


def write_report(measurements: list[Measurement], heads: list[Path], output_dir: Path, console: Console) -> None:
    """Writes benchmark.csv, benchmark.json, benchmark.png and `FIGURES` into `output_dir`, and prints the tables.

    Args:
        measurements: everything measured.
        heads: the raw captures, for the picture.
        output_dir: the benchmark's folder.
        console: where to print.
    """
    write_csv(measurements, output_dir / "benchmark.csv")
    means = {label: averages(measurements, label) for label in labels(measurements)}
    content = {
        "measure": MEASURE,
        "measurements": [asdict(measurement) for measurement in measurements],
        "means": means,
        "ratios": ratios(means),
        "races": [asdict(race) for race in races(measurements)],
    }
    write_json(output_dir / "benchmark.json", content)
    console.print("Drawing the pictures")
    save_comparison(output_dir / "benchmark.png", picture_rows(measurements, heads, output_dir))
    figures = save_figures(measurements, heads, output_dir)
    console.print(table(measurements))
    if any(not measurement.final for measurement in measurements):
        console.print(curve(measurements))
    for race in races(measurements):
        console.print(race.in_plain_words())
    console.print(f"{output_dir / 'benchmark.csv'}, .json and .png; the picture shows the photographs: keep it here.")
    if figures:
        console.print(f"{', '.join(figures)} show meshes and no photograph.")


def labels(measurements: list[Measurement]) -> list[str]:
    """Returns the variants that were measured, in the table's order."""
    measured = {measurement.label for measurement in measurements}
    return [label for label in ORDER if label in measured]


def units(measurements: list[Measurement]) -> str:
    """Returns the unit of the distances."""
    return " or ".join(sorted({measurement.unit for measurement in measurements}))


def averages(measurements: list[Measurement], label: str) -> dict[str, float | None]:
    """Returns the mean over the heads of each of `COLUMNS`; None where a head lacks the figure."""
    finals = [measurement for measurement in measurements if measurement.final and measurement.label == label]
    return {name: mean([figure(measurement) for measurement in finals]) for name, figure in COLUMNS.items()}


def mean(values: list[float | None]) -> float | None:
    """Returns the mean, or None if there is nothing to average or a value is missing."""
    present = [value for value in values if value is not None]
    return float(np.mean(present)) if present and len(present) == len(values) else None


def ratios(means: dict[str, dict[str, float | None]]) -> dict[str, float | None]:
    """Returns stage 2 over full RGB, of the means; nothing where one of them was not measured."""
    if OURS not in means or ORACLE not in means:
        return {}
    pairs = {name: (means[OURS][name], means[ORACLE][name]) for name in COLUMNS}
    return {name: ours / full_rgb if ours and full_rgb else None for name, (ours, full_rgb) in pairs.items()}


def table(measurements: list[Measurement]) -> Table:
    """Returns the paper's Table 1: each head, their mean, and how much worse stage 2 is than full RGB."""
    result = Table("trained as", title=f"Distance to the true surface ({units(measurements)})", box=SIMPLE_HEAD)
    for name in COLUMNS:
        result.add_column(name.replace(", ", "\n"), justify="right")
    by_head = defaultdict(list)
    for measurement in measurements:
        if measurement.final:
            by_head[measurement.head].append(measurement)
    for head, group in by_head.items():
        result.add_row(head, style="bold")
        for measurement in sorted(group, key=lambda m: ORDER.index(m.label)):
            values = (figure(measurement) for figure in COLUMNS.values())
            result.add_row(measurement.label, *map(shown, values))
        result.add_section()
    means = {label: averages(measurements, label) for label in labels(measurements)}
    if len(by_head) > 1:
        result.add_row("mean", style="bold")
        for label, values in means.items():
            result.add_row(label, *map(shown, values.values()))
    if quotients := ratios(means):
        result.add_row(f"{OURS} / {ORACLE}", *map(shown, quotients.values()))
    return result


def curve(measurements: list[Measurement]) -> Table:
    """Returns mean figures against training time of the variants whose checkpoints are all measured."""
    title = f"On the way: distance to the true surface ({units(measurements)})"
    result = Table("trained as", "steps", "seconds", "Chamfer, head", "Chamfer, face", title=title)
    for label in labels(measurements):
        if all(m.final for m in measurements if m.label == label) and label != STAGE_1:
            continue
        for step in sorted({m.step for m in measurements if m.label == label}):
            group = [m for m in measurements if m.label == label and m.step == step]
            figures = [[m.seconds for m in group], [m.chamfer for m in group], [m.face_chamfer for m in group]]
            result.add_row(label, str(step + 1), *(shown(mean(list(values))) for values in figures))
    return result


@dataclass(frozen=True)
class Race:
    """Training times of stage 2 and of the paper's configuration to the same Chamfer distance on a head."""

    head: str
    chamfer: float
    """Best distance of the paper's configuration within its time."""
    unit: str
    paper_seconds: float
    """Time at which it was reached."""
    our_seconds: float | None
    """When our first measured state at least as good was reached; None if there is none."""

    def in_plain_words(self) -> str:
        """Returns a sentence."""
        reached = f"{self.head}: {PAPER} came to {shown(self.chamfer)} {self.unit} at best, after"
        reached += f" {shown(self.paper_seconds)} s of training; {OURS}"
        if self.our_seconds is None:
            return f"{reached} was never as good."
        factor = self.paper_seconds / self.our_seconds
        return f"{reached} was as good after {shown(self.our_seconds)} s at the latest: {shown(factor)} times as fast."


def races(measurements: list[Measurement]) -> list[Race]:
    """Compares the times to equal Chamfer distance on each head that both were trained on."""
    result = []
    for head in dict.fromkeys(m.head for m in measurements):
        theirs = [m for m in measurements if m.head == head and m.label == PAPER]
        ours = [m for m in measurements if m.head == head and m.label in (STAGE_1, OURS)]
        if not theirs or not ours:
            continue
        best = min(theirs, key=lambda m: m.chamfer)
        reached = min((m.seconds for m in ours if m.chamfer <= best.chamfer), default=None)
        result.append(Race(head, best.chamfer, best.unit, best.seconds, reached))
    return result


def shown(value: float | None) -> str:
    """Returns a figure for the table: three significant digits, or all before the point."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def write_csv(measurements: list[Measurement], path: Path) -> None:
    """Writes a line per measurement."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Measurement)])
    writer.writeheader()
    writer.writerows(asdict(measurement) for measurement in measurements)
    with replacing(path) as temporary:
        temporary.write_text(text.getvalue())


def picture_rows(measurements: list[Measurement], heads: list[Path], output_dir: Path) -> list[Row]:
    """Returns a protected view of each head, with the meshes of stage 1, stage 2 and full RGB, so far as measured."""
    rows = []
    for head in heads:
        name = head.resolve().name
        protected = output_dir / name / "protected"
        view = chosen_views(load_protected_capture(protected))[-2]
        final = {m.label: m for m in measurements if m.head == name and m.final}
        wanted = [label for label in ORDER if label in final]
        meshes = {label: load_mesh(output_dir / final[label].mesh) for label in wanted}
        rows.append(Row(name, head, protected, view, meshes))
    return rows
