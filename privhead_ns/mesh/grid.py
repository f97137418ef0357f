"""Draws small pictures in rows and columns into a PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from privhead_ns.folders import replacing

Picture = UInt8[np.ndarray, "height width 3"]
ERROR_COLOURS = "turbo"
"""Matplotlib's name of the colour map of distances."""


class PictureGrid:
    """A figure with a picture in each cell.

    Args:
        rows: the pictures, row by row; all rows have as many.
        titles: above the columns.
        labels: left of the rows.
        captions: below each picture, row by row; by default none.
        cell: width and height of a cell in inches.
        dpi: pixels to the inch.
    """

    def __init__(
        self,
        rows: Sequence[Sequence[Picture]],
        titles: Sequence[str],
        labels: Sequence[str],
        captions: Sequence[Sequence[str]] | None = None,
        cell: tuple[float, float] = (1.7, 1.8),
        dpi: int = 110,
    ) -> None:
        size = (cell[0] * len(titles), cell[1] * len(rows))
        self.figure = Figure(figsize=size, dpi=dpi, layout=ConstrainedLayoutEngine())
        self.axes = self.figure.subplots(len(rows), len(titles), squeeze=False)
        for number, row in enumerate(rows):
            for column, picture in enumerate(row):
                self._draw(self.axes[number, column], picture, captions[number][column] if captions else "")
            self.axes[number, 0].set_ylabel(labels[number])
        for axes, title in zip(self.axes[0], titles, strict=True):
            axes.set_title(title, fontsize=9)

    def add_error_scale(self, axes: Axes | np.ndarray, maximum: float, unit: str) -> None:
        """Adds the colour scale of error maps beside some axes; `maximum` is the distance at its upper end."""
        scale = ScalarMappable(Normalize(0, maximum), ERROR_COLOURS)
        self.figure.colorbar(scale, ax=axes, extend="max", label=f"distance to the true surface ({unit})")

    def save(self, path: Path) -> None:
        """Writes the PNG, whole or not at all."""
        save_figure(self.figure, path)

    @staticmethod
    def _draw(axes: Axes, picture: Picture, caption: str) -> None:
        axes.imshow(picture)
        axes.set(xticks=[], yticks=[])
        axes.set_xlabel(caption, fontsize=8)
        axes.spines[:].set_visible(False)


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a matplotlib figure as a PNG, whole or not at all."""
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_png(temporary)
