"""The mesh of a trained run, in the capture's own frame."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import trimesh
from nerfstudio.utils.eval_utils import eval_setup

from privhead_ns.capture.raw import load_raw_capture
from privhead_ns.errors import UserError
from privhead_ns.mesh.extract import extract_mesh
from privhead_ns.mesh.files import check_target, save_mesh
from privhead_ns.model.model import PrivheadModel


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


def load_model(load_config: Path, load_step: int | None = None) -> PrivheadModel:
    """Loads the model of a training run.

    Raises:
        UserError: if there is no such run, it is not of this package, or has no checkpoint.
    """
    if not load_config.is_file():
        raise UserError(f"There is no file {load_config}; --load-config wants the config.yml that ns-train wrote.")
    wanted = "*.ckpt" if load_step is None else f"step-{load_step:09d}.ckpt"
    if not any((load_config.parent / "nerfstudio_models").glob(wanted)):
        raise UserError(f"There is no checkpoint {wanted} beside {load_config}; train first, or choose another.")
    _, pipeline, _, _ = eval_setup(
        load_config, test_mode="inference", update_config_callback=lambda run: replace(run, load_step=load_step)
    )
    model = pipeline.model
    if not isinstance(model, PrivheadModel):
        raise UserError(f"{load_config} belongs to another method; give the config.yml of an `ns-train privhead` run.")
    return model


@torch.no_grad()
def surface(model: PrivheadModel, resolution: int) -> trimesh.Trimesh:
    """Returns the zero level of a model's signed distance, in the capture's frame and units."""
    return extract_mesh(model.field.sdf_function(), model.field.aabb, resolution, model.device)
