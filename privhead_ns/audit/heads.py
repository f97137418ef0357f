"""Input of the attacks: the sensitive views of a head, as photographs and as protected views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from rich.console import Console
from rich.progress import track

from privhead_ns.audit.recogniser import Image
from privhead_ns.capture.camera import PosedCamera
from privhead_ns.capture.protect import magnitude_image
from privhead_ns.capture.protected import FULL_SCALE, ProtectedCapture, load_protected_capture, read_magnitude
from privhead_ns.capture.raw import load_raw_capture
from privhead_ns.capture.survey import survey
from privhead_ns.capture.views import ViewPlan, masked_like, plan_like, plan_views
from privhead_ns.data.dataset import magnitude_picture
from privhead_ns.errors import UserError
from privhead_ns.operators import OperatorConfig

Magnitudes = Float[np.ndarray, "views height width"]
LONGEST_SIDE = 512
"""Side in pixels up to which photographs are kept."""


@dataclass(frozen=True)
class Head:
    """The sensitive views of one capture."""

    name: str
    frames: tuple[int, ...]
    """Which frames of the capture the views are."""
    cameras: tuple[PosedCamera, ...]
    """Of the views, in the capture's frame."""
    photographs: list[Image]
    """The views as photographs, at their own resolution up to LONGEST_SIDE pixels a side."""
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
    plan = plan_like(raw, capture)
    chosen = [index for index, frame in enumerate(capture.frames) if frame.kind == "protected"]
    magnitude = np.stack([read_magnitude(capture.frames[i].path, capture.magnitude_maximum) for i in chosen])
    return _head(plan, raw.folder.resolve().name, chosen, capture, magnitude)


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
    raw = masked_like(raw, like)
    plan, _, _ = plan_views(raw, survey(raw), like.width, like.background)
    camera = plan.cameras[0].intrinsics
    if (camera.width, camera.height) != (like.width, like.height):
        raise UserError(
            f"The views of {raw.folder} become {camera.width}x{camera.height} pixels, those of the audited head "
            f"{like.width}x{like.height}: the photographs have no more pixels on the head; drop this capture."
        )
    return _head(plan, raw.folder.resolve().name, chosen, like, None)


def load_others(folders: Sequence[Path], subject: Path, like: ProtectedCapture, console: Console) -> list[Head]:
    """Reads the other heads.

    Raises:
        UserError: if one cannot be used, is the audited one, or is given twice.
    """
    places = [subject.resolve(), *(folder.resolve() for folder in folders)]
    if len(set(places)) < len(places):
        raise UserError("--others must name captures of other people, each once, and not the capture in --data.")
    return [load_other(folder, like) for folder in track(folders, "Reading other heads", console=console)]


def _head(plan: ViewPlan, name: str, chosen: list[int], like: ProtectedCapture, magnitude: Magnitudes | None) -> Head:
    views = [plan.view(index) for index in chosen]
    if magnitude is None:
        sigma = like.operator.setup()
        stored = [magnitude_image(view.rgb, sigma, like.operator.levels, view.known) for view in views]
        magnitude = np.stack(stored) * np.float32(sigma.maximum / FULL_SCALE)
    return Head(
        name=name,
        frames=tuple(chosen),
        cameras=tuple(plan.cameras[index] for index in chosen),
        photographs=[_photograph(plan, index) for index in chosen],
        colour=np.stack([np.clip(view.rgb, 0, 1) for view in views]),
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


def _photograph(plan: ViewPlan, index: int) -> Image:
    """Returns the view of a frame at the photograph's resolution, or LONGEST_SIDE."""
    camera, source = plan.cameras[index], plan.frames[index].intrinsics
    scale = source.fl_x / camera.intrinsics.fl_x
    longest = max(camera.intrinsics.width, camera.intrinsics.height)
    scale = max(1.0, min(scale, LONGEST_SIDE / longest))
    sides = round(camera.intrinsics.width * scale), round(camera.intrinsics.height * scale)
    larger = replace(camera, intrinsics=camera.intrinsics.scaled(*sides))
    return (np.clip(plan.seen_by(index, larger).rgb, 0, 1) * 255).round().astype(np.uint8)
