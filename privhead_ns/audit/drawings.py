"""Pictures of the report that stand on their own: the paper's Fig. 7 and Fig. 9 for one's own heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from privhead_ns.audit.recogniser import Image

SAME, OTHER, UNKNOWN = "#a00000", "#006000", "#666666"
"""Colours of a distance within the recogniser's threshold, which an owner does not want, beyond it, and of none."""
NOT_MEASURED = "not measured"


def rasterised(figure: Figure) -> Image:
    """Returns a figure's pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def draw_descendants(
    pictures: Mapping[str, Image | None], distances: Mapping[str, float], recogniser: str, threshold: float
) -> Image:
    """Draws a photograph beside what was made of it, with the distance of each from it (Fig. 7).

    Args:
        pictures: by label, the photograph first; None where there is none.
        distances: from the photograph, by label.
        recogniser: whose distances these are.
        threshold: up to which it calls two pictures the same person.
    """
    figure = Figure(figsize=(2.1 * len(pictures), 2.9), dpi=110, layout=ConstrainedLayoutEngine())
    figure.suptitle(f"{recogniser}: distance to the original; the same person up to {threshold:g}", fontsize=10)
    grid = figure.subplots(1, len(pictures), squeeze=False)[0]
    for axes, (label, picture) in zip(grid, pictures.items(), strict=True):
        _show(axes, picture)
        axes.set_title(label, fontsize=9)
        distance = distances.get(label)
        if distance is None:
            axes.set_xlabel(NOT_MEASURED, fontsize=10, color=UNKNOWN)
        else:
            axes.set_xlabel(f"{distance:.3f}", fontsize=10, color=SAME if distance <= threshold else OTHER)
    return rasterised(figure)


def draw_matrix(
    pictures: Sequence[Sequence[Image | None]],
    captions: Sequence[Sequence[str]],
    geometries: Sequence[str],
    colours: Sequence[str],
    title: str,
) -> Image:
    """Draws meshes (rows) in the colours of heads (columns), with a caption under each (Fig. 9)."""
    rows, columns = len(geometries), len(colours)
    figure = Figure(figsize=(1.9 * columns + 1, 2.2 * rows + 0.6), dpi=110, layout=ConstrainedLayoutEngine())
    figure.suptitle(title, fontsize=10)
    grid = figure.subplots(rows, columns, squeeze=False)
    for row, geometry in enumerate(geometries):
        grid[row][0].set_ylabel(f"geometry of\n{geometry}", fontsize=9)
        for column, axes in enumerate(grid[row]):
            _show(axes, pictures[row][column])
            axes.set_xlabel(captions[row][column], fontsize=8)
            if row == 0:
                axes.set_title(f"colours of\n{colours[column]}", fontsize=9)
    return rasterised(figure)


def _show(axes: Axes, picture: Image | None) -> None:
    """Shows a picture without ticks, or an empty field."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(picture is None)
    axes.imshow(np.full((64, 64, 3), 255, dtype=np.uint8) if picture is None else picture)
