"""The methods that `ns-train` lists."""

from __future__ import annotations

import torch
from nerfstudio.configs.base_config import MachineConfig, ViewerConfig
from nerfstudio.engine.optimizers import OptimizerConfig
from nerfstudio.plugins.types import MethodSpecification

from privhead_ns.benchmark.full_rgb import FullRgbDataManagerConfig
from privhead_ns.data.pixel_sampler import PhasePixelSamplerConfig
from privhead_ns.model.model import PrivheadModelConfig
from privhead_ns.optimizer import DampedAdamConfig, FusedAdamConfig
from privhead_ns.phases import PhaseSchedule
from privhead_ns.pipeline import PrivheadPipelineConfig
from privhead_ns.trainer import PrivheadTrainerConfig


def optimizers() -> dict:
    """Returns a fresh set of optimizers; the schedule of the phases scales their learning rates."""
    rates = {
        "features": 0.005,
        "color_network": 0.005,
        "lipschitz_bounds": 0.02,
        "gains": 0.002,
        "movements": 0.00005,
    }
    configs: dict[str, OptimizerConfig] = {name: FusedAdamConfig(lr=rate) for name, rate in rates.items()}
    configs["sdf"] = DampedAdamConfig(lr=0.001)
    return {name: {"optimizer": config, "scheduler": None} for name, config in configs.items()}


def trainer(method_name: str, pipeline: PrivheadPipelineConfig) -> PrivheadTrainerConfig:
    """Returns the trainer of a method: on the GPU if there is one, and watched by nobody but this machine."""
    return PrivheadTrainerConfig(
        method_name=method_name,
        pipeline=pipeline,
        optimizers=optimizers(),
        steps_per_save=500,
        steps_per_eval_batch=0,
        steps_per_eval_image=500,
        steps_per_eval_all_images=0,
        mixed_precision=False,
        machine=MachineConfig(device_type="cuda" if torch.cuda.is_available() else "cpu"),
        viewer=ViewerConfig(websocket_host="127.0.0.1", quit_on_train_completion=True),
        vis="viewer",
    )


privhead = MethodSpecification(
    config=trainer("privhead", PrivheadPipelineConfig()),
    description="Private head: colour of the rear, gradient magnitudes of the face.",
)


def full_rgb() -> PrivheadPipelineConfig:
    """Returns the pipeline that sees colour everywhere: as many steps, as many rays in each, and no patches."""
    ours = PhasePixelSamplerConfig()
    rays = ours.neutral_rays_in_phase2 + ours.patches * ours.patch_size**2
    return PrivheadPipelineConfig(
        datamanager=FullRgbDataManagerConfig(
            pixel_sampler=PhasePixelSamplerConfig(neutral_rays_in_phase2=rays, patches=0)
        ),
        model=PrivheadModelConfig(curvature_weight=0.1),  # 0.4 is 9 % worse on the scanned head
        phases=PhaseSchedule(lipschitz=0.0, gradient=0.0, surface_magnitude=0.0),
    )


def oracle_trainer() -> PrivheadTrainerConfig:
    """Returns the trainer of full RGB; damping would take it from 0.56 to 0.64 mm on the first rendered head."""
    config = trainer("privhead-rgb", full_rgb())
    config.optimizers["sdf"]["optimizer"] = DampedAdamConfig(lr=0.001, damping=0.0)
    return config


privhead_rgb = MethodSpecification(
    config=oracle_trainer(),
    description="For benchmarks only: the same model on the colours of all photographs, the face's too.",
)
