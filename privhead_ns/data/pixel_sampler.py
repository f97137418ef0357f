"""Samples the pixels of a training step: single pixels of neutral views, patches of protected views."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from nerfstudio.data.pixel_samplers import PixelSampler, PixelSamplerConfig
from torch import Tensor

Pixels = Int[Tensor, "n 3"]
"""Rows of (image, y, x), images numbered as they lie in the batch."""


@dataclass
class PhasePixelSamplerConfig(PixelSamplerConfig):
    """Samples pixels according to the phase of training."""

    _target: type = field(default_factory=lambda: PhasePixelSampler)
    """Class to instantiate."""
    neutral_rays: int = 384
    """Pixels of neutral views per step of phase 1."""
    silhouette_rays: int = 256
    """Pixels of protected views per step of phase 1, where only the silhouette counts."""
    neutral_rays_in_phase2: int = 256
    """Pixels of neutral views per step of phase 2; of protected ones where there are no neutral views."""
    patches: int = 4
    """Patches of protected views per step of phase 2."""
    patch_size: int = 14
    """Edge of a patch in pixels; σ is compared one pixel within it, and a σ that blurs gets so much larger patches."""
    background_share: float = 0.15
    """Share of the neutral pixels drawn from all over the image; the others lie on the head or near its outline."""
    outline_width: int = 4
    """Distance from the head, in pixels, that counts as near its outline."""


class PhasePixelSampler(PixelSampler):
    """Draws pixels from Nerfstudio's cached images.

    `phase` is 1 or 2 in training and None otherwise: then pixels come from all views alike, as exporters expect.

    Args:
        config: numbers and sizes.
        margin: pixels that σ loses on each side of a patch.
        kwargs: what Nerfstudio gives its samplers.
    """

    config: PhasePixelSamplerConfig
    phase: int | None = None

    def __init__(self, config: PhasePixelSamplerConfig, margin: int = 1, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self.margin = margin
        self.num_rays = self.num_rays_per_batch
        """Rays of the last step, which Nerfstudio reports per second."""
        self.pools: dict[str, Tensor] = {}

    def sample(self, image_batch: dict[str, Tensor]) -> dict[str, Any]:
        """Draws the pixels of one step.

        Returns:
            indices: (n, 3), dataset index of the image, y and x; patches come last, row by row.
            image, magnitude, known, sigma_known, interior, mask, protected: the pixels' values, as
                `PrivheadDataset.get_data` tells them.
            patches: (number, edge, edge) of the patches; only in phase 2.
        """
        if self.phase is None:
            return self.gather(image_batch, self.uniform(image_batch["image"], self.num_rays_per_batch))
        self.fill_pools(image_batch)
        if self.phase == 1:
            pixels = [self.draw("neutral", self.config.neutral_rays)]
            if "mask" in image_batch:
                pixels.append(self.draw("protected", self.config.silhouette_rays))
            return self.gather(image_batch, torch.cat(pixels))
        kind = "neutral" if len(self.pools["neutral"]) else "protected"
        pixels = self.draw(kind, self.config.neutral_rays_in_phase2)
        if self.config.patches == 0:
            return self.gather(image_batch, pixels)
        patches = self.patches(image_batch["image"].shape)
        return self.gather(image_batch, torch.cat([pixels, patches.flatten(0, 2)])) | {"patches": patches.shape[:3]}

    def fill_pools(self, image_batch: dict[str, Tensor]) -> None:
        """Lists, once, the pixels to draw from; Nerfstudio hands out the same cached batch every step."""
        if self.pools:
            return
        protected = image_batch["protected"]
        known = image_batch["known"][..., 0] > 0
        near = known
        if "mask" in image_batch:
            near = known & grow(image_batch["mask"] > 0, self.config.outline_width)
        self.pools = {
            "neutral": listed(known & ~protected[:, None, None]),
            "neutral head": listed(near & ~protected[:, None, None]),
            "protected": listed(known & protected[:, None, None]),
            "protected head": listed(near & protected[:, None, None]),
        }

    def draw(self, kind: Literal["neutral", "protected"], number: int) -> Pixels:
        """Draws known pixels of one kind of views, most of them on or near the head; none if there is no such view."""
        if not len(self.pools[kind]):
            return self.pools[kind].long()
        anywhere = round(number * self.config.background_share)
        return torch.cat([draw(self.pools[f"{kind} head"], number - anywhere), draw(self.pools[kind], anywhere)])

    def patches(self, shape: torch.Size) -> Int[Tensor, "patches edge edge 3"]:
        """Draws square patches of protected views that lie inside the image, about pixels on or near the head."""
        edge = min(self.config.patch_size + 2 * (self.margin - 1), *shape[1:3])
        image, y, x = draw(self.pools["protected head"], self.config.patches).unbind(-1)
        offsets = torch.arange(edge, device=y.device)
        rows = (y - edge // 2).clamp(0, shape[1] - edge)[:, None, None] + offsets[:, None]
        columns = (x - edge // 2).clamp(0, shape[2] - edge)[:, None, None] + offsets
        return torch.stack(torch.broadcast_tensors(image[:, None, None], rows, columns), dim=-1)

    def uniform(self, images: Tensor, number: int) -> Pixels:
        """Samples pixels of all views uniformly."""
        sizes = torch.tensor(images.shape[:3], device=images.device)
        return (torch.rand(number, 3, device=images.device) * sizes).long()

    def gather(self, image_batch: dict[str, Tensor], pixels: Pixels) -> dict[str, Any]:
        """Returns the values at the pixels, and the pixels with the dataset's numbers for the images."""
        self.num_rays = len(pixels)
        image, y, x = pixels.unbind(-1)
        keys = ("image", "magnitude", "known", "sigma_known", "interior", "mask")
        batch = {key: image_batch[key][image, y, x] for key in keys if key in image_batch}
        numbers = image_batch["image_idx"].to(pixels.device)[image]
        return batch | {"protected": image_batch["protected"][image], "indices": torch.stack([numbers, y, x], dim=-1)}


def draw(pool: Pixels, number: int) -> Pixels:
    """Draws rows with replacement; the pool may be empty if none are wanted."""
    return pool[torch.randint(max(1, len(pool)), (number,), device=pool.device)].long()


def listed(mask: Bool[Tensor, "images height width"]) -> Int[Tensor, "n 3"]:
    """Returns image, y and x of the pixels that are set, in a quarter of the memory that `nonzero` takes."""
    return torch.cat([F.pad(image.nonzero().short(), (1, 0), value=number) for number, image in enumerate(mask)])


def grow(mask: Bool[Tensor, "images height width 1"], width: int) -> Bool[Tensor, "images height width"]:
    """Adds to each mask the pixels up to `width` away."""
    return F.max_pool2d(mask.permute(0, 3, 1, 2).float(), 2 * width + 1, stride=1, padding=width)[:, 0] > 0
