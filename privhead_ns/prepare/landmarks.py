"""Face landmarks from a network that ships inside the mediapipe wheel (no download)."""

from __future__ import annotations

import atexit
import importlib
import importlib.util
import os
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from privhead_ns.errors import UserError
from privhead_ns.prepare.native_output import silenced

INSTALL = "pip install --no-deps mediapipe==0.10.9 flatbuffers"
"""Later releases need another protobuf than Nerfstudio, or carry no networks; its other requirements are not used."""
PUPILS = (468, 473)
"""Landmarks in the middle of the irises, of the subject's right and left eye."""


def is_installed() -> bool:
    """Returns whether mediapipe is installed."""
    return importlib.util.find_spec("mediapipe") is not None


def check_usable() -> None:
    """Checks that mediapipe, where it is installed, has the network and works with Nerfstudio's protobuf.

    Raises:
        UserError: if not.
    """
    if is_installed():
        try:
            _face_mesh()
        except Exception as error:  # imports, graphs and protobuf fail in their own ways
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"mediapipe is installed but cannot be used ({reason}): {INSTALL}") from None


def face_landmarks(rgb: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, "478 2"] | None:
    """Returns the pixels of the landmarks of the face in a picture (face mesh: MediaPipe); None if none is found."""
    faces = _face_mesh().process(np.ascontiguousarray(rgb)).multi_face_landmarks
    if not faces:
        return None
    size = np.array([rgb.shape[1], rgb.shape[0]])
    return np.array([[point.x, point.y] for point in faces[0].landmark]) * size


@cache
def _face_mesh() -> Any:
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    module = importlib.import_module("mediapipe.python.solutions.face_mesh")
    with silenced():  # the graph's own remarks, some of them at the first picture
        mesh = module.FaceMesh(static_image_mode=True, refine_landmarks=True, min_detection_confidence=0.5)
        mesh.process(np.zeros((64, 64, 3), np.uint8))
    atexit.register(mesh.close)  # its threads must not outlive the interpreter
    return mesh
