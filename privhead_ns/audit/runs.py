"""Finds a view in numbers of unknown layout: raw files, flat buffers, crops, planar or interleaved channels.

Twelve neighbouring pixels, less their mean, fit a copy of themselves at any scale and offset. A few such windows of
each view are kept by the signs of random projections (locality-sensitive hashing; Charikar, STOC 2002), and every
eighth window of the numbers is looked up. Where one fits, the two rows next to it are sought, and the image that they
imply is compared whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.lib.stride_tricks import as_strided, sliding_window_view

from privhead_ns.audit.secrets import Plane, View
from privhead_ns.audit.sheet import EXACT, Match, partial_correlation

LENGTH = 12
"""Pixels of a window."""
STRIDE = 8
"""Numbers from one window that is looked up to the next; as many neighbouring windows of a view are kept."""
ANCHORS = 8
"""Rows of each plane of which windows are kept."""
BITS = 28
"""Projections of which the signs are kept."""
STRAIGHT = 0.05
"""Share of a window's variance that a straight line leaves, below which the window is not looked up."""
TREND = (np.arange(LENGTH, dtype=np.float32) - (LENGTH - 1) / 2) / np.float32(
    np.sqrt(LENGTH * (LENGTH**3 - LENGTH) / 12)
)
"""The line that a window's slope is measured with: its product with a window, squared, is the variance on a line."""
FIT = 0.98
"""Correlation of two windows that fit."""
FAINTEST = 1.5 / 255
"""Standard deviation of a window, of colours in [0, 1], below which rounding to 8 bits would hide it."""
INTERLEAVED = ((1, (0,)), (3, (0,)), (4, (0, 1)))
"""Channels that may lie between one pixel and the next, and the first numbers from which that is tried."""
MOST_HITS = 5000
"""Windows that fit, best first, that are looked at."""
MOST_TRIES, MOST_CROPS = 8, 4
"""Whole images that windows agree on, and windows that may be of a crop, of which the surroundings are compared."""
WIDEST = 1024
"""Numbers from one row to the next, at most."""
MOST_PITCHES = 3
"""Distances of rows, best first, for which the whole image is compared."""
CHUNK = 1 << 19
"""Windows that are looked up at a time."""


@dataclass(frozen=True)
class Oriented:
    """A plane of a view, turned or mirrored so that a row is what would lie in memory in a row."""

    view: View
    content: str
    turn: int
    """Which of `turns` it is."""
    plane: Plane
    interior: Bool[np.ndarray, "height width"]
    magnitude: Plane


def turns(plane: np.ndarray) -> list[np.ndarray]:
    """Returns the four orientations in which rows differ; upside down, they come in another order alone."""
    return [plane, plane[:, ::-1], plane.T, plane.T[:, ::-1]]


class Runs:
    """Windows of the sensitive views among the given ones.

    Args:
        views: sensitive and neutral ones, at all sizes at which they are sought.
    """

    def __init__(self, views: Sequence[View]) -> None:
        self.views = list(views)
        self.planes: list[Oriented] = []
        windows, places = [], []
        for view in views:
            if not view.sensitive:
                continue
            magnitude = view.magnitude()
            for content, plane in view.planes().items():
                if "border" in content or "padded" in content:
                    continue  # rows of the same numbers
                layers = [layer[: plane.shape[0], : plane.shape[1]] for layer in (plane, view.interior, magnitude)]
                for turn, (rows, inside, strength) in enumerate(zip(*map(turns, layers), strict=True)):
                    anchors = anchored(rows, inside)
                    starts = [(y, x + shift) for y, x in anchors for shift in range(STRIDE)]
                    windows += [rows[y, x : x + LENGTH] for y, x in starts]
                    places += [(len(self.planes), y, x) for y, x in starts]
                    self.planes.append(Oriented(view, content, turn, rows, inside, strength))
        kept = normalised(np.stack(windows)) if windows else np.zeros((0, LENGTH), np.float32)
        projections = np.random.default_rng(0).normal(size=(LENGTH, BITS + 1)).astype(np.float32)
        self.projections = projections - projections.mean(axis=0)
        hashes = self.hash(kept)
        order = np.argsort(hashes, kind="stable")
        self.windows, self.places = kept[order], np.array(places, dtype=np.int32).reshape(-1, 3)[order]
        self.widths = np.array([oriented.plane.shape[1] for oriented in self.planes], dtype=np.int64)
        self.hashes = hashes[order]

    def hash(self, windows: Float[np.ndarray, "n length"]) -> Int[np.ndarray, " n"]:
        """Returns the signs of random projections, the same for a window and its negative."""
        projected = windows @ self.projections
        signs = (projected[:, 1:] > 0) == (projected[:, :1] > 0)
        return signs @ (1 << np.arange(BITS))

    def best(self, numbers: Float[np.ndarray, " n"]) -> Match | None:
        """Returns the sensitive view that lies in the numbers, if any."""
        for channels, starts in INTERLEAVED:
            for start in starts:
                found = self._best(np.ascontiguousarray(numbers[start::channels]))
                if found is not None:
                    return found
        return None

    def _best(self, numbers: Float[np.ndarray, " n"]) -> Match | None:
        hits = list(self._hits(numbers))
        if not hits:
            return None
        fit, position, window = (np.concatenate(part) for part in zip(*hits, strict=True))
        if len(fit) > MOST_HITS:
            kept = np.argpartition(-fit, MOST_HITS)[:MOST_HITS]
            fit, position, window = fit[kept], position[kept], window[kept]
        best = np.argsort(-fit)
        plane, y, x = self.places[window[best]].T.astype(np.int64)
        position = position[best]
        tries: list[tuple[int, int]] = []
        for sign in (1, -1):  # whole images, top row first or last: windows in more than one row agree where they begin
            pitch = sign * self.widths[plane]
            begin = plane * (1 << 40) + (position - y * pitch - x)
            _, first, image = np.unique(begin, return_index=True, return_inverse=True)
            rows = np.bincount(np.unique(image * (1 << 20) + y) >> 20)
            agreed = [vote for vote in np.argsort(-rows)[:MOST_TRIES] if rows[vote] > 1]
            tries += [(int(first[vote]), int(pitch[first[vote]])) for vote in agreed]
        for hit in range(min(MOST_CROPS, len(best))):
            oriented = self.planes[plane[hit]]
            tries += [(hit, pitch) for pitch in pitches(numbers, int(position[hit]), oriented.plane, y[hit], x[hit])]
        matches = (
            self._compare(numbers, int(position[hit]), self.planes[plane[hit]], (int(y[hit]), int(x[hit])), int(pitch))
            for hit, pitch in tries
        )
        return next(filter(None, matches), None)

    def _hits(self, numbers: Float[np.ndarray, " n"]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yields how well windows fit, where they lie in the numbers, and which of the kept ones they fit."""
        count = (len(numbers) - LENGTH) // STRIDE + 1
        for begin in range(0, max(count, 0), CHUNK):
            size = min(CHUNK, count - begin)
            step = numbers.strides[0]
            found = as_strided(numbers[begin * STRIDE :], (size, LENGTH), (step * STRIDE, step))
            varied = np.flatnonzero(bend(found, STRAIGHT) > 0)
            found = normalised(found[varied])
            hashes = self.hash(found)
            first = np.searchsorted(self.hashes, hashes)
            number = np.searchsorted(self.hashes, hashes, side="right") - first
            looked_up = np.repeat(np.arange(len(found)), number)
            kept = np.repeat(first - np.cumsum(number) + number, number) + np.arange(number.sum())
            for part in range(0, len(kept), CHUNK):
                ours, theirs = looked_up[part : part + CHUNK], kept[part : part + CHUNK]
                fit = np.abs(np.einsum("ij,ij->i", found[ours], self.windows[theirs]))
                good = fit > FIT
                yield fit[good], (begin + varied[ours[good]]) * STRIDE, theirs[good]

    def _compare(
        self, numbers: Float[np.ndarray, " n"], position: int, oriented: Oriented, place: tuple[int, int], pitch: int
    ) -> Match | None:
        """Compares the image that a fitting window implies, if the next row lies `pitch` numbers further."""
        plane, (y, x) = oriented.plane, place
        rows, columns = np.indices(plane.shape)
        index = position + (rows - y) * pitch + columns - x
        chosen = oriented.interior & (index >= 0) & (index < len(numbers))
        if abs(pitch) < plane.shape[1]:  # a crop, of which the window's columns are known to be there
            chosen &= (columns >= x) & (columns < x + LENGTH)
        values = np.zeros(plane.shape, np.float32)
        values[chosen] = numbers[index[chosen]]
        fit = partial_correlation(values, plane, oriented.magnitude, chosen)
        if fit > EXACT and fit > self._neutral(values, oriented, chosen):
            return Match(fit, oriented.view.name, oriented.content)
        return None

    def _neutral(self, values: Plane, oriented: Oriented, chosen: Bool[np.ndarray, "h w"]) -> float:
        """Returns how well the same place of a neutral view fits."""
        best = 0.0
        for view in self.views:
            if not view.sensitive and view.rgb.shape == oriented.view.rgb.shape:
                other = orient(view, oriented.content, oriented.turn)
                best = max(best, partial_correlation(values, other.plane, other.magnitude, chosen & other.interior))
        return best


def pitches(numbers: Float[np.ndarray, " n"], position: int, plane: Plane, y: int, x: int) -> list[int]:
    """Returns how far from a fitting window the next row may lie, in numbers: where the two rows next to it fit."""
    first = y + 1 if y + 2 < len(plane) else y - 2
    begin = max(0, position - 2 * WIDEST)
    near = numbers[begin : position + 2 * WIDEST + LENGTH].astype(np.float64)
    norms = np.sqrt(np.maximum(windowed(near**2) - windowed(near) ** 2 / LENGTH, 1e-30))
    wanted = normalised(plane[first : first + 2, x : x + LENGTH])
    fits = np.stack([np.abs(np.correlate(near, row.astype(np.float64))) for row in wanted], axis=1) / norms[:, None]
    found = []
    for index in np.flatnonzero(fits[:, 0] > FIT):
        pitch, rest = divmod(int(index) + begin - position, first - y)
        second = position + pitch * (first + 1 - y) - begin
        if rest == 0 and abs(pitch) >= LENGTH and 0 <= second < len(fits) and fits[second, 1] > FIT:
            found.append((fits[index, 0] * fits[second, 1], pitch))
    return [pitch for _, pitch in sorted(found, reverse=True)[:MOST_PITCHES]]


def windowed(values: Float[np.ndarray, "*rows n"]) -> Float[np.ndarray, "*rows m"]:
    """Returns the sum of every window along the last axis."""
    sums = np.cumsum(values, axis=-1, dtype=np.float64)
    sums = np.concatenate([np.zeros_like(sums[..., :1]), sums], axis=-1)
    return sums[..., LENGTH:] - sums[..., :-LENGTH]


def orient(view: View, content: str, turn: int) -> Oriented:
    """Returns a plane of a view, turned."""
    plane = view.planes()[content]
    height, width = plane.shape
    cut = (turns(layer[:height, :width])[turn] for layer in (view.interior, view.magnitude()))
    return Oriented(view, content, turn, turns(plane)[turn], *cut)


def anchored(rows: np.ndarray, inside: np.ndarray) -> list[tuple[int, int]]:
    """Returns where the most varied runs of pixels inside the head begin, one a row."""
    count = rows.shape[1] - LENGTH - STRIDE + 2
    if count < 1:
        return []
    windows = sliding_window_view(rows, LENGTH, axis=1)
    variance = bend(windows.reshape(-1, LENGTH), 2 * STRAIGHT).reshape(windows.shape[:2])
    variance[windowed(inside) < LENGTH] = 0
    weakest = np.min([variance[:, shift : shift + count] for shift in range(STRIDE)], axis=0)
    start, strength = weakest.argmax(axis=1), weakest.max(axis=1)
    best = np.argsort(-strength)[:ANCHORS]
    return [(int(y), int(start[y])) for y in best if strength[y] > FAINTEST**2]


def bend(windows: Float[np.ndarray, "n length"], least: float) -> Float[np.ndarray, " n"]:
    """Returns the variance of windows about a straight line; 0 where it is too small a share of all variance.

    Any smooth numbers are nearly straight over the length of a window, and would fit each other.
    """
    total = windows.var(axis=1)
    slope = windows @ TREND
    about_line = total - slope**2
    return np.where(about_line > least * total, about_line, 0)


def normalised(windows: Float[np.ndarray, "n length"]) -> Float[np.ndarray, "n length"]:
    """Returns windows of mean 0 and norm 1."""
    centred = windows - windows.mean(axis=1, keepdims=True)
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-30)
