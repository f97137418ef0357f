"""The paper's own configuration, to compare with."""

from __future__ import annotations

from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.plugins.types import MethodSpecification

from privhead_ns.data.datamanager import PrivheadDataManagerConfig
from privhead_ns.data.pixel_sampler import PhasePixelSamplerConfig
from privhead_ns.paper.model import PaperModelConfig
from privhead_ns.phases import PhaseSchedule
from privhead_ns.pipeline import PrivheadPipelineConfig
from privhead_ns.trainer import PrivheadTrainerConfig

from .privhead import trainer


def paper() -> PrivheadTrainerConfig:
    """Returns the trainer: VolSDF's 1024 rays a step, learning rate, weight of Eq. 4 and 100,000 steps in all."""
    pixels = PhasePixelSamplerConfig(
        neutral_rays=1024, silhouette_rays=0, neutral_rays_in_phase2=0, patches=4, patch_size=16, background_share=1.0
    )
    phases = PhaseSchedule(
        phase1_steps=30_000,
        phase2_steps=70_000,
        steps_for_size=100_000,  # that is, for all sizes
        rgb_in_phase2=0.0,
        eikonal=0.1,
        lipschitz=1e-6,
        gradient=1.0,
        surface_magnitude=0.0,
        final_learning_rate=0.1,
        warm_up_steps=0,
    )
    pipeline = PrivheadPipelineConfig(
        datamanager=PrivheadDataManagerConfig(pixel_sampler=pixels), model=PaperModelConfig(), phases=phases
    )
    config = trainer("privhead-paper", pipeline)
    config.optimizers = {"networks": {"optimizer": AdamOptimizerConfig(lr=5e-4, eps=1e-8), "scheduler": None}}
    return config


privhead_paper = MethodSpecification(
    config=paper(),
    description="The paper's own configuration: VolSDF, for hours on a GPU.",
)
