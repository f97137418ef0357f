"""Description of a capture in a checkpoint: enough to build the model without it and to recognise it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from nerfstudio.data.scene_box import SceneBox

from privhead_ns.data.frame import TrainingFrame
from privhead_ns.errors import UserError
from privhead_ns.operators import OperatorConfig

IDENTITY = ("protected", "aabb", "operator", "magnitude_maximum")
"""The entries that differ between captures, and are the same for one on every machine."""

PLAIN = ("protected", "magnitude_maximum", "background", "pixel_size", "mm_per_unit")
"""The entries that are described as they are."""


def describe(metadata: dict[str, Any], scene_box: SceneBox) -> dict[str, Any]:
    """Returns plain numbers, lists and strings, from which `restore` makes a model's arguments.

    Args:
        metadata: what the dataparser says of the capture.
        scene_box: the head's box.
    """
    return {name: metadata[name] for name in PLAIN} | {
        "frame": asdict(metadata["frame"]),
        "aabb": scene_box.aabb.tolist(),
        "operator": metadata["operator"].to_dict(),
        "subject": metadata["subject"],
    }


def restore(description: dict[str, Any]) -> tuple[dict[str, Any], SceneBox]:
    """Returns metadata and box of a description; where an older version did not tell the subject, it is a head.

    Raises:
        ValueError: if its frame or its box is impossible.
    """
    metadata = {"subject": "head"} | {name: value for name, value in description.items() if name != "aabb"}
    metadata["operator"] = OperatorConfig(**description["operator"])
    metadata["frame"] = frame = TrainingFrame(**description["frame"])
    box, scale = torch.tensor(description["aabb"], dtype=torch.float32), description["mm_per_unit"]
    numbers = torch.tensor([*frame.center, frame.side, 1.0 if scale is None else scale])
    if box.shape != (2, 3) or numbers.shape != (5,) or not numbers.isfinite().all() or numbers[3:].min() <= 0:
        raise ValueError("numbers that cannot be")
    if not (box[0] < box[1]).all() or box.abs().max() > 1:
        raise ValueError("no box of the frame of training")
    return metadata, SceneBox(aabb=box)


def check_same_capture(trained: dict[str, Any], present: dict[str, Any]) -> None:
    """Compares the description in a checkpoint with that of the capture at hand.

    Raises:
        UserError: if they are of different captures.
    """
    different = [name for name in IDENTITY if trained[name] != present[name]]
    if different:
        views, hidden = len(trained["protected"]), sum(trained["protected"])
        raise UserError(
            f"The checkpoint was trained on another capture, of {views} views, {hidden} of them protected (this one: "
            f"{len(present['protected'])} and {sum(present['protected'])}; different: {', '.join(different)}): give "
            "the capture that it was trained on."
        )
