"""Moves the outline of each mask to where colours change, and keeps that if the outlines then fit each other better."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from privhead_ns.capture.hull import View
from privhead_ns.capture.outline_misfit import outline_misfit
from privhead_ns.outline import distance_to

BAND = 0.02
"""Distance within and beyond a mask's outline in which colour decides, over the head's width; at least MIN_BAND."""
MIN_BAND = 2.0
"""In pixels."""
SURROUNDINGS = 4
"""Width of what is known to be background, in bands: the room farther away may have the head's colours."""
WORKING_WIDTH = 250
"""Width in pixels, the root of the mask's area, to which larger heads are reduced for views that are no larger."""
ITERATIONS = 1
"""Of GrabCut; more make the outlines fit no better."""
MIXED = 1.5
"""Distance in pixels from the outline within which a pixel may show head and background."""
REACH = 2
"""Distance in pixels along each axis up to which colours of head and background are averaged for such a pixel."""
CONTRAST, NOISE = 20.0, 5.0
"""Squared difference of these two means over the sum of the variances from which they tell a pixel's coverage; and the
standard deviation, of 255, that is added to each."""
GAMMA = 2.2
"""Exponent that makes stored values proportional to light, in which pixels mix."""
SAME_SHAPE = 0.8
"""Share of a mask's area by which a refined mask may differ; beyond it colour has found another thing."""
BETTER = 0.05
"""Pixels by which the misfit must fall.

Measured on 128 pixels, given and refined: 0.37 and 0.16 where outlines stray by a pixel of 64, 0.51 and 0.36 for
polygons drawn about a marble head; 0.11 to 0.14 and 0.12 to 0.15 for exact masks of six rendered captures; 0.26 and
0.28, 0.45 and 0.53 for two photographed captures whose masks are better than what colour tells."""


def cut_by_colour(
    rgb: UInt8[np.ndarray, "height width 3"],
    expected: Bool[np.ndarray, "height width"],
    within: float,
    beyond: float,
    iterations: int,
) -> Bool[np.ndarray, "height width"]:
    """Returns a shape whose outline runs where colours change, near the expected one (GrabCut, Rother et al. 2004).

    Args:
        rgb: the colours.
        expected: the shape to begin with.
        within, beyond: distance in pixels inside and outside its outline up to which colour decides.
        iterations: of GrabCut.
    """
    state = np.full(expected.shape, cv2.GC_BGD, np.uint8)
    state[distance_to(expected) <= beyond] = cv2.GC_PR_BGD
    state[expected] = cv2.GC_PR_FGD
    state[distance_to(~expected) > within] = cv2.GC_FGD
    if not (state == cv2.GC_BGD).any() or not expected.any():
        return expected
    cv2.setRNGSeed(0)  # the clusters of colours start at random
    models = np.zeros((2, 1, 65))
    state = cv2.grabCut(np.ascontiguousarray(rgb), state, None, *models, iterations, cv2.GC_INIT_WITH_MASK)[0]  # pyright: ignore
    return (state & 1) > 0


def refine_mask(
    rgb: UInt8[np.ndarray, "height width 3"], coverage: UInt8[np.ndarray, "height width"], width: int = 0
) -> Bool[np.ndarray, "working_height working_width"]:
    """Returns a photograph's mask with its outline where colours change, at a resolution that suffices for it.

    Args:
        rgb: the photograph, without its lens's distortion or with it.
        coverage: its mask, 255 on the head.
        width: of the view in pixels, where it is known.
    """
    scale = min(1.0, max(WORKING_WIDTH, width) / max(1.0, np.count_nonzero(coverage > 127) ** 0.5))
    if scale < 1:
        size = round(rgb.shape[1] * scale), round(rgb.shape[0] * scale)
        rgb, coverage = (cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in (rgb, coverage))
    given = coverage > 127
    if not given.any():
        return given
    band = max(MIN_BAND, BAND * np.count_nonzero(given) ** 0.5)
    margin = round(SURROUNDINGS * band)
    spans = [np.flatnonzero(given.any(axis=axis)) for axis in (1, 0)]
    window = tuple(slice(max(0, span[0] - margin), span[-1] + 1 + margin) for span in spans)
    refined = given.copy()
    near = cut_by_colour(rgb[window], given[window], band, band, ITERATIONS)
    refined[window] = half_covered(rgb[window], near)
    same = np.count_nonzero(refined & given) >= SAME_SHAPE * np.count_nonzero(refined | given)
    return refined if same else given


def half_covered(
    rgb: UInt8[np.ndarray, "height width 3"], shape: Bool[np.ndarray, "height width"]
) -> Bool[np.ndarray, "height width"]:
    """Returns a shape with the pixels on its outline that it covers by half or more.

    GrabCut takes whatever differs a little from an even background for head. A pixel's light is a mixture of the mean
    light of the head and of the background near it; where the two hardly differ, the pixel stays as it is.

    Args:
        rgb: the colours.
        shape: at most MIXED pixels off.
    """
    within, beyond = distance_to(~shape), distance_to(shape)
    light = (rgb / np.float32(255)) ** GAMMA
    head, head_variance, head_pixels = _local_mean(light, within > MIXED)
    back, back_variance, back_pixels = _local_mean(light, beyond > MIXED)
    difference = ((head - back) ** 2).sum(axis=-1)
    covered = ((light - back) * (head - back)).sum(axis=-1) > difference / 2
    noise = 3 * (NOISE / 255) ** 2
    clear = difference > CONTRAST * (head_variance + back_variance + noise)
    told = clear & (head_pixels >= REACH) & (back_pixels >= REACH) & (np.maximum(within, beyond) <= MIXED)
    return np.where(told, covered, shape)


def _local_mean(
    light: Float[np.ndarray, "height width 3"], chosen: Bool[np.ndarray, "height width"]
) -> tuple[Float[np.ndarray, "height width 3"], Float[np.ndarray, "height width"], Float[np.ndarray, "height width"]]:
    """Returns mean, variance (sum over the channels) and number of the chosen pixels within REACH of each pixel."""

    def total(values: np.ndarray) -> np.ndarray:
        side = 2 * REACH + 1
        return cv2.boxFilter(values, -1, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)

    weight = chosen.astype(np.float32)
    number = total(weight)
    divisor = np.maximum(number, 1)
    mean = total(light * weight[..., None]) / divisor[..., None]
    square = total((light**2).sum(axis=-1) * weight) / divisor
    return mean, np.maximum(square - (mean**2).sum(axis=-1), 0), number


def fit_better(refined: Sequence[View], given: Sequence[View]) -> bool:
    """Returns whether refined silhouettes fit each other better than the given ones, by BETTER pixels.

    Raises:
        UserError: if the cameras do not look at a common point.
    """
    return outline_misfit(given) - outline_misfit(refined) > BETTER
