"""The signed distance to a template: where training starts, and where it stays if no view looks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import open3d as o3d
import torch
import trimesh
from jaxtyping import Float
from torch import Tensor


def template_sdf(mesh: trimesh.Trimesh) -> Callable[[Float[Tensor, "n 3"]], Float[Tensor, " n"]]:
    """Returns the signed distance to a closed mesh, negative inside, as a function of points."""
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        o3d.core.Tensor(np.asarray(mesh.vertices, np.float32)), o3d.core.Tensor(np.asarray(mesh.faces, np.uint32))
    )

    def sdf(points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        return torch.from_numpy(scene.compute_signed_distance(o3d.core.Tensor(points.numpy())).numpy())

    return sdf
