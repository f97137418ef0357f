"""Corrections of each view, learned beside the head: exposure, white balance, and small movements."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from nerfstudio.cameras.lie_groups import exp_map_SO3xR3
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor, nn


class ViewCorrections(nn.Module):
    """Gain and rigid movement of each view, learned beside the head.

    Both are relative to their mean over the views, so that the head keeps its place and brightness.

    Args:
        views: their number.
    """

    def __init__(self, views: int) -> None:
        super().__init__()
        self.log_gains = nn.Parameter(torch.zeros(views, 3))
        """Logarithms of the factors of red, green and blue."""
        self.movements = nn.Parameter(torch.zeros(views, 6))
        """Translations, and rotation vectors about the centre of the head's box, in the frame of training."""

    def gains(self, rays: RayBundle) -> Float[Tensor, "rays 3"]:
        """Returns the factors of the colours of the rays' views."""
        return torch.exp(self.log_gains - self.log_gains.mean(dim=0))[views(rays)]

    def brightness(self, rays: RayBundle) -> Float[Tensor, "rays 1"]:
        """Returns the factors of the magnitudes of the rays' views: the geometric means of `gains`."""
        return self.gains(rays).log().mean(dim=1, keepdim=True).exp()

    def move(self, rays: RayBundle) -> None:
        """Moves rays as if the head had stood still, and the camera had moved instead."""
        rotations, rays.origins = self.transform(rays.origins, views(rays))
        rays.directions = (rotations @ rays.directions[..., None])[..., 0]

    def moved(self, poses: Float[Tensor, "views 3 4"]) -> Float[Tensor, "views 3 4"]:
        """Returns the camera-to-world matrices of all views, moved as `move` does it with their rays."""
        rotations, positions = self.transform(poses[..., 3], torch.arange(len(poses), device=poses.device))
        return torch.cat([rotations @ poses[..., :3], positions[..., None]], dim=-1)

    def transform(
        self, positions: Float[Tensor, "n 3"], view: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n 3 3"], Float[Tensor, "n 3"]]:
        """Returns the rotations of cameras, and where they stand after their movements.

        Movements towards the head or away from it do not count: one view alone hardly shows them.

        Args:
            positions: where the cameras were, in the frame of training.
            view: which views they belong to.
        """
        transforms = exp_map_SO3xR3(self.movements - self.movements.mean(dim=0))[view]
        rotations, translations = transforms[..., :3], transforms[..., 3]
        outwards = F.normalize(positions, dim=-1)
        sideways = translations - (translations * outwards).sum(dim=-1, keepdim=True) * outwards
        return rotations, (rotations @ positions[..., None])[..., 0] + sideways

    def prior(self, gain_weight: float, movement_weight: float) -> Float[Tensor, ""]:
        """Returns the weighted squares, averaged over the views: what the photographs do not tell stays 0."""
        return gain_weight * self.log_gains.square().mean() + movement_weight * self.movements.square().mean()


def views(rays: RayBundle) -> Int[Tensor, " rays"]:
    """Returns the numbers of the views that rays belong to."""
    assert rays.camera_indices is not None
    return rays.camera_indices[:, 0]
