"""The mesh of a trained run, in the capture's own frame."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

import numpy as np
import torch
import trimesh
from nerfstudio.utils.rich_utils import CONSOLE

from privhead_ns.capture.raw import load_raw_capture
from privhead_ns.checkpoint import (
    EXTRA_STATE,
    checkpoints,
    find_checkpoint,
    fitting,
    is_painted,
    read_checkpoint,
    unfinished_elsewhere,
)
from privhead_ns.data.description import restore
from privhead_ns.data.frame import TrainingFrame
from privhead_ns.errors import UserError
from privhead_ns.limits import check_settings
from privhead_ns.mesh.extract import extract_mesh
from privhead_ns.mesh.files import check_target, save_mesh
from privhead_ns.model.model import PrivheadModel
from privhead_ns.pipeline import PrivheadPipelineConfig, check_version, warn_if_painted
from privhead_ns.trainer import PrivheadTrainerConfig, read_own_config


def export_mesh(
    load_config: Path,
    output_path: Path,
    resolution: int,
    millimetres: bool,
    load_step: int | None = None,
    frame_of: Path | None = None,
) -> trimesh.Trimesh:
    """Extracts the surface of a trained head and writes it.

    Args:
        load_config: config.yml of the training run.
        output_path: mesh file to write.
        resolution: voxels along the longest side of the head's box.
        millimetres: whether to write millimetres instead of the capture's units.
        load_step: step of the checkpoint to load; None for the latest.
        frame_of: raw capture in whose geographic frame the mesh is written; None for that of the protected capture.

    Returns:
        The mesh as written.

    Raises:
        UserError: if a path or the resolution is wrong, the run is not of this package, has no checkpoint or no
            surface, or the capture does not know its scale.
    """
    check_target(output_path)
    origin = np.zeros(3) if frame_of is None else load_raw_capture(frame_of).origin
    if origin.any() and output_path.suffix.lower() != ".obj":
        raise UserError(
            f"{output_path} must end in .obj: the frame of {frame_of} is geographic, and other formats store "
            "coordinates in single precision, which rounds those."
        )
    model = load_model(load_config, load_step)
    scale = model.kwargs["metadata"]["mm_per_unit"]
    if millimetres and scale is None:
        raise UserError("--millimetres needs a scale: add mm_per_unit to the raw transforms.json and protect it again.")
    mesh = surface(model, resolution)
    mesh.apply_translation(origin)
    if millimetres:
        mesh.apply_scale(scale)
    save_mesh(mesh, output_path)
    return mesh


def newest(load_config: Sequence[Path]) -> Path:
    """Returns the config.yml that was written last, and prints it if there are several.

    Raises:
        UserError: if there is none, or one is missing.
    """
    if not load_config:
        raise UserError("--load-config needs the config.yml that ns-train wrote.")
    for path in load_config:
        if not path.is_file():
            raise UserError(f"There is no file {path}; --load-config needs the config.yml that ns-train wrote.")
    chosen = max(load_config, key=lambda path: path.stat().st_mtime)
    if len(load_config) > 1:
        CONSOLE.print(f"Of {len(load_config)} runs, the newest: {chosen}", soft_wrap=True, highlight=False)
    return chosen


def read_config(load_config: Path) -> PrivheadTrainerConfig:
    """Reads a run's config.yml, whoever wrote it.

    Raises:
        UserError: if there is no such run, it is not of this package, or names what no run of it does.
    """
    newest([load_config])
    config = read_own_config(load_config)
    check_settings(config.pipeline, load_config)
    config.locate(load_config.parent)
    return config


def load_model(load_config: Path, load_step: int | None = None) -> PrivheadModel:
    """Loads the model of a training run from its checkpoint alone; the capture is not needed.

    Raises:
        UserError: if there is no such run, it is not of this package, or has no checkpoint.
    """
    config = read_config(load_config)
    step, path = find_checkpoint(load_config.parent, load_step, "--load-config needs a run that has been trained")
    state = read_checkpoint(path)["pipeline"]
    pipeline = cast(PrivheadPipelineConfig, config.pipeline)
    with fitting(load_config, path):
        check_version(state)
        metadata, scene_box = restore(state[EXTRA_STATE]["capture"])
        model: PrivheadModel = pipeline.model.setup(
            scene_box=scene_box, num_train_data=len(metadata["protected"]), metadata=metadata
        )
        model.load_state_dict({key.removeprefix("_model."): value for key, value in state.items()})
        if not torch.allclose(model.field.aabb, scene_box.aabb):
            raise ValueError("the field's box is another's")
        model.set_schedule(pipeline.phases.weights(step), pipeline.phases.beta(step))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    warn_if_painted(model)
    return model.to(device).eval()


def warn_of_earlier(load_config: Path) -> None:
    """Prints which earlier checkpoints of a run hold colours painted on the face: a killed training may leave some.

    One that another machine has not finished may hold them, too.
    """
    run, warnings = load_config.parent, []
    for path in list(checkpoints(run).values())[:-1]:
        with suppress(UserError):  # a broken one
            if is_painted(path):
                advice = "run `privhead forget` before the run leaves this machine."
                warnings.append(f"{path} holds colours that training painted on what is sensitive: {advice}")
    for path in unfinished_elsewhere(run):
        advice = "remove it before the run leaves this machine, unless a training there still writes it."
        warnings.append(f"{path} was begun by another machine and may hold painted colours: {advice}")
    for warning in warnings:
        CONSOLE.print(warning, style="bold yellow", soft_wrap=True, highlight=False)


@torch.no_grad()
def surface(model: PrivheadModel, resolution: int) -> trimesh.Trimesh:
    """Returns the zero level of a model's signed distance, in the capture's frame and units; faces look to cameras."""
    sdf, aabb = model.field.sdf_function(), model.field.aabb
    mesh = extract_mesh(sdf, aabb, resolution, model.device, inside_out=model.room)
    frame: TrainingFrame = model.kwargs["metadata"]["frame"]
    mesh.vertices = frame.to_capture(mesh.vertices)
    return mesh
