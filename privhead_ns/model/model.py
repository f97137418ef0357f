"""The Nerfstudio model: renders a head's field and compares it with the views."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.model_components.scene_colliders import AABBBoxCollider
from nerfstudio.models.base_model import Model, ModelConfig
from torch import Tensor, nn
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from privhead_ns.data.dataset import magnitude_picture
from privhead_ns.data.description import check_same_capture, describe
from privhead_ns.model.agreement import Agreement
from privhead_ns.model.background import BackgroundField
from privhead_ns.model.corrections import ViewCorrections, views
from privhead_ns.model.density import Rendering
from privhead_ns.model.field import HeadField
from privhead_ns.model.losses import (
    gradient_loss,
    mask_loss,
    masked_mean,
    mean,
    rgb_loss,
    surface_magnitude_loss,
)
from privhead_ns.model.renderer import Rendered, SurfaceRenderer, scale_gradient
from privhead_ns.operators import Operator, rounding
from privhead_ns.phases import LossWeights, PhaseSchedule


@dataclass
class PrivheadModelConfig(ModelConfig):
    """A head from colour of its rear and gradient magnitudes of its face."""

    _target: type = field(default_factory=lambda: PrivheadModel)
    """Class to instantiate."""
    rendering: Rendering = "neus"
    """How opacity follows from signed distance: VolSDF's density or NeuS's alpha."""
    voxel_size: float = 0.75
    """Edge of the finest voxels, in pixels of the photographs at the head."""
    max_voxels: int = 1_500_000
    """Upper bound of their number; voxels are made larger to keep it."""
    feature_channels: int = 8
    """Features of a place per voxel grid, for colour and magnitude alike."""
    hidden_units: int = 32
    """Width of the two hidden layers of the networks of colour and of magnitude."""
    num_coarse_samples: int = 32
    """Evenly spaced samples per ray, which find the surface."""
    num_samples: int = 16
    """Samples per ray at the surface, which are rendered."""
    mask_weight: float = 0.03
    """Weight of the mask loss, where the capture has masks."""
    agreement_weight: float = 0.1
    """Weight of the disagreement of views about patches of the surface, where views have `agreement_size` pixels."""
    agreement_size: int = 128
    """Side of the views from which they are compared in patches: of smaller views a patch covers too much of a head."""
    agreement_rays: int = 256
    """Most rays per step whose patches are compared."""
    curvature_weight: float = 0.4
    """Weight of the squared curvature of the sdf's level sets, in voxels."""
    gain_prior: float = 0.01
    """Weight of the squared logarithms of the views' gains, which are learned."""
    movement_prior: float = 20.0
    """Weight of the squared movements of the views, which are learned, in longest sides of the head's box."""
    eval_num_rays_per_chunk: int = 8192
    """Rays rendered at a time outside training."""
    sdf_field: bool = True
    """Declares to Nerfstudio's marching cubes that `field.forward_geonetwork` returns signed distances."""
    enable_collider: bool = False
    """Nerfstudio's own near and far planes; the head's box replaces them."""


class PrivheadModel(Model):
    """Signed distance field and colours of a head.

    The pipeline sets `loss_weights` before each step. `kwargs["metadata"]` is what the dataparser says of the capture.
    """

    config: PrivheadModelConfig
    loss_weights: LossWeights
    can_forget: ClassVar[bool] = True
    """Whether `forget_all_but` is possible."""
    painted: bool = False
    """Whether training has painted colours that no neutral view shows, and not forgotten them since."""
    painting_share: float = 1.0
    """Factor on the gradient that painted colours and magnitudes pass to the shape and to the views' movements."""

    def populate_modules(self) -> None:
        """Builds head, operator and, for heads and objects without masks, the background."""
        super().populate_modules()
        metadata: dict[str, Any] = self.kwargs["metadata"]
        aabb = self.scene_box.aabb
        self.collider = AABBBoxCollider(self.scene_box)
        self.room: bool = metadata["subject"] == "room"
        self.populate_head()
        self.operator: Operator = metadata["operator"].setup()
        self.magnitude_maximum: float = metadata["magnitude_maximum"]
        self.rounding = rounding(self.magnitude_maximum, metadata["operator"].levels)
        self.background_color: Tensor
        self.register_buffer("background_color", torch.tensor(metadata["background"] or (0.0, 0.0, 0.0)))
        self.agreement: Agreement | None = None
        self.background = None if metadata["background"] or self.room else BackgroundField(aabb)

    def populate_head(self) -> None:
        """Builds field and renderer."""
        self.field = HeadField(
            self.scene_box.aabb,
            voxel_size=self.voxel_size(self.kwargs["metadata"]["pixel_size"]),
            feature_channels=self.config.feature_channels,
            hidden_units=self.config.hidden_units,
            beta=PhaseSchedule().initial_beta,
        )
        self.renderer = SurfaceRenderer(
            self.config.rendering, self.config.num_coarse_samples, self.config.num_samples, opaque_end=self.room
        )
        self.protected: Tensor
        self.register_buffer("protected", torch.tensor(self.kwargs["metadata"]["protected"]), persistent=False)
        self.corrections = ViewCorrections(len(self.protected))

    def compare_patches(self, agreement: Agreement) -> None:
        """Adds the disagreement of views to the losses, if they have enough pixels."""
        if self.config.agreement_weight > 0 and min(agreement.images.shape[1:3]) >= self.config.agreement_size:
            self.agreement = agreement.to(self.device)

    def set_schedule(self, weights: LossWeights, relative_beta: float) -> None:
        """Sets the loss weights of a step, and β as a fraction of the longest side of the head's box."""
        self.loss_weights = weights
        self.field.relative_beta.fill_(relative_beta)

    def voxel_size(self, pixel_size: float) -> float:
        """Returns the edge of the finest voxels in capture units, given that of a pixel at the head."""
        volume = float((self.scene_box.aabb[1] - self.scene_box.aabb[0]).prod())
        return max(self.config.voxel_size * pixel_size, (volume / self.config.max_voxels) ** (1 / 3))

    def get_param_groups(self) -> dict[str, list[nn.Parameter]]:
        """Returns the parameters in groups of one learning rate each."""
        colors = [p for name, p in self.field.color_network.named_parameters() if not name.endswith("bound")]
        colors += self.field.magnitude_network.parameters()
        features = list(self.field.features.parameters())
        if self.background is not None:
            colors += self.background.network.parameters()
            features += self.background.features.parameters()
        return {
            "sdf": list(self.field.sdf_grids.parameters()),
            "features": features,
            "color_network": colors,
            "lipschitz_bounds": self.field.color_network.bounds,
            "gains": [self.corrections.log_gains],
            "movements": [self.corrections.movements],
        }

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Any]:
        """Renders rays.

        Returns:
            normals, in [0, 1] as Nerfstudio wants them; rgb; depth, the distance along the unit ray, well behind the
            head's box where the ray meets no head; accumulation. In training also geometry, the tabulated sdf, and,
            where their weight is not 0, surface_magnitude, of the surface points themselves, and disagreement, of the
            views about patches of the surface, 0 to 2.
        """
        if self.training:
            self.corrections.move(ray_bundle)
        geometry = self.field.geometry()
        with_magnitude = self.training and self.loss_weights.surface_magnitude > 0
        head = self.renderer(
            ray_bundle, self.field, geometry, with_magnitude, self.shading(ray_bundle), self.painting_share
        )
        outputs = self.over_background(ray_bundle, head)
        if self.training:
            outputs["geometry"] = geometry
            outputs["rgb"] = outputs["rgb"] + (self.corrections.gains(ray_bundle) - 1) * head.rgb
            if self.agreement is not None:
                outputs["disagreement"] = self.disagreement(ray_bundle, head, self.agreement)
        if head.magnitude is not None:
            outputs["surface_magnitude"] = self.corrections.brightness(ray_bundle) * head.magnitude
        return outputs

    def shading(self, rays: RayBundle) -> Bool[Tensor, " rays"] | None:
        """Returns which rays pass a gradient from colours to normals; None for all.

        Those of neutral views do not if there are silhouettes and protected views: where the light differs from view
        to view, so does shading, and the surface would become rough to explain it.
        """
        silhouettes = self.background is None and not self.room
        if not self.training or not silhouettes or not any(self.kwargs["metadata"]["protected"]):
            return None
        return self.protected[views(rays)]

    def disagreement(self, rays: RayBundle, head: Rendered, agreement: Agreement) -> Float[Tensor, ""]:
        """Returns the mean of 1 - NCC over every n-th ray, of those that hit the head."""
        part = slice(None, None, math.ceil(len(rays) / self.config.agreement_rays))
        assert rays.camera_indices is not None
        places = rays.origins[part] + rays.directions[part] * head.depth[part]
        ncc, compared = agreement(
            places, head.normals[part], rays.camera_indices[part, 0], self.corrections.moved(agreement.poses).detach()
        )
        return masked_mean(1 - ncc, compared & (head.accumulation[part, 0] > 0.5))

    def over_background(self, ray_bundle: RayBundle, head: Rendered) -> dict[str, Any]:
        """Composites the head over the background and returns the outputs of rays."""
        behind = self.background_color if self.background is None else self.background(ray_bundle)
        return {
            "normals": (head.normals + 1) / 2,
            "rgb": head.rgb + (1 - scale_gradient(head.accumulation, self.painting_share)) * behind,
            "depth": torch.where(head.accumulation > 0.5, head.depth, self.depth_behind(ray_bundle)),
            "accumulation": head.accumulation,
        }

    def depth_behind(self, ray_bundle: RayBundle) -> Float[Tensor, "rays 1"]:
        """Returns the depth of rays that miss the head, a box's diagonal behind its centre, for TSDF fusion."""
        low, high = self.field.aabb
        return (ray_bundle.origins - (low + high) / 2).norm(dim=-1, keepdim=True) + (high - low).norm()

    def get_loss_dict(
        self, outputs: dict[str, Any], batch: dict[str, Any], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Returns the weighted terms of Eq. 9 and those of this model: masks, curvature, agreement and priors."""
        del metrics_dict
        weights, rgb = self.loss_weights, outputs["rgb"]
        neutral = ~batch["protected"].to(self.device)
        image = batch["image"].to(self.device)
        known = batch["known"].to(self.device) > 0
        losses = {"rgb": weights.rgb * masked_mean(rgb_loss(rgb, image), neutral & known[:, 0])}
        if "mask" in batch:
            mask = batch["mask"].to(self.device)
            losses["mask"] = self.config.mask_weight * masked_mean(mask_loss(outputs["accumulation"], mask), known)
        if "patches" in batch:
            losses |= self.protected_losses(rgb, batch)
        if "surface_magnitude" in outputs:
            interior = batch["interior"].to(self.device) * outputs["accumulation"].detach()
            magnitude = batch["magnitude"].to(self.device)
            rounded = self.rounding * batch["protected"].to(self.device)[..., None]
            difference = surface_magnitude_loss(outputs["surface_magnitude"], magnitude, interior, rounded)
            losses["surface_magnitude"] = weights.surface_magnitude * mean(difference)
        if "disagreement" in outputs:
            losses["agreement"] = self.config.agreement_weight * outputs["disagreement"]
        if "geometry" in outputs:
            eikonal, curvature = outputs["geometry"].regularisers()
            losses["eikonal"] = weights.eikonal * eikonal
            losses["curvature"] = self.config.curvature_weight * curvature
            losses["prior"] = self.corrections.prior(self.config.gain_prior, self.config.movement_prior)
        return losses

    def protected_losses(self, rgb: Float[Tensor, "rays 3"], batch: dict[str, Any]) -> dict[str, Tensor]:
        """Returns the weighted terms of Eq. 9 of phase 2 alone: Eqs. 5 and 8."""
        shape = batch["patches"]
        rays, margin = shape.numel(), self.operator.margin
        magnitude, known = (batch[key][-rays:].to(self.device).reshape(shape) for key in ("magnitude", "sigma_known"))
        difference = gradient_loss(rgb[-rays:].reshape(*shape, 3), magnitude, self.operator, self.rounding)
        known = known[:, margin : shape[1] - margin, margin : shape[2] - margin] > 0
        return {
            "gradient": self.loss_weights.gradient * masked_mean(difference, known),
            "lipschitz": self.loss_weights.lipschitz * self.field.color_network.lipschitz,
        }

    def get_metrics_dict(self, outputs: dict[str, Any], batch: dict[str, Any]) -> dict[str, Tensor]:
        """Returns diagnostics of a step: β in capture units and the network's Lipschitz bound."""
        del outputs, batch
        return {"beta": self.field.beta, "lipschitz": self.field.color_network.lipschitz.detach()}

    @torch.no_grad()
    def get_outputs_for_camera_ray_bundle(self, camera_ray_bundle: RayBundle) -> dict[str, Tensor]:
        """Renders an image, and adds the magnitude that σ leaves of it, as a grey picture."""
        outputs = super().get_outputs_for_camera_ray_bundle(camera_ray_bundle)
        magnitude = self.magnitude(outputs["rgb"].to(self.device)).to(outputs["rgb"].device)
        return outputs | {"magnitude": magnitude_picture(magnitude, self.magnitude_maximum)}

    def magnitude(self, image: Float[Tensor, "height width 3"]) -> Float[Tensor, "height width"]:
        """Returns σ of an image, 0 in the operator's margin."""
        margin = self.operator.margin
        if min(image.shape[:2]) <= 2 * margin:  # the viewer's smallest previews
            return torch.zeros_like(image[..., 0])
        return F.pad(self.operator(image.permute(2, 0, 1)[None]), [margin] * 4)[0]

    def get_extra_state(self) -> dict[str, Any]:
        """Returns what a checkpoint holds beside tensors: the capture's description, `painted` and `painting_share`."""
        capture = describe(self.kwargs["metadata"], self.scene_box)
        return {"capture": capture, "painted": self.painted, "painting_share": self.painting_share}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Takes on the state of a checkpoint.

        Raises:
            UserError: if it was trained on another capture.
        """
        check_same_capture(state["capture"], describe(self.kwargs["metadata"], self.scene_box))
        self.painted, self.painting_share = state["painted"], float(state.get("painting_share", 1.0))

    @torch.no_grad()
    def forget_all_but(self, views: Iterable[RayBundle]) -> None:
        """Forgets how places look that no ray of the views meets, and all of the background; their shape stays.

        Colours there were never seen by training, which painted them until they fitted the magnitudes. Behind
        protected views it painted the room as well.
        """
        self.eval()
        places = []
        for view in views:
            for start in range(0, len(view), self.config.eval_num_rays_per_chunk):
                rays = view[start : start + self.config.eval_num_rays_per_chunk]
                self.corrections.move(rays)
                outputs = self(rays)
                meets = outputs["accumulation"][:, 0] > 0.5
                places.append((rays.origins + rays.directions * outputs["depth"])[meets])
        seen = torch.cat([self.field.aabb[:0], *places])
        self.field.features.forget_all_but(self.field.normalize(seen))
        if self.background is not None:
            self.background.forget()
        self.painted = False

    def get_rgba_image(self, outputs: dict[str, Tensor], output_name: str = "rgb") -> Tensor:
        """Returns an output with the head's opacity as alpha, so that exporters leave the background out."""
        return torch.cat([outputs[output_name], outputs["accumulation"]], dim=-1)

    @torch.no_grad()
    def get_image_metrics_and_images(
        self, outputs: dict[str, Tensor], batch: dict[str, Any]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Compares like with like: magnitudes on every view, and colours on neutral ones only.

        Returns:
            magnitude_l1, mean difference of magnitudes in colour units per pixel; on neutral views psnr in dB and ssim.
            Pictures of both sides; of protected views, magnitudes alone.
        """
        margin = self.operator.margin
        inner = slice(margin, -margin)
        truth = batch["magnitude"][..., 0].to(self.device)
        magnitude = self.magnitude(outputs["rgb"].to(self.device))
        metrics = {"magnitude_l1": float((magnitude - truth)[inner, inner].abs().mean())}
        pair = [magnitude_picture(m, self.magnitude_maximum) for m in (truth, magnitude)]
        images = {"magnitude": torch.cat(pair, dim=1), "normals": outputs["normals"]}
        if not bool(batch["protected"]):
            photo, rendered = batch["image"].to(self.device), outputs["rgb"].to(self.device)
            a, b = rendered.permute(2, 0, 1)[None], photo.permute(2, 0, 1)[None]
            metrics["psnr"] = float(peak_signal_noise_ratio(a, b, data_range=1.0))
            metrics["ssim"] = float(cast(Tensor, structural_similarity_index_measure(a, b, data_range=1.0)))
            images["img"] = torch.cat([photo, rendered], dim=1)
        return metrics, images
