"""`privhead batch`: real trainings beside one another, what it skips, refuses and names, and what travels."""

from __future__ import annotations

import csv
import json
import pickle
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import trimesh
from PIL import Image
from raw_folder import write_raw_capture
from rich.console import Console

from privhead_ns.batch import batch as module
from privhead_ns.batch import head as one_head
from privhead_ns.batch.batch import alone, run_batch
from privhead_ns.batch.head import Head, Record, Settings, read_head, receive, train_shipped
from privhead_ns.batch.jobs import Job, Outcome, Step, perform
from privhead_ns.batch.processes import Processes
from privhead_ns.batch.sheet import CAPTION, COLUMNS, ROWS, SIZE, most_frontal, save_sheets
from privhead_ns.capture.protect import protect
from privhead_ns.capture.protected import load_protected_capture
from privhead_ns.errors import UserError
from privhead_ns.mesh.files import load_mesh, save_mesh
from privhead_ns.operators import OperatorConfig

SETTINGS = Settings(seed=42, max_num_iterations=2, resolution=32, millimetres=False, ending="ply", keep_runs=False)
QUIET = Console(quiet=True)


class Here:
    """An executor in this process, where functions can be replaced."""

    def run(self, jobs: Iterable[Job]) -> Iterator[Step | Outcome]:
        for job in jobs:
            yield Step(job.name, "Starting", 0, 0)
            result = perform(pickle.dumps(job.function), lambda *_: None)
            yield Outcome(job.name, *pickle.loads(pickle.dumps(result)))


class Killed:
    """An executor whose workers all are killed in the middle of their work."""

    def __init__(self, output_dir: Path) -> None:
        self.output_dir = output_dir

    def run(self, jobs: Iterable[Job]) -> Iterator[Step | Outcome]:
        for job in jobs:
            (self.output_dir / f".{job.name}.tmp-1").mkdir()
            yield Outcome(job.name, error="Its worker was killed.")


@pytest.fixture(scope="module")
def captures(demo_capture: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two protected captures."""
    folder = tmp_path_factory.mktemp("batch")
    protect(demo_capture, folder / "good", OperatorConfig(), template="average")
    protect(write_raw_capture(folder / "ball"), folder / "other", OperatorConfig())
    return folder


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Puts a quick stand-in in the place of training; returns the names of the heads that it is given."""
    trained: list[str] = []

    def train_head(head: Head, folder: Path, settings: Settings, console: Console) -> Record:
        trained.append(head.name)
        (folder / "train.log").write_text("log")
        if (head.capture / "fail").exists():
            return Record(head.name, "failed", error="no surface")
        save_mesh(trimesh.creation.icosphere(), folder / "head.ply")
        Image.new("RGB", (SIZE, SIZE)).save(folder / "head.png")
        record = Record(head.name, "trained", 1.0, 42, f"{head.name}/head.ply", digest=head.digest)
        (folder / "head.json").write_text(json.dumps(asdict(record)))
        return record

    monkeypatch.setattr(one_head, "train_head", train_head)
    return trained


def test_trains_and_exports_in_a_worker_and_names_one_that_fails(
    captures: Path, tmp_path: Path, forked_training: None
) -> None:
    torn = shutil.copytree(captures / "other", tmp_path / "torn")
    for path in (torn / "masks").iterdir():
        Image.new("L", Image.open(path).size).save(path)  # a whole capture, but of no head
    workers = Processes([{"OMP_NUM_THREADS": "1"}])
    (good,) = run_batch([captures / "good"], tmp_path / "out", SETTINGS, workers, QUIET)
    again, bad = run_batch([captures / "good", torn], tmp_path / "out", SETTINGS, Here(), QUIET)
    assert again == good
    assert (good.head, good.status, good.error, bad.head, bad.status) == ("good", "trained", None, "torn", "failed")
    assert "ns-train ended with status 1" in (bad.error or "") and "read torn.log" in (bad.error or "")
    assert "No point lies inside the silhouettes" in (bad.error or "")
    assert len(load_mesh(tmp_path / "out" / str(good.mesh)).vertices) == good.vertices
    names = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    files = {"batch.json", "batch.csv", "settings.json", "sheet.png", "torn.log"}
    assert names == files | {f"good/{name}" for name in ("head.ply", "head.png", "head.json", "train.log")}
    assert Image.open(tmp_path / "out" / "sheet.png").size == (2 * SIZE, SIZE + CAPTION)
    rows = list(csv.DictReader((tmp_path / "out" / "batch.csv").open()))
    assert [(row["head"], row["status"], row["vertices"]) for row in rows] == [
        ("good", "trained", str(good.vertices)),
        ("torn", "failed", ""),
    ]


def test_a_second_start_trains_what_failed_and_what_has_changed(
    captures: Path, tmp_path: Path, stub: list[str]
) -> None:
    data = [shutil.copytree(captures / name, tmp_path / name) for name in ("good", "other")]
    out = tmp_path / "out"
    (data[1] / "fail").touch()
    assert [record.status for record in run_batch(data, out, SETTINGS, Here(), QUIET)] == ["trained", "failed"]
    assert (out / "other.log").read_text() == "log" and not (out / "other").exists()
    (data[1] / "fail").unlink()
    (record,) = run_batch(data[1:], out, SETTINGS, Killed(out), QUIET)
    assert (record.status, record.error) == ("failed", "Its worker was killed.") and not list(out.glob(".*"))
    (out / ".other.tmp-1").mkdir()  # of a batch that was killed
    assert [record.status for record in run_batch(data, out, SETTINGS, Here(), QUIET)] == ["trained", "trained"]
    assert stub == ["good", "other", "other"]
    assert not (out / "other.log").exists() and not list(out.glob(".*"))
    content = json.loads((data[0] / "transforms.json").read_text())
    content["privhead"]["magnitude_maximum"] *= 2
    (data[0] / "transforms.json").write_text(json.dumps(content))
    run_batch(data, out, SETTINGS, Here(), QUIET)
    (out / "other" / "head.ply").unlink()
    run_batch(data, out, SETTINGS, Here(), QUIET)
    assert stub[3:] == ["good", "other"]


def test_bad_captures_are_named_before_the_others_are_trained(captures: Path, tmp_path: Path, stub: list[str]) -> None:
    raw = write_raw_capture(tmp_path / "raw")
    console = Console(record=True, width=300, quiet=False, file=(tmp_path / "log").open("w"))
    records = run_batch([raw, captures / "good"], tmp_path / "out", SETTINGS, Here(), console)
    assert [record.status for record in records] == ["failed", "trained"] and stub == ["good"]
    printed = console.export_text()
    assert printed.index("raw failed: ") < printed.index("good: 1 s, 42 vertices")
    with pytest.raises(UserError, match="is a raw capture"):
        run_batch([raw], tmp_path / "new", SETTINGS, Here(), QUIET)
    assert not (tmp_path / "new").exists()


def test_a_setting_that_was_not_noted_is_not_taken_as_equal(captures: Path, tmp_path: Path, stub: list[str]) -> None:
    out = tmp_path / "out"
    run_batch([captures / "good"], out, SETTINGS, Here(), QUIET)
    noted = json.loads((out / "settings.json").read_text())
    del noted["batch"]["millimetres"]
    (out / "settings.json").write_text(json.dumps(noted))
    with pytest.raises(UserError, match="made with millimetres None"):
        run_batch([captures / "good"], out, SETTINGS, Here(), QUIET)


def test_refuses_what_it_cannot_do(captures: Path, tmp_path: Path, stub: list[str]) -> None:
    good, out = captures / "good", tmp_path / "out"
    with pytest.raises(UserError, match="Two captures"):
        run_batch([good, good], out, SETTINGS, Here(), QUIET)
    with pytest.raises(UserError, match="does not say mm_per_unit"):
        run_batch([captures / "other"], out, replace(SETTINGS, millimetres=True), Here(), QUIET)
    with pytest.raises(UserError, match="is no batch"):
        run_batch([good], captures / "ball", SETTINGS, Here(), QUIET)
    run_batch([good], out, SETTINGS, Here(), QUIET)
    inside = shutil.copytree(good, out / "inside")
    with pytest.raises(UserError, match="lies in --output-dir"):
        run_batch([inside], out, SETTINGS, Here(), QUIET)
    with pytest.raises(UserError, match="resolution 32, not 64"):
        run_batch([good], out, replace(SETTINGS, resolution=64), Here(), QUIET)
    with alone(out), pytest.raises(UserError, match="Another privhead batch"):
        run_batch([good], out, SETTINGS, Here(), QUIET)
    assert stub == ["good"]


def test_to_another_machine_goes_what_training_reads_and_nothing_beside_it(
    captures: Path, tmp_path: Path, stub: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    folder = shutil.copytree(captures / "good", tmp_path / "good")
    (folder / "photograph.jpg").write_bytes(b"private")
    head = read_head(folder, False)
    assert head.digest == read_head(captures / "good", False).digest
    monkeypatch.setattr(module, "RayCluster", Here)
    (record,) = module.outcomes([head], tmp_path / "out", SETTINGS, Here(), QUIET)  # type: ignore[arg-type]
    assert record == Record("good", "trained", 1.0, 42, "good/head.ply", digest=head.digest)
    packed = module.pack(folder, module.files(load_protected_capture(folder)))
    assert b"photograph.jpg" not in packed and b"transforms.json" in packed and b"template.ply" in packed
    shipped = train_shipped(packed, head, SETTINGS, QUIET)
    (tmp_path / "there").mkdir()
    assert receive(shipped, tmp_path / "there").status == "trained"
    assert len(load_mesh(tmp_path / "there" / "good" / "head.ply").vertices) == 642


def test_sheets_hold_all_pictures(tmp_path: Path) -> None:
    path = tmp_path / "head.png"
    Image.new("RGB", (SIZE, SIZE), (255, 0, 0)).save(path)
    pictures = [(f"head {number}", path if number else None) for number in range(COLUMNS * ROWS + 1)]
    assert [sheet.name for sheet in save_sheets(tmp_path, pictures)] == ["sheet-1.png", "sheet-2.png"]
    full = Image.open(tmp_path / "sheet-1.png")
    assert full.size == (COLUMNS * SIZE, ROWS * (SIZE + CAPTION))
    assert full.getpixel((20, 20)) == (211, 211, 211) and full.getpixel((SIZE + 20, 20)) == (255, 0, 0)
    assert [sheet.name for sheet in save_sheets(tmp_path, pictures[:3])] == ["sheet.png"]
    assert sorted(found.name for found in tmp_path.iterdir()) == ["head.png", "sheet.png"]


def test_the_picture_is_taken_from_the_middle_of_the_views_that_see_the_face(captures: Path) -> None:
    capture = load_protected_capture(captures / "other")  # cameras around z; the neutral ones stand at -x and 60° on
    position = most_frontal(capture).camera_to_world[:3, 3]
    mean = sum(f.camera_to_world[:3, 3] for f in capture.frames if f.kind == "protected")
    assert position @ mean > 0.8 * float((position @ position) ** 0.5 * (mean @ mean) ** 0.5)
