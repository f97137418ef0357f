"""The paper's own configuration: VolSDF, with its losses in phase 1 and those of Eq. 9 in phase 2."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.models.base_model import ModelConfig
from torch import Tensor, nn

from privhead_ns.model.losses import eikonal_loss, masked_mean, mean, rgb_loss
from privhead_ns.model.model import PrivheadModel
from privhead_ns.model.renderer import Rendered
from privhead_ns.paper.network import PaperField
from privhead_ns.paper.sampler import SamplerSettings, error_bounded_samples, rendering_weights
from privhead_ns.phases import LossWeights


@dataclass
class PaperModelConfig(ModelConfig):
    """VolSDF on colour of the rear and gradient magnitudes of the face."""

    _target: type = field(default_factory=lambda: PaperModel)
    """Class to instantiate."""
    hidden_layers: int = 8
    """Hidden layers of the implicit network; the colour network has half as many."""
    hidden_units: int = 256
    """Width of all hidden layers, and size of the feature vector between the networks."""
    position_frequencies: int = 6
    """Of the positional encoding of points."""
    direction_frequencies: int = 4
    """Of the positional encoding of viewing directions."""
    sampler: SamplerSettings = field(default_factory=SamplerSettings)
    """The error-bounded sampler."""
    eval_num_rays_per_chunk: int = 512
    """Rays rendered at a time outside training."""
    sdf_field: bool = True
    """Tells Nerfstudio's marching cubes that `field.forward_geonetwork` gives signed distances."""
    enable_collider: bool = False
    """Nerfstudio's own near and far planes; the head's box replaces them."""


class PaperModel(PrivheadModel):
    """VolSDF's field and renderer; what surrounds them is as in `PrivheadModel`."""

    config: PaperModelConfig  # type: ignore[assignment]
    field: PaperField  # type: ignore[assignment]
    can_forget = False  # the weights of its networks belong to all places alike

    def populate_head(self) -> None:
        """Builds the field."""
        self.field = PaperField(
            self.scene_box.aabb,
            layers=self.config.hidden_layers,
            units=self.config.hidden_units,
            position_frequencies=self.config.position_frequencies,
            direction_frequencies=self.config.direction_frequencies,
        )

    def set_schedule(self, weights: LossWeights, relative_beta: float) -> None:
        """Sets the loss weights for this step; β is learned here, so that of the schedule is ignored."""
        del relative_beta
        self.loss_weights = weights

    def get_param_groups(self) -> dict[str, list[nn.Parameter]]:
        """Returns all parameters as one group."""
        return {"networks": list(self.parameters())}

    def render(self, ray_bundle: RayBundle) -> tuple[Rendered, Float[Tensor, "rays 3"]]:
        """Renders rays that carry their nears and fars.

        Returns:
            What the rays saw; and the gradient of the sdf at one sample of each, chosen at random.
        """
        field, unit = self.field, self.field.half_side
        assert ray_bundle.nears is not None and ray_bundle.fars is not None
        origins, directions = field.normalize(ray_bundle.origins)[:, None], ray_bundle.directions[:, None]

        def ray_sdf(distances: Float[Tensor, "rays samples"]) -> Float[Tensor, "rays samples"]:
            points = origins + directions * distances[..., None]
            return field.implicit(points.reshape(-1, 3))[:, 0].reshape(distances.shape)

        nears, fars = ray_bundle.nears / unit, ray_bundle.fars / unit
        distances = error_bounded_samples(ray_sdf, nears, fars, field.beta.detach(), self.config.sampler, self.training)
        points = origins + directions * distances[..., None]
        local = field.local(points.reshape(-1, 3))
        gradient = local.gradient.reshape(points.shape)
        colors = field.color(points.reshape(-1, 3), directions.expand_as(points).reshape(-1, 3), local)
        weights = rendering_weights(local.sdf.reshape(distances.shape), distances, field.beta)[..., None]
        accumulation = weights.sum(dim=1)
        depth = (weights * distances[:, :-1, None]).sum(dim=1) / accumulation.clamp(min=1e-3) * unit
        seen = Rendered(
            rgb=(weights * colors.reshape(points.shape)[:, :-1]).sum(dim=1),
            accumulation=accumulation.clamp(max=1),
            depth=depth,
            normals=F.normalize((weights * F.normalize(gradient[:, :-1], dim=-1)).sum(dim=1), dim=-1),
        )
        chosen = torch.randint(distances.shape[1], (len(distances),), device=distances.device)
        return seen, gradient[torch.arange(len(distances), device=distances.device), chosen]

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Any]:
        """Renders rays.

        Returns:
            What `PrivheadModel.get_outputs` does; in training also gradient, (2 rays, 3), of the sdf at one sample of
            each ray and at as many points spread over the box.
        """
        head, gradient = self.render(ray_bundle)
        outputs = self.over_background(ray_bundle, head)
        if not self.training:
            return outputs
        low, high = self.field.normalize(self.field.aabb)
        anywhere = self.field.local(torch.lerp(low, high, torch.rand_like(gradient))).gradient
        return outputs | {"gradient": torch.cat([gradient, anywhere])}

    def get_loss_dict(
        self, outputs: dict[str, Any], batch: dict[str, Any], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Returns the weighted terms of Eq. 9, and no others."""
        del metrics_dict
        weights, rgb = self.loss_weights, outputs["rgb"]
        losses = {}
        if weights.rgb > 0:
            neutral = ~batch["protected"].to(self.device)
            image = batch["image"].to(self.device)
            losses["rgb"] = weights.rgb * masked_mean(rgb_loss(rgb, image), neutral)
        if "patches" in batch:
            losses |= self.protected_losses(rgb, batch)
        if "gradient" in outputs:
            losses["eikonal"] = weights.eikonal * mean(eikonal_loss(outputs["gradient"].T))
        return losses

    def get_metrics_dict(self, outputs: dict[str, Any], batch: dict[str, Any]) -> dict[str, Tensor]:
        """Returns diagnostics of a step: β in capture units and the network's Lipschitz bound."""
        del outputs, batch
        beta = self.field.beta.detach() * self.field.half_side
        return {"beta": beta, "lipschitz": self.field.color_network.lipschitz.detach()}
