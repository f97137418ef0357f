"""Renders photographs of a scene by sphere tracing, with four lamps fixed to the subject."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

from privhead_ns.demo.scene import DistanceFunction, Scene

TOLERANCE = 3e-4
"""Distance to the surface, in units, at which a ray has arrived."""
SHORTEST_STEP = 4e-3
"""Rays that graze the surface go on by this much; one that dips below the surface is set back by a secant."""
MAXIMUM_STEPS = 128

LAMPS = (
    # direction towards the lamp (x front, y left, z up), colour
    ((0.75, 0.55, 0.55), (1.00, 0.96, 0.90)),
    ((0.65, -0.80, 0.10), (0.32, 0.35, 0.40)),
    ((-0.75, -0.60, 0.50), (0.85, 0.83, 0.80)),
    ((-0.70, 0.75, 0.20), (0.42, 0.44, 0.50)),
)
SKY, GROUND = (0.46, 0.47, 0.50), (0.26, 0.23, 0.21)
"""Ambient light from above and from below."""


def trace(
    sdf: DistanceFunction,
    origins: Float[np.ndarray, "n 3"],
    directions: Float[np.ndarray, "n 3"],
    start: Float[np.ndarray, "n"] | float = 0.0,
    tolerance: float = TOLERANCE,
) -> Float[np.ndarray, "n"]:
    """Returns the distance along each ray (unit directions) to the surface, infinite where it misses.

    Sphere tracing: J. C. Hart, 1996. Scenes lie in the unit sphere, so only the chord in that sphere is walked.

    Args:
        sdf: signed distance; it may be too short, but hardly too long.
        origins: where the rays begin.
        directions: where they go.
        start: distance along the rays that is known to be free.
        tolerance: value of `sdf` below which a ray has arrived.
    """
    middle = -(origins * directions).sum(axis=1)
    half_chord = np.sqrt(np.maximum(1 - ((origins + middle[:, None] * directions) ** 2).sum(axis=1), 0))
    found = np.full(len(origins), np.inf, np.float32)
    distance, end = np.maximum(middle - half_chord, start), middle + half_chord
    active = np.flatnonzero(distance < end)
    distance, end = distance[active], end[active]
    step, before = np.zeros_like(distance), np.ones_like(distance)
    for _ in range(MAXIMUM_STEPS):
        height = sdf(origins[active] + distance[:, None] * directions[active])
        arrived = height < tolerance
        depth = np.maximum(-height[arrived], 0)
        found[active[arrived]] = distance[arrived] - step[arrived] * depth / (before[arrived] + depth)
        step, before = np.maximum(height, SHORTEST_STEP), height
        distance = distance + step
        keep = ~arrived & (distance < end)
        active, distance, end, step, before = (array[keep] for array in (active, distance, end, step, before))
        if not len(active):
            break
    # what is left creeps along the surface, less than `SHORTEST_STEP` above it
    found[active] = distance
    return found


def normals(sdf: DistanceFunction, points: Float[np.ndarray, "n 3"], step: float = 2e-3) -> Float[np.ndarray, "n 3"]:
    """Returns unit outward normals from four differences at the corners of a tetrahedron of the given size."""
    corners = np.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], np.float32)
    gradient = sum(corner * sdf(points + step * corner)[:, None] for corner in corners)
    return gradient / np.maximum(np.linalg.norm(gradient, axis=1, keepdims=True), 1e-9)


def shade(
    scene: Scene, points: Float[np.ndarray, "n 3"], directions: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n 3"]:
    """Returns display colours in [0, 1] of surface points seen along unit directions.

    Lambert's law and a Blinn-Phong highlight for each lamp, ambient light from a hemisphere, dimmed where the surface
    is hemmed in, and a gamma of 2.2.
    """
    normal = normals(scene.sdf, points)
    openness = np.ones(len(points), np.float32)
    for reach in (0.03, 0.09, 0.18):
        openness *= np.clip(0.35 + 0.65 * scene.sdf(points + reach * normal) / reach, 0.3, 1)
    up = 0.5 + 0.5 * normal[:, 2:]
    light = (up * np.array(SKY) + (1 - up) * np.array(GROUND)) * openness[:, None]
    gloss = np.zeros_like(light)
    for towards, colour in LAMPS:
        lamp = np.array(towards) / np.linalg.norm(towards)
        halfway = lamp - directions
        halfway /= np.linalg.norm(halfway, axis=1, keepdims=True)
        lit = np.clip(normal @ lamp, 0, 1) * np.sqrt(openness)
        light += lit[:, None] * np.array(colour)
        gloss += (np.clip((normal * halfway).sum(axis=1), 0, 1) ** 24 * lit)[:, None] * np.array(colour)
    return np.clip(scene.albedo(points) * light + 0.05 * gloss, 0, 1) ** (1 / 2.2)


def photograph(
    scene: Scene, camera_to_world: Float[np.ndarray, "4 4"], size: int, rays_per_side: int = 3
) -> tuple[UInt8[np.ndarray, "size size 3"], UInt8[np.ndarray, "size size"]]:
    """Takes one square photograph on black, with the principal point in its centre, by the scene's lens.

    Args:
        scene: what is photographed.
        camera_to_world: OpenGL pose (x right, y up, looking along -z).
        size: width and height in pixels.
        rays_per_side: each pixel is the mean of the square of this many rays.

    Returns:
        the RGB image, and the share of each pixel that the subject covers, 255 for all of it.
    """
    origin = camera_to_world[:3, 3].astype(np.float32)
    fine = size * rays_per_side
    directions = _directions(camera_to_world, fine, scene.focal)
    pixel = np.arange(fine) // rays_per_side
    start = _free_distance(scene, camera_to_world, size)[pixel[:, None], pixel].reshape(-1)
    distance = trace(scene.sdf, np.broadcast_to(origin, directions.shape), directions, start)
    hit = np.isfinite(distance)
    picture = np.zeros((fine * fine, 4), np.float32)
    picture[hit, 3] = 1
    picture[hit, :3] = shade(scene, origin + distance[hit, None] * directions[hit], directions[hit])
    pixels = picture.reshape(size, rays_per_side, size, rays_per_side, 4).mean(axis=(1, 3))
    stored = np.round(pixels * 255).astype(np.uint8)
    return stored[..., :3], stored[..., 3]


def _directions(camera_to_world: Float[np.ndarray, "4 4"], size: int, focal: float) -> Float[np.ndarray, "rays 3"]:
    """Returns unit directions through the centres of size x size pixels, row by row."""
    across = (np.arange(size) + 0.5) / size - 0.5
    x, y = np.meshgrid(across, -across)
    world = np.stack([x, y, np.full_like(x, -focal)], axis=-1).reshape(-1, 3) @ camera_to_world[:3, :3].T
    return (world / np.linalg.norm(world, axis=1, keepdims=True)).astype(np.float32)


def _free_distance(
    scene: Scene, camera_to_world: Float[np.ndarray, "4 4"], size: int
) -> Float[np.ndarray, "size size"]:
    """Returns a distance up to which the whole cone of rays through each pixel is free, infinite where it misses.

    The axis of the cone walks until the free ball about it is down to two cone radii; all balls before cover the cone.
    """
    origin = camera_to_world[:3, 3].astype(np.float32)
    radius = (np.linalg.norm(origin) + 1) * np.sqrt(0.5) / (scene.focal * size)
    directions = _directions(camera_to_world, size, scene.focal)
    origins = np.broadcast_to(origin, directions.shape)
    return (trace(scene.sdf, origins, directions, tolerance=2 * radius) - radius).reshape(size, size)
