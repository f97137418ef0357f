"""Secrets to search for: colours and signed derivatives of each sensitive view, at σ's input and output size."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from privhead_ns.capture.protected import ProtectedCapture
from privhead_ns.capture.raw import Intrinsics, RawCapture, RawFrame, read_image
from privhead_ns.capture.undistort import undistort_and_resize

Plane = Float[np.ndarray, "height width"]

LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green and blue (ITU-R BT.601)."""


@dataclass(frozen=True)
class View:
    """One photograph at one size."""

    name: str
    """file_path of its frame."""
    sensitive: bool
    rgb: Float[np.ndarray, "height width 3"]
    """Colour in [0, 1]."""
    interior: Bool[np.ndarray, "height width"]
    """Pixels inside the head and not at its outline; inside the frame where there is no mask."""

    def planes(self) -> dict[str, Plane]:
        """Returns the single-channel images that identify this view: channels, luminance, and their derivatives."""
        red, green, blue = self.rgb.transpose(2, 0, 1)
        channels = {"red": red, "green": green, "blue": blue, "luminance": luminance(self.rgb)}
        return channels | {
            f"signed {kind} of {name}": values
            for name, plane in channels.items()
            for kind, values in derivatives(plane).items()
        }

    def magnitude(self) -> Plane:
        """Returns the gradient magnitude, which may leave: the L2 norm over channels of Sobel's derivatives (Eq. 6)."""
        gradient = np.array([[sobel(plane, axis) for plane in self.rgb.transpose(2, 0, 1)] for axis in (0, 1)])
        return np.linalg.norm(gradient, axis=1).sum(axis=0)

    def half(self) -> View:
        """Returns the view at half the size."""
        height, width = (max(1, side // 2) for side in self.interior.shape)
        interior = cv2.resize(self.interior.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA) > 0.999
        return replace(self, rgb=cv2.resize(self.rgb, (width, height), interpolation=cv2.INTER_AREA), interior=interior)


@dataclass(frozen=True)
class Secrets:
    """The views of a capture: the sensitive ones are sought, the neutral ones may be found."""

    views: list[View]
    """Each frame as σ saw it, and as it was stored if that shows something else: with these, pictures are compared."""
    sizes: list[View]
    """Each frame at every size at which rows of numbers are sought."""
    frames: list[str]
    """file_path of each sensitive frame."""
    listed_twice: list[str]
    """Sensitive photographs that are among the neutral ones as well."""


def luminance(rgb: Float[np.ndarray, "height width channels"]) -> Plane:
    """Returns the luminance of a colour image."""
    return rgb[..., :3] @ LUMINANCE


def sobel(plane: Plane, axis: int) -> Plane:
    """Returns Sobel's derivative along an axis, per pixel, of the same size as the plane."""
    order = (0, 1) if axis == 0 else (1, 0)
    return cv2.Sobel(plane, cv2.CV_32F, *order, scale=1 / 8, borderType=cv2.BORDER_REPLICATE)


def derivatives(plane: Plane) -> dict[str, Plane]:
    """Returns Sobel's derivatives and differences of neighbours, each padded and without the pixels that they lose."""
    found = {}
    for axis, name in ((1, "dx"), (0, "dy")):
        smooth, difference = sobel(plane, axis), np.diff(plane, axis=axis)
        padding = [(0, int(axis == 0)), (0, int(axis == 1))]
        found[name] = smooth
        found[f"{name} without border"] = smooth[1:-1, 1:-1]
        found[f"{name} of neighbours"] = difference
        found[f"{name} of neighbours, padded"] = np.pad(difference, padding)
    return found


def gather(raw: RawCapture, capture: ProtectedCapture) -> Secrets:
    """Reads the photographs that a protected capture was made from.

    Raises:
        UserError: if one cannot be decoded.
    """
    views: list[View] = []
    sizes: list[View] = []
    size = max(capture.width, capture.height)
    protected = [frame.kind == "protected" for frame in capture.frames]
    twice = listed_twice(raw.frames, protected)
    for frame, sensitive in zip(raw.frames, protected, strict=True):
        if not sensitive and frame.name in twice.values():
            continue  # it is a sensitive photograph, whatever it is listed as
        seen = _view(frame, sensitive, frame.intrinsics, size, capture.background)
        straight = replace(frame.intrinsics, distortion=(0.0, 0.0, 0.0, 0.0, 0.0))
        stored = _view(frame, sensitive, straight, None, capture.background)
        distorted = straight != frame.intrinsics
        views += [seen, stored] if distorted else [seen]
        sizes += [seen, seen.half()]
        if distorted or stored.rgb.shape != seen.rgb.shape:
            sizes += [stored, stored.half()]
    frames = [frame.name for frame, sensitive in zip(raw.frames, protected, strict=True) if sensitive]
    return Secrets(views, sizes, frames, [f"{ours} is also neutral, as {theirs}" for ours, theirs in twice.items()])


def listed_twice(frames: Sequence[RawFrame], protected: Sequence[bool]) -> dict[str, str]:
    """Returns the sensitive frames whose pixels are a neutral frame's as well, and which one's."""
    pixels = (read_image(frame)[0] for frame in frames)
    digests = [hashlib.sha256(f"{rgb.shape}".encode() + rgb.tobytes()).digest() for rgb in pixels]
    listed = list(zip(frames, digests, protected, strict=True))
    neutral = {digest: frame.name for frame, digest, private in listed if not private}
    return {frame.name: neutral[digest] for frame, digest, private in listed if private and digest in neutral}


def _view(
    frame: RawFrame,
    sensitive: bool,
    intrinsics: Intrinsics,
    size: int | None,
    background: tuple[float, float, float],
) -> View:
    developed = undistort_and_resize(*read_image(frame), intrinsics, size, background)
    inside = np.ones(developed.rgb.shape[:2], dtype=bool)
    if developed.coverage is not None:
        inside = developed.coverage > 0.999
    return View(frame.name, sensitive, developed.rgb, ndimage.binary_erosion(inside))
