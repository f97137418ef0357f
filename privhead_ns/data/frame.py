"""The frame that training works in: the head's box is centred at 0, and its longest side is 1.

So learning rates, and rounding to single precision, do not depend on the capture's unit and place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from privhead_ns.capture.protected import ProtectedCapture


@dataclass(frozen=True)
class TrainingFrame:
    """Similarity between a capture's frame and that of training."""

    center: tuple[float, float, float]
    """The box's centre in the capture's frame."""
    side: float
    """The box's longest side in the capture's units."""

    @classmethod
    def of(cls, capture: ProtectedCapture) -> TrainingFrame:
        """Returns the frame that a capture is trained in."""
        x, y, z = capture.aabb.mean(axis=0).tolist()
        return cls((x, y, z), float((capture.aabb[1] - capture.aabb[0]).max()))

    def to_training(self, points: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
        """Maps points from the capture's frame."""
        return (points - np.array(self.center)) / self.side

    def to_capture(self, points: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
        """Maps points to the capture's frame."""
        return points * self.side + np.array(self.center)


def in_training_frame(capture: ProtectedCapture) -> ProtectedCapture:
    """Returns the capture with poses and box in the frame of training; `mm_per_unit` still means the capture's unit."""
    frame = TrainingFrame.of(capture)

    def moved(pose: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
        result = pose.copy()
        result[:3, 3] = frame.to_training(pose[:3, 3])
        return result

    frames = tuple(replace(view, camera_to_world=moved(view.camera_to_world)) for view in capture.frames)
    return replace(capture, frames=frames, aabb=frame.to_training(capture.aabb))
