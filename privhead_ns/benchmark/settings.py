"""Settings that all runs of a benchmark share, stored in its folder so that different settings are never mixed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from privhead_ns.capture.protected import ProtectedCapture
from privhead_ns.errors import UserError
from privhead_ns.mesh.ground_truth import load_truth
from privhead_ns.phases import PhaseSchedule
from privhead_ns.results_folder import check_same, open_results
from privhead_ns.text_files import write_json

NOTE = "settings.json"
"""File in the folder of a benchmark."""


@dataclass(frozen=True)
class Settings:
    """Settings that all runs of a benchmark share."""

    seed: int
    """Of every run."""
    size: int
    """Side of the protected views in pixels."""
    phase2_steps: int
    """Steps of phase 2 at 64 pixels, which are also what full RGB gets; larger photographs get more."""
    paper_minutes: float
    """Time budget of the paper's own configuration."""

    def schedule(self, capture: ProtectedCapture) -> PhaseSchedule:
        """Returns the phases of every run on a capture."""
        schedule = PhaseSchedule(phase2_steps=self.phase2_steps).for_size(max(capture.width, capture.height))
        return schedule.without_phase1() if capture.hides_all else schedule


def check_heads(heads: list[Path]) -> None:
    """Reads every capture and its truth once.

    Raises:
        UserError: if two captures have the same name, or one is broken or has no truth.
    """
    names = [head.resolve().name for head in heads]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise UserError(f"Two captures in --data are named {min(repeated)}: rename one, results go by that name.")
    for head in heads:
        load_truth(head)


def check_settings(output_dir: Path, heads: list[Path], settings: Settings) -> None:
    """Stores the settings in the folder, or compares them with those stored there.

    Raises:
        UserError: if they differ, or `output_dir` is something else.
    """
    noted = open_results(output_dir, NOTE, "benchmark") or {}
    captures = noted.get("heads", {}) | {}
    for head in heads:
        name, place = head.resolve().name, str(head.resolve())
        if captures.setdefault(name, place) != place:
            raise UserError(f"{output_dir} has results of another {name}, {captures[name]}; choose another folder.")
    check_same(output_dir, noted, asdict(settings))
    write_json(output_dir / NOTE, asdict(settings) | {"heads": captures})
