"""Compares pictures with views by what is left of both once the head's outline and gradient magnitude explain nothing.

A picture of the head on black correlates with any other, and the magnitude of a view with its colours. So the
correlation is taken over pixels well inside the head, of the residuals of a regression on a quadratic of position, on
the magnitude and on its square root: the partial correlation, which is 1 for a copy whatever its scale and offset.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float

from privhead_ns.audit.secrets import Plane, View, luminance

THRESHOLD, EXACT = 0.88, 0.93
"""Partial correlations above which a picture shows a view, and above which numbers do.

Numbers are copied more exactly, and more of them fit by chance. Measured on two captures of 64 pixels: copies have
0.99 and more as JPEG of quality 95, after a gamma of 2.2 and at half the size, 0.91 as JPEG of quality 75, and 0.92 at
a quarter of the size. What may leave has up to 0.35 (magnitudes and masks), evaluation pictures of a trained run, in
which the face is painted, up to 0.77, and these at 16 pixels up to 0.83.
"""
SUSPICIOUS = 0.6
"""Partial correlation in a first look above which an array is looked at closely."""
LARGEST_SIDE, SMALLEST_SIDE = 64, 12
"""Sides in pixels between which pictures are compared."""
MOST_TILES = 8
"""Views that may lie side by side in a picture."""
FEWEST_PIXELS = 40
"""Pixels inside the head that a comparison needs."""
FEWEST_CARRIERS = 5
"""Effective number of pixels, (Σe²)² / Σe⁴ of the view's residuals e, that a comparison of numbers needs.

One spike fits any other one in a short run: on a photographed capture chance fits of 40 to 156 pixels had 1.5 to 2.4.
"""
FAINTEST = 1 / 255
"""Standard deviation of a residual, of colours in [0, 1], below which a view is too flat to be recognised."""
COARSE = ("red", "green", "blue", "luminance", "signed dx of luminance", "signed dy of luminance")
"""What a first look compares."""
FAINTEST_SHARE = 1e-5
"""Share of a picture's energy in its residual, below which rounding in 32 bits is all that is left."""


class Match(NamedTuple):
    """How well a picture fits a view."""

    correlation: float
    view: str
    content: str


def resize(planes: Float[np.ndarray, "height width *n"], side: int) -> Float[np.ndarray, "side side *n"]:
    """Resizes to a square, averaging over areas where that is smaller."""
    return cv2.resize(np.ascontiguousarray(planes, dtype=np.float32), (side, side), interpolation=cv2.INTER_AREA)


class Sheet:
    """All views at one size, as matrices.

    Args:
        views: sensitive and neutral ones.
        side: height and width in pixels at which they are compared.
        coarse: whether to compare colours and Sobel's derivatives of the luminance alone, as a first look.
    """

    def __init__(self, views: Sequence[View], side: int, coarse: bool = False) -> None:
        self.side = side
        self.views: list[View] = []
        self.contents: list[str] = []
        columns: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for view in views:
            interior = resize(view.interior.astype(np.float32), side) > 0.999
            if interior.sum() < FEWEST_PIXELS:
                continue
            planes = {name: plane for name, plane in view.planes().items() if not coarse or name in COARSE}
            basis = nuisances(resize(view.magnitude(), side), interior)
            values = np.stack([resize(plane, side)[interior] for plane in planes.values()], axis=1)
            left = values - basis @ (basis.T @ values)
            faintest = [FAINTEST / 2 if name.startswith("signed") else FAINTEST for name in planes]
            strong = left.std(axis=0) > faintest
            if strong.any():
                left = np.where(strong, left / np.maximum(np.linalg.norm(left, axis=0), 1e-12), 0)
                self.views.append(view)
                self.contents = list(planes)
                columns.append((spread(left, interior), spread(basis, interior), interior.reshape(-1, 1)))
        parts = zip(*columns, strict=True) if columns else [[np.zeros((side * side, 0))]] * 3
        self.residuals, self.bases, self.interiors = (np.concatenate(part, axis=1).astype(np.float32) for part in parts)
        self.sensitive = np.array([view.sensitive for view in self.views], dtype=bool)

    def correlations(self, pictures: Float[np.ndarray, "n side side"]) -> Float[np.ndarray, "n views contents"]:
        """Returns the absolute partial correlation of each picture with each plane of each view."""
        flat = pictures.reshape(len(pictures), -1)
        flat = flat - flat.mean(axis=1, keepdims=True)
        flat = flat / np.maximum(flat.std(axis=1, keepdims=True), 1e-20)
        count = len(self.views)
        products = np.abs(flat @ self.residuals).reshape(len(flat), count, -1)
        energy = (flat**2) @ self.interiors
        left = energy - ((flat @ self.bases) ** 2).reshape(len(flat), count, -1).sum(axis=2)
        left[left < FAINTEST_SHARE * energy] = np.inf
        return products / np.sqrt(np.maximum(left, 1e-20))[..., None]


class Gallery:
    """Sheets of several sizes.

    Args:
        views: sensitive and neutral ones.
    """

    def __init__(self, views: Sequence[View]) -> None:
        largest = min([LARGEST_SIDE, *(min(view.interior.shape) for view in views)])
        sides = [largest >> shift for shift in range(3)]
        self.sheets = [Sheet(views, side) for side in sides if side >= SMALLEST_SIDE]
        self.coarse = [Sheet([v for v in views if v.sensitive], sheet.side, coarse=True) for sheet in self.sheets[1:]]

    @property
    def sought(self) -> set[str]:
        """The sensitive views that are distinct enough to be sought."""
        return {view.name for sheet in self.sheets[:1] for view in sheet.views if view.sensitive}

    def best(self, picture: Float[np.ndarray, "height width *channels"], least: float = THRESHOLD) -> Match | None:
        """Returns the sensitive view that a picture shows, if any: in any channel, mirrored or turned."""
        found = None
        for tile in tiles(picture):
            for sheet in self.sheets:
                if sheet.side <= min(tile.shape[:2]):
                    found = best_of(found, self._match(sheet, versions(tile, sheet.side), least))
                    break
        return found

    def best_slice(self, array: np.ndarray) -> Match | None:
        """Returns the sensitive view that a slice of an array shows, if any."""
        found = None
        for batch in slices(array):
            for sheet in self.coarse:
                if sheet.side <= min(batch.shape[1:]):
                    for plane in batch:
                        if sheet.correlations(versions(plane, sheet.side)).max(initial=0) > SUSPICIOUS:
                            found = best_of(found, self.best(plane, EXACT))
                    break
        return found

    @staticmethod
    def _match(sheet: Sheet, pictures: Float[np.ndarray, "n side side"], least: float) -> Match | None:
        fits = sheet.correlations(pictures).max(axis=0, initial=0)
        if not sheet.sensitive.any():
            return None
        neutral = fits[~sheet.sensitive].max(initial=0)
        view, content = np.unravel_index(np.where(sheet.sensitive[:, None], fits, 0).argmax(), fits.shape)
        fit = float(fits[view, content])
        return Match(fit, sheet.views[view].name, sheet.contents[content]) if fit > max(least, neutral) else None


def best_of(one: Match | None, other: Match | None) -> Match | None:
    """Returns the better match."""
    return max((match for match in (one, other) if match is not None), default=None)


def versions(picture: Float[np.ndarray, "height width *channels"], side: int) -> Float[np.ndarray, "n side side"]:
    """Returns every channel of a picture and its luminance, in all eight orientations."""
    small = resize(picture, side).reshape(side, side, -1)
    planes = [*small.transpose(2, 0, 1)]
    if len(planes) >= 3:
        planes.append(luminance(small))
    return np.stack([np.rot90(turned, k) for plane in planes for turned in (plane, plane.T) for k in range(4)])


def tiles(picture: np.ndarray) -> list[np.ndarray]:
    """Returns a picture, and its parts where it is several times as wide as high, or as high as wide."""
    height, width = picture.shape[:2]
    parts = [picture]
    for axis, count in ((1, round(width / height)), (0, round(height / width))):
        if 2 <= count <= MOST_TILES:
            parts += np.array_split(picture, count, axis=axis)
    return parts


def slices(array: np.ndarray) -> Iterator[Float[np.ndarray, "n height width"]]:
    """Yields an array as stacks of pictures, along every two neighbouring axes that are long enough."""
    for axis in range(array.ndim - 1):
        height, width = array.shape[axis : axis + 2]
        if min(height, width) >= SMALLEST_SIDE and max(height, width) <= MOST_TILES * min(height, width):
            yield np.moveaxis(array, (axis, axis + 1), (-2, -1)).reshape(-1, height, width)


def partial_correlation(
    ours: Plane, theirs: Plane, magnitude: Plane, chosen: Bool[np.ndarray, "height width"]
) -> float:
    """Returns the absolute partial correlation of two planes over chosen pixels; 0 where that cannot be told.

    Args:
        ours: numbers from a file.
        theirs: a plane of a view.
        magnitude: of that view.
        chosen: pixels inside the head of which there are numbers.
    """
    if chosen.sum() < FEWEST_PIXELS:
        return 0.0
    basis = nuisances(magnitude, chosen).astype(np.float64)
    values = np.stack([ours[chosen], theirs[chosen]], axis=1).astype(np.float64)
    values -= values.mean(axis=0)
    left = values - basis @ (basis.T @ values)
    energy = (left**2).sum(axis=0)
    if (energy <= FAINTEST_SHARE * (values**2).sum(axis=0)).any() or np.sqrt(energy[1] / chosen.sum()) < FAINTEST / 2:
        return 0.0
    if energy[1] ** 2 < FEWEST_CARRIERS * (left[:, 1] ** 4).sum():
        return 0.0
    return float(abs(left[:, 0] @ left[:, 1]) / np.sqrt(energy.prod()))


def nuisances(magnitude: Plane, interior: Bool[np.ndarray, "height width"]) -> Float[np.ndarray, "pixels basis"]:
    """Returns an orthonormal basis, over the interior, of what is no find: see the module's head."""
    y, x = (axis / magnitude.shape[0] for axis in np.nonzero(interior))
    inside = np.maximum(magnitude[interior], 0)
    columns = [np.ones_like(x), x, y, x * x, x * y, y * y, inside, np.sqrt(inside)]
    return np.linalg.qr(np.stack(columns, axis=1))[0].astype(np.float32)


def spread(columns: Float[np.ndarray, "pixels n"], interior: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "area n"]:
    """Returns columns over all pixels, 0 outside the interior."""
    full = np.zeros((interior.size, columns.shape[1]), dtype=np.float32)
    full[interior.ravel()] = columns
    return full
