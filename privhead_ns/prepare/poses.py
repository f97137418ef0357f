"""Estimates the cameras of photographs from the photographs themselves, with COLMAP (Schönberger and Frahm 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pycolmap

from privhead_ns.capture.camera import Intrinsics
from privhead_ns.prepare.matches import LEAST_INLIERS
from privhead_ns.prepare.photographs import Photograph
from privhead_ns.prepare.posed import PosedCapture, PosedPhotograph

LEAST_POINTS = 50
"""Points that a photograph must see for a focal length of its own."""
SEED = 0


def estimate_cameras(database: Path) -> pycolmap.Reconstruction | None:
    """Estimates cameras and points from matches; of several models the largest counts.

    Args:
        database: of `find_matches`.

    Returns:
        The model, in the pixels of the pictures of features; None if no two photographs go together.
    """
    options = pycolmap.IncrementalPipelineOptions()
    options.random_seed, options.mapper.random_seed, options.triangulation.random_seed = SEED, SEED, SEED
    options.extract_colors = False
    options.min_num_matches = LEAST_INLIERS
    options.mapper.abs_pose_min_num_inliers = 12
    options.mapper.init_min_num_inliers = 40
    options.mapper.abs_pose_min_inlier_ratio = 0.15
    models = pycolmap.incremental_mapping(database, database.parent, database.parent, options)
    if not models:
        return None
    return max(models.values(), key=lambda model: model.num_reg_images())


def free_focal_lengths(model: pycolmap.Reconstruction) -> None:
    """Gives each photograph that sees enough a focal length of its own, as autofocus changes it, and adjusts all."""
    for image in list(model.images.values()):
        if image.num_points3D < LEAST_POINTS:
            continue
        raise NotImplementedError
    pycolmap.bundle_adjustment(model)


def posed_capture(model: pycolmap.Reconstruction, photographs: Sequence[Photograph]) -> PosedCapture:
    """Returns the photographs that a model has cameras for, with the cameras at the photographs' own resolution."""
    by_name = {f"{photograph.name}.png": photograph for photograph in photographs}
    posed = []
    for image in sorted(model.images.values(), key=lambda image: image.name):
        if not image.has_pose:
            continue
        photograph = by_name[image.name]
        pose = np.eye(4)
        pose[:3] = image.cam_from_world().inverse().matrix()
        pose[:3, 1:3] *= -1  # OpenCV's axes to OpenGL's
        camera = model.cameras[image.camera_id]
        intrinsics = _intrinsics(camera).scaled(*photograph.size)
        posed.append(PosedPhotograph(photograph.path, pose, intrinsics))
    points = np.array([point.xyz for point in model.points3D.values()])
    return PosedCapture(tuple(posed), surface_points=points)


def _intrinsics(camera: pycolmap.Camera) -> Intrinsics:
    focal, cx, cy, radial = camera.params
    return Intrinsics(camera.width, camera.height, focal, focal, cx, cy, (radial, 0.0, 0.0, 0.0, 0.0))
