"""A stand-in for real photographs of a head: a room, shine, exposures that differ, and masks that are a pixel rough."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image
from scipy.ndimage import gaussian_filter, zoom

from privhead_ns.demo.capture import exact_mesh
from privhead_ns.demo.photograph import LAMPS, normals, trace
from privhead_ns.demo.scenes import HEAD
from privhead_ns.demo.shapes import in_chunks, waves

VIEWS = HEAD.views
"""The demo's: ten of the rear, and twenty that see the face."""
RAYS = 2
"""Rays along each side of a pixel."""
STOPS, BALANCE = 0.5, 0.08
"""Standard deviations of the views' exposures, as log2, and of the logs of the red and of the blue gain."""
SHINE = 0.25
"""Height of highlights above the skin, in linear light; the demo's is 0.05."""
ROUGH = 1.0
"""Most pixels by which the outline of a mask is off."""
GAMMA = 2.2


def exposures(seed: int = 0) -> Float[np.ndarray, "views 3"]:
    """Returns the logs of the factors of linear red, green and blue of each view."""
    random = np.random.default_rng(seed)
    views = len(VIEWS)
    brightness = np.log(2) * STOPS * random.standard_normal((views, 1))
    return brightness + BALANCE * random.standard_normal((views, 1)) * np.array([1.0, 0.0, -1.0])


def photograph(
    pose: Float[np.ndarray, "4 4"], size: int, log_gain: Float[np.ndarray, " 3"], random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Returns colours and mask of the demo's head before a room, lit by the demo's lamps and a flash on the camera."""
    fine = size * RAYS
    across = (np.arange(fine) + 0.5) / fine - 0.5
    x, y = np.meshgrid(across, -across)
    directions = np.stack([x, y, np.full_like(x, -HEAD.focal)], axis=-1).reshape(-1, 3) @ pose[:3, :3].T
    directions = (directions / np.linalg.norm(directions, axis=1, keepdims=True)).astype(np.float32)
    origin = pose[:3, 3].astype(np.float32)
    distance = trace(HEAD.sdf, np.broadcast_to(origin, directions.shape), directions)
    hit = np.isfinite(distance)
    light = room(directions)
    light[hit] = shaded(origin + distance[hit, None] * directions[hit], directions[hit], pose[:3, 2])
    colours = np.clip(light * np.exp(log_gain), 0, 1) ** (1 / GAMMA)
    picture = np.concatenate([colours, hit[:, None]], axis=1).reshape(size, RAYS, size, RAYS, 4).mean(axis=(1, 3))
    noise = 0.01 * random.standard_normal((size, size, 3))
    stored = np.clip(np.round(255 * (picture[..., :3] + noise)), 0, 255)
    return stored.astype(np.uint8), rough(picture[..., 3], random)


def room(directions: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Returns the linear colours of a room, far away and blotchy."""
    blotches = [in_chunks(lambda columns, seed=seed: waves(columns, 0.25, seed), directions) for seed in (21, 22, 23)]
    return np.clip(0.3 + 0.12 * np.stack(blotches, axis=1), 0.02, 1).astype(np.float32)


def shaded(
    points: Float[np.ndarray, "n 3"], directions: Float[np.ndarray, "n 3"], flash: Float[np.ndarray, " 3"]
) -> Float[np.ndarray, "n 3"]:
    """Returns linear colours of the skin under the demo's lamps and one beside the camera, with highlights of all."""
    normal = normals(HEAD.sdf, points)
    light, gloss = np.full_like(points, 0.3), np.zeros_like(points)
    for towards, colour in (*LAMPS, (flash + np.array([0.0, 0.0, 0.2]), (0.5, 0.5, 0.5))):
        lamp = np.array(towards) / np.linalg.norm(towards)
        halfway = lamp - directions
        halfway /= np.linalg.norm(halfway, axis=1, keepdims=True)
        lit = np.clip(normal @ lamp, 0, 1)
        light += 0.7 * lit[:, None] * np.array(colour)
        gloss += (np.clip((normal * halfway).sum(axis=1), 0, 1) ** 24 * lit)[:, None] * np.array(colour)
    return HEAD.albedo(points) * light + SHINE * gloss


def rough(coverage: Float[np.ndarray, "size size"], random: np.random.Generator) -> np.ndarray:
    """Returns a two-valued mask whose outline wanders by up to `ROUGH` pixels to both sides of the true one."""
    size = len(coverage)
    coarse = zoom(random.uniform(-1, 1, (size // 4, size // 4)), 4, order=1)
    slope = gaussian_filter(coverage, 1.0)  # falls by 0.4 a pixel at the outline
    return ((slope + 0.4 * ROUGH * coarse > 0.5) * 255).astype(np.uint8)


def write_room_capture(folder: Path, size: int, log_gains: Float[np.ndarray, "views 3"]) -> Path:
    """Writes a raw capture with the exact mesh."""
    random = np.random.default_rng(1)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    frames = []
    for index, (view, gain) in enumerate(zip(VIEWS, log_gains, strict=True)):
        names = {"file_path": f"images/{index:03}.png", "mask_path": f"masks/{index:03}.png"}
        for name, pixels in zip(names.values(), photograph(view.camera_to_world, size, gain, random), strict=True):
            Image.fromarray(pixels).save(folder / name)
        frames.append(names | {"transform_matrix": view.camera_to_world.tolist(), "sensitive": view.sensitive})
    lens = {"fl_x": HEAD.focal * size, "fl_y": HEAD.focal * size, "cx": size / 2, "cy": size / 2, "w": size, "h": size}
    content = lens | {"mm_per_unit": HEAD.mm_per_unit, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(content))
    mesh = exact_mesh(HEAD, 96)
    mesh.export(folder / "gt_mesh.ply")
    description = {"mm_per_unit": HEAD.mm_per_unit, "face_axis": [1, 0, 0], "up_axis": [0, 0, 1]}
    (folder / "capture.json").write_text(json.dumps(description | HEAD.describe(mesh)))
    return folder
