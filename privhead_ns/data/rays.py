"""Rays through pixels of pinhole cameras."""

from __future__ import annotations

import torch
from jaxtyping import Int
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.model_components.ray_generators import RayGenerator
from torch import Tensor


class PinholeRayGenerator(RayGenerator):
    """Nerfstudio's ray generator, for undistorted perspective cameras alone.

    Nerfstudio's own asks the cameras for their types in every step, and selects rays by it: a GPU waits several times
    for the host. Its pixel areas, which nothing here reads, are left at 1.
    """

    def __init__(self, cameras: Cameras) -> None:
        super().__init__(cameras)
        self.poses: Tensor
        self.intrinsics: Tensor
        intrinsics = torch.cat([cameras.fx, cameras.fy, cameras.cx, cameras.cy], dim=-1)
        self.register_buffer("poses", cameras.camera_to_worlds, persistent=False)
        self.register_buffer("intrinsics", intrinsics, persistent=False)

    def forward(self, ray_indices: Int[Tensor, "rays 3"]) -> RayBundle:
        """Returns the rays through the centres of pixels, given as (camera, y, x)."""
        camera, y, x = ray_indices.unbind(-1)
        fx, fy, cx, cy = self.intrinsics[camera].unbind(-1)
        pose = self.poses[camera]
        right, up = (x + 0.5 - cx) / fx, (cy - y - 0.5) / fy
        directions = pose[..., 0] * right[:, None] + pose[..., 1] * up[:, None] - pose[..., 2]
        length = torch.linalg.vector_norm(directions, dim=-1, keepdim=True)
        return RayBundle(
            origins=pose[..., 3],
            directions=directions / length,
            pixel_area=torch.ones_like(length),
            camera_indices=camera[:, None],
            metadata={"directions_norm": length},
        )
