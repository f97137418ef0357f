"""Distances and angles between shapes whose differences are known."""

from __future__ import annotations

import json
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from ball_capture import INFO, MM, look_at_origin, ring, sphere, square, write_capture
from jaxtyping import Float

from privhead_ns.capture.camera import Intrinsics, PosedCamera
from privhead_ns.errors import UserError
from privhead_ns.mesh.evaluate import RAYS, evaluate, table
from privhead_ns.mesh.ground_truth import load_truth
from privhead_ns.mesh.raycast import RayScene


def visible_ball(poses: list[Float[np.ndarray, "4 4"]], centre: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "n 3"]:
    """Returns where the sample grids of `write_capture`'s cameras meet a ball of radius 1, by formula."""
    offset = ((np.arange(RAYS) + 0.5) / RAYS - 0.5) * 64 / 100
    x, y = np.meshgrid(offset, -offset)
    in_camera = np.stack([x, y, -np.ones_like(x)], axis=-1).reshape(-1, 3)
    in_camera /= np.linalg.norm(in_camera, axis=1, keepdims=True)
    points = []
    for pose in poses:
        directions, to_ball = in_camera @ pose[:3, :3].T, centre - pose[:3, 3]
        closest = directions @ to_ball
        half_chord_squared = 1 - to_ball @ to_ball + closest**2
        hit = half_chord_squared > 0
        points.append(pose[:3, 3] + directions[hit] * (closest[hit] - half_chord_squared[hit] ** 0.5)[:, None])
    return np.concatenate(points)


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    return write_capture(tmp_path, sphere(), info=INFO)


def test_the_truth_itself_is_perfect(capture: Path) -> None:
    result = evaluate(sphere(), capture)
    assert result.face is not None and result.unit == "mm"
    for scores in (result.head, result.face):
        assert scores.chamfer_point_to_point == 0
        assert max(scores.accuracy, scores.completeness, scores.chamfer) < 1e-4
        assert scores.f_score == 1
        assert scores.normal_error == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize(("offset", "f_score"), [(-0.1, 1.0), (0.1, 1.0), (1.0, 1.0), (3.0, 0.0)])
def test_a_larger_ball_is_off_by_its_offset(tmp_path: Path, offset: float, f_score: float) -> None:
    truth, mesh = sphere(subdivisions=6), sphere(1 + offset / MM, subdivisions=6)
    result = evaluate(mesh, write_capture(tmp_path, truth, info=INFO))
    assert result.face is not None
    for scores in (result.head, result.face):
        assert scores.accuracy == pytest.approx(abs(offset), rel=0.01)
        assert scores.completeness == pytest.approx(abs(offset), rel=0.01)
        assert scores.chamfer == pytest.approx((scores.accuracy + scores.completeness) / 2)
        assert scores.f_score == f_score
        assert scores.normal_error < 1


@pytest.mark.parametrize("shift", [0.1, 0.2, 0.4, 0.7])
def test_a_moved_ball_is_off_by_the_mean_over_its_visible_points(tmp_path: Path, shift: float) -> None:
    moved = np.array([shift / MM, 0, 0])
    folder = write_capture(tmp_path, sphere(subdivisions=6), info=INFO)
    result = evaluate(sphere(subdivisions=6).apply_translation(moved), folder).head

    poses = [np.array(frame["transform_matrix"]) for frame in ring()]
    points, true_points = visible_ball(poses, moved), visible_ball(poses, np.zeros(3))
    floor = true_points[:, 2].min() + 10 / MM
    points, true_points = points[points[:, 2] > floor], true_points[true_points[:, 2] > floor]
    accuracy = np.abs(np.linalg.norm(points, axis=1) - 1).mean() * MM
    completeness = np.abs(np.linalg.norm(true_points - moved, axis=1) - 1).mean() * MM
    assert 0.5 * shift < accuracy < 0.7 * shift, "half the shift on the whole ball, more at the height of the ring"
    assert result.accuracy == pytest.approx(accuracy, rel=0.01)
    assert result.completeness == pytest.approx(completeness, rel=0.01)
    assert result.chamfer == pytest.approx((accuracy + completeness) / 2, rel=0.01)
    assert result.chamfer_point_to_point > result.chamfer, "the samples' spacing comes on top"


def test_a_moved_square_is_off_by_its_shift(tmp_path: Path) -> None:
    frames = [{"file_path": f"{y}.png", "transform_matrix": look_at_origin((4, y, 0.5)).tolist()} for y in (-0.5, 0.5)]
    moved = square().apply_translation([0.003, 0, 0])
    scores = evaluate(moved, write_capture(tmp_path, square(), frames, {"mm_per_unit": MM})).head
    assert scores.accuracy == pytest.approx(0.3, abs=1e-3)
    assert scores.completeness == pytest.approx(0.3, abs=1e-3)
    assert scores.normal_error == pytest.approx(0, abs=0.1)


def test_distances_are_to_what_no_camera_sees_as_well(tmp_path: Path) -> None:
    # the mesh is a box whose far side, which no camera sees, lies on the true square: its visible side is 0.1 off
    box = trimesh.creation.box(bounds=[[0, -1, -1], [0.1, 1, 1]])
    frames = [{"file_path": f"{z}.png", "transform_matrix": look_at_origin((4, 0, z)).tolist()} for z in (0, 0.1)]
    scores = evaluate(box, write_capture(tmp_path, square(), frames)).head
    assert scores.accuracy == pytest.approx(0.1, rel=0.05)
    assert scores.completeness == pytest.approx(0, abs=1e-4)


def test_accuracy_and_completeness_tell_the_directions_apart(tmp_path: Path) -> None:
    # all cameras look along -x at a square; the mesh is its left half
    half = square()
    half.vertices[half.vertices[:, 1] < 0, 1] = 0
    frames = [{"file_path": f"{z}.png", "transform_matrix": look_at_origin((4, 0, z)).tolist()} for z in (0, 0.5, 1.0)]
    scores = evaluate(half, write_capture(tmp_path, square(), frames)).head
    assert scores.accuracy == pytest.approx(0, abs=1e-3)
    # the missing half lies 0.5 from the rest on average, the other half 0
    assert scores.completeness == pytest.approx(0.25, abs=0.02)


def test_face_region_is_the_ball_at_the_nose(capture: Path) -> None:
    for at_rear in (True, False):
        mesh = sphere()
        x = mesh.vertices[:, 0]
        mesh.vertices[(x < 0.3) if at_rear else (x > 0.8)] *= 1.03
        result = evaluate(mesh, capture)
        assert result.face is not None
        if at_rear:
            assert result.face.chamfer < 0.2 < 1.0 < result.head.chamfer
        else:
            assert result.face.chamfer > 2 * result.head.chamfer > 0


def test_the_cut_of_the_neck_is_left_out(capture: Path) -> None:
    mesh = sphere()
    mesh.vertices[mesh.vertices[:, 2] < -0.95, 2] -= 0.2
    assert evaluate(mesh, capture).head.chamfer == pytest.approx(0, abs=1e-3)
    mesh.vertices[mesh.vertices[:, 2] > 0.95, 2] += 0.2
    assert evaluate(mesh, capture).head.chamfer > 0.1


def test_normal_error_of_a_tilted_square(tmp_path: Path) -> None:
    tilted = square().apply_transform(trimesh.transformations.rotation_matrix(np.radians(10), [0, 1, 0]))
    tilted.invert()  # the winding does not matter
    frames = [{"file_path": f"{y}.png", "transform_matrix": look_at_origin((4, y, 0.5)).tolist()} for y in (-0.5, 0.5)]
    result = evaluate(tilted, write_capture(tmp_path, square(), frames))
    assert result.head.normal_error == pytest.approx(10, abs=0.01)


def test_units_where_no_scale_is_known(tmp_path: Path) -> None:
    result = evaluate(sphere(1.02), write_capture(tmp_path, sphere(), info={"nose_tip": [1, 0, 0]}))
    assert result.unit == "units" and result.face is None
    assert result.threshold == pytest.approx(0.01 * 2 * 3**0.5, rel=1e-3)
    assert result.head.accuracy == pytest.approx(0.02, rel=0.1)


def test_a_mesh_in_millimetres_is_recognised(tmp_path: Path) -> None:
    folder = write_capture(tmp_path, sphere(), info=INFO | {"mm_per_unit": 10.0})
    with pytest.raises(UserError, match=r"10 times as large.*seems to be in millimetres"):
        evaluate(sphere(10.0), folder)
    assert evaluate(sphere(1.02), folder).head.accuracy == pytest.approx(0.2, rel=0.15)


def test_scale_may_stand_in_transforms_json(tmp_path: Path) -> None:
    folder = write_capture(tmp_path, sphere())
    meta = json.loads((folder / "transforms.json").read_text())
    (folder / "transforms.json").write_text(json.dumps(meta | {"mm_per_unit": 50.0}))
    result = evaluate(sphere(1.02), folder)
    assert result.unit == "mm" and result.head.accuracy == pytest.approx(1.0, rel=0.15)


def test_frames_may_have_their_own_intrinsics(tmp_path: Path, capture: Path) -> None:
    shared = evaluate(sphere(1.01), capture)
    meta = json.loads((capture / "transforms.json").read_text())
    own = {key: meta.pop(key) * 2 for key in ("fl_x", "fl_y", "cx", "cy", "w", "h")}
    meta["frames"] = [own | frame for frame in meta["frames"]]
    (capture / "transforms.json").write_text(json.dumps(meta))
    assert evaluate(sphere(1.01), capture) == shared


def test_rays_pass_through_pixel_centres() -> None:
    camera = PosedCamera(look_at_origin((3, 0, 0)), Intrinsics(64, 48, fl_x=60.0, fl_y=60.0, cx=10.5, cy=20.5))
    hits = RayScene(trimesh.creation.box((2, 2.01, 2.01))).cast(camera, 64, 48)
    assert hits.seen.shape == (48, 64)
    # at the front of the box, 2 from the camera, the camera's x is the world's y and its y the world's z
    grid = np.full((48, 64, 3), np.nan)
    grid[hits.seen] = hits.points
    np.testing.assert_allclose(grid[20, 10], [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(grid[14, 16], [1, 0.2, 0.2], atol=1e-6)
    np.testing.assert_allclose(hits.normals, np.broadcast_to([1, 0, 0], hits.normals.shape), atol=1e-6)


def test_large_coordinates_lose_no_digits() -> None:
    offset = np.array([5e5, 5e6, 1e3])  # metres of a map projection
    scene = RayScene(sphere(subdivisions=6).apply_translation(offset))
    directions = sphere(subdivisions=2).vertices
    nearest = scene.nearest(1.1 * directions + offset)
    np.testing.assert_allclose(nearest.distances, 0.1, atol=1e-4)
    np.testing.assert_allclose(nearest.points, directions + offset, atol=1e-3)
    pose = look_at_origin((4, 0, 0))
    pose[:3, 3] += offset
    hits = scene.cast(PosedCamera(pose, Intrinsics(64, 64, 100.0, 100.0, 32.0, 32.0)), 32, 32)
    np.testing.assert_allclose(np.linalg.norm(hits.points - offset, axis=1), 1, atol=1e-3)


def test_triangles_without_area_are_passed_over(tmp_path: Path) -> None:
    mesh = sphere()
    needles = [[a, a, b] for a, b, _ in mesh.faces[:50]]
    mesh = trimesh.Trimesh(mesh.vertices, np.concatenate([needles, mesh.faces]), process=False)
    result = evaluate(mesh, write_capture(tmp_path, sphere(), info=INFO))
    assert result.head.normal_error == pytest.approx(0, abs=0.1)
    hits = RayScene(mesh).cast(PosedCamera(look_at_origin((4, 0, 0)), Intrinsics(8, 8, 20.0, 20.0, 4.0, 4.0)), 8, 8)
    corners = mesh.vertices[mesh.faces[hits.triangles]]
    np.testing.assert_allclose(corners.mean(axis=1), hits.points, atol=0.05)


def test_dictionary_and_table(capture: Path) -> None:
    result = evaluate(sphere(1.01), capture)
    stored = json.loads(json.dumps(result.to_dict()))
    assert stored["face"]["chamfer"] == result.face.chamfer and stored["unit"] == "mm"  # type: ignore[union-attr]
    cells = [list(column.cells) for column in table(result).columns]
    assert any("point to point" in str(label) for label in cells[0])
    assert f"{result.head.chamfer_point_to_point:.4g}" in cells[1]
    assert len(cells) == 3 and f"{result.head.chamfer:.4g}" in cells[1] and f"{result.face.chamfer:.4g}" in cells[2]  # type: ignore[union-attr]


def test_mistakes(tmp_path: Path, capture: Path) -> None:
    away = sphere().apply_translation([0, 0, 50])
    with pytest.raises(UserError, match="sees the mesh"):
        evaluate(away, capture)
    with pytest.raises(UserError, match="100 times as large"):
        evaluate(sphere(MM), capture)
    (capture / "gt_mesh.ply").rename(capture / "other.ply")
    with pytest.raises(UserError, match=r"gt_mesh\.ply"):
        evaluate(sphere(), capture)
    with pytest.raises(UserError, match=r"transforms\.json"):
        evaluate(sphere(), tmp_path / "missing")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"mm_per_unit": -1}, "mm_per_unit"),
        ({"nose_tip": [1, 2]}, "nose_tip"),
        ({"up_axis": "z"}, "up_axis"),
    ],
)
def test_broken_capture_json(tmp_path: Path, change: dict[str, Any], word: str) -> None:
    folder = write_capture(tmp_path, sphere(), info=INFO | change)
    with pytest.raises(UserError, match=word):
        load_truth(folder)


def test_axes_come_from_the_cameras_where_not_told(tmp_path: Path) -> None:
    truth = load_truth(write_capture(tmp_path, sphere()))
    np.testing.assert_allclose(truth.up_axis, [0, 0, 1], atol=0.1)
    np.testing.assert_allclose(truth.face_axis, [1, 0, 0], atol=0.1)


def test_json_is_all_that_goes_to_standard_output(capture: Path, tmp_path: Path) -> None:
    command = [str(Path(sysconfig.get_path("scripts")) / "privhead"), "evaluate", "--data", str(capture), "--json"]
    done = subprocess.run(
        [*command, "--mesh", str(capture / "gt_mesh.ply")], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["head"]["chamfer"] < 0.5
