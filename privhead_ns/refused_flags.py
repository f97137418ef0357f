"""Flags of ns-train that are refused: they would upload data or cannot work."""

from __future__ import annotations

from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.engine.trainer import TrainerConfig

from privhead_ns.errors import UserError
from privhead_ns.limits import check_settings


def check_flags(config: TrainerConfig, allow_cloud_logging: bool) -> None:
    """Checks the flags of a training run.

    Args:
        config: the run's configuration.
        allow_cloud_logging: whether data may be uploaded.

    Raises:
        UserError: if a flag is refused.
    """
    if (config.is_wandb_enabled() or config.is_comet_enabled()) and not allow_cloud_logging:
        raise UserError(
            f"--vis {config.vis} uploads the configuration and rendered pictures of the head: use --vis "
            "viewer+tensorboard, or say --allow-cloud-logging True."
        )
    check_settings(config.pipeline)
    check_not_shared(config.viewer, allow_cloud_logging)
    if config.machine.num_devices * config.machine.num_machines > 1:
        raise UserError(
            "A head is trained on one device: leave --machine.num-devices and --machine.num-machines out, and use "
            "`privhead batch` to train several heads at a time."
        )
    if config.mixed_precision:
        raise UserError("Signed distances need single precision: leave --mixed-precision out.")
    if config.logging.profiler == "pytorch":
        raise UserError("--logging.profiler pytorch writes this machine's paths into the run: use basic.")


def check_not_shared(viewer: ViewerConfig, allowed: bool) -> None:
    """Checks that a viewer has no public address, unless that is allowed.

    Raises:
        UserError: if it has.
    """
    if viewer.make_share_url and not allowed:
        raise UserError(
            "--viewer.make-share-url shows the head to whoever finds the address: leave it out, or train with "
            "--allow-cloud-logging True."
        )
