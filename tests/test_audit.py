"""The privacy audit, with a toy recogniser."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from raw_folder import disc, edit, write_raw_capture
from rich.console import Console
from toy_recogniser import Toy

from privhead_ns.audit import adapted, inversion, sweep
from privhead_ns.audit.audit import Inputs, run_audit
from privhead_ns.audit.faces import Faces, recognition
from privhead_ns.audit.geometry import render_mesh
from privhead_ns.audit.heads import load_subject, protected_like
from privhead_ns.audit.off_the_shelf import PROTECTED, RAW
from privhead_ns.audit.report import Verdict, write_report
from privhead_ns.audit.result import AttackResult
from privhead_ns.audit.sweep import run_sweep, settings, summary, write_sweep
from privhead_ns.capture.protect import protect
from privhead_ns.capture.protected import load_protected_capture
from privhead_ns.errors import UserError
from privhead_ns.operators import OperatorConfig
from privhead_ns.phases import PhaseSchedule

QUIET = Console(file=io.StringIO())


class Blind(Toy):
    """Never sees a face."""

    def faces(self, image: np.ndarray) -> list[np.ndarray]:
        return []


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Raw captures of four people, each of another tint."""
    folder = tmp_path_factory.mktemp("heads")
    return [tinted(write_raw_capture(folder / f"head{i}", stem=f"person{i}"), i) for i in range(4)]


def tinted(raw: Path, number: int) -> Path:
    """Dims the channels of all photographs of a capture in a way of its own."""
    factors = [(1.0, 0.3, 0.3), (0.3, 1.0, 0.3), (0.3, 0.3, 1.0), (0.9, 0.9, 0.3)][number]
    for path in sorted((raw / "images").iterdir()):
        pixels = np.asarray(Image.open(path)) * np.array(factors)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return raw


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inversion, "TRAINING_STEPS", 3)
    monkeypatch.setattr(inversion, "DESCENT_STEPS", 3)
    monkeypatch.setattr(inversion, "TURNS", 1)


@pytest.fixture(scope="module")
def results(heads: list[Path]) -> list[AttackResult]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inversion, "TRAINING_STEPS", 3)
        patch.setattr(inversion, "DESCENT_STEPS", 3)
        patch.setattr(inversion, "TURNS", 1)
        return run_audit(Inputs(heads[0], others=tuple(heads[1:])), [Toy()], QUIET)[0]


def test_photographs_are_recognised_and_grey_views_are_missed_by_the_detector_only(results: list[AttackResult]) -> None:
    photographs = results[0].rows[f"{RAW}, found by the detector"]
    assert photographs["detected"] == photographs["rank-1"] == photographs["matched"] == 1
    assert photographs["falsely matched"] == 0
    missed, cropped = (results[0].rows[f"{PROTECTED}, {how}"] for how in ("found by the detector", "cropped by hand"))
    assert missed["detected"] == 0 and missed["rank-1"] is None
    assert cropped["faces"] == 4 and cropped["rank-1"] is not None


def test_an_attack_that_lacks_an_input_says_so_and_gives_no_figure(
    results: list[AttackResult], heads: list[Path]
) -> None:
    assert results[3].recognition is None and "--load-config" in results[3].sentence
    [alone] = run_audit(Inputs(heads[0]), [Toy()], QUIET)
    assert alone[1].recognition is None and "--others" in alone[1].sentence
    assert alone[0].rows[f"{RAW}, found by the detector"]["rank-1"] is None
    assert "learned inversion" not in alone[2].rows
    assert alone[5].recognition is None and "--others" in alone[5].sentence


def test_faces_from_everything_that_was_made_are_laid_on_other_peoples_pictures(results: list[AttackResult]) -> None:
    swaps = results[5].rows
    assert {"photographs, warped", "protected views, warped", "direct inversion, warped"} < set(swaps)
    assert all(figures["faces"] == 4 * 3 for figures in swaps.values()), "four views, on pictures of three people"
    assert results[5].recognition is not None


def test_no_face_in_the_photographs_is_no_happy_zero(heads: list[Path]) -> None:
    with pytest.raises(UserError, match="finds no face in any of the 4 sensitive photographs"):
        run_audit(Inputs(heads[0]), [Blind()], QUIET)


def test_a_protected_capture_of_another_head_is_refused(heads: list[Path], tmp_path: Path) -> None:
    protect(heads[0], tmp_path / "protected", OperatorConfig())
    other = write_raw_capture(tmp_path / "raw")
    edit(other, lambda content: content["frames"].reverse())
    with pytest.raises(UserError, match="cameras differ"):
        run_audit(Inputs(other, tmp_path / "protected"), [Toy()], QUIET)


def test_recognition_leaves_out_pictures_of_one_camera() -> None:
    views = np.arange(3)
    own = Faces(views, np.array([[0.0], [0.05], [0.5]]))
    stranger = Faces(views, np.array([[1.0], [1.0], [1.0]]))
    found = recognition(Toy(), own, own, [stranger])
    assert found.matched == pytest.approx(2 / 6), "the six pairs of different cameras, of which 0 and 1 are close"
    assert found.same == pytest.approx(np.median([0.05, 0.5, 0.45]))
    assert found.rank1 == 1 and found.falsely_matched == 0
    lookalike = Faces(np.array([7]), np.array([[0.0]]))
    assert recognition(Toy(), own, own, [lookalike]).rank1 == pytest.approx(1 / 3)


def test_the_learned_metric_ignores_how_views_of_one_head_differ() -> None:
    rng = np.random.default_rng(0)
    heads = []
    for _ in range(12):
        identity = np.array([*np.zeros(4), *rng.normal(size=60) * 0.1])
        embeddings = identity + rng.normal(size=(8, 64)) * (*[3.0] * 4, *[0.05] * 60)
        heads.append(Faces(np.arange(8), embeddings))
    plain = np.mean([adapted.identified(heads, i, learned=False) or 0 for i in range(12)])
    learned = np.mean([adapted.identified(heads, i, learned=True) or 0 for i in range(12)])
    assert learned > plain + 0.2


def test_descent_finds_an_image_of_the_wanted_magnitude(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = OperatorConfig()
    sigma = operator.setup()
    x = torch.linspace(0, 3, 24)
    image = (torch.sin(x)[:, None] * torch.cos(x)).expand(2, 3, 24, 24) / 2 + 0.5
    target = torch.nn.functional.pad(sigma(image), [1] * 4)
    monkeypatch.setattr(inversion, "DESCENT_STEPS", 300)
    monkeypatch.setattr(inversion, "TURNS", 1)
    found = inversion.search(target, operator, torch.Generator().manual_seed(0), QUIET)
    assert (sigma(found) - sigma(image)).abs().mean() < 0.25 * sigma(image).abs().mean()
    shaped = 0.5 + 0.6 * (image - 0.5)  # the right signs, but too faint
    refined, cost = inversion.descend(shaped, target, operator, 300)
    kept, guessed = (
        torch.cosine_similarity(guess.diff(dim=-1).flatten(), image.diff(dim=-1).flatten(), dim=0)
        for guess in (refined, found)
    )
    assert kept > 0.5 and kept > guessed + 0.3, "descent keeps the signs of its start"
    assert cost.shape == (2,)


def test_an_attacker_knows_that_magnitudes_are_rounded() -> None:
    """What rounding hides he takes from his prior: a faint ramp, stored as no gradient at all, is left as it is."""
    ramp = torch.linspace(0.2, 0.8, 24).expand(1, 3, 24, 24)
    nothing = torch.zeros(1, 24, 24)
    fine, coarse = (
        inversion.descend(ramp, nothing, OperatorConfig(levels=levels), 200)[0].diff(dim=-1).mean()
        for levels in (65536, 32)
    )
    assert coarse > 2 * fine


def test_turning_signs_over_leaves_the_strength_of_detail_alone() -> None:
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    turned = inversion.turned(images, torch.Generator().manual_seed(1))
    same, opposite = (turned - images).abs() < 1e-5, (turned - images).abs() >= 1e-5
    assert 0.1 < float(same.float().mean()) < 0.9
    behind = (turned + images) / 2  # where it was turned over
    assert (behind.std(dim=(-1, -2)) < images.std(dim=(-1, -2))).all()
    assert (opposite == opposite[:, :1]).float().mean() > 0.99, "all channels alike"


def test_renders_of_a_mesh_show_it_where_the_camera_sees_it(heads: list[Path], tmp_path: Path) -> None:
    protect(heads[0], tmp_path / "protected", OperatorConfig())
    capture = load_protected_capture(tmp_path / "protected")
    [picture] = render_mesh(trimesh.creation.icosphere(4), capture, (2,))
    size = picture.shape[0]
    assert picture.shape == (256, 256, 3)
    assert picture[size // 2, size // 2].min() > 250, "the surface faces the lamp at the camera"
    assert ((picture[..., 0] > 0) == (disc(size) == 255)).mean() > 0.99


def test_a_sweep_varies_one_choice_at_a_time() -> None:
    chosen = settings(("sobel", "central"), (0.0, 1.0, 2.0), (65536, 32), (48, 32))
    base = chosen[0]
    assert base.label == "sobel-blur0-levels65536-size48"
    assert len({setting.label for setting in chosen}) == len(chosen) == 6
    for setting in chosen[1:]:
        ours = (setting.operator.name, setting.operator.blur, setting.operator.levels, setting.size)
        first = (base.operator.name, base.operator.blur, base.operator.levels, base.size)
        assert sum(a != b for a, b in zip(ours, first, strict=True)) == 1
    with pytest.raises(UserError, match="no operator"):
        settings(("sobol",), (0.0,), (32,), ())


def test_a_sweep_is_the_mean_of_heads_under_the_recogniser_that_gets_farthest() -> None:
    rest = {"setting": "sobel", "face_chamfer": None, "unit": "mm"}
    one = {**rest, "attacks": {"1.": [0.2, 0.9], "2.": [None, None], "3.": [0.5, None]}, "chamfer": 1.0}
    other = {**rest, "attacks": {"1.": [0.8, 0.3], "2.": [None, None], "3.": [0.7, 0.4]}, "chamfer": 2.0}
    found = summary([one, other])
    assert found["attacks"] == pytest.approx({"1.": 0.6, "2.": None, "3.": 0.6})
    assert found["recognition"] == pytest.approx(0.6)
    assert found["chamfer"] == 1.5 and found["face_chamfer"] is None


def test_a_sweep_attacks_trains_evaluates_and_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forked_training: None, demo_capture: Path
) -> None:
    head = shutil.copytree(demo_capture, tmp_path / "head")
    monkeypatch.setattr(sweep, "RESOLUTION", 48)
    schedule = PhaseSchedule(phase1_steps=2, phase2_steps=2)
    chosen = settings(("central",), (0.0,), (65536,), ())
    arguments = ((head,), (), chosen, tmp_path / "sweep", [Toy()], schedule, QUIET)
    [result] = run_sweep(*arguments)
    assert result["unit"] == "mm" and 0 < result["chamfer"] < 1000
    assert 0 <= result["recognition"] <= 1 and result["attacks"][adapted.TITLE] is None, "which wants four heads"
    assert {path.name for path in (tmp_path / "sweep").iterdir()} == {"sweep_of.json", f"{chosen[0].label}-head.json"}
    monkeypatch.setattr(sweep, "measure", None)
    assert run_sweep(*arguments) == [result]
    write_sweep([result], tmp_path / "sweep", QUIET)
    assert Image.open(tmp_path / "sweep" / "sweep.png").size[0] > 500
    with pytest.raises(UserError, match="other captures, recognisers or steps"):
        run_sweep((head,), (), chosen, tmp_path / "sweep", [Toy(), Toy()], schedule, QUIET)
    with pytest.raises(UserError, match="same name"):
        run_sweep((head, head), (), chosen, tmp_path / "new", [Toy()], schedule, QUIET)
    note = tmp_path / "sweep" / "sweep_of.json"
    note.write_text(
        json.dumps({key: value for key, value in json.loads(note.read_text()).items() if key != "distance"})
    )
    with pytest.raises(UserError, match="another measure of distance"):
        run_sweep(*arguments)


def test_protection_in_memory_is_that_of_the_files(heads: list[Path], tmp_path: Path) -> None:
    operator = OperatorConfig("scharr", 0.5, 64)
    protect(heads[0], tmp_path / "protected", operator)
    subject = load_subject(heads[0], tmp_path / "protected")
    np.testing.assert_allclose(protected_like(subject.colour, operator), subject.magnitude, atol=1e-6)


def test_the_report_needs_no_other_file_and_fails_by_the_limit(results: list[AttackResult], tmp_path: Path) -> None:
    strict, lax = (Verdict("toy", 0.1, results, limit) for limit in (-1.0, 1.0))
    assert strict.failed and not lax.failed
    write_report(tmp_path / "report", [strict], {"capture": "<head>"})
    page = (tmp_path / "report" / "report.html").read_text()
    assert "http" not in page.replace("http-equiv", "") and "&lt;head&gt;" in page
    assert page.count("data:image/png;base64,") >= 8
    content = json.loads((tmp_path / "report" / "audit.json").read_text())
    assert content["failed"] and len(content["audits"][0]["attacks"]) == 7
    assert Image.open(tmp_path / "report" / "audit.png").size[0] > 100
