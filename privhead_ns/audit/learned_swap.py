"""Runs a face-swapping network of the user's: one with the inputs of inswapper (InsightFace), in an ONNX file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from privhead_ns.audit.onnx_file import inputs_and_last_initializer
from privhead_ns.audit.recogniser import CHIP, Image, Landmarks, OnnxRecogniser, Recogniser, alignment, unit
from privhead_ns.audit.swap import Swapper, Target, Warp
from privhead_ns.errors import UserError

MARGIN = 8 / 128
"""What is added at each side of ArcFace's square of 112 pixels, as a share of the network's."""


class OnnxSwapper:
    """Gives the target's face the identity of an embedding of the source's.

    The network takes the target's face, 1x3xNxN in RGB from 0 to 1, aligned as ArcFace does but for a margin at both
    sides, and 1xM numbers: the source's embedding of unit length times the last initializer, scaled to unit length.

    Args:
        path: the network.
        recognisers: of which the first network that embeds as the last initializer expects describes sources.

    Raises:
        UserError: if OpenCV cannot load or run the file, its inputs are others, or no recogniser fits.
    """

    def __init__(self, path: Path, recognisers: Sequence[Recogniser]) -> None:
        if not path.is_file():
            raise UserError(f"There is no file {path}; --swapper needs a face-swapping network such as inswapper.")
        self.name = path.stem
        try:
            self._network = cv2.dnn.readNetFromONNX(str(path))
            inputs, last = inputs_and_last_initializer(path)
        except (cv2.error, ValueError) as error:
            reason = error.err if isinstance(error, cv2.error) else error
            raise UserError(
                f"OpenCV cannot load {path} ({reason}); --swapper needs a network like inswapper."
            ) from None
        pictures = [name for name, sizes in inputs.items() if len(sizes) == 4 and sizes[:2] == (1, 3) and sizes[2] > 0]
        vectors = [name for name, sizes in inputs.items() if len(sizes) == 2 and sizes[0] == 1]
        if len(inputs) != 2 or not pictures or not vectors or last.ndim != 2 or last.shape[1] != inputs[vectors[0]][1]:
            given = ", ".join(f"{name} {'x'.join(map(str, sizes))}" for name, sizes in inputs.items())
            raise UserError(
                f"{path} takes {given} and ends with an initializer of {'x'.join(map(str, last.shape))}; --swapper "
                "needs a network like inswapper, which takes a face 1x3xNxN and 1xM numbers and ends with KxM."
            )
        self._picture, self._vector = pictures[0], vectors[0]
        self._size, self._map = inputs[self._picture][2], last.astype(np.float64)
        self._embedder = embedder(recognisers, len(last), path)
        try:
            self._run(np.zeros((self._size, self._size, 3), dtype=np.uint8), np.ones(last.shape[1]))
        except cv2.error as error:
            raise UserError(f"OpenCV cannot run {path} ({error.err}); give another network as --swapper.") from None

    def face(self, source: Image, landmarks: Landmarks, target: Target) -> Image:
        """Returns the network's face at its place in the target's picture."""
        vector = unit(unit(self._embedder.embed(source, landmarks)) @ self._map)
        template = CHIP * 112 / 128 + (MARGIN, 0)
        matrix = alignment(target.points, template * self._size)
        chip = cv2.warpAffine(target.picture, matrix, (self._size, self._size), borderMode=cv2.BORDER_REPLICATE)
        made = self._run(chip.astype(np.uint8), vector)
        size = target.picture.shape[1], target.picture.shape[0]
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(made, matrix, size, flags=how, borderMode=cv2.BORDER_REPLICATE).astype(np.uint8)

    def _run(self, chip: Image, vector: np.ndarray) -> Image:
        """Runs the network on an aligned face and the vector of another one."""
        self._network.setInput(cv2.dnn.blobFromImage(chip, 1 / 255), self._picture)
        self._network.setInput(vector[None].astype(np.float32), self._vector)
        made = np.asarray(self._network.forward())[0].transpose(1, 2, 0)
        return (made.clip(0, 1) * 255).round().astype(np.uint8)


def embedder(recognisers: Sequence[Recogniser], length: int, path: Path) -> Recogniser:
    """Returns the first network of the user's whose embeddings have a given length.

    Raises:
        UserError: if there is none.
    """
    for recogniser in recognisers:
        if isinstance(recogniser, OnnxRecogniser) and recogniser.channels == length:
            return recogniser
    raise UserError(
        f"{path} needs embeddings of {length} numbers, and no network of --onnx gives that many; give the recogniser "
        "that it was trained with (inswapper: ArcFace's w600k_r50) as --onnx."
    )


def load_swappers(path: Path | None, recognisers: Sequence[Recogniser]) -> list[Swapper]:
    """Returns the swapper without weights, and the network in a file if there is one.

    Raises:
        UserError: if the file cannot be used.
    """
    return [Warp(), *([OnnxSwapper(path, recognisers)] if path is not None else [])]
