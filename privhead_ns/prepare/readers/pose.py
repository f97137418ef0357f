"""Poses as programs write them: scaled, rounded, or in OpenCV's convention."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from privhead_ns.errors import UserError

SHEAR = 2e-2
"""How far R Rᵀ may lie from the identity, entry by entry, once its scale is taken out: room for rounded numbers."""


def rigid_pose(matrix: Any, where: str) -> Float[np.ndarray, "4 4"]:
    """Returns the camera-to-world matrix whose rotation is the nearest one to a scaled or rounded matrix.

    The nearest rotation solves the orthogonal Procrustes problem (Schönemann 1966). The translation is kept.

    Args:
        matrix: 3x4 or 4x4 numbers, OpenGL convention.
        where: names the file and the photograph, for messages.

    Raises:
        UserError: if it is of another shape, not finite, mirrored, sheared, or a projection.
    """
    try:
        pose = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        pose = np.empty(0)
    if pose.shape not in ((3, 4), (4, 4)):
        raise UserError(f"{where}: the pose (transform_matrix) must be 4x4 or 3x4 numbers; write it again.")
    if not np.isfinite(pose).all():
        raise UserError(f"{where}: the pose holds NaN or infinity; estimate it again, or drop the photograph.")
    if pose.shape == (4, 4) and not np.allclose(pose[3], [0, 0, 0, 1], atol=1e-6):
        raise UserError(f"{where}: the last row of the pose must be 0 0 0 1; write it again, row by row.")
    determinant = np.linalg.det(pose[:3, :3])
    if determinant < 0:
        raise UserError(f"{where}: the pose is mirrored (determinant below zero); export it right-handed.")
    rotation = pose[:3, :3] / max(np.cbrt(determinant), 1e-12)
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > SHEAR:
        raise UserError(f"{where}: the pose is no rotation and translation; estimate it again, or drop the photograph.")
    left, _, right = np.linalg.svd(rotation)
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = left @ right, pose[:3, 3]
    return result


def opencv_to_opengl(pose: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """Returns a camera-to-world matrix in the OpenGL convention for one in OpenCV's (y down, looking along z)."""
    return pose @ np.diag([1.0, -1.0, -1.0, 1.0])
