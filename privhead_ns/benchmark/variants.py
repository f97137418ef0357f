"""Training variants that a benchmark compares."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Variant:
    """A training variant; a row of the table."""

    label: str
    """Its name in tables and pictures."""
    method: str
    """Registered method."""
    flags: dict[str, object] = field(default_factory=dict)
    """Flags of `ns-train` beyond the benchmark's own."""
    sees_photographs: bool = False
    """Whether it is given the raw capture."""
    every_checkpoint: bool = False
    """Whether to measure all checkpoints, the first of which ends phase 1, and not only the last."""
    timed: bool = False
    """Whether it gets a time budget instead of steps."""


VARIANTS = {
    "silhouettes": Variant("silhouettes alone", "privhead", {"--max-num-iterations": 1}),
    "stage-2": Variant("stage 2", "privhead", every_checkpoint=True),
    "full-rgb": Variant("full RGB", "privhead-rgb", sees_photographs=True),
    "no-lipschitz": Variant("no Lipschitz", "privhead", {"--pipeline.phases.lipschitz": 0.0}),
    "paper": Variant("paper's VolSDF", "privhead-paper", every_checkpoint=True, timed=True),
}
"""All variants by the names that --variants takes."""
STAGE_1 = "stage 1"
"""Label of the state of `stage-2` at the end of phase 1."""
OURS, ORACLE, NO_LIPSCHITZ, PAPER = (VARIANTS[name].label for name in ("stage-2", "full-rgb", "no-lipschitz", "paper"))
