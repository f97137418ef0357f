"""Converts a protected capture to Nerfstudio's cameras and file lists.

Nerfstudio loads this module while it imports its own data managers, so it must import none of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox

from privhead_ns.capture.protected import ProtectedCapture, load_protected_capture
from privhead_ns.data.frame import TrainingFrame, in_training_frame
from privhead_ns.errors import UserError


@dataclass
class PrivheadDataParserConfig(DataParserConfig):
    """Reads a protected capture, as `privhead protect` writes it, into the frame of training (`data/frame.py`)."""

    _target: type = field(default_factory=lambda: PrivheadDataParser)
    """Class to instantiate."""
    data: Path = Path()
    """Folder of the protected capture."""

    def check(self, data: Path) -> ProtectedCapture:
        """Checks the capture before the trainer is built.

        Raises:
            UserError: if `data` is not a protected capture, or deviates from its format.
        """
        return load_protected_capture(data)


class PrivheadDataParser(DataParser):
    """Nerfstudio's dataparser of a protected capture; every split holds all views."""

    config: PrivheadDataParserConfig

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: object) -> DataparserOutputs:
        """Returns cameras, files and, as metadata, how the capture was protected.

        Raises:
            UserError: if the folder is not a protected capture, or deviates from its format.
        """
        del split, kwargs
        data = self.config.data
        if not data.is_dir():
            raise UserError(
                f"There is no protected capture at {data}, where config.yml says it is: put it or a link to it there, "
                "or correct `data` in config.yml."
            )
        capture = load_protected_capture(data)
        frame, cameras = TrainingFrame.of(capture), capture_cameras(capture)
        to_training = np.concatenate([np.eye(3), -np.array(frame.center)[:, None]], axis=1)
        known = [frame.known_path for frame in capture.frames]
        masks = [cast(Path, frame.mask_path) for frame in capture.frames] if capture.masked else None
        return DataparserOutputs(
            image_filenames=[frame.path for frame in capture.frames],
            cameras=cameras,
            scene_box=SceneBox(aabb=torch.from_numpy(frame.to_training(capture.aabb)).float()),
            mask_filenames=masks,
            dataparser_transform=torch.from_numpy(to_training).float(),
            dataparser_scale=1 / frame.side,
            metadata={
                "protected": [frame.kind == "protected" for frame in capture.frames],
                "operator": capture.operator,
                "magnitude_maximum": capture.magnitude_maximum,
                "background": capture.background if capture.masked else None,
                "known": known,
                "frame": frame,
                "pixel_size": pixel_size(capture) / frame.side,
                "mm_per_unit": capture.mm_per_unit,
                "template": capture.template_path,
                "subject": capture.subject,
            },
        )


def capture_cameras(capture: ProtectedCapture) -> Cameras:
    """Returns the pinhole cameras of the capture's frames, in their order and in the frame of training."""
    poses = np.stack([frame.camera_to_world[:3] for frame in in_training_frame(capture).frames])
    intrinsics = np.array([(frame.fl_x, frame.fl_y, frame.cx, frame.cy) for frame in capture.frames])
    fx, fy, cx, cy = torch.from_numpy(intrinsics).float().T[..., None]
    return Cameras(
        camera_to_worlds=torch.from_numpy(poses).float(),
        fx=fx.contiguous(),
        fy=fy.contiguous(),
        cx=cx.contiguous(),
        cy=cy.contiguous(),
        width=capture.width,
        height=capture.height,
        camera_type=CameraType.PERSPECTIVE,
    )


def pixel_size(capture: ProtectedCapture) -> float:
    """Returns the edge that a pixel covers at the head, in capture units: the median over the views.

    In a room it is that at the box's wall before the camera.
    """
    center = capture.aabb.mean(axis=0)
    if capture.subject == "room":
        distances = [_distance_to_wall(frame.camera_to_world, capture.aabb) for frame in capture.frames]
    else:
        distances = [float(np.linalg.norm(frame.camera_to_world[:3, 3] - center)) for frame in capture.frames]
    return float(np.median(np.array(distances) / [frame.fl_x for frame in capture.frames]))


def _distance_to_wall(camera_to_world: Float[np.ndarray, "4 4"], aabb: Float[np.ndarray, "2 3"]) -> float:
    """Returns the distance along the optical axis from a camera to where it leaves a box; the diagonal at most."""
    position, direction = camera_to_world[:3, 3], -camera_to_world[:3, 2]
    ahead = np.where(direction > 0, aabb[1], aabb[0]) - position
    diagonal = float(np.linalg.norm(aabb[1] - aabb[0]))
    distances = np.divide(ahead, direction, out=np.full(3, diagonal), where=np.abs(direction) > 1e-9)
    distance = float(distances.min())
    return distance if 0 < distance < diagonal else diagonal
