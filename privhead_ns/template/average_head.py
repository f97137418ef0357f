"""The average of procedural heads, which has no person's shape."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import trimesh
from skimage.measure import marching_cubes

from privhead_ns.demo.head import AABB, HAIR, SKIN, Capsule, Ellipsoid, Parts, assemble

HEADS = 16
"""Heads that are averaged."""
RESOLUTION = 64
"""Voxels along the longest side of the box in which they are."""
SIZES, PLACES = 0.10, 0.015
"""Standard deviations of the relative size and, in units of about 185 mm, of the place of a head's parts."""
SEED = 0

LANDMARKS = {
    "right_eye": (0.322, -0.226, 0.088),
    "left_eye": (0.322, 0.226, 0.088),
    "chin": (0.344, 0.0, -0.461),
    "forehead": (0.402, 0.0, 0.336),
    "right_pupil": (0.354, -0.161, 0.083),
    "left_pupil": (0.354, 0.161, 0.083),
}
"""Places that `prepare` finds on the demo's head from 22 photographs, made symmetric."""


@cache
def average_head() -> trimesh.Trimesh:
    """Returns the mean shape: the zero level of the mean signed distance of random heads.

    Frame: the face looks along +x, z is up, and the head's middle is near the origin; a unit is about 185 mm. Details
    such as lids and lips are at other places in each head, and average out.
    """
    step = float((AABB[1] - AABB[0]).max()) / RESOLUTION
    axes = [np.arange(low, high, step) for low, high in AABB.T]
    points = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1).astype(np.float32)
    random = np.random.default_rng(SEED)
    total = np.zeros(points.shape[1], np.float32)
    for _ in range(HEADS):
        total += np.minimum(assemble(_varied(SKIN, random), points), assemble(_varied(HAIR, random), points))
    sdf = np.pad((total / HEADS).reshape([len(axis) for axis in axes]), 1, constant_values=step)
    vertices, faces, _, _ = marching_cubes(sdf, 0.0, spacing=(step, step, step), gradient_direction="descent")
    return trimesh.Trimesh(vertices + AABB[0] - step, faces, process=False)


def _varied(parts: Parts, random: np.random.Generator) -> Parts:
    """Returns the parts of another head: all a little larger or smaller, and moved."""
    return {name: _moved(part, random) for name, part in parts.items()}


def _moved(part: Ellipsoid | Capsule, random: np.random.Generator) -> Ellipsoid | Capsule:
    shift, size = random.normal(0, PLACES, 3), np.exp(random.normal(0, SIZES))
    radii = tuple(size * radius for radius in part.radii)
    if isinstance(part, Ellipsoid):
        return replace(part, centre=_plus(part.centre, shift), radii=radii)
    return replace(part, start=_plus(part.start, shift), end=_plus(part.end, shift), radii=radii)


def _plus(place: tuple[float, float, float], shift: np.ndarray) -> tuple[float, ...]:
    moved = np.array(place) + shift
    return (float(moved[0]), float(moved[1]) if place[1] else 0.0, float(moved[2]))
