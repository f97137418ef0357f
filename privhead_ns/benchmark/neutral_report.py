"""Reports accuracy against the number of neutral views: table, JSON and two pictures (the paper's Fig. 5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from privhead_ns.benchmark.figures import save_meshes
from privhead_ns.benchmark.neutral_views import LAYOUTS, Layout
from privhead_ns.benchmark.report import mean, shown
from privhead_ns.benchmark.results import FewerNeutral, Measurement
from privhead_ns.benchmark.variants import OURS, STAGE_1
from privhead_ns.mesh.evaluate import MEASURE
from privhead_ns.mesh.grid import save_figure
from privhead_ns.mesh.ground_truth import load_truth
from privhead_ns.text_files import write_json

REGIONS: dict[str, Callable[[Measurement], float | None]] = {
    "head": lambda m: m.chamfer,
    "face": lambda m: m.face_chamfer,
}
COLORS = {STAGE_1: "tab:orange", OURS: "tab:blue"}
LINES: dict[Layout, str] = {"even": "o-", "rear": "s--"}
TOLERANCE = 1.1
"""Share of the distance with the most neutral views up to which the picture shades the background."""


@dataclass(frozen=True)
class Mean:
    """Mean Chamfer distances over all heads with as many neutral views; None where not known or not measured."""

    layout: Layout
    neutral_views: int
    distances: dict[str, dict[str, float | None]]
    """By stage and region."""
    ratios: dict[str, float | None]
    """By region, stage 2 over stage 2 with the most neutral views of the same layout."""


def write_neutral_report(results: list[FewerNeutral], heads: list[Path], output_dir: Path, console: Console) -> None:
    """Writes neutral-views.json, neutral-views.png and neutral-views-meshes.png, and prints the table.

    Args:
        results: of every head, layout and number of neutral views.
        heads: the raw captures.
        output_dir: the benchmark's folder.
        console: where to print.
    """
    averages = means(results)
    content = {
        "measure": MEASURE,
        "unit": results[0].stage_2.unit,
        "means": [asdict(average) for average in averages],
        "results": [
            {
                "head": result.stage_2.head,
                "layout": result.selection.layout,
                "neutral_views": result.selection.count,
                STAGE_1: asdict(result.stage_1) if result.stage_1 else None,
                OURS: asdict(result.stage_2),
            }
            for result in results
        ],
    }
    write_json(output_dir / "neutral-views.json", content)
    console.print("Drawing neutral-views.png and neutral-views-meshes.png")
    save_figure(curves(averages, results[0].stage_2.unit), output_dir / "neutral-views.png")
    truths = {head.resolve().name: load_truth(head) for head in heads}
    save_meshes(
        output_dir / "neutral-views-meshes.png",
        (STAGE_1, OURS),
        [f"{r.stage_2.head}\n{r.selection.count} {r.selection.layout}" for r in results],
        [[r.stage_1, r.stage_2] for r in results],
        [truths[r.stage_2.head] for r in results],
        output_dir,
        face=False,
    )
    console.print(table(averages, results[0].stage_2.unit))
    console.print(f"{output_dir / 'neutral-views.json'} and .png, neutral-views-meshes.png: no photograph in them.")


def means(results: list[FewerNeutral]) -> list[Mean]:
    """Averages over the heads, by layout, the most neutral views first."""
    counts = sorted({result.selection.count for result in results}, reverse=True)
    most: dict[Layout, dict[str, float | None]] = {}
    averages = []
    for layout, count in product(LAYOUTS, counts):
        group = [r for r in results if (r.selection.layout, r.selection.count) == (layout, count)]
        if not group:
            continue
        stages = {STAGE_1: [r.stage_1 for r in group if r.stage_1], OURS: [r.stage_2 for r in group]}
        distances = {
            stage: {region: mean([figure(m) for m in found]) for region, figure in REGIONS.items()}
            for stage, found in stages.items()
        }
        ours = distances[OURS]
        best = most.setdefault(layout, ours)
        ratios = {region: _ratio(ours[region], best[region]) for region in REGIONS}
        averages.append(Mean(layout, count, distances, ratios))
    return averages


def table(averages: list[Mean], unit: str) -> Table:
    """Returns a row per layout and number of neutral views."""
    title = f"Chamfer distance to the true surface ({unit}) with fewer neutral views"
    result = Table("layout", "neutral views", title=title, box=SIMPLE_HEAD)
    for stage in (STAGE_1, OURS):
        for region in REGIONS:
            result.add_column(f"{stage}\n{region}", justify="right")
    for region in REGIONS:
        result.add_column(f"{OURS} / most\n{region}", justify="right")
    for average in averages:
        values = [average.distances[stage][region] for stage in (STAGE_1, OURS) for region in REGIONS]
        result.add_row(
            average.layout, str(average.neutral_views), *map(shown, values), *map(shown, average.ratios.values())
        )
    return result


def curves(averages: list[Mean], unit: str) -> Figure:
    """Returns the distance after both stages against the number of neutral views, of head and face."""
    figure = Figure(figsize=(9, 3.8), dpi=140, layout=ConstrainedLayoutEngine())
    panels = figure.subplots(1, len(REGIONS), sharey=True)
    for axes, region in zip(panels, REGIONS, strict=True):
        for (layout, line), (stage, color) in product(LINES.items(), COLORS.items()):
            points = [
                (average.neutral_views, distance)
                for average in averages
                if average.layout == layout and (distance := average.distances[stage][region]) is not None
            ]
            if points:
                axes.plot(*np.transpose(points), line, color=color, label=f"{stage}, {layout}")
        if (best := averages[0].distances[OURS][region]) is not None:
            label = f"within 10 % of {averages[0].neutral_views} views"
            axes.axhspan(best, TOLERANCE * best, color="tab:blue", alpha=0.15, linewidth=0, label=label)
        axes.set(title=region, xlabel="neutral views", xticks=sorted({a.neutral_views for a in averages}))
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel(f"Chamfer distance ({unit})")
    panels[-1].legend(fontsize=8)
    return figure


def _ratio(value: float | None, best: float | None) -> float | None:
    return value / best if value is not None and best else None
