"""Estimates the cameras of photographs from the photographs themselves, with COLMAP (Schönberger and Frahm 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pycolmap
from rich.console import Console

from privhead_ns.capture.camera import Intrinsics, look_at_centre
from privhead_ns.capture.undistort import undistorted
from privhead_ns.errors import UserError
from privhead_ns.prepare.matches import LEAST_INLIERS, Offsets, picture_name
from privhead_ns.prepare.native_output import silenced
from privhead_ns.prepare.photographs import Photograph
from privhead_ns.prepare.posed import PosedCapture, PosedPhotograph

LEAST_REGISTERED, LEAST_SHARE = 8, 0.5
"""Photographs that must go together, and their share of all."""
BETTER = 0.95
"""Squared reprojection error with a focal length for each photograph, over that with one for all, below which each
gets its own. It is 0.70 for 70 photographs with autofocus, 0.99 for 66 from a turntable."""
FOCAL = (0.3, 15.0)
"""Focal lengths that lenses have, over the picture's longer side."""
ADVICE = (
    "photograph the head from all sides, a step of 10 to 15 degrees apart, sharp and in even light, and let "
    "neighbouring photographs overlap by two thirds"
)
SEED = 0


def estimate_cameras(database: Path, photographs: int, console: Console) -> pycolmap.Reconstruction:
    """Estimates cameras and points from matches; of several models the largest counts.

    Args:
        database: of `find_matches`.
        photographs: number of them.
        console: where progress is shown.

    Returns:
        The model, in the pixels of the pictures in which features were found.

    Raises:
        UserError: if too few photographs go together.
    """
    options = pycolmap.IncrementalPipelineOptions()
    options.random_seed = options.mapper.random_seed = options.triangulation.random_seed = SEED
    options.extract_colors = False
    options.min_num_matches = LEAST_INLIERS
    options.mapper.init_min_num_inliers = 40
    options.mapper.abs_pose_min_num_inliers = 12
    options.mapper.abs_pose_min_inlier_ratio = 0.15
    with console.status("Estimating cameras"):
        models = pycolmap.incremental_mapping(database, database.parent, database.parent, options)
    model = max(models.values(), key=lambda model: model.num_reg_images(), default=None)
    registered = 0 if model is None else model.num_reg_images()
    if model is None or registered < max(LEAST_REGISTERED, LEAST_SHARE * photographs):
        raise UserError(
            f"Only {registered} of {photographs} photographs go together, too few for a head: {ADVICE}; a head needs "
            "at least 20."
        )
    return _with_own_focal_lengths(model)


def posed_capture(
    model: pycolmap.Reconstruction, photographs: Sequence[Photograph], offsets: Offsets | None = None
) -> PosedCapture:
    """Returns the photographs that a model has possible cameras for, in their order, at their own resolution.

    Args:
        model: the cameras.
        photographs: all, also those without a camera.
        offsets: what was subtracted from the features' places.

    Raises:
        UserError: if they are too few, or do not look at a common point.
    """
    images = {image.name: image for image in model.images.values() if image.has_pose}
    posed = []
    for index, photograph in enumerate(photographs):
        if (image := images.get(picture_name(index))) is None:
            continue
        pose = np.eye(4)
        pose[:3] = image.cam_from_world().inverse().matrix()
        pose[:3, 1:3] *= -1  # OpenCV's axes to OpenGL's
        across, down = (offsets or {}).get(image.image_id, (0.0, 0.0))
        intrinsics = _intrinsics(model.cameras[image.camera_id], across, down).scaled(*photograph.size)
        if _possible(intrinsics):
            posed.append(PosedPhotograph(photograph.path, pose, intrinsics))
    if len(posed) < LEAST_REGISTERED:
        raise UserError(f"The cameras that were found are impossible: {ADVICE}.")
    points = np.array([point.xyz for point in model.points3D.values()])
    try:
        look_at_centre(np.stack([photograph.camera_to_world for photograph in posed]))
    except UserError:
        raise UserError(f"The cameras that were found do not look at one head: {ADVICE}.") from None
    return PosedCapture(tuple(posed), surface_points=points)


def _with_own_focal_lengths(model: pycolmap.Reconstruction) -> pycolmap.Reconstruction:
    """Returns the model with a camera for each photograph where that explains much more: autofocus and zoom change the
    focal length from one photograph to the next. A head that fills no depth leaves it open, and keeps one for all.
    """
    freed = pycolmap.Reconstruction()
    for image in model.images.values():
        if image.has_pose:
            shared = model.cameras[image.camera_id]
            own = pycolmap.Camera(
                camera_id=image.image_id,
                model=shared.model,
                width=shared.width,
                height=shared.height,
                params=shared.params,
            )
            freed.add_camera_with_trivial_rig(own)
            points = [pycolmap.Point2D(point.xy) for point in image.points2D]
            copy = pycolmap.Image(name=image.name, points2D=points, camera_id=own.camera_id, image_id=image.image_id)
            freed.add_image_with_trivial_frame(copy, image.cam_from_world())
    for point in model.points3D.values():
        freed.add_point3D(point.xyz, point.track, point.color)
    options = pycolmap.BundleAdjustmentOptions()
    options.print_summary = False
    with silenced():  # bundle_adjustment resets the log level
        pycolmap.bundle_adjustment(model, options)
        pycolmap.bundle_adjustment(freed, options)
    return freed if _squared_error(freed) < BETTER * _squared_error(model) else model


def _squared_error(model: pycolmap.Reconstruction) -> float:
    """Returns the mean squared reprojection error in pixels."""
    errors = []
    for image in model.images.values():
        if image.has_pose:
            seen = [point for point in image.points2D if point.has_point3D()]
            places = np.array([model.points3D[point.point3D_id].xyz for point in seen]).reshape(-1, 3)
            transform = image.cam_from_world().matrix()
            local = places @ transform[:, :3].T + transform[:, 3]
            found = model.cameras[image.camera_id].img_from_cam(local)
            errors.append(
                ((np.asarray(found) - np.array([point.xy for point in seen]).reshape(-1, 2)) ** 2).sum(axis=1)
            )
    return float(np.concatenate(errors).mean())


def _possible(camera: Intrinsics) -> bool:
    """Returns whether a lens has such a focal length, and its distortion does not fold the picture."""
    longer = max(camera.width, camera.height)
    if not FOCAL[0] * longer <= camera.fl_x <= FOCAL[1] * longer:
        return False
    try:
        undistorted(camera)
    except UserError:
        return False
    return True


def _intrinsics(camera: pycolmap.Camera, across: float, down: float) -> Intrinsics:
    """Returns a camera whose centre lies by so many pixels to the right of and below the model's."""
    focal, cx, cy, radial = camera.params
    distortion = (radial, 0.0, 0.0, 0.0, 0.0)
    return Intrinsics(camera.width, camera.height, focal, focal, cx + across, cy + down, distortion)
