"""Measurements of a mesh, and the file that stores those of a training run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from privhead_ns.benchmark.neutral_views import Selection
from privhead_ns.mesh.evaluate import MEASURE, Evaluation, evaluate
from privhead_ns.mesh.files import load_mesh
from privhead_ns.text_files import read_json, write_json


@dataclass(frozen=True)
class Measurement:
    """One mesh, measured; see `Scores`. Distances in `unit`, angles in degrees; the face's are None where not known."""

    head: str
    """Name of the raw capture's folder."""
    label: str
    """Which variant, or stage 1."""
    final: bool
    """Whether this is what the table shows of that variant; others are points on its way there."""
    step: int
    """Last step that was trained."""
    seconds: float
    """Time of training up to there, without Nerfstudio's start."""
    peak_memory: float | None
    """Most resident memory in MB of the whole run; None where the system does not tell."""
    unit: str
    chamfer: float
    f_score: float
    normal_error: float
    face_chamfer: float | None
    face_normal_error: float | None
    chamfer_point_to_point: float
    face_chamfer_point_to_point: float | None
    mesh: str
    """The mesh, relative to the benchmark's folder."""


@dataclass(frozen=True)
class FewerNeutral:
    """Stage 1 and stage 2 of a head with a selection of its neutral views; stage 1 is None without any."""

    selection: Selection
    stage_1: Measurement | None
    stage_2: Measurement


def stored_measurements(result: Path, head: Path, output_dir: Path, console: Console) -> list[Measurement]:
    """Reads stored measurements; meshes that were measured by another measure are measured again.

    Raises:
        UserError: if such a mesh is missing or broken.
    """
    content = read_json(result)
    if content.get("measure") == MEASURE:
        console.print(f"Measured before: {result}")
        return [Measurement(**entry) for entry in content["measurements"]]
    console.print(f"{result} was measured in another way than {MEASURE}: measuring its meshes again")
    measurements = [
        Measurement(**entry | figures(evaluate(load_mesh(output_dir / entry["mesh"]), head)))
        for entry in content["measurements"]
    ]
    write_result(result, measurements)
    return measurements


def write_result(result: Path, measurements: list[Measurement]) -> None:
    """Writes the measurements of a variant on a head."""
    result.parent.mkdir(parents=True, exist_ok=True)
    write_json(result, {"measure": MEASURE, "measurements": [asdict(measurement) for measurement in measurements]})


def figures(evaluation: Evaluation) -> dict[str, Any]:
    """Returns the fields of a `Measurement` that come from comparing its mesh with the truth."""
    head, face = evaluation.head, evaluation.face
    return {
        "unit": evaluation.unit,
        "chamfer": head.chamfer,
        "f_score": head.f_score,
        "normal_error": head.normal_error,
        "face_chamfer": face.chamfer if face else None,
        "face_normal_error": face.normal_error if face else None,
        "chamfer_point_to_point": head.chamfer_point_to_point,
        "face_chamfer_point_to_point": face.chamfer_point_to_point if face else None,
    }
