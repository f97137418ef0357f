"""The recognisers that an audit uses: the paper's seven systems by name, and networks of the user's.

All but dlib's come through the package deepface (Serengil and Ozpinar), which fetches the weights of each once, embeds
a face, and knows the threshold of each; the audit compares by cosine distance, as the paper does.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float

from privhead_ns.audit.recogniser import (
    DlibRecogniser,
    Image,
    Landmarks,
    OnnxRecogniser,
    Recogniser,
    cosine_distance,
    enlarged,
)
from privhead_ns.errors import UserError

DLIB = "Dlib"
SYSTEMS = ("VGG-Face", "Facenet", "Facenet512", "ArcFace", DLIB, "SFace", "GhostFaceNet")
"""The paper's Table 2, by deepface's names."""
FOREHEAD = 0.25
"""Height above the brows that a detector's box has, over the height from brows to chin."""
ADVICE = 'VGG-Face and the like need deepface: pip install ".[deepface]", in the folder of privhead-ns, brings it.'


class DeepfaceRecogniser:
    """One of deepface's systems; faces are found by another recogniser.

    The face is turned until the eyes are level and cut out as a detector's box, which deepface's thresholds are meant
    for. deepface runs on PyTorch, which Nerfstudio brings, unless `DEEPFACE_BACKEND_ENGINE` says otherwise.

    Args:
        name: deepface's name of the system.
        finder: finds faces and landmarks.

    Raises:
        UserError: if the extra `deepface` is not installed, or the weights are missing and cannot be fetched.
    """

    def __init__(self, name: str, finder: Recogniser) -> None:
        self.name = name
        self._finder = finder
        if importlib.util.find_spec("deepface") is None:
            raise UserError(ADVICE)
        os.environ.setdefault("DEEPFACE_BACKEND_ENGINE", "pytorch")
        try:
            self._deepface: Any = importlib.import_module("deepface.DeepFace")
            self._deepface.build_model(name)
            verification = importlib.import_module("deepface.modules.verification")
            self.threshold = float(verification.find_threshold(name, "cosine"))
        except Exception as error:  # downloads, archives and frameworks fail in their own ways
            reason = " ".join(str(error).encode("ascii", "ignore").decode().split()).split(". ")[0].rstrip(".")
            folder = Path(os.environ.get("DEEPFACE_HOME", Path.home())) / ".deepface" / "weights"
            raise UserError(
                f"deepface cannot load {name} ({reason or type(error).__name__}): run this once with a network, or put "
                f"the file into {folder}."
            ) from None

    def faces(self, image: Image) -> list[Landmarks]:
        """Detects as the finder does."""
        return self._finder.faces(image)

    def embed(self, image: Image, landmarks: Landmarks) -> Float[np.ndarray, " channels"]:
        """Embeds the upright face."""
        face = upright_face(enlarged(image), landmarks)
        [found] = self._deepface.represent(
            img_path=np.ascontiguousarray(face[..., ::-1]),  # deepface expects BGR
            model_name=self.name,
            detector_backend="skip",
            enforce_detection=False,
            align=False,
        )
        return np.asarray(found["embedding"], dtype=np.float64)

    def distance(
        self, one: Float[np.ndarray, "n channels"], other: Float[np.ndarray, "m channels"]
    ) -> Float[np.ndarray, "n m"]:
        """Cosine distance."""
        return cosine_distance(one, other)


def load_recognisers(
    onnx: Sequence[Path], threshold: float, size: int, systems: Sequence[str] = (DLIB,)
) -> list[Recogniser]:
    """Returns the named systems, and the networks in the given files; dlib finds the faces for all.

    Args:
        onnx: recognition networks of the user's.
        threshold: cosine distance up to which they call two faces the same.
        size: side in pixels of the square that they take.
        systems: names from `SYSTEMS`.

    Raises:
        UserError: if a name is unknown, an extra is not installed, or a file cannot be used.
    """
    unknown = [name for name in systems if name not in SYSTEMS]
    if unknown or not systems:
        raise UserError(
            f"--recognisers knows no {', '.join(unknown) or 'empty list'}; choose among {', '.join(SYSTEMS)}."
        )
    dlib = DlibRecogniser()
    named = [dlib if name == DLIB else DeepfaceRecogniser(name, dlib) for name in dict.fromkeys(systems)]
    return [*named, *(OnnxRecogniser(path, threshold, dlib, size) for path in onnx)]


def upright_face(image: Image, landmarks: Landmarks) -> Image:
    """Turns an image until the eyes are level, and cuts the face out, from the middle of the forehead to the chin."""
    points = landmarks * (image.shape[1], image.shape[0])
    eyes = np.stack([points[36:42].mean(axis=0), points[42:48].mean(axis=0)])
    (middle_x, middle_y), (across, down) = eyes.mean(axis=0), eyes[1] - eyes[0]
    turn = cv2.getRotationMatrix2D((float(middle_x), float(middle_y)), float(np.degrees(np.arctan2(down, across))), 1.0)
    points = points @ turn[:, :2].T + turn[:, 2]
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    top -= FOREHEAD * (bottom - top)
    turn[:, 2] -= left, top
    size = max(1, round(right - left)), max(1, round(bottom - top))
    return cv2.warpAffine(image, turn, size, flags=cv2.INTER_LINEAR).astype(np.uint8)
