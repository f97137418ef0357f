"""Resamples photographs to square views of pinhole cameras at the same position, looking at the head's centre."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from privhead_ns.capture.camera import Intrinsics, PosedCamera
from privhead_ns.capture.undistort import ViewPixels, composed, undistort_and_resize, without_stray_grey

MARGIN = 1.05
"""Half side of a view over the radius of the sphere that holds the head."""
WIDEST = np.radians(60.0)
"""Largest angle between a view's axis and its sides, for cameras very near the head."""
SAMPLES = 2
"""Samples along a pixel's side at least, where the photograph is that much finer."""
SURE = 0.999
"""Share of a pixel that the photograph must show for the pixel to be known."""


class Sphere(NamedTuple):
    """Sphere that contains the head."""

    center: Float[np.ndarray, " 3"]
    radius: float


def crop_camera(
    camera_to_world: Float[np.ndarray, "4 4"], intrinsics: Intrinsics, sphere: Sphere, size: int
) -> PosedCamera:
    """Returns the square camera at the same place that looks at a sphere's centre and sees all of the sphere.

    Its pixels are never finer than the photograph's: where the photograph has fewer than `size` on the sphere, the view
    shows more around it. The rotation is the smallest that brings the centre into the middle, so a photograph that was
    taken sideways stays so.
    """
    offset = camera_to_world[:3, 3] - sphere.center
    direction = camera_to_world[:3, :3].T @ (offset / np.linalg.norm(offset))
    pose = camera_to_world.copy()
    pose[:3, :3] = camera_to_world[:3, :3] @ _shortest_rotation(np.array([0.0, 0.0, 1.0]), direction)
    finest = min(intrinsics.fl_x, intrinsics.fl_y)
    fl = min(size * finest / native_size(camera_to_world, intrinsics, sphere), finest)
    return PosedCamera(pose, Intrinsics(size, size, fl, fl, size / 2, size / 2))


def native_size(camera_to_world: Float[np.ndarray, "4 4"], intrinsics: Intrinsics, sphere: Sphere) -> float:
    """Returns the side in pixels of a square view of the sphere at the photograph's own resolution."""
    distance = max(float(np.linalg.norm(camera_to_world[:3, 3] - sphere.center)), 1e-12)
    angle = min(np.arcsin(min(1.0, MARGIN * sphere.radius / distance)), WIDEST)
    return 2 * min(intrinsics.fl_x, intrinsics.fl_y) * float(np.tan(angle))


def seen_by(
    camera: PosedCamera,
    rgb: UInt8[np.ndarray, "height width 3"],
    coverage: UInt8[np.ndarray, "height width"] | None,
    source_pose: Float[np.ndarray, "4 4"],
    source: Intrinsics,
    background: tuple[float, float, float],
) -> ViewPixels:
    """Resamples a photograph to the view of another camera at the same position.

    A photograph that is only smaller or as large, without distortion, is reduced by averaging areas, else resampled.
    Pixels beyond the photograph's edge are unknown; they get the background's colour, and the mask of the edge.

    Args:
        camera: what to see; its position is that of `source_pose`.
        rgb: stored pixels.
        coverage: 255 on the head, else 0; or None.
        source_pose: camera-to-world of the photograph.
        source: its intrinsics.
        background: colour in [0, 1] put where there is no head.
    """
    turn = source_pose[:3, :3].T @ camera.camera_to_world[:3, :3]
    size = max(camera.intrinsics.width, camera.intrinsics.height)
    if np.allclose(turn, np.eye(3), atol=1e-9) and _only_smaller(source, camera.intrinsics):
        return undistort_and_resize(rgb, coverage, source, size, background)
    return _resampled(camera.intrinsics, turn, rgb, coverage, source, background)


def view_rays(camera: Intrinsics, finer: int = 1) -> Float[np.ndarray, "n 3"]:
    """Returns the directions of a camera's pixels, row by row, with `finer`² samples a pixel; OpenGL axes, z is -1."""
    columns = (np.arange(camera.width * finer) + 0.5) / finer
    rows = (np.arange(camera.height * finer) + 0.5) / finer
    x, y = np.meshgrid((columns - camera.cx) / camera.fl_x, (camera.cy - rows) / camera.fl_y)
    return np.stack([x, y, -np.ones_like(x)], axis=-1).reshape(-1, 3)


def distorted_pixels(
    rays: Float[np.ndarray, "n 3"], camera: Intrinsics
) -> tuple[Float[np.ndarray, "n 2"], Bool[np.ndarray, " n"]]:
    """Projects directions (OpenGL axes) through a lens.

    Returns:
        Pixels counted from the centre of the first, and which directions lie in front of the camera and so near its
        axis that the distortion's polynomial still grows: farther out it folds back into the image.
    """
    front = rays[:, 2] < -1e-6
    flat = np.where(front[:, None], rays[:, :2] * [1, -1] / np.maximum(-rays[:, 2:], 1e-6), 0.0)
    k1, k2, p1, p2, k3 = camera.distortion
    (x, y), square = flat.T, (flat**2).sum(axis=1)
    radial = 1 + square * (k1 + square * (k2 + square * k3))
    # OpenCV's model; its projectPoints is slow, for it computes derivatives as well
    columns = x * radial + 2 * p1 * x * y + p2 * (square + 2 * x**2)
    rows = y * radial + p1 * (square + 2 * y**2) + 2 * p2 * x * y
    pixels = np.stack([camera.fl_x * columns + camera.cx, camera.fl_y * rows + camera.cy], axis=1) - 0.5
    return pixels, front & (square < _folding_radius(camera) ** 2)


def _only_smaller(source: Intrinsics, target: Intrinsics) -> bool:
    """Returns whether the target is the source's camera, for an image as large or smaller."""
    if any(source.distortion) or target.width > source.width or target.height > source.height:
        return False
    scaled = source.scaled(target.width, target.height)
    ours, theirs = ([one.fl_x, one.fl_y, one.cx, one.cy] for one in (scaled, target))
    return bool(np.allclose(ours, theirs, rtol=1e-9))


def _resampled(
    target: Intrinsics,
    turn: Float[np.ndarray, "3 3"],
    rgb: UInt8[np.ndarray, "height width 3"],
    coverage: UInt8[np.ndarray, "height width"] | None,
    source: Intrinsics,
    background: tuple[float, float, float],
) -> ViewPixels:
    """Resamples a photograph; where it is finer, blocks of its pixels are averaged first, and samples in each pixel."""
    ratio = max(source.fl_x, source.fl_y) / min(target.fl_x, target.fl_y)
    block = max(1, int(min(ratio / SAMPLES, max(rgb.shape))))
    finer = max(1, int(np.ceil(min(ratio / block, 2 * SAMPLES) - 1e-6)))
    pixels, valid = distorted_pixels(view_rays(target, finer) @ turn.T, source)
    limit = np.array([source.width, source.height]) - 0.5
    inside = valid & (pixels >= -0.5).all(axis=1) & (pixels <= limit).all(axis=1)
    shape = target.height * finer, target.width * finer
    planes, corner = _blocks(rgb, coverage, pixels[inside], block, background)
    maps = ((np.clip(pixels, -1.0, limit + 1.5) + 0.5 - corner) / block - 0.5).astype(np.float32).reshape(*shape, 2)
    planes = cv2.remap(planes, maps, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # pyright: ignore
    if coverage is not None:
        planes[..., 3][~valid.reshape(shape)] = 0
    share = inside.astype(np.float32).reshape(shape)
    if finer > 1:
        planes, share = (
            cv2.resize(image, (target.width, target.height), interpolation=cv2.INTER_AREA) for image in (planes, share)
        )
    known = share > SURE
    colour = np.where(known[..., None], planes[..., :3], np.array(background, dtype=np.float32))
    shown = without_stray_grey(planes[..., 3]) if coverage is not None else None
    return ViewPixels(colour, shown, target, None if known.all() else known)


def _blocks(
    rgb: UInt8[np.ndarray, "height width 3"],
    coverage: UInt8[np.ndarray, "height width"] | None,
    pixels: Float[np.ndarray, "n 2"],
    block: int,
    background: tuple[float, float, float],
) -> tuple[Float[np.ndarray, "rows columns channels"], Float[np.ndarray, " 2"]]:
    """Composes the part of a photograph that holds the given pixels, averaged over blocks; returns its corner too."""
    height, width = rgb.shape[:2]
    if not len(pixels):
        pixels = np.zeros((1, 2))
    low = np.clip(np.floor(pixels.min(axis=0)).astype(int) - block, 0, [width - 1, height - 1])
    high = np.clip(np.ceil(pixels.max(axis=0)).astype(int) + block + 1, low + 1, [width, height])
    part = slice(low[1], high[1]), slice(low[0], high[0])
    right, bottom = (-(high - low) % block).tolist()
    padded = [
        cv2.copyMakeBorder(plane[part], 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        for plane in ([rgb] if coverage is None else [rgb, coverage])
    ]
    planes = composed(padded[0], None if coverage is None else padded[1], background)
    if block > 1:
        smaller = planes.shape[1] // block, planes.shape[0] // block
        planes = cv2.resize(planes, smaller, interpolation=cv2.INTER_AREA)
    return planes, low.astype(np.float64)


def _folding_radius(camera: Intrinsics) -> float:
    """Returns the tangent of the angle off the axis from which the radial distortion does not grow any more."""
    k1, k2, _, _, k3 = camera.distortion
    roots = np.roots(np.trim_zeros([7 * k3, 5 * k2, 3 * k1, 1.0], "f"))
    turning = [root.real for root in roots if abs(root.imag) < 1e-9 and root.real > 0]
    return float(np.sqrt(min(turning))) if turning else np.inf


def _shortest_rotation(start: Float[np.ndarray, " 3"], end: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "3 3"]:
    """Returns the rotation by the smallest angle that takes one unit vector to another."""
    axis = np.cross(start, end)
    angle = np.arctan2(np.linalg.norm(axis), start @ end)
    return cv2.Rodrigues(axis / max(float(np.linalg.norm(axis)), 1e-12) * angle)[0]
