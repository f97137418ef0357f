"""What the audit works on: the sensitive views of a head, as photographs and as what protection makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from rich.console import Console
from rich.progress import track

from privhead_ns.audit.recogniser import Image
from privhead_ns.capture.develop import develop
from privhead_ns.capture.protect import magnitude_image
from privhead_ns.capture.protected import FULL_SCALE, ProtectedCapture, load_protected_capture, read_magnitude
from privhead_ns.capture.raw import RawCapture, RawFrame, load_raw_capture, read_image
from privhead_ns.data.dataset import magnitude_picture
from privhead_ns.errors import UserError
from privhead_ns.operators import OperatorConfig


@dataclass(frozen=True)
class Head:
    """The sensitive views of one capture."""

    name: str
    frames: tuple[int, ...]
    """Which frames of the capture the views are."""
    photographs: list[Image]
    """The photographs, free of lens distortion, in their own size."""
    colour: Float[np.ndarray, "views height width 3"]
    """The same in the size of the protected views, in [0, 1]."""
    magnitude: Float[np.ndarray, "views height width"]
    """The protected views: magnitudes as stored."""
    maximum: float
    """Largest magnitude that can be stored."""

    @property
    def protected(self) -> list[Image]:
        """The protected views as the grey pictures that one would look at."""
        grey = magnitude_picture(torch.from_numpy(self.magnitude), self.maximum)
        return list((grey * 255).round().byte().numpy())


def load_subject(data: Path, protected: Path) -> Head:
    """Reads the head that is audited, its protected views from their files.

    Raises:
        UserError: if a capture is missing or broken, or the one was not made from the other.
    """
    raw, capture = load_raw_capture(data), load_protected_capture(protected)
    check_origin(raw, capture)
    chosen = [index for index, frame in enumerate(capture.frames) if frame.kind == "protected"]
    magnitude = np.stack([read_magnitude(capture.frames[i].path, capture.magnitude_maximum) for i in chosen])
    return _head(raw, chosen, capture, magnitude)


def load_other(data: Path, like: ProtectedCapture) -> Head:
    """Reads another head and protects it in memory, as the audited one was.

    Views that its transforms.json does not call neutral count as sensitive.

    Raises:
        UserError: if the capture is missing or broken, or cannot be brought to the size of the audited one.
    """
    raw = load_raw_capture(data)
    chosen = [index for index, frame in enumerate(raw.frames) if frame.sensitive is not False]
    if not chosen:
        raise UserError(f"All frames of {data} are declared neutral, so it shows no face to compare with; drop it.")
    return _head(raw, chosen, like, None)


def load_others(folders: Sequence[Path], subject: Path, like: ProtectedCapture, console: Console) -> list[Head]:
    """Reads the other heads.

    Raises:
        UserError: if one cannot be used, is the audited one, or is given twice.
    """
    places = [subject.resolve(), *(folder.resolve() for folder in folders)]
    if len(set(places)) < len(places):
        raise UserError("--others must name captures of other people, each once, and not the capture in --data.")
    return [load_other(folder, like) for folder in track(folders, "Reading other heads", console=console)]


def check_origin(raw: RawCapture, capture: ProtectedCapture) -> None:
    """Checks by the cameras that a protected capture was made from a raw one.

    Raises:
        UserError: if not.
    """
    ours, theirs = ([frame.camera_to_world for frame in side.frames] for side in (raw, capture))
    if len(ours) != len(theirs) or not np.allclose(ours, theirs):
        raise UserError(f"{capture.folder} was not made from the photographs in {raw.folder}: the cameras differ.")


def _head(
    raw: RawCapture, chosen: list[int], like: ProtectedCapture, magnitude: Float[np.ndarray, "n h w"] | None
) -> Head:
    size = max(like.width, like.height)
    frames = [raw.frames[index] for index in chosen]
    colour = np.stack([_developed(frame, size, like) for frame in frames])
    if colour.shape[1:3] != (like.height, like.width):
        raise UserError(
            f"The views of {raw.folder} become {colour.shape[2]}x{colour.shape[1]} pixels, those of the audited head "
            f"{like.width}x{like.height}; give captures of one shape to --others."
        )
    if magnitude is None:
        magnitude = protected_like(colour, like.operator)
    return Head(
        name=raw.folder.resolve().name,
        frames=tuple(chosen),
        photographs=[(_developed(frame, None, like) * 255).round().astype(np.uint8) for frame in frames],
        colour=colour,
        magnitude=magnitude,
        maximum=like.magnitude_maximum,
    )


def protected_like(
    colour: Float[np.ndarray, "views height width 3"], operator: OperatorConfig
) -> Float[np.ndarray, "views height width"]:
    """Passes colours through σ and the rounding of stored magnitudes."""
    sigma = operator.setup()
    stored = np.stack([magnitude_image(image, sigma, operator.levels) for image in colour])
    return stored * np.float32(sigma.maximum / FULL_SCALE)


def _developed(frame: RawFrame, size: int | None, like: ProtectedCapture) -> Float[np.ndarray, "height width 3"]:
    rgb, coverage = read_image(frame)
    if size is not None and size > max(rgb.shape[:2]):
        raise UserError(f"{frame.image_path} is smaller than the audited head's {size} pixels; drop its capture.")
    return np.clip(develop(rgb, coverage if like.masked else None, frame.intrinsics, size, like.background).rgb, 0, 1)
