"""Nerfstudio's data manager with the phase of training, which selects the pixels of a step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from nerfstudio.cameras.rays import RayBundle
from nerfstudio.configs.dataparser_configs import AnnotatedDataParserUnion
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager, VanillaDataManagerConfig
from nerfstudio.data.pixel_samplers import PixelSamplerConfig

from privhead_ns.data.dataparser import PrivheadDataParserConfig
from privhead_ns.data.dataset import PrivheadDataset
from privhead_ns.data.pixel_sampler import PhasePixelSampler, PhasePixelSamplerConfig
from privhead_ns.data.rays import PinholeRayGenerator


@dataclass
class PrivheadDataManagerConfig(VanillaDataManagerConfig):
    """Rays and pixels of a protected capture."""

    _target: type = field(default_factory=lambda: PrivheadDataManager)
    """Class to instantiate."""
    dataparser: AnnotatedDataParserUnion = field(default_factory=PrivheadDataParserConfig)
    """Reads the protected capture."""
    pixel_sampler: PixelSamplerConfig = field(default_factory=PhasePixelSamplerConfig)
    """Draws the pixels of a step."""
    images_on_gpu: bool = True
    """Whether to keep the images on the GPU."""
    masks_on_gpu: bool = True
    """Whether to keep the masks on the GPU."""


class PrivheadDataManager(VanillaDataManager[PrivheadDataset]):
    """Samples pixels of neutral views in phase 1, and also patches of protected views in phase 2.

    Outside training (exporters request training rays too) pixels of all views are sampled uniformly.
    """

    phase: int = 1
    """Phase of the next training step; the pipeline sets it before each."""

    def setup_train(self) -> None:
        """Sets up training data, with a ray generator that never makes a GPU wait."""
        super().setup_train()
        assert self.train_dataset is not None
        self.train_ray_generator = PinholeRayGenerator(self.train_dataset.cameras.to(self.device))

    def _get_pixel_sampler(self, dataset: PrivheadDataset, num_rays_per_batch: int) -> PhasePixelSampler:
        """Returns a sampler whose patches leave room for the capture's σ."""
        margin = dataset.metadata["operator"].setup().margin
        return self.config.pixel_sampler.setup(num_rays_per_batch=num_rays_per_batch, margin=margin)

    def get_train_rays_per_batch(self) -> int:
        """Returns the number of rays of the current step."""
        return cast(PhasePixelSampler, self.train_pixel_sampler).num_rays

    def next_train(self, step: int) -> tuple[RayBundle, dict]:
        """Returns the rays and pixels of a training step."""
        sampler = cast(PhasePixelSampler, self.train_pixel_sampler)
        sampler.phase = self.phase if self.training else None
        return super().next_train(step)
