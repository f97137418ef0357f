"""What all runs of a benchmark share, noted in its folder, so that results of different settings are never mixed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from privhead_ns.benchmark.results import write_json
from privhead_ns.capture.protected import ProtectedCapture
from privhead_ns.capture.transforms import read_json
from privhead_ns.errors import UserError
from privhead_ns.folders import holds_nothing, make_private
from privhead_ns.mesh.evaluate import load_truth
from privhead_ns.phases import PhaseSchedule


@dataclass(frozen=True)
class Settings:
    """What all runs of a benchmark share."""

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
    """Notes the settings in the folder, or compares them with those noted there.

    Raises:
        UserError: if they differ, or `output_dir` is something else.
    """
    path = output_dir / "settings.json"
    if not path.exists():
        if not holds_nothing(output_dir):
            raise UserError(f"--output-dir {output_dir} exists and is no benchmark; choose another folder.")
        make_private(output_dir)
    noted = read_json(path) if path.exists() else {}
    captures = noted.get("heads", {}) | {}
    for head in heads:
        name, place = head.resolve().name, str(head.resolve())
        if captures.setdefault(name, place) != place:
            raise UserError(f"{output_dir} has results of another {name}, {captures[name]}; choose another folder.")
    for key, value in asdict(settings).items():
        if noted.get(key, value) != value:
            raise UserError(
                f"{output_dir} was made with {key} {noted[key]}, not {value}; choose another --output-dir, or go on "
                f"with --{key.replace('_', '-')} {noted[key]}."
            )
    write_json(path, asdict(settings) | {"heads": captures})
