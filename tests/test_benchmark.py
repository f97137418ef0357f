"""The benchmark: a real one of a few steps on the demo's head, and what it makes of its measurements."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest
from raw_folder import write_raw_capture
from rich.console import Console

from privhead_ns import training_run
from privhead_ns.benchmark import benchmark
from privhead_ns.benchmark import settings as benchmark_settings
from privhead_ns.benchmark import training as benchmark_training
from privhead_ns.benchmark.benchmark import ends_phase1, measure, run_benchmark
from privhead_ns.benchmark.report import PAPER, STAGE_1, curve, races, ratios, table, write_report
from privhead_ns.benchmark.results import Measurement
from privhead_ns.benchmark.settings import Settings
from privhead_ns.benchmark.training import train_timed
from privhead_ns.benchmark.variants import VARIANTS as ALL
from privhead_ns.capture.protected import load_protected_capture
from privhead_ns.errors import UserError
from privhead_ns.mesh.evaluate import evaluate
from privhead_ns.mesh.files import load_mesh, save_mesh
from privhead_ns.phases import PhaseSchedule
from privhead_ns.training_run import TrainingRun

SETTINGS = Settings(seed=42, size=128, phase2_steps=20, paper_minutes=1.0)
VARIANTS = ["stage-2", "full-rgb"]
PHASE1 = 21
"""Steps of phase 1; every tenth is reported."""


@pytest.fixture(scope="module")
def console() -> Console:
    return Console(quiet=True)


@pytest.fixture(scope="module")
def raw(demo_capture: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark") / "head"
    shutil.copytree(demo_capture, folder)
    return folder


@pytest.fixture(scope="module")
def short(forked_training: None) -> Iterator[None]:
    """Short runs and coarse meshes."""

    def train(method: str, data: Path, output_dir: Path, steps: int, console: Console, flags: dict) -> TrainingRun:
        return training_run.train(
            method, data, output_dir, steps, console, flags | {"--pipeline.phases.phase1-steps": PHASE1}
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark_training, "train", train)
        patch.setattr(benchmark_settings, "PhaseSchedule", partial(PhaseSchedule, phase1_steps=PHASE1))
        patch.setattr(benchmark, "RESOLUTION", 48)
        patch.setattr("privhead_ns.mesh.evaluate.RAYS", 48)
        yield


@pytest.fixture(scope="module")
def output(raw: Path, console: Console, short: None) -> Path:
    """The folder of a finished benchmark."""
    folder = raw.parent / "out"
    measurements = run_benchmark([raw], folder, VARIANTS, SETTINGS, console)
    write_report(measurements, [raw], folder, console)
    return folder


def measurement(**values: object) -> Measurement:
    base = Measurement(
        head="a",
        label="stage 2",
        final=True,
        step=9,
        seconds=1.0,
        peak_memory=100.0,
        unit="mm",
        chamfer=2.0,
        f_score=0.5,
        normal_error=10.0,
        face_chamfer=3.0,
        face_normal_error=12.0,
        chamfer_point_to_point=2.5,
        face_chamfer_point_to_point=3.5,
        mesh="a/stage-2/step-9.ply",
    )
    return replace(base, **values)  # type: ignore[arg-type]


def test_measures_both_stages_and_full_rgb_as_often_as_it_trains_them(output: Path) -> None:
    content = json.loads((output / "benchmark.json").read_text())
    assert [entry["label"] for entry in content["measurements"]] == ["stage 1", "stage 2", "full RGB"]
    stage1, stage2, rgb = content["measurements"]
    assert (stage1["step"], stage2["step"], rgb["step"]) == (PHASE1 - 1, PHASE1 + 19, PHASE1 + 19)
    assert 0 < stage1["seconds"] < stage2["seconds"]
    assert all(0 < entry["chamfer"] < 20 and entry["peak_memory"] > 100 for entry in (stage1, stage2, rgb))
    assert content["ratios"]["Chamfer, head"] == pytest.approx(stage2["chamfer"] / rgb["chamfer"])
    assert len((output / "benchmark.csv").read_text().splitlines()) == 4
    assert (output / "benchmark.png").stat().st_size > 10_000


def test_measures_a_capture_without_colour_and_where_its_training_starts(
    raw: Path, tmp_path: Path, console: Console, short: None
) -> None:
    hidden = shutil.copytree(raw, tmp_path / "hidden")
    content = json.loads((hidden / "transforms.json").read_text())
    for frame in content["frames"]:
        frame["sensitive"] = True
    (hidden / "transforms.json").write_text(json.dumps(content))
    settings = Settings(seed=42, size=24, phase2_steps=20, paper_minutes=1.0)
    measurements = run_benchmark([hidden], tmp_path / "out", ["silhouettes", "stage-2"], settings, console)
    assert [(m.label, m.step) for m in measurements] == [("silhouettes alone", 0), ("stage 2", PHASE1 + 19)]
    protected = load_protected_capture(tmp_path / "out" / "hidden" / "protected")
    assert protected.hides_all
    assert protected.width == 24
    write_report(measurements, [hidden], tmp_path / "out", console)
    assert (tmp_path / "out" / "benchmark.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("name", "steps", "stage_1"),
    [
        ("stage-2", [299, 598, 1499], 299),
        ("stage-2", [1499], None),
        ("full-rgb", [299, 1499], None),
        ("paper", [9, 49], None),
    ],
)
def test_the_first_of_several_checkpoints_ends_phase_1(name: str, steps: list[int], stage_1: int | None) -> None:
    assert [step for step in steps if ends_phase1(ALL[name], step, steps)] == ([stage_1] if stage_1 else [])


def test_leaves_no_checkpoint_behind(output: Path) -> None:
    assert not list(output.rglob("*.ckpt"))
    assert not list(output.rglob("events.out*"))


def test_goes_on_without_training_again(
    output: Path, raw: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark_training, "train", lambda *_: pytest.fail("trained again"))
    again = run_benchmark([raw], output, VARIANTS, SETTINGS, console)
    assert [m.label for m in again] == ["stage 1", "stage 2", "full RGB"]


def test_results_of_another_measure_are_measured_again_from_their_meshes(
    raw: Path, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark_training, "train", lambda *_: pytest.fail("trained again"))
    mesh = load_mesh(raw / "gt_mesh.ply")
    mesh.vertices += 0.01 * mesh.vertex_normals
    path = tmp_path / "head" / "stage-2" / "step-9.ply"
    path.parent.mkdir(parents=True)
    save_mesh(mesh, path)
    entry = asdict(measurement(head="head", mesh="head/stage-2/step-9.ply"))
    del entry["chamfer_point_to_point"], entry["face_chamfer_point_to_point"]
    result = path.with_name("result.json")
    result.write_text(json.dumps({"measurements": [entry]}))  # as it was written when distances were between samples

    (found,) = measure(raw, tmp_path, "stage-2", SETTINGS, console)
    expected = evaluate(mesh, raw)
    assert (found.chamfer, found.f_score) == pytest.approx((expected.head.chamfer, expected.head.f_score), rel=1e-3)
    assert (found.step, found.seconds, found.mesh) == (entry["step"], entry["seconds"], entry["mesh"])
    assert json.loads(result.read_text())["measure"] == "point to surface"
    path.unlink()
    assert measure(raw, tmp_path, "stage-2", SETTINGS, console) == [found]
    result.write_text(json.dumps({"measurements": [entry]}))
    with pytest.raises(UserError, match="no mesh file"):
        measure(raw, tmp_path, "stage-2", SETTINGS, console)


def test_figures_are_to_the_surface(output: Path) -> None:
    content = json.loads((output / "benchmark.json").read_text())
    assert content["measure"] == "point to surface"
    for entry in content["measurements"]:
        assert entry["chamfer"] < entry["chamfer_point_to_point"]
        assert entry["face_chamfer"] < entry["face_chamfer_point_to_point"]
    measurements = [measurement(), measurement(final=False, step=5)]
    for shown in (table(measurements), curve(measurements)):
        assert "distance to the true surface (mm)" in str(shown.title).lower()


def test_a_run_that_fails_is_not_taken_for_measured(
    raw: Path, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise UserError("no")

    monkeypatch.setattr(benchmark_training, "train", fail)
    for _ in range(2):
        with pytest.raises(UserError, match="no"):
            run_benchmark([raw], tmp_path / "out", ["stage-2"], SETTINGS, console)


def test_refuses_other_settings(output: Path, raw: Path, console: Console) -> None:
    with pytest.raises(UserError, match="phase2_steps 20, not 30"):
        run_benchmark([raw], output, VARIANTS, replace(SETTINGS, phase2_steps=30), console)


def test_refuses_a_folder_of_something_else(raw: Path, console: Console) -> None:
    with pytest.raises(UserError, match="is no benchmark"):
        run_benchmark([raw], raw, VARIANTS, SETTINGS, console)


def test_refuses_two_captures_of_one_name_and_another_of_a_name_it_knows(
    output: Path, raw: Path, tmp_path: Path, console: Console
) -> None:
    with pytest.raises(UserError, match="Two captures"):
        run_benchmark([raw, raw], output, VARIANTS, SETTINGS, console)
    copy = write_raw_capture(tmp_path / "head")
    (copy / "gt_mesh.ply").symlink_to(raw / "gt_mesh.ply")
    with pytest.raises(UserError, match="another head"):
        run_benchmark([copy], output, VARIANTS, SETTINGS, console)


def test_refuses_captures_without_truth_before_training(tmp_path: Path, console: Console) -> None:
    with pytest.raises(UserError, match="gt_mesh"):
        run_benchmark([write_raw_capture(tmp_path / "raw")], tmp_path / "out", VARIANTS, SETTINGS, console)
    assert not (tmp_path / "out").exists()


def test_ratios_compare_means() -> None:
    means = {"stage 2": {"Chamfer, head": 3.0}, "full RGB": {"Chamfer, head": 2.0}}
    names = ("Chamfer, face", "normals, head (°)", "normals, face (°)", "seconds", "memory (MB)")
    full = {label: values | dict.fromkeys(names) for label, values in means.items()}
    assert ratios(full)["Chamfer, head"] == 1.5
    assert ratios(full)["Chamfer, face"] is None
    assert ratios({"stage 2": full["stage 2"]}) == {}


def test_the_table_averages_heads_and_shows_only_final_states() -> None:
    measurements = [
        measurement(head="a", chamfer=1.0),
        measurement(head="b", chamfer=4.0),
        measurement(head="a", final=False, chamfer=77.0, step=5),
    ]
    rows = list(zip(*(column.cells for column in table(measurements).columns), strict=True))
    expected = {"a": "1", "b": "4", "mean": "2.5"}
    assert [row[:2] for row in rows] == [
        row for head, figure in expected.items() for row in ((head, ""), ("stage 2", figure))
    ]


def test_the_race_is_to_the_best_figure_of_the_papers_configuration() -> None:
    theirs = [
        measurement(label=PAPER, seconds=60.0, chamfer=5.0),
        measurement(label=PAPER, seconds=600.0, chamfer=3.0),
        measurement(label=PAPER, seconds=900.0, chamfer=4.0),
    ]
    ours = [measurement(label=STAGE_1, seconds=10.0, chamfer=3.5), measurement(seconds=30.0, chamfer=2.0)]
    (race,) = races(theirs + ours)
    assert (race.chamfer, race.paper_seconds, race.our_seconds) == (3.0, 600.0, 30.0)
    assert "20 times as fast" in race.in_plain_words()
    (lost,) = races([*theirs, ours[0]])
    assert lost.our_seconds is None and "never as good" in lost.in_plain_words()
    assert races(theirs) == [] and races([*theirs, measurement(head="b")]) == []


def test_the_papers_configuration_gets_as_many_steps_as_fit_its_time(
    tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def train(_method: str, _data: Path, training: Path, steps: int, *others: object) -> TrainingRun:
        training.mkdir()
        calls.append((steps, *others))
        return TrainingRun(tmp_path / "config.yml", reported={0: 0.0, 3: 1.5})

    monkeypatch.setattr(benchmark_training, "train", train)
    train_timed(ALL["paper"], tmp_path, tmp_path, tmp_path / "training", SETTINGS, console)
    steps, _, flags, seconds = calls[1]
    assert (steps, seconds) == (121, 60), "half a second a step: 120 in a minute, and step 0"
    assert flags["--steps-per-save"] == 24
    assert flags["--pipeline.phases.phase1-steps"] == 49, "its last step, number 48, is a checkpoint"
    assert flags["--pipeline.phases.phase1-steps"] + flags["--pipeline.phases.phase2-steps"] == steps
