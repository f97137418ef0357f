"""Photographs of a textured ball for the tests of `prepare`: of a camera that goes round it, or of a turntable."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from raw_folder import look_at

SIDE, FOCAL, DISTANCE, VIEWS = 240, 380.0, 4.0, 20
MARGIN = 20
"""Most pixels to either side by which photographs are cropped."""


def cameras(views: int = VIEWS) -> list[np.ndarray]:
    """Returns poses around the z axis at three heights."""
    poses = []
    for index in range(views):
        azimuth, height = index * 2 * np.pi / views, 0.35 * ((index % 3) - 1)
        direction = np.array([np.cos(azimuth), np.sin(azimuth), height])
        poses.append(look_at(DISTANCE * direction / np.linalg.norm(direction)))
    return poses


def photograph(pose: np.ndarray, room: np.ndarray | None = None, shift: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns colours and mask of the unit ball; behind it a grey wall, or a picture of a room.

    The photograph is cropped so that the lens's centre is `shift` pixels to the right of the picture's.
    """
    columns, rows = np.meshgrid(np.arange(SIDE) + 0.5 - shift, np.arange(SIDE) + 0.5)
    rays = np.stack([(columns - SIDE / 2) / FOCAL, (SIDE / 2 - rows) / FOCAL, -np.ones_like(rows)], axis=-1)
    rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True) @ pose[:3, :3].T
    middle = rays @ pose[:3, 3]
    root = middle**2 - (DISTANCE**2 - 1)
    hit = root > 0
    points = pose[:3, 3] + (-middle - np.sqrt(np.maximum(root, 0)))[..., None] * rays
    u = (np.arctan2(points[..., 1], points[..., 0]) / (2 * np.pi) + 0.5) * TEXTURE.shape[1]
    v = np.arccos(np.clip(points[..., 2], -1, 1)) / np.pi * TEXTURE.shape[0]
    maps = np.stack([u, v], axis=-1).astype(np.float32)
    ball = cv2.remap(TEXTURE, maps, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    behind = np.full((SIDE, SIDE, 3), 90, np.uint8) if room is None else room[:, MARGIN - shift :][:, :SIDE]
    return np.where(hit[..., None], ball, behind), hit.astype(np.uint8) * 255


def write_photographs(folder: Path, turntable: bool = False, views: int = VIEWS) -> list[np.ndarray]:
    """Writes `images/NN.png` and `masks/NN.png` and returns the camera's poses with respect to the ball.

    On a turntable the room behind the ball is the same in all photographs, but each is cropped in another way.
    """
    poses = cameras(views)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for index, pose in enumerate(poses):
        rgb, mask = photograph(pose, ROOM, 7 * index % 41 - MARGIN) if turntable else photograph(pose)
        Image.fromarray(rgb).save(folder / f"images/{index:02}.png")
        Image.fromarray(mask).save(folder / f"masks/{index:02}.png")
    return poses


def rotation_errors(found: list[np.ndarray], true: list[np.ndarray]) -> np.ndarray:
    """Returns by how many degrees the cameras' relative rotations are off, after the best common rotation."""
    found_axes, true_axes = (np.concatenate([pose[:3, :3] for pose in poses], axis=1) for poses in (found, true))
    left, _, right = np.linalg.svd(true_axes @ found_axes.T)
    common = left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right
    cosines = [(np.trace((common @ a[:3, :3]).T @ b[:3, :3]) - 1) / 2 for a, b in zip(found, true, strict=True)]
    return np.degrees(np.arccos(np.clip(cosines, -1, 1)))


def _noise(height: int, width: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    for cells in (8, 24, 64, 140):
        coarse = random.standard_normal((cells // 2, cells, 3)).astype(np.float32)
        picture += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture * 40 + 128, 0, 255).astype(np.uint8)


TEXTURE, ROOM = _noise(512, 1024, 0), _noise(SIDE, SIDE + 2 * MARGIN, 1)
