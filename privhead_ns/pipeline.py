"""The pipeline: sets the phase before every step, and evaluates neutral and protected views separately."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.datamanagers.base_datamanager import DataManagerConfig
from nerfstudio.data.utils.dataloaders import FixedIndicesEvalDataloader
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.models.base_model import ModelConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig
from nerfstudio.utils.rich_utils import CONSOLE
from nerfstudio.viewer.viewer_elements import ViewerText
from rich.progress import track
from torch import Tensor

from privhead_ns.checkpoint import EXTRA_STATE
from privhead_ns.data.datamanager import PrivheadDataManager, PrivheadDataManagerConfig
from privhead_ns.data.dataset import PrivheadDataset
from privhead_ns.data.description import PLAIN
from privhead_ns.errors import UserError
from privhead_ns.model.field import HeadField
from privhead_ns.model.keep_start import keep_start
from privhead_ns.model.model import PrivheadModel, PrivheadModelConfig
from privhead_ns.model.view_dependence import half_angle, painting_share
from privhead_ns.opening_view import OpeningView
from privhead_ns.optimizer import DampedAdamConfig
from privhead_ns.phases import PhaseSchedule
from privhead_ns.start import compare_views, start_sdf

PAINTED = "This checkpoint holds the colours that training painted on what is sensitive"
SILHOUETTE_TOLERANCE, TOLERANCE_WITHOUT_PAINTING = 1.5, 2.0
"""Ratio of the initial to the trained shape's silhouette error up to which the initial one is a shape to go back to,
where painting bends the surface fully and not at all. It is 1.2 to 1.45 for a shiny bronze and a skull, 1.6 for that
bronze with cameras and masks of `privhead prepare`, and 2 for a marble, which is painted fully.
"""
BATCHES = 80
"""Batches of pixels, as training draws them, over which that error is averaged."""
TOLD = 0.5
"""Share of the surface from which on training says that it kept the start; `painting_share` below which it says so."""
WEIGHED = 0.05
"""Share of the steps after which `weigh_painting` measures."""
ROOM_RATE = 2.0
"""Factor on the learning rate of a room's signed distance: its start is farther from the walls than a hull from a head.
"""
UNPAINTED_SIZES = 128, 256
"""Sides of views in pixels between which that factor rises to 2 where painting does not bend the surface. The agreement
of larger views alone moves it slowly; of smaller ones it makes the surface rough.
"""
CANNOT_FORGET = f"{PAINTED}, and this method cannot forget them: keep the run on this machine."


@dataclass
class PrivheadPipelineConfig(VanillaPipelineConfig):
    """Two phases of training on a protected capture."""

    _target: type = field(default_factory=lambda: PrivheadPipeline)
    """Class to instantiate."""
    datamanager: DataManagerConfig = field(default_factory=PrivheadDataManagerConfig)
    """Configuration of the data manager."""
    model: ModelConfig = field(default_factory=PrivheadModelConfig)
    """Configuration of field and losses."""
    phases: PhaseSchedule = field(default_factory=PhaseSchedule)
    """Length, loss weights and learning rates of both phases."""


class PrivheadPipeline(VanillaPipeline):
    """Data manager and model with a common phase schedule."""

    config: PrivheadPipelineConfig
    datamanager: PrivheadDataManager
    start: Float[Tensor, "x y z"] | None = None
    """Signed distances that training starts from, if silhouettes or a template give them."""

    def __init__(self, config: PrivheadPipelineConfig, *args, **kwargs) -> None:
        super().__init__(config, *args, **kwargs)
        dataset = self.datamanager.train_dataset
        assert dataset is not None
        views = [index for index, hidden in enumerate(dataset.protected) if hidden] or list(range(len(dataset)))
        pose = dataset.cameras.camera_to_worlds[views[len(views) // 2]]
        self.opening_view = OpeningView(pose, self.looks_at(pose, dataset))
        if self.test_mode == "val" and isinstance(self.model.field, HeadField):
            self.look_at_views(dataset)
        self.progress = ViewerText("Training", "not started", disabled=True)
        self.set_step(0)

    def looks_at(self, pose: Float[Tensor, "3 4"], dataset: PrivheadDataset) -> Float[Tensor, "3"]:
        """Returns what a camera looks at: the middle of the head's box, or of a room a point before the camera."""
        low, high = dataset.scene_box.aabb
        if cast(PrivheadModel, self.model).room:
            return pose[:, 3] - pose[:, 2] * (high - low).max() / 4
        return (low + high) / 2

    def look_at_views(self, dataset: PrivheadDataset) -> None:
        """Passes magnitudes and cameras to the model, and initialises its field from silhouettes and template."""
        agreement = compare_views(dataset)
        model, head = cast(PrivheadModel, self.model), cast(HeadField, self.model.field)
        if (sdf := start_sdf(dataset, agreement)) is not None:
            head.start_as(sdf, largest_body=not model.room)
            if not model.room:  # whose start is too rough to go back to
                self.start = head.sdf_grids().detach()
        model.compare_patches(agreement)

    def set_step(self, step: int) -> None:
        """Sets phase, loss weights, β and the viewer's text for a step."""
        phases = self.config.phases
        self.datamanager.phase = phases.phase(step)
        model = cast(PrivheadModel, self.model)
        model.set_schedule(phases.weights(step), phases.beta(step))
        sees = "colour of neutral views" if phases.phase(step) == 1 else "magnitude of protected views"
        self.progress.value = f"phase {phases.phase(step)} ({sees}), step {step} of {phases.total_steps}"

    def weigh_painting(self) -> None:
        """Measures how fast views agree less the farther apart they are, and how far painting may bend the surface."""
        model = cast(PrivheadModel, self.model)
        if self.start is None or model.agreement is None or model.background is not None:
            return
        poses = model.corrections.moved(model.agreement.poses).detach()
        angle = half_angle(cast(HeadField, model.field), model.agreement, poses)
        model.painting_share = painting_share(angle)
        if model.painting_share < TOLD:
            tell(
                f"The agreement of views halves within {angle:.0f} degrees, as where a flash moves with the camera or "
                "the head shines: the shape is taken from neighbouring views' agreement and silhouettes above all."
            )

    def shape_rate(self) -> float:
        """Returns the factor on the learning rate of the signed distance."""
        model, (low, high) = cast(PrivheadModel, self.model), UNPAINTED_SIZES
        if model.room or model.agreement is None:
            return ROOM_RATE if model.room else 1.0
        size = max(model.agreement.images.shape[1:3])
        return 1 + min(1.0, max(0.0, (size - low) / (high - low))) * (1 - model.painting_share)

    def keep_start(self) -> None:
        """Restores the initial shape where training did not make the views agree better, and prints how much of it.

        Not if it fits the silhouettes much less well than the trained shape does: then it is no shape to go back to.
        """
        model = cast(PrivheadModel, self.model)
        if self.start is None or model.agreement is None:
            return
        head = cast(HeadField, model.field)
        trained, pixels = head.sdf_grids().detach(), [self.datamanager.next_train(0) for _ in range(BATCHES)]
        error = self.silhouette_error(pixels)
        head.set_sdf(self.start)
        start_error = self.silhouette_error(pixels)
        head.set_sdf(trained)
        tolerance = TOLERANCE_WITHOUT_PAINTING + model.painting_share * (
            SILHOUETTE_TOLERANCE - TOLERANCE_WITHOUT_PAINTING
        )
        if start_error > tolerance * error:
            return
        poses = model.corrections.moved(model.agreement.poses).detach()
        share = keep_start(head, self.start, model.agreement, poses, model.painting_share)
        if share > TOLD:
            tell(
                f"On {share:.0%} of the surface training did not make the views agree better, as where the head shines "
                "or moves: the shape of the start is kept there."
            )

    @torch.no_grad()
    def silhouette_error(self, pixels: list[tuple[RayBundle, dict[str, Any]]]) -> float:
        """Returns the mean difference of opacity and mask over batches of pixels; 0 without masks."""
        errors = []
        for rays, batch in pixels:
            if "mask" not in batch:
                return 0.0
            opacity = self.model(copy(rays))["accumulation"]  # a copy, for training moves rays
            errors.append((opacity - batch["mask"].to(self.device)).abs()[batch["known"].to(self.device) > 0])
        return float(torch.cat(errors).mean())

    def forget_painted_colors(self) -> bool:
        """Removes the colours that training painted where no neutral view looks; returns whether there were any.

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
        """Loads a checkpoint and sets the phase of its step.

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
        """Loads a checkpoint as `restore` does; outside training, warns if it contains painted colours."""
        self.restore(loaded_state, step)
        if self.test_mode != "val":
            warn_if_painted(cast(PrivheadModel, self.model))

    def get_training_callbacks(self, attributes: TrainingCallbackAttributes) -> list[TrainingCallback]:
        """Adds a callback that sets phase and learning rates before every step, of its number and `painting_share`."""
        optimizers = attributes.optimizers
        assert optimizers is not None and self.datamanager.train_dataset is not None
        hides_views = any(self.datamanager.train_dataset.protected)
        model = cast(PrivheadModel, self.model)
        masked = model.background is None and not model.room  # else training starts far from the surface

        def start_step(step: int) -> None:
            self.set_step(step)
            if step == round(WEIGHED * self.config.phases.total_steps):
                self.weigh_painting()
            if self.config.phases.phase(step) == 2 and hides_views:
                model.painted = True
            for name, optimizer in optimizers.optimizers.items():
                config, factor = optimizers.config[name]["optimizer"], self.config.phases.learning_rate(step, name)
                for group in optimizer.param_groups:
                    group["lr"] = config.lr * factor
                    if isinstance(config, DampedAdamConfig):
                        group["damping"] = config.damping * masked
                        group["lr"] *= self.shape_rate()

        def end_step(step: int) -> None:
            if step + 1 == self.config.phases.total_steps:
                self.keep_start()

        before, after = TrainingCallbackLocation.BEFORE_TRAIN_ITERATION, TrainingCallbackLocation.AFTER_TRAIN_ITERATION
        callbacks = [
            TrainingCallback([before], start_step, update_every_num_iters=1),
            TrainingCallback([after], end_step, update_every_num_iters=1),
        ]
        return [*callbacks, *super().get_training_callbacks(attributes)]

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
    """Checks that a checkpoint describes its capture well enough to build the model.

    Raises:
        UserError: if not, for an older version wrote it.
    """
    capture = pipeline_state.get(EXTRA_STATE, {}).get("capture", {})
    if not set(PLAIN) <= set(capture):
        raise UserError("The checkpoint was written by an older version of privhead-ns: train again.")


def painted_warning(model: PrivheadModel) -> str:
    """Returns a warning about colours that training painted on the face; empty if there are none."""
    if not model.painted:
        return ""
    advice = "before the run leaves this machine, run `privhead forget` with --load-config and its config.yml."
    return f"{PAINTED}: {advice}" if model.can_forget else CANNOT_FORGET


def warn_if_painted(model: PrivheadModel) -> None:
    """Prints `painted_warning`."""
    if warning := painted_warning(model):
        tell(warning)


def tell(message: str) -> None:
    """Prints what the user should know of a run."""
    CONSOLE.print(message, style="bold yellow", soft_wrap=True, highlight=False)
