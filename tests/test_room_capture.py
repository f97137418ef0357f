"""Photographs that are like real ones: rough masks, shine, a room, and exposures that differ from view to view."""

from __future__ import annotations

import random
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import trimesh
from jaxtyping import Float
from room_capture import GAMMA, VIEWS, exposures, write_room_capture
from small_runs import small_config, start

from privhead_ns.capture import views
from privhead_ns.capture.protect import protect
from privhead_ns.capture.protected import load_protected_capture
from privhead_ns.demo.head import MM_PER_UNIT
from privhead_ns.mesh.evaluate import Evaluation, evaluate
from privhead_ns.mesh.export import export_mesh, surface
from privhead_ns.mesh.ground_truth import FACE_RADIUS, load_truth
from privhead_ns.mesh.raycast import RayScene
from privhead_ns.model.model import PrivheadModel
from privhead_ns.operators import OperatorConfig

SIZE, RESOLUTION = 48, 64
"""Side of the photographs, and voxels of the meshes; a pixel covers 7 mm."""
NEUTRAL = np.array([not view.sensitive for view in VIEWS])
PUT_IN = exposures() / GAMMA
"""Logs of the factors of the photographs' colours."""

Gains = Float[np.ndarray, "views 3"]


class Result(NamedTuple):
    """Shapes before and after training, and the log gains that `protect` divided out and that training learned."""

    start: trimesh.Trimesh
    end: trimesh.Trimesh
    divided: Gains
    learned: Gains


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_room_capture(tmp_path_factory.mktemp("room") / "raw", SIZE, exposures())


@pytest.fixture(scope="module")
def result(raw: Path) -> Result:
    """The product's whole way, in few steps."""
    found: list[Gains] = []

    def noted(*arguments: object) -> Gains:
        found.append(view_gains(*arguments))  # type: ignore[arg-type]
        return found[-1]

    view_gains = views.view_gains
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views, "view_gains", noted)
        protect(raw, raw.parent / "protected", OperatorConfig())
    first, config, learned = train(raw.parent / "protected", raw.parent / "outputs", 60, 180)
    mesh = export_mesh(config, raw.parent / "head.ply", RESOLUTION, millimetres=False)
    return Result(first, mesh, np.log(found[-1]), learned)


def train(protected: Path, outputs: Path, phase1: int, phase2: int) -> tuple[trimesh.Trimesh, Path, Gains]:
    """Trains as ns-train does; returns the shape that it starts from, config.yml and the log gains learned."""
    config = small_config(protected, outputs)
    config.pipeline.phases.phase1_steps, config.pipeline.phases.phase2_steps = phase1, phase2  # type: ignore[attr-defined]
    config.steps_per_eval_image = 0
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(config.machine.seed)
    trainer = start(config)
    model = trainer.pipeline.model
    assert isinstance(model, PrivheadModel)
    first = surface(model, RESOLUTION)
    trainer.train()
    return first, trainer.base_dir / "config.yml", model.corrections.log_gains.detach().numpy()


def correlation(found: Gains, wanted: Gains) -> float:
    """Returns the correlation of log gains, relative to their means over the views."""
    return float(np.corrcoef(*((gains - gains.mean(axis=0)).ravel() for gains in (found, wanted)))[0, 1])


def inward(mesh: trimesh.Trimesh, raw: Path) -> Float[np.ndarray, " n"]:
    """Returns how deep a mesh lies below points of the true face, in mm; negative above them."""
    truth = load_truth(raw)
    near = np.linalg.norm(truth.mesh.vertices - truth.nose_tip, axis=1) * MM_PER_UNIT < FACE_RADIUS
    points, normals = truth.mesh.vertices[near], truth.mesh.vertex_normals[near]
    return ((points - RayScene(mesh).nearest(points).points) * normals).sum(axis=1) * MM_PER_UNIT


def test_the_mesh_is_nearer_to_the_truth_than_the_silhouettes_are(
    result: Result, raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("privhead_ns.mesh.evaluate.RAYS", 64)
    before, after = (evaluate(mesh, raw) for mesh in (result.start, result.end))
    assert face(after) < 0.75 * face(before), "0.6 of 3.6 mm, which is half a pixel"
    assert after.head.chamfer < 0.85 * before.head.chamfer


def face(figures: Evaluation) -> float:
    assert figures.face is not None
    return figures.face.chamfer


def test_there_is_no_crater_in_the_face(result: Result, raw: Path) -> None:
    before, after = (inward(mesh, raw) for mesh in (result.start, result.end))
    assert np.quantile(before, 0.99) > 9 and before.mean() > 2, "rough masks carve too much"
    assert np.quantile(after, 0.99) < 7.5
    assert abs(after.mean()) < 1


def test_protect_divides_the_exposures_out(result: Result) -> None:
    assert correlation(result.divided, PUT_IN) > 0.88
    assert correlation(result.divided + result.learned, PUT_IN) > 0.9


def test_training_learns_exposures_that_are_left(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "view_gains", lambda views, *_: np.ones((len(views), 3)))
    protect(raw, tmp_path / "protected", OperatorConfig())
    assert len(load_protected_capture(tmp_path / "protected").frames) == len(VIEWS)
    _, _, learned = train(tmp_path / "protected", tmp_path / "outputs", 150, 1)
    assert correlation(learned[NEUTRAL], PUT_IN[NEUTRAL]) > 0.85
    assert np.std(learned[NEUTRAL] - PUT_IN[NEUTRAL]) < 0.65 * np.std(PUT_IN[NEUTRAL])
