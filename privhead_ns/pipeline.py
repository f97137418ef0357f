"""The pipeline: sets the phase before every step, and evaluates each kind of view by what is known of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch
from nerfstudio.data.datamanagers.base_datamanager import DataManagerConfig
from nerfstudio.data.utils.dataloaders import FixedIndicesEvalDataloader
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.models.base_model import ModelConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig
from nerfstudio.utils.rich_utils import CONSOLE
from nerfstudio.viewer.viewer_elements import ViewerText
from rich.progress import track

from privhead_ns.checkpoint import EXTRA_STATE
from privhead_ns.data.datamanager import PrivheadDataManager, PrivheadDataManagerConfig
from privhead_ns.data.dataset import PrivheadDataset
from privhead_ns.data.description import PLAIN
from privhead_ns.errors import UserError
from privhead_ns.model.agreement import Agreement
from privhead_ns.model.field import HeadField
from privhead_ns.model.model import PrivheadModel, PrivheadModelConfig
from privhead_ns.opening_view import OpeningView
from privhead_ns.optimizer import DampedAdamConfig
from privhead_ns.phases import PhaseSchedule
from privhead_ns.start import start_sdf

PAINTED = "This checkpoint holds the colours that training painted on what is sensitive"
CANNOT_FORGET = f"{PAINTED}, and this method cannot forget them: keep the run on this machine."


@dataclass
class PrivheadPipelineConfig(VanillaPipelineConfig):
    """Two phases of training on a protected capture."""

    _target: type = field(default_factory=lambda: PrivheadPipeline)
    """Class to instantiate."""
    datamanager: DataManagerConfig = field(default_factory=PrivheadDataManagerConfig)
    """Rays and pixels."""
    model: ModelConfig = field(default_factory=PrivheadModelConfig)
    """Field and losses."""
    phases: PhaseSchedule = field(default_factory=PhaseSchedule)
    """When each phase runs, and with which weights."""


class PrivheadPipeline(VanillaPipeline):
    """Data manager and model under one schedule."""

    config: PrivheadPipelineConfig
    datamanager: PrivheadDataManager

    def __init__(self, config: PrivheadPipelineConfig, *args, **kwargs) -> None:
        super().__init__(config, *args, **kwargs)
        dataset = self.datamanager.train_dataset
        assert dataset is not None
        views = [index for index, hidden in enumerate(dataset.protected) if hidden] or list(range(len(dataset)))
        pose = dataset.cameras.camera_to_worlds[views[len(views) // 2]]
        self.opening_view = OpeningView(pose, dataset.scene_box.aabb.mean(dim=0))
        if self.test_mode == "val" and isinstance(self.model.field, HeadField):
            self.look_at_views(dataset)
        self.progress = ViewerText("Training", "not started", disabled=True)
        self.set_step(0)

    def look_at_views(self, dataset: PrivheadDataset) -> None:
        """Gives the model what it compares patches of, and starts from silhouettes and template."""
        cameras = dataset.cameras.to("cpu")
        wanted = ("magnitude", "interior")
        views = [{key: view[key] for key in wanted} for view in (dataset[index] for index in range(len(dataset)))]
        lenses = torch.cat([cameras.fx, cameras.fy, cameras.cx, cameras.cy], dim=-1)
        magnitudes, interior = (torch.stack([view[key][..., 0] for view in views]) for key in wanted)
        agreement = Agreement(magnitudes, interior, cameras.camera_to_worlds, lenses)
        cast(PrivheadModel, self.model).compare_patches(agreement)
        if (sdf := start_sdf(dataset)) is not None:
            cast(HeadField, self.model.field).start_as(sdf)

    def set_step(self, step: int) -> None:
        """Brings data, losses, β and viewer to the phase of a step."""
        phases = self.config.phases
        self.datamanager.phase = phases.phase(step)
        model = cast(PrivheadModel, self.model)
        model.set_schedule(phases.weights(step), phases.beta(step))
        sees = "colour of neutral views" if phases.phase(step) == 1 else "magnitude of protected views"
        self.progress.value = f"phase {phases.phase(step)} ({sees}), step {step} of {phases.total_steps}"

    def forget_painted_colors(self) -> bool:
        """Forgets the colours that training painted where no neutral view looks; returns whether there were such.

        Raises:
            UserError: if the model cannot forget.
        """
        model, dataset = cast(PrivheadModel, self.model), self.datamanager.train_dataset
        assert dataset is not None
        if not model.painted:
            return False
        if not model.can_forget:
            raise UserError(CANNOT_FORGET)
        neutral = [index for index, hidden in enumerate(dataset.protected) if not hidden]
        cameras = dataset.cameras.to(self.device)
        shown = track(neutral, "Forgetting the colours of the face", console=CONSOLE, transient=True)
        model.forget_all_but(cameras.generate_rays(view).flatten() for view in shown)
        return True

    def restore(self, loaded_state: dict, step: int) -> None:
        """Loads a checkpoint, and sets the phase of its step.

        Raises:
            UserError: if it was trained on another capture, with other settings of the model or by an older version.
        """
        check_version(loaded_state)
        try:
            super().load_pipeline(loaded_state, step)
        except RuntimeError as error:
            raise UserError(
                "The checkpoint does not fit the model: give the flags under --pipeline.model that it was trained with."
            ) from error
        self.set_step(step)

    def load_pipeline(self, loaded_state: dict, step: int) -> None:
        """Loads a checkpoint as `restore` does; says so, outside training, if colours are painted in it."""
        self.restore(loaded_state, step)
        if self.test_mode != "val":
            warn_if_painted(cast(PrivheadModel, self.model))

    def get_training_callbacks(self, attributes: TrainingCallbackAttributes) -> list[TrainingCallback]:
        """Adds the one that sets phase and learning rates before every step, as functions of nothing but the step."""
        optimizers = attributes.optimizers
        assert optimizers is not None and self.datamanager.train_dataset is not None
        hides_views = any(self.datamanager.train_dataset.protected)
        masked = cast(PrivheadModel, self.model).background is None  # else training starts far from the head

        def start_step(step: int) -> None:
            self.set_step(step)
            if self.config.phases.phase(step) == 2 and hides_views:
                cast(PrivheadModel, self.model).painted = True
            for name, optimizer in optimizers.optimizers.items():
                config, factor = optimizers.config[name]["optimizer"], self.config.phases.learning_rate(step, name)
                for group in optimizer.param_groups:
                    group["lr"] = config.lr * factor
                    if isinstance(config, DampedAdamConfig):
                        group["damping"] = config.damping * masked

        callback = TrainingCallback(
            [TrainingCallbackLocation.BEFORE_TRAIN_ITERATION], start_step, update_every_num_iters=1
        )
        return [callback, *super().get_training_callbacks(attributes)]

    def get_average_eval_image_metrics(
        self, step: int | None = None, output_path: Path | None = None, get_std: bool = False
    ) -> dict[str, float]:
        """Averages the metrics over neutral and over protected views; the names tell which."""
        dataset = self.datamanager.eval_dataset
        metrics: dict[str, float] = {}
        for kind, wanted in (("neutral", False), ("protected", True)):
            indices = [i for i, protected in enumerate(dataset.protected) if protected is wanted]
            if not indices:
                continue
            views = FixedIndicesEvalDataloader(
                dataset, cast(tuple[int], tuple(indices)), device=self.device, num_workers=0
            )
            averages = self.get_average_image_metrics(views, kind, step, output_path, get_std)
            metrics |= {f"{kind}_{name}": value for name, value in averages.items()}
        return metrics


def check_version(pipeline_state: dict) -> None:
    """Checks that a checkpoint tells of its capture what a model is built of.

    Raises:
        UserError: if not, for an older version wrote it.
    """
    capture = pipeline_state.get(EXTRA_STATE, {}).get("capture", {})
    if not set(PLAIN) <= set(capture):
        raise UserError("The checkpoint was written by an older version of privhead-ns: train again.")


def painted_warning(model: PrivheadModel) -> str:
    """Returns what to do about the colours that training painted on the face; empty if there are none."""
    if not model.painted:
        return ""
    advice = "before the run leaves this machine, run `privhead forget` with --load-config and its config.yml."
    return f"{PAINTED}: {advice}" if model.can_forget else CANNOT_FORGET


def warn_if_painted(model: PrivheadModel) -> None:
    """Prints `painted_warning`."""
    if warning := painted_warning(model):
        CONSOLE.print(warning, style="bold yellow", soft_wrap=True, highlight=False)
