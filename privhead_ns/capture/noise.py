"""Removes the noise of a photograph's sensor, which the operator would store as texture.

Noise enters a gradient magnitude with its absolute value, so it does not average out over the views.
"""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import scipy.fft
from jaxtyping import Bool, Float
from scipy.ndimage import binary_erosion, convolve

from privhead_ns.capture.undistort import ViewPixels

MEASURE = np.outer([1, -2, 1], [1, -2, 1]) / 6.0
"""Filter that leaves out linear changes of colour and keeps the variance of noise (Immerkær 1996)."""
WINDOW = 5
"""Side in pixels of the window in which noise is measured."""
FLATTEST, CORRECTION = 0.1, 1.2
"""Share of the windows that count as free of texture; and the noise of a view over that of the noisiest of them."""
TEXTURE = 3.0 / 255
"""Noise below which a view is left alone: skin has as much texture there. Measured on twelve rendered heads and three
photographed ones from 64 to 512 pixels, the median over the views: 0.3 to 1.5 of 255; 7.5 where a rendering got the
noise of a dim room."""
MOST = 20 / 255
"""Noise above which it counts as texture."""
PATCH = 5
"""Side in pixels of the patches in which noise is removed."""
THRESHOLD = 3.0
"""Amplitude in standard deviations below which a frequency of a patch counts as noise (Yu and Sapiro, IPOL 2011)."""
OPPONENT = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]], dtype=np.float32)
OPPONENT /= np.linalg.norm(OPPONENT, axis=1, keepdims=True)
"""Rows take colours to brightness and two differences of colours; orthonormal."""


def without_noise(view: ViewPixels) -> ViewPixels:
    """Returns a view without noise where it has more than skin has texture, else the view itself.

    What JPEG leaves is no noise in this sense: to remove it made meshes worse at 256 pixels.
    """
    level = noise_level(view.rgb, _interior(view))
    if not TEXTURE < level < MOST:
        return view
    level = math.sqrt(level**2 - TEXTURE**2)
    shown = np.ones(view.rgb.shape[:2], bool) if view.coverage is None else view.coverage > 0
    if view.known is not None:
        shown &= view.known
    return replace(view, rgb=np.where(shown[..., None], denoised(view.rgb, level), view.rgb), noise=level)


def noise_level(rgb: Float[np.ndarray, "height width 3"], measured: Bool[np.ndarray, "height width"]) -> float:
    """Returns the noise of an image's flattest windows as the standard deviation of a channel; 0 where there are none.

    Args:
        rgb: colours in [0, 1]; those that are black or white tell nothing of noise.
        measured: pixels to look at.
    """
    measured = measured & ((rgb > 1 / 255) & (rgb < 254 / 255)).all(axis=-1)
    inner = binary_erosion(measured, np.ones((3, 3))).astype(np.float32)
    rest = np.stack([convolve(rgb[..., channel], MEASURE) for channel in range(3)], axis=-1)
    window = (WINDOW, WINDOW)
    square = cv2.boxFilter(inner * (rest**2).mean(axis=-1), cv2.CV_32F, window, borderType=cv2.BORDER_CONSTANT)
    full = cv2.boxFilter(inner, cv2.CV_32F, window, borderType=cv2.BORDER_CONSTANT) > 0.99
    return CORRECTION * math.sqrt(float(np.quantile(square[full], FLATTEST))) if full.any() else 0.0


def denoised(rgb: Float[np.ndarray, "height width 3"], level: float) -> Float[np.ndarray, "height width 3"]:
    """Removes the frequencies of small patches that are no larger than noise (Yu and Sapiro, IPOL 2011).

    Args:
        rgb: colours in [0, 1].
        level: standard deviation of the noise of a channel in [0, 1].
    """
    planes = rgb.astype(np.float32) @ OPPONENT.T
    clean = [_thresholded(planes[..., axis], THRESHOLD * level) for axis in range(3)]
    return np.clip(np.stack(clean, axis=-1) @ OPPONENT, 0, 1)


def _thresholded(plane: Float[np.ndarray, "height width"], threshold: float) -> Float[np.ndarray, "height width"]:
    """Returns the mean of a plane's patches without their small frequencies; plainer patches weigh more."""
    padded = np.pad(plane, PATCH - 1, mode="symmetric")
    patches = np.lib.stride_tricks.sliding_window_view(padded, (PATCH, PATCH))
    frequencies = np.asarray(scipy.fft.dctn(patches, axes=(2, 3), norm="ortho"))
    kept = np.abs(frequencies) > threshold
    kept[..., 0, 0] = True
    weights = 1 / np.count_nonzero(kept, axis=(2, 3)).astype(np.float32)
    patches = np.asarray(scipy.fft.idctn(np.where(kept, frequencies, 0), axes=(2, 3), norm="ortho"))
    patches *= weights[..., None, None]
    total, weight = np.zeros((2, *padded.shape), np.float32)
    rows, columns = weights.shape
    for y in range(PATCH):
        for x in range(PATCH):
            total[y : y + rows, x : x + columns] += patches[..., y, x]
            weight[y : y + rows, x : x + columns] += weights
    inner = slice(PATCH - 1, 1 - PATCH)
    return (total / weight)[inner, inner]


def _interior(view: ViewPixels) -> Bool[np.ndarray, "height width"]:
    """Returns the pixels that show nothing but the head, where the view is known and has an outline."""
    shown = np.ones(view.rgb.shape[:2], bool) if view.coverage is None else view.coverage >= 1
    return shown if view.known is None else shown & view.known
