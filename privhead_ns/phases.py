"""The two phases of training as pure functions of the step, so that a resumed run needs no state."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

ENOUGH = 2.0, 4.0
"""Sizes of photographs over `steps_for_size` between which half as many more steps improve a mesh by 3 to 5 % only."""


@dataclass(frozen=True)
class LossWeights:
    """λ1 to λ4 of Eq. 9."""

    rgb: float
    """λ1, colour of neutral views."""
    eikonal: float
    """λ2, unit length of the sdf's gradient."""
    lipschitz: float
    """λ3, Lipschitz bound of the colour network."""
    gradient: float
    """λ4, gradient magnitude of protected views."""
    surface_magnitude: float
    """Magnitudes stored on the surface; our addition."""


@dataclass
class PhaseSchedule:
    """Length, loss weights and learning rates of both phases."""

    phase1_steps: int = 300
    """Steps of phase 1: colour of the neutral views."""
    phase2_steps: int = 1200
    """Steps of phase 2: gradient magnitude of the protected views."""
    steps_for_size: int = 64
    """Longer side in pixels of the photographs that these steps are meant for. For larger ones `for_size` makes both
    phases longer, and sets this to their size.
    """
    rgb: float = 1.0
    """λ1 in phase 1."""
    rgb_in_phase2: float = 1.0
    """λ1 in phase 2; the paper sets it to 0, and keeping the neutral views is our addition."""
    eikonal: float = 0.02
    """λ2 in both phases."""
    lipschitz: float = 1e-4
    """λ3 in phase 2."""
    gradient: float = 2.0
    """λ4 in phase 2."""
    surface_magnitude: float = 5.0
    """Weight in both phases of the magnitudes stored on the surface, which do not depend on the view."""
    initial_beta: float = 0.01
    """β of VolSDF, or NeuS's scale, to start from, as a fraction of the longest side of the head's box."""
    final_beta: float = 0.001
    """Final β; it falls exponentially over both phases."""
    final_learning_rate: float = 0.1
    """Learning rates fall exponentially over both phases, to this fraction."""
    final_movement_rate: float = 0.01
    """The same for the camera corrections, which have to converge before the details of the face."""
    warm_up_steps: int = 20
    """Learning rates rise linearly over so many first steps."""

    def for_size(self, size: int) -> PhaseSchedule:
        """Returns the schedule for photographs whose longer side has `size` pixels.

        Steps grow with the square root of the size, but not between `ENOUGH` times that of this schedule.
        """
        ratio = max(1.0, size / self.steps_for_size)
        factor = math.sqrt(min(ratio, ENOUGH[0]) * max(ratio, ENOUGH[1]) / ENOUGH[1])
        phase1_steps, phase2_steps = round(factor * self.phase1_steps), round(factor * self.phase2_steps)
        size = max(size, self.steps_for_size)
        return replace(self, phase1_steps=phase1_steps, phase2_steps=phase2_steps, steps_for_size=size)

    def without_phase1(self) -> PhaseSchedule:
        """Returns the schedule for captures without neutral views: as many steps, all of them of phase 2."""
        return replace(self, phase1_steps=0, phase2_steps=self.total_steps)

    @property
    def total_steps(self) -> int:
        """Steps of both phases."""
        return self.phase1_steps + self.phase2_steps

    def progress(self, step: int) -> float:
        """Returns the share of both phases that is done: 0 to 1."""
        return min(1.0, step / max(1, self.total_steps))

    def phase(self, step: int) -> int:
        """Returns 1 or 2."""
        return 1 if step < self.phase1_steps else 2

    def weights(self, step: int) -> LossWeights:
        """Returns the weights of Eq. 9: λ3 = λ4 = 0 in phase 1, λ1 = `rgb_in_phase2` in phase 2."""
        if self.phase(step) == 1:
            return LossWeights(self.rgb, self.eikonal, 0.0, 0.0, self.surface_magnitude)
        return LossWeights(self.rgb_in_phase2, self.eikonal, self.lipschitz, self.gradient, self.surface_magnitude)

    def beta(self, step: int) -> float:
        """Returns β as a fraction of the longest side of the head's box."""
        return self.initial_beta * (self.final_beta / self.initial_beta) ** self.progress(step)

    def learning_rate(self, step: int, optimizer: str = "") -> float:
        """Returns the factor on the learning rate of the optimizer of that name."""
        warm_up = min(1.0, (step + 1) / max(1, self.warm_up_steps))
        final = self.final_movement_rate if optimizer == "movements" else self.final_learning_rate
        return warm_up * final ** self.progress(step)
