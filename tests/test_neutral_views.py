"""Benchmarks with fewer neutral views, and the pictures of a benchmark's meshes; training is replaced by balls."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import trimesh
from matplotlib.figure import Figure
from raw_folder import edit, write_raw_capture
from rich.console import Console

from privhead_ns.benchmark import benchmark
from privhead_ns.benchmark.benchmark import run_benchmark, run_neutral_views
from privhead_ns.benchmark.figures import save_figures
from privhead_ns.benchmark.neutral_report import curves, means, table, write_neutral_report
from privhead_ns.benchmark.neutral_views import Selection, select
from privhead_ns.benchmark.results import FewerNeutral, Measurement
from privhead_ns.benchmark.settings import Settings
from privhead_ns.benchmark.variants import Variant
from privhead_ns.capture.camera import farthest_first
from privhead_ns.capture.protected import load_protected_capture
from privhead_ns.commands.benchmark import benchmark as benchmark_command
from privhead_ns.errors import UserError
from privhead_ns.mesh.files import save_mesh
from privhead_ns.mesh.ground_truth import load_truth
from privhead_ns.mesh.pictures import AMBIENT, CLAY, FACE_DEPTH, LIGHTS, face_camera, render_shaded

SETTINGS = Settings(seed=42, size=32, phase2_steps=20, paper_minutes=1.0)
SENSITIVE = 3
"""The frame that looks along the face's axis; the other five are neutral, at azimuths of 60 to 180 degrees."""


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A ball, whose frames have names that are globs of others."""
    folder = write_raw_capture(tmp_path / "ball", stem="view[0-9]", mm_per_unit=100.0)

    def declare(content: dict[str, Any]) -> None:
        for index, frame in enumerate(content["frames"]):
            frame["sensitive"] = index == SENSITIVE

    edit(folder, declare)
    trimesh.creation.icosphere(3).export(folder / "gt_mesh.ply")
    info = {"nose_tip": [1.0, 0.0, 0.0], "face_axis": [1, 0, 0], "up_axis": [0, 0, 1]}
    (folder / "capture.json").write_text(json.dumps(info))
    return folder


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replaces training; its meshes are balls, 5 % too large after stage 1 and 2 % too large at the end.

    Returns:
        What was trained: the variant, and the neutral frames of the capture that it was given.
    """
    calls: list[str] = []

    def train_variant(variant: Variant, _head: Path, protected: Path, *_: object) -> SimpleNamespace:
        kinds = [frame.kind for frame in load_protected_capture(protected).frames]
        neutral = [index for index, kind in enumerate(kinds) if kind == "neutral"]
        calls.append(f"{variant.label} {neutral}")
        return SimpleNamespace(
            config=protected, checkpoints=[9, 19] if neutral else [19], seconds_at=float, peak_memory=None
        )

    def export_mesh(_config: Path, path: Path, *_: object, load_step: int, **__: object) -> trimesh.Trimesh:
        mesh = trimesh.creation.icosphere(3, radius=1.05 if load_step == 9 else 1.02)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_mesh(mesh, path)
        return mesh

    monkeypatch.setattr("privhead_ns.benchmark.figures.SIZE", 64)
    monkeypatch.setattr(benchmark, "train_variant", train_variant)
    monkeypatch.setattr(benchmark, "export_mesh", export_mesh)
    return calls


def neutral_frames(selection: Selection) -> set[int]:
    """Returns the indices of the frames that a selection of the ball leaves neutral."""
    return {index for index in range(6) if index != SENSITIVE} - {int(name[-5]) for name in selection.protected}


def test_a_layout_without_numbers_of_views_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--neutral-layout says which views --neutral-views keeps"):
        benchmark_command((tmp_path,), tmp_path / "out", neutral_layout=("rear",))
    assert not (tmp_path / "out").exists()


def test_each_direction_is_the_farthest_from_those_before_it() -> None:
    angles = np.radians([0, 10, 170, 80, 20])
    directions = np.stack([np.cos(angles), np.sin(angles), np.zeros(5)], axis=1)
    assert farthest_first(directions, 0) == [0, 2, 3, 4, 1]


@pytest.mark.parametrize(
    ("layout", "count", "kept"),
    [
        ("even", 1, {0}),
        ("even", 3, {0, 2, 4}),
        ("even", 5, {0, 1, 2, 4, 5}),
        ("rear", 1, {0}),
        ("rear", 3, {0, 1, 5}),
        ("rear", 0, set()),
    ],
)
def test_selects_views_around_the_head_or_at_its_rear(raw: Path, layout: Any, count: int, kept: set[int]) -> None:
    (selection,) = select(raw, [count], [layout])
    assert neutral_frames(selection) == kept


def test_layouts_that_select_the_same_views_share_a_folder(raw: Path) -> None:
    folders = {(s.layout, s.count): s.folder for s in select(raw, [5, 3, 1], ["rear", "even"])}
    assert folders["rear", 1] == folders["even", 1] == "neutral-1-even"
    assert folders["rear", 3] != folders["even", 3]
    assert folders["rear", 5] == folders["even", 5] == "", "all neutral views: what the benchmark has anyway"


def test_a_capture_without_neutral_views_has_no_other_selection_than_none(raw: Path) -> None:
    edit(raw, lambda content: [frame.pop("sensitive") for frame in content["frames"]])
    assert [s.protected for s in select(raw, [0], ["even", "rear"])] == [(), ()]


@pytest.mark.parametrize("count", [-1, 6])
def test_refuses_more_neutral_views_than_there_are_before_anything_is_made(raw: Path, count: int) -> None:
    with pytest.raises(UserError, match="has 5 neutral views"):
        run_neutral_views([raw], raw.parent / "out", [1, count], ["even"], SETTINGS, Console(quiet=True))
    assert not (raw.parent / "out").exists()


def test_trains_with_the_other_views_protected_and_goes_on_where_it_stopped(raw: Path, trained: list[str]) -> None:
    output, console = raw.parent / "out", Console(quiet=True)
    (all_views,) = run_neutral_views([raw], output, [5], ["even"], SETTINGS, console)
    assert trained == ["stage 2 [0, 1, 2, 4, 5]"]
    run_benchmark([raw], output, ["stage-2"], SETTINGS, console)
    results = run_neutral_views([raw], output, [5, 3, 0], ["even", "rear"], SETTINGS, console)
    assert trained[1:] == ["stage 2 [0, 2, 4]", "stage 2 []", "stage 2 [0, 1, 5]"]
    assert results[0] == all_views and results[0].stage_1 is not None
    assert results[0].stage_1.face_chamfer == pytest.approx(5, rel=0.05)  # mm: the balls' radius is 100
    assert results[0].stage_2.face_chamfer == pytest.approx(2, rel=0.05)
    assert [r.stage_1 is None for r in results] == [False, False, True] * 2

    write_neutral_report(results, [raw], output, console)
    content = json.loads((output / "neutral-views.json").read_text())
    assert [(r["layout"], r["neutral_views"]) for r in content["results"]] == [
        (layout, count) for layout in ("even", "rear") for count in (5, 3, 0)
    ]
    assert "view[0-9]" not in (output / "neutral-views.json").read_text(), "names of photographs"
    assert (output / "neutral-views.png").stat().st_size > 10_000
    shown = cv2.imread(str(output / "neutral-views-meshes.png"))
    assert shown.shape[0] > 1500 and (shown < 128).any(), "six rows"


def measurement(label: str, chamfer: float, face: float | None) -> Measurement:
    return Measurement(
        "a", label, True, 9, 1.0, None, "mm", chamfer, 0.5, 10.0, face, 12.0, 2.5, 3.5, "a/stage-2/step-9.ply"
    )


def fewer(count: int, stage_1: float | None, stage_2: float, face: float | None = 1.0) -> FewerNeutral:
    first = None if stage_1 is None else measurement("stage 1", stage_1, face)
    return FewerNeutral(Selection("even", count, (), "even"), first, measurement("stage 2", stage_2, face))


def test_means_over_heads_are_compared_with_the_most_neutral_views() -> None:
    results = [fewer(0, None, 3.0), fewer(10, 2.0, 1.0), fewer(10, 4.0, 2.0, face=None), fewer(0, None, 3.0)]
    ten, none = means(results)
    assert (ten.neutral_views, none.neutral_views) == (10, 0)
    assert ten.distances["stage 1"]["head"] == 3.0 and none.distances["stage 1"]["head"] is None
    assert ten.distances["stage 2"] == {"head": 1.5, "face": None}
    assert none.ratios == {"head": 2.0, "face": None}
    rows = list(zip(*(column.cells for column in table([ten, none], "mm").columns), strict=True))
    assert rows[1] == ("even", "0", "-", "-", "3", "1", "2", "-")


def test_the_curve_of_stage_1_ends_where_there_are_no_colours() -> None:
    figure = curves(means([fewer(10, 2.0, 1.0), fewer(3, 2.5, 1.05), fewer(0, None, 3.0)]), "mm")
    assert isinstance(figure, Figure)
    drawn = {str(line.get_label()): np.asarray(line.get_xydata()).tolist() for line in figure.axes[0].get_lines()}
    assert drawn == {
        "stage 1, even": [[10, 2.0], [3, 2.5]],
        "stage 2, even": [[10, 1.0], [3, 1.05], [0, 3.0]],
    }


def test_draws_the_figures_whose_meshes_were_measured(raw: Path, trained: list[str]) -> None:
    output, console = raw.parent / "out", Console(quiet=True)
    measured = run_benchmark([raw], output, ["stage-2"], SETTINGS, console)
    assert save_figures(measured, [raw], output) == ["stages.png", "close-ups.png"]
    narrow = cv2.imread(str(output / "stages.png"))
    measured += run_benchmark([raw], output, ["full-rgb", "no-lipschitz"], SETTINGS, console)
    assert save_figures(measured, [raw], output) == ["stages.png", "close-ups.png", "lipschitz.png"]
    wide = cv2.imread(str(output / "stages.png"))
    assert wide.shape[1] * 3 == narrow.shape[1] * 4, "full RGB is a column of its own"
    assert save_figures([replace(m, head="other") for m in measured], [raw], output) == []
    assert len(trained) == 3


def test_shaded_pictures_follow_lamberts_law_under_lamps_of_the_camera(raw: Path) -> None:
    truth = load_truth(raw)
    for turn in (0.0, 90.0):
        camera = face_camera(truth, turn, 65)
        facing = trimesh.creation.icosphere(5, radius=0.5)
        facing.apply_translation([1 - FACE_DEPTH * 0.95, 0, 0])  # the face region has a radius of 95 mm
        center = render_shaded(facing, camera)[32, 32] / 255
        light = AMBIENT + sum(strength * z / np.linalg.norm((x, y, z)) for (x, y, z), strength in LIGHTS)
        np.testing.assert_allclose(center, light * np.array(CLAY), atol=0.01)


def test_the_close_up_is_as_wide_as_the_face_region(raw: Path) -> None:
    camera = face_camera(load_truth(raw), 0.0, 100)
    ball = trimesh.creation.icosphere(5, radius=0.95)
    ball.apply_translation([1 - FACE_DEPTH * 0.95, 0, 0])
    row = np.flatnonzero((render_shaded(ball, camera)[50] < 255).all(axis=1))
    assert 98 <= len(row) <= 100
    (raw / "capture.json").unlink()
    edit(raw, lambda content: content.pop("mm_per_unit"))
    guessed = face_camera(load_truth(raw), 0.0, 100)
    np.testing.assert_allclose(guessed.camera_to_world[:3, 2], [1, 0, 0], atol=1e-6)
    radius = 0.24 * np.sqrt(12)  # of the diagonal of the ball's box
    np.testing.assert_allclose(
        guessed.camera_to_world[0, 3], 1 - FACE_DEPTH * radius + radius / np.sin(np.radians(12.5)), rtol=1e-3
    )
