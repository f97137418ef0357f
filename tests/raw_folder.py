"""Writes small raw captures for the tests: coloured noise on a sphere, seen from a ring of cameras."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from privhead_ns.capture.camera import Intrinsics

SIZE = 32
FOCAL = 48.0
DISTANCE = 4.0
NEUTRAL = (0, 1)
"""Frames that the capture declares neutral, of VIEWS."""
VIEWS = 6


def look_at(position: np.ndarray) -> np.ndarray:
    """Returns the camera-to-world matrix of a camera that looks at the origin with z up."""
    backward = position / np.linalg.norm(position)
    right = np.cross([0.0, 0.0, 1.0], backward)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(backward, right), backward, position], axis=1)
    return pose


def ring(views: int = VIEWS) -> list[np.ndarray]:
    """Returns cameras around the z axis, at alternating heights; the first stands at -x."""
    angles = np.pi + np.arange(views) * 2 * np.pi / views
    heights = np.where(np.arange(views) % 2, 0.4, -0.4)
    directions = np.stack([np.cos(angles), np.sin(angles), heights], axis=1)
    return [look_at(DISTANCE * d / np.linalg.norm(d)) for d in directions]


def disc(size: int = SIZE) -> np.ndarray:
    """Returns the silhouette of the unit sphere at the origin: 255 inside."""
    y, x = np.mgrid[:size, :size] + 0.5 - size / 2
    radius = FOCAL * size / SIZE / np.sqrt(DISTANCE**2 - 1)
    return ((x**2 + y**2 <= radius**2) * 255).astype(np.uint8)


def photograph(index: int, size: int = SIZE) -> np.ndarray:
    """Returns the colours of one view: noise that differs from view to view."""
    return np.random.default_rng(index).integers(0, 256, (size, size, 3), dtype=np.uint8)


def pinhole(size: int) -> Intrinsics:
    """Returns the lens of the capture's photographs at another size in pixels."""
    focal = FOCAL * size / SIZE
    return Intrinsics(size, size, focal, focal, size / 2, size / 2)


def write_raw_capture(folder: Path, *, masks: bool = True, stem: str = "view", **top: Any) -> Path:
    """Writes a raw capture of six 32x32 views, of which the first two are declared neutral.

    Args:
        folder: made here.
        masks: whether to write mask files.
        stem: what image names begin with.
        top: added to the top level of transforms.json.
    """
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    frames = []
    for index, pose in enumerate(ring()):
        name = f"{stem}_{index}.png"
        Image.fromarray(photograph(index)).save(folder / "images" / name)
        frame: dict[str, Any] = {"file_path": f"images/{name}", "transform_matrix": pose.tolist()}
        if masks:
            Image.fromarray(disc()).save(folder / "masks" / name)
            frame["mask_path"] = f"masks/{name}"
        if index in NEUTRAL:
            frame["sensitive"] = False
        frames.append(frame)
    content = {"fl_x": FOCAL, "fl_y": FOCAL, "cx": SIZE / 2, "cy": SIZE / 2, "w": SIZE, "h": SIZE, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(content | top))
    return folder


def edit(folder: Path, change: Any) -> None:
    """Passes the parsed transforms.json of a capture through a function that changes it in place."""
    path = folder / "transforms.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def rename(folder: Path, index: int, name: str, key: str = "file_path") -> None:
    """Writes another name of a file into a frame of transforms.json."""
    edit(folder, lambda content: content["frames"][index].update({key: name}))
