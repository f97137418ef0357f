"""Upright square crops of photographs about the head, and their inverse mapping to the photograph's pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from privhead_ns.capture.camera import Intrinsics, PosedCamera
from privhead_ns.capture.crop import Sphere, crop_camera, distorted_pixels, view_rays
from privhead_ns.capture.hull import View

CROP_SIDE = 384
"""Side of a crop in pixels."""

Picture = UInt8[np.ndarray, "height width 3"]
Mask = UInt8[np.ndarray, "height width"]


def reduced_picture(rgb: Picture, longest: int) -> Picture:
    """Returns a picture with at most `longest` pixels along its longer side, averaged over areas."""
    scale = longest / max(rgb.shape[:2])
    if scale >= 1:
        return rgb
    size = max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)


@dataclass(frozen=True)
class Crop:
    """A square view of the head, with the direction up upwards."""

    camera: PosedCamera
    rgb: UInt8[np.ndarray, "side side 3"]
    """Beyond the photograph's edge its last pixels go on: a black border is an outline, too."""
    shown: UInt8[np.ndarray, "side side"]
    """255 where the photograph shows something, 0 beyond its edge."""

    def view(self, silhouette: UInt8[np.ndarray, "side side"]) -> View:
        """Returns the crop as a view with a silhouette."""
        return View(self.camera.camera_to_world, self.camera.intrinsics, silhouette)


def crop_about(
    photograph: PosedCamera,
    rgb: UInt8[np.ndarray, "height width 3"],
    sphere: Sphere,
    up: Float[np.ndarray, " 3"],
    side: int = CROP_SIDE,
) -> Crop:
    """Crops a photograph about a sphere, turned about its axis so that `up` points upwards.

    Args:
        photograph: its camera.
        rgb: its pixels, at any resolution.
        sphere: holds the head.
        up: unit vector.
        side: in pixels; photographs with fewer on the sphere are enlarged.
    """
    source = photograph.intrinsics.scaled(rgb.shape[1], rgb.shape[0])
    pose = crop_camera(photograph.camera_to_world, source, sphere, side).camera_to_world
    pose[:3, :3] = pose[:3, :3] @ _roll(pose[:3, :3].T @ up)
    distance = float(np.linalg.norm(pose[:3, 3] - sphere.center))
    angle = np.arcsin(min(0.9, sphere.radius / distance))
    focal = side / 2 / float(np.tan(angle))
    camera = PosedCamera(pose, Intrinsics(side, side, focal, focal, side / 2, side / 2))
    rays = view_rays(camera.intrinsics) @ pose[:3, :3].T @ photograph.camera_to_world[:3, :3]
    pixels, valid = distorted_pixels(rays, source)
    inside = (
        valid & (pixels >= -0.5).all(axis=1) & (pixels <= np.array([source.width, source.height]) - 0.5).all(axis=1)
    )
    if (step := source.fl_x / focal) > 1.5:  # average first
        rgb = cv2.blur(rgb, (round(step), round(step)))
    maps = pixels.astype(np.float32).reshape(side, side, 2)
    picture = cv2.remap(rgb, maps, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # pyright: ignore
    return Crop(camera, picture, inside.reshape(side, side).astype(np.uint8) * 255)


def onto_photograph(
    picture: np.ndarray, camera: PosedCamera, photograph: PosedCamera, width: int, height: int
) -> np.ndarray:
    """Resamples what a crop shows into the pixels of its photograph; zero where the crop does not reach."""
    source = photograph.intrinsics.scaled(width, height)
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    pixels = np.stack([columns, rows], axis=-1).reshape(-1, 1, 2)
    matrix = np.array([[source.fl_x, 0, source.cx], [0, source.fl_y, source.cy], [0, 0, 1]])
    flat = cv2.undistortPoints(pixels, matrix, np.array(source.distortion))[:, 0]
    rays = np.concatenate([flat * [1, -1], -np.ones((len(flat), 1))], axis=1)
    local = rays @ photograph.camera_to_world[:3, :3].T @ camera.camera_to_world[:3, :3]
    depth = np.maximum(-local[:, 2], 1e-9)
    view = camera.intrinsics
    x = view.fl_x * local[:, 0] / depth + view.cx - 0.5
    y = -view.fl_y * local[:, 1] / depth + view.cy - 0.5
    x[local[:, 2] >= 0] = -2
    maps = np.stack([x, y], axis=-1).astype(np.float32).reshape(height, width, 2)
    return cv2.remap(picture, maps, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)  # pyright: ignore


def up_direction(poses: Float[np.ndarray, "n 4 4"]) -> Float[np.ndarray, " 3"]:
    """Returns the upward direction of most photographs as a unit vector, assuming that cameras are held upright.

    It is the direction nearest to a right angle with all cameras' x axes, which are level, on the side of their y axes.
    """
    right = poses[:, :3, 0]
    up = np.linalg.eigh(right.T @ right)[1][:, 0]
    mean = poses[:, :3, 1].mean(axis=0)
    if np.linalg.norm(mean) > 0.5 and abs(up @ mean) < 0.7 * np.linalg.norm(mean):  # cameras on a side, or few
        up = mean / np.linalg.norm(mean)
    return up if up @ mean >= 0 else -up


def _roll(up: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "3 3"]:
    """Returns the rotation about the z axis that takes the y axis to `up`, seen along z."""
    x, y = up[:2] / max(float(np.linalg.norm(up[:2])), 1e-9)
    return np.array([[y, x, 0.0], [-x, y, 0.0], [0.0, 0.0, 1.0]])
