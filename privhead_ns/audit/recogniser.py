"""Interface of face recognisers (find, embed, compare), and those of dlib and of ONNX files.

A recogniser sees 8-bit RGB images of any size. Places in an image are given as shares of its width and height, so that
landmarks found on a photograph can be carried over to whatever else the same camera shows.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from privhead_ns.errors import UserError

Image = UInt8[np.ndarray, "height width 3"]
Landmarks = Float[np.ndarray, "68 2"]
"""The 68 points of 300-W (Sagonas et al., ICCVW 2013), x and y as shares of width and height. Among them are the eyes,
36 to 41 and 42 to 47, the tip of the nose, 30, and the corners of the mouth, 48 and 54."""

WORKING_SIZE = 256
"""Images whose longer side is smaller are enlarged to this (64 pixels four times), for detectors need some size."""
ADVICE = 'The audit needs a face recogniser: pip install ".[audit]", in the folder of privhead-ns, brings dlib.'
ARITHMETIC = ("NaryEltwise", "Eltwise", "Scale", "Power")
"""OpenCV's names of layers that add to, or multiply, what they are given."""
CHIP = (
    np.array([(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]) / 112
)
"""Where eyes, nose and corners of the mouth lie in ArcFace's square (Deng et al., CVPR 2019), as shares of it."""


class Recogniser(Protocol):
    """Interface of a face recogniser."""

    name: str
    threshold: float
    """Distance up to which its makers call two faces the same."""

    def faces(self, image: Image) -> list[Landmarks]:
        """Returns the landmarks of each face that its detector finds, the surest first."""
        ...

    def embed(self, image: Image, landmarks: Landmarks) -> Float[np.ndarray, " channels"]:
        """Returns the embedding of the face at given landmarks."""
        ...

    def distance(
        self, one: Float[np.ndarray, "n channels"], other: Float[np.ndarray, "m channels"]
    ) -> Float[np.ndarray, "n m"]:
        """Returns the distance between each of `one` and each of `other`."""
        ...


class DlibRecogniser:
    """dlib's HOG detector, 68 landmarks and ResNet embedding (King 2009), one of the paper's seven systems.

    Raises:
        UserError: if the extra `audit` is not installed.
    """

    name = "dlib"
    threshold = 0.6

    def __init__(self) -> None:
        weights = importlib.util.find_spec("face_recognition_models")  # which itself would need pkg_resources
        if importlib.util.find_spec("dlib") is None or weights is None or weights.origin is None:
            raise UserError(ADVICE)
        folder = Path(weights.origin).parent / "models"
        self._dlib: Any = importlib.import_module("dlib")
        self._detector = self._dlib.get_frontal_face_detector()
        self._predictor = self._dlib.shape_predictor(str(folder / "shape_predictor_68_face_landmarks.dat"))
        self._network = self._dlib.face_recognition_model_v1(str(folder / "dlib_face_recognition_resnet_model_v1.dat"))
        self._known: dict[tuple[bytes, tuple[int, ...]], list[Landmarks]] = {}

    def __reduce__(self) -> tuple[type, tuple]:
        """Is loaded anew in another process."""
        return DlibRecogniser, ()

    def faces(self, image: Image) -> list[Landmarks]:
        """Detects after enlarging the image to `WORKING_SIZE` and twice as large again; of each image once."""
        key = hashlib.sha256(image.tobytes()).digest(), image.shape
        if key not in self._known:
            self._known[key] = self._find(enlarged(image))
        return self._known[key]

    def _find(self, image: Image) -> list[Landmarks]:
        """Detects faces at an image's own size."""
        found, scores, _ = self._detector.run(image, 1, 0.0)
        ordered = [face for _, face in sorted(zip(scores, found, strict=True), key=lambda pair: -pair[0])]
        size = image.shape[1], image.shape[0]
        return [np.array([(p.x, p.y) for p in self._predictor(image, face).parts()]) / size for face in ordered]

    def embed(self, image: Image, landmarks: Landmarks) -> Float[np.ndarray, "128"]:
        """Embeds the 150-pixel square that dlib cuts out at the landmarks."""
        image = enlarged(image)
        height, width = image.shape[:2]
        points = [self._dlib.point(round(x * width), round(y * height)) for x, y in landmarks]
        shape = self._dlib.full_object_detection(self._dlib.rectangle(0, 0, width, height), points)
        return np.array(self._network.compute_face_descriptor(image, shape))

    def distance(
        self, one: Float[np.ndarray, "n channels"], other: Float[np.ndarray, "m channels"]
    ) -> Float[np.ndarray, "n m"]:
        """Euclidean distance."""
        return np.linalg.norm(one[:, None] - other[None], axis=-1)


class OnnxRecogniser:
    """A recognition network of the user's in an ONNX file; faces are found and aligned by another recogniser.

    Networks that start with arithmetic on the image, as SFace and the first ArcFace ones do, scale it themselves and
    get values from 0 to 255; all others get values from -1 to 1.

    Args:
        path: the model, which takes one RGB face and gives one vector.
        threshold: cosine distance up to which its makers call two faces the same.
        finder: finds faces and landmarks.
        size: side in pixels of the square that the network takes.

    Raises:
        UserError: if OpenCV cannot load or run the file.
    """

    def __init__(self, path: Path, threshold: float, finder: Recogniser, size: int = 112) -> None:
        self.name, self.threshold, self.size = path.stem, threshold, size
        self._finder, self._path = finder, path
        if not path.is_file():
            raise UserError(f"There is no file {path}; --onnx needs a face recognition model.")
        try:
            self._network = cv2.dnn.readNetFromONNX(str(path))
            layers = (self._network.getLayer(name).type for name in self._network.getLayerNames())
            self._scales_itself = next((kind for kind in layers if kind != "Const"), None) in ARITHMETIC
            self.channels = len(self._run(np.zeros((size, size, 3), dtype=np.uint8)))
        except cv2.error as error:
            raise UserError(
                f"OpenCV cannot run {path} on a face of {size}x{size} pixels ({error.err}); give another --onnx-size "
                "or a model that cv2.dnn supports."
            ) from None

    def __reduce__(self) -> tuple[type, tuple]:
        """Is loaded anew in another process."""
        return OnnxRecogniser, (self._path, self.threshold, self._finder, self.size)

    def faces(self, image: Image) -> list[Landmarks]:
        """Detects as the finder does."""
        return self._finder.faces(image)

    def embed(self, image: Image, landmarks: Landmarks) -> Float[np.ndarray, " channels"]:
        """Embeds the face turned upright in a square, as ArcFace's and SFace's authors align it."""
        return self._run(aligned(enlarged(image), landmarks, self.size))

    def distance(
        self, one: Float[np.ndarray, "n channels"], other: Float[np.ndarray, "m channels"]
    ) -> Float[np.ndarray, "n m"]:
        """Cosine distance."""
        return cosine_distance(one, other)

    def _run(self, chip: Image) -> Float[np.ndarray, " channels"]:
        """Runs the network on an aligned face."""
        scale, middle = (1.0, 0.0) if self._scales_itself else (1 / 127.5, 127.5)
        self._network.setInput(cv2.dnn.blobFromImage(chip, scale, mean=(middle, middle, middle)))
        return np.asarray(self._network.forward(), dtype=np.float64).ravel()


def enlarged(image: Image) -> Image:
    """Returns an image whose longer side is at least `WORKING_SIZE`."""
    scale = WORKING_SIZE / max(image.shape[:2])
    if scale <= 1:
        return np.ascontiguousarray(image)
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def aligned(image: Image, landmarks: Landmarks, size: int) -> Image:
    """Turns, scales and shifts an image so that eyes, nose and mouth lie where recognition networks expect them."""
    matrix = alignment(landmarks * (image.shape[1], image.shape[0]), CHIP * size)
    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR).astype(np.uint8)


def alignment(points: Float[np.ndarray, "68 2"], template: Float[np.ndarray, "5 2"]) -> Float[np.ndarray, "2 3"]:
    """Returns the similarity that brings eyes, nose and corners of the mouth nearest to given places, in pixels."""
    five = np.stack([points[36:42].mean(axis=0), points[42:48].mean(axis=0), points[30], points[48], points[54]])
    matrix, _ = cv2.estimateAffinePartial2D(five, template, method=cv2.LMEDS)
    return matrix


def cosine_distance(
    one: Float[np.ndarray, "n channels"], other: Float[np.ndarray, "m channels"]
) -> Float[np.ndarray, "n m"]:
    """Returns 1 - cos of the angle between each of `one` and each of `other`: 0 to 2."""
    return 1 - unit(one) @ unit(other).T


def unit(vectors: Float[np.ndarray, "n channels"]) -> Float[np.ndarray, "n channels"]:
    """Scales vectors to length 1."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(1e-12)
