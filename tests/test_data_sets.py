"""H3DS and FaceScape: folders that are laid out as theirs become raw captures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import data_sets
import numpy as np
import pytest
import trimesh
from data_sets import (
    CANONICAL,
    EXPRESSION,
    INVALID,
    SHIFT,
    SUBJECT,
    TURN,
    UNIT,
    load,
    moved,
    write_facescape,
    write_h3ds,
    write_small_demo,
)
from PIL import Image
from rich.console import Console

from privhead_ns.capture.camera import PosedCamera, farthest_first
from privhead_ns.capture.raw import load_raw_capture, read_image
from privhead_ns.capture.silhouettes import overlap
from privhead_ns.errors import UserError
from privhead_ns.mesh.evaluate import evaluate
from privhead_ns.mesh.files import load_mesh
from privhead_ns.mesh.raycast import RayScene
from privhead_ns.prepare import landmarks
from privhead_ns.prepare.choose import choose_views
from privhead_ns.prepare.prepare import prepare
from privhead_ns.prepare.readers.detect import read_posed
from privhead_ns.prepare.readers.facescape import read_facescape
from privhead_ns.prepare.readers.h3ds import read_h3ds, read_obj
from privhead_ns.prepare.wishes import Wishes

QUIET = Console(quiet=True)
FRONT = np.array([1.0, 0, 0])
MM = 185.0
"""Of a unit of the demo."""


@pytest.fixture(autouse=True)
def no_mediapipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landmarks, "is_installed", lambda: False)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_demo(tmp_path_factory.mktemp("demo") / "raw")


@pytest.fixture
def scene(demo: Path, tmp_path: Path) -> Path:
    return write_h3ds(tmp_path, demo)


@pytest.fixture
def capture(demo: Path, tmp_path: Path) -> Path:
    return write_facescape(tmp_path, demo)


def check_truth(raw: Path, demo: Path, views: list[int]) -> None:
    """Asserts that the true surface can be measured on, and that cameras see it where the demo's masks are white."""
    scores = evaluate(load_mesh(raw / "gt_mesh.ply"), raw)
    assert scores.unit == "mm" and scores.face is not None
    assert max(scores.head.chamfer, scores.face.chamfer) < 1e-3
    scene = RayScene(load_mesh(raw / "gt_mesh.ply"))
    for frame, view in zip(load_raw_capture(raw).frames, views, strict=True):
        seen = scene.cast(PosedCamera(frame.camera_to_world, frame.intrinsics), 48, 48).seen
        mask = np.asarray(Image.open(demo / f"masks/{view:03d}.png")) > 127
        assert np.count_nonzero(seen & mask) > 0.95 * np.count_nonzero(seen | mask)


def degrees(one: Any, other: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(np.array(one) @ other, -1, 1))))


def test_h3ds_becomes_a_raw_capture(demo: Path, scene: Path) -> None:
    content, _, mesh = load(demo)
    raw = scene.parent / "raw"
    summary = prepare(scene, raw, Wishes(data_format="h3ds"), QUIET).in_plain_words()
    prepared = load_raw_capture(raw)
    assert prepared.mm_per_unit == 1.0
    for index, (frame, given) in enumerate(zip(prepared.frames, content["frames"], strict=True)):
        expected = moved(np.array(given["transform_matrix"]), MM, np.zeros(3))
        np.testing.assert_allclose(frame.camera_to_world, expected, atol=0.01)
        assert frame.intrinsics.fl_x == pytest.approx(content["fl_x"], rel=1e-4)
        assert frame.intrinsics.cx == pytest.approx(content["cx"], abs=0.01)
        assert frame.sensitive == given["sensitive"]
        coverage = read_image(frame)[1]
        assert np.array_equal(coverage > 0, np.asarray(Image.open(demo / f"masks/{index:03d}.png")) > 127)
    about = json.loads((raw / "capture.json").read_text())
    assert degrees(about["face_axis"], TURN @ FRONT) < 15
    nose = MM * TURN @ np.array(load(demo)[1]["nose_tip"])
    assert np.linalg.norm(np.array(about["nose_tip"]) - nose) < 5  # a vertex of the coarse surface
    stored = trimesh.load(raw / "gt_mesh.ply", process=False)
    np.testing.assert_allclose(stored.vertices, MM * mesh.vertices @ TURN.T, atol=1e-4)  # type: ignore[union-attr]
    assert (raw / "regions/face.txt").read_text() == (scene / "regions/face.txt").read_text()
    assert "The data set says where the face looks: 6 of 10 are sensitive, neutral are" in summary
    assert "missing" not in summary and "scale is unknown" not in summary
    check_truth(raw, demo, list(range(10)))


def test_facescape_becomes_a_raw_capture(demo: Path, capture: Path) -> None:
    content = load(demo)[0]
    raw = capture.parent / "raw"
    summary = prepare(capture, raw, Wishes(data_format="facescape"), QUIET).in_plain_words()
    prepared = load_raw_capture(raw)
    views = [view for view in range(10) if view != INVALID]
    assert prepared.mm_per_unit == pytest.approx(MM / UNIT)
    for frame, view in zip(prepared.frames, views, strict=True):
        given = content["frames"][view]
        np.testing.assert_allclose(
            frame.camera_to_world, moved(np.array(given["transform_matrix"]), UNIT, SHIFT), atol=1e-9
        )
        assert frame.intrinsics.cx == pytest.approx(content["cx"])
        assert frame.sensitive == given["sensitive"]
        coverage, mask = read_image(frame)[1], np.asarray(Image.open(demo / f"masks/{view:03d}.png")) > 127
        assert overlap(coverage > 127, mask) > 0.9
    about = json.loads((raw / "capture.json").read_text())
    assert degrees(about["face_axis"], TURN @ FRONT) < 1e-3
    assert degrees(about["up_axis"], TURN @ np.array([0, 0, 1.0])) < 1e-3
    nose = UNIT * TURN @ np.array(load(demo)[1]["nose_tip"]) + SHIFT
    assert np.linalg.norm(np.array(about["nose_tip"]) - nose) < 5 * UNIT / MM
    assert "Masks: made from colours and cameras" in summary
    assert f"FaceScape calls the cameras of {INVALID}.jpg unreliable" in summary
    check_truth(raw, demo, views)


def test_facescape_without_its_scales_is_all_sensitive_and_says_so(demo: Path, tmp_path: Path) -> None:
    folder = write_facescape(tmp_path, demo, scales=False)
    (tmp_path / "MESH" / SUBJECT / f"{EXPRESSION}.ply").unlink()
    summary = prepare(folder, tmp_path / "raw", Wishes(), QUIET).in_plain_words()
    assert all(frame.sensitive for frame in load_raw_capture(tmp_path / "raw").frames)
    assert load_raw_capture(tmp_path / "raw").mm_per_unit is None
    assert not (tmp_path / "raw/capture.json").exists()
    assert "Rt_scale_dict.json of FaceScape's toolkit is neither in" in summary
    assert f"No {EXPRESSION}.ply is there" in summary and "The direction of the face is unknown" in summary


def test_millimetres_of_facescape_are_those_of_its_toolkit(capture: Path) -> None:
    head = read_facescape(capture).head
    assert head.mesh is not None
    scale, matrix = json.loads((capture.parents[2] / "Rt_scale_dict.json").read_text())[SUBJECT]["4"]
    vertices = np.asarray(head.mesh.vertices) * scale @ np.array(matrix)[:, :3].T + np.array(matrix)[:, 3]
    towards = np.array(matrix)[:, :3] @ head.face_direction
    np.testing.assert_allclose(towards, [0, 0, 1], atol=1e-9)
    assert vertices[:, 2].max() == pytest.approx((CANONICAL @ (MM * FRONT))[2] * 0.55, rel=0.15)  # the nose is 0.55 off


def test_lenses_of_facescape(capture: Path) -> None:
    path = capture / "params.json"
    content = json.loads(path.read_text())
    square = np.eye(4)
    square[:3, :3] = content["0_K"]
    path.write_text(json.dumps(content | {"0_K": square.tolist(), "0_distortion": [0.1, 0.2, 0.01, 0.02, 0.3]}))
    first = read_facescape(capture).photographs[0].intrinsics
    assert first.distortion == (0.1, 0.2, 0.01, 0.02, 0.3)
    assert first.fl_x == pytest.approx(content["0_K"][0][0])
    assert first.cx == pytest.approx(content["0_K"][0][2] + 0.5)


def test_facescape_takes_masks_that_lie_beside_its_photographs(demo: Path, capture: Path) -> None:
    for view in range(10):
        data_sets.copy_picture(demo / f"masks/{view:03d}.png", capture / f"masks/{view}.png")
    masks = [photograph.mask_path for photograph in read_facescape(capture).photographs]
    assert masks == [capture / f"masks/{view}.png" for view in range(10) if view != INVALID]


def test_both_are_recognised(scene: Path, capture: Path) -> None:
    for data in (scene, capture):
        captured = read_posed(data)
        assert captured is not None and captured.head.mesh is not None


def test_vertices_of_obj_files_keep_their_order(tmp_path: Path) -> None:
    lines = ["v 0 0 0", "v 9 9 9 0.1 0.2 0.3", "v 1 0 0", "v 1 1 0", "v 0 1 0", "vt 0 0", "vn 0 0 1"]
    (tmp_path / "head.obj").write_text("\n".join([*lines, "usemtl a", "f 1/1/1 3//1 4 5/1"]))
    mesh = read_obj(tmp_path / "head.obj")
    assert mesh.vertices.tolist() == [[0, 0, 0], [9, 9, 9], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert mesh.faces.tolist() == [[0, 2, 3], [0, 3, 4]]


def test_views_are_spread_evenly() -> None:
    angles = np.arange(12) * np.pi / 6
    directions = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    assert np.diff(sorted(farthest_first(directions, 0)[:4])).tolist() == [3, 3, 3]
    assert sorted(farthest_first(np.repeat(directions[:1], 3, axis=0), 0)) == [0, 1, 2]
    poses = np.tile(np.eye(4), (12, 1, 1))
    poses[:, :3, 3] = 7 + 3 * directions
    sensitive = [index % 2 == 0 for index in range(12)]
    chosen = choose_views(poses, np.full(3, 7.0), sensitive, (2, 3))
    assert [sensitive[view] for view in chosen].count(True) == 3 and len(chosen) == 5
    assert np.ptp([view for view in chosen if not sensitive[view]]) == 6
    with pytest.raises(UserError, match="--views asks for 7 neutral views, but there are 6"):
        choose_views(poses, np.full(3, 7.0), sensitive, (7, 3))


def test_a_split_is_taken_from_a_data_set(capture: Path) -> None:
    raw = capture.parent / "raw"
    prepare(capture, raw, Wishes(views=(2, 3)), QUIET)
    assert [frame.sensitive for frame in load_raw_capture(raw).frames] == [False, False, True, True, True]
    assert len(list((raw / "images").iterdir())) == 5
    with pytest.raises(UserError, match="--views must be the numbers"):
        prepare(capture, capture.parent / "again", Wishes(views=(2, 0)), QUIET)


def change(name: str, edit: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Any]:
    """Returns a change of a JSON file beside or above a folder."""

    def apply(folder: Path) -> None:
        path = next(up / name for up in (folder, *folder.parents) if (up / name).is_file())
        content = json.loads(path.read_text())
        edit(content)
        path.write_text(json.dumps(content))

    return apply


MISTAKES: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "no picture": ("h3ds", lambda f: (f / "image/img_0003.jpg").unlink(), r"not exist: \S*img_0003.jpg; restore"),
    "no mask": ("h3ds", lambda f: (f / "mask/mask_0003.png").unlink(), r"not exist: \S*mask_0003.png; restore"),
    "no arrays": ("h3ds", lambda f: (f / "cameras.npz").write_bytes(b"PK"), "cameras.npz cannot be read as arrays"),
    "no matrices": ("h3ds", lambda f: np.savez(f / "cameras.npz", scale_mat_0=np.eye(4)), "holds no world_mat_0"),
    "zero": (
        "h3ds",
        lambda f: np.savez(f / "cameras.npz", world_mat_0=np.zeros((4, 4))),
        "world_mat_0 is no projection",
    ),
    "landmark": ("h3ds", lambda f: (f / "landmarks.txt").write_text("nose_tip 1"), "name a vertex .* as right_eye"),
    "region": ("h3ds", lambda f: (f / "regions/face.txt").write_text("99999999"), "regions/face.txt must hold the num"),
    "surface": ("h3ds", lambda f: (f / "full_head.obj").write_text("v 0 0 0"), "full_head.obj is no OBJ file"),
    "no key": ("facescape", change("params.json", lambda c: c.pop("3_K")), "params.json has no 3_K"),
    "broken": (
        "facescape",
        lambda f: (f / "params.json").write_text('{"0_Rt": ['),
        "params.json cannot be read as JSON",
    ),
    "shape": ("facescape", change("params.json", lambda c: c.update({"3_Rt": [1]})), "3_Rt must be 3x4 or 4x4"),
    "photograph": ("facescape", lambda f: (f / "3.jpg").unlink(), r"not exist: \S*/3.jpg; restore"),
    "none valid": (
        "facescape",
        change("params.json", lambda c: c.update({f"{i}_valid": False for i in range(10)})),
        "calls no photograph's camera valid",
    ),
    "scale": (
        "facescape",
        change("Rt_scale_dict.json", lambda c: c[SUBJECT].update({"4": [0, []]})),
        "subject 212, expression 4 must be a scale above zero",
    ),
    "mesh": (
        "facescape",
        lambda f: (f.parents[2] / "MESH/212/4_anger.ply").write_text("ply"),
        "cannot be read as a surf",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_broken_folders_are_refused_in_a_sentence(demo: Path, tmp_path: Path, mistake: str) -> None:
    kind, spoil, sentence = MISTAKES[mistake]
    spoil(folder := (write_h3ds if kind == "h3ds" else write_facescape)(tmp_path, demo))
    with pytest.raises(UserError, match=sentence) as error:
        prepare(folder, tmp_path / "raw", Wishes(), QUIET)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "raw").exists()


def test_the_root_of_a_data_set_is_refused_with_the_folder_that_is_meant(scene: Path, capture: Path) -> None:
    with pytest.raises(UserError, match=f"give --data one of its scenes, such as {scene}"):
        read_posed(scene.parent, "h3ds")
    with pytest.raises(UserError, match=f"give --data one capture, such as {capture}"):
        read_posed(capture.parents[2], "facescape")
    with pytest.raises(UserError, match=r"has no params\.json of FaceScape"):
        read_posed(scene, "facescape")


def test_h3ds_without_landmarks_and_regions_goes_on(scene: Path) -> None:
    (scene / "landmarks.txt").unlink()
    for path in (scene / "regions").iterdir():
        path.unlink()
    head = read_h3ds(scene).head
    assert head.mesh is not None and head.face_direction is None and head.nose_tip is None
    assert len(head.remarks) == 2
