"""The procedural head: its distance field, its photographs, and the capture made of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy.ndimage import binary_dilation

from privhead_ns.capture.face_check import shows_face
from privhead_ns.demo import photograph as studio
from privhead_ns.demo.capture import exact_mesh, write_demo_capture
from privhead_ns.demo.head import AABB, MM_PER_UNIT, albedo, sdf
from privhead_ns.demo.photograph import photograph, shade, trace
from privhead_ns.demo.scene import PORTRAIT_LENS, View
from privhead_ns.demo.scenes import HEAD
from privhead_ns.errors import UserError

SIZE = 16


@pytest.fixture(scope="module")
def mesh() -> trimesh.Trimesh:
    return exact_mesh(HEAD, resolution=96)


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_capture(tmp_path_factory.mktemp("demo") / "capture")


def small_capture(folder: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("privhead_ns.demo.capture.MESH_RESOLUTION", 96)
        write_demo_capture(folder, size=SIZE)
    return folder


def sample(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(AABB[0], AABB[1], (count, 3)).astype(np.float32)


def test_sdf_sign_at_known_points() -> None:
    inside = [[0, 0, 0], [0, 0, 0.6], [0.45, 0, -0.08], [0.3, 0, -0.45], [-0.13, 0, -0.8], [0.3, 0.165, 0.085]]
    outside = [[0.6, 0, 0], [0, 0, 0.8], [0.47, 0, 0.12], [0.45, 0.12, 0.0], [0, 0.5, 0], [-0.13, 0, -0.9]]
    assert (sdf(np.array(inside)) < 0).all()
    assert (sdf(np.array(outside)) > 0).all()


def test_head_has_the_size_of_a_head(mesh: trimesh.Trimesh) -> None:
    depth, width, height = np.ptp(mesh.vertices, axis=0) * MM_PER_UNIT
    assert 190 < depth < 230 and 140 < width < 190 and 280 < height < 310
    assert np.linalg.norm(mesh.vertices, axis=1).max() < 1
    assert mesh.vertices[:, 0].max() == pytest.approx(0.5, abs=0.02)


def test_sdf_never_exceeds_the_distance_to_the_surface_by_much(mesh: trimesh.Trimesh) -> None:
    points = sample(400)
    true_distance = trimesh.proximity.closest_point(mesh, points)[1]
    assert (np.abs(sdf(points)) < 1.1 * true_distance + 0.01).all()


def test_sdf_is_nearly_one_lipschitz() -> None:
    points = sample(200_000)
    points = points[np.abs(sdf(points)) < 0.05]
    step = 0.002 * np.random.default_rng(1).normal(size=points.shape).astype(np.float32)
    slope = np.abs(sdf(points + step) - sdf(points)) / np.linalg.norm(step, axis=1)
    assert np.quantile(slope, 0.999) < 1.2
    assert np.median(slope) > 0.2


def test_skin_is_symmetric_and_hair_is_not() -> None:
    mirror = np.array([1, -1, 1], np.float32)
    points = sample(20_000)
    difference = np.abs(sdf(points) - sdf(points * mirror))
    below_hair = (points[:, 2] < -0.35) & (np.abs(sdf(points)) < 0.05)
    scalp = (points[:, 2] > 0.3) & (np.abs(sdf(points)) < 0.05)
    assert below_hair.sum() > 100 and scalp.sum() > 100
    assert difference[below_hair].max() < 1e-6
    assert difference[scalp].mean() > 1e-3


def test_albedo_paints_each_part_its_colour() -> None:
    def colour(y: float, z: float) -> np.ndarray:
        distance = trace(sdf, np.array([[2.0, y, z]], np.float32), np.array([[-1.0, 0, 0]], np.float32))
        return albedo(np.array([[2 - distance[0], y, z]]))[0]

    skin, lip, pupil, sclera, hair = (
        colour(0.05, 0.3), colour(0.03, -0.27), colour(0.165, 0.085), colour(0.165 + 0.045, 0.085), colour(0, 0.6),
    )  # fmt: skip
    assert lip[0] / lip[1] > 1.3 * skin[0] / skin[1]
    assert pupil.max() < 0.1 and sclera.min() > 0.5
    assert hair.mean() < 0.7 * skin.mean()


@pytest.mark.parametrize("view", [View(25, 10, True), View(160, -12, False)])
def test_trace_finds_what_a_patient_march_finds(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    directions = studio._directions(view.camera_to_world, 32, PORTRAIT_LENS)
    origins = np.broadcast_to(view.camera_to_world[:3, 3].astype(np.float32), directions.shape)
    fast, free = trace(sdf, origins, directions), studio._free_distance(HEAD, view.camera_to_world, 32)
    monkeypatch.setattr(studio, "MAXIMUM_STEPS", 800)
    monkeypatch.setattr(studio, "SHORTEST_STEP", 0)
    slow = trace(lambda points: sdf(points) / 4, origins, directions, tolerance=studio.TOLERANCE / 4)
    hit = np.isfinite(slow)
    assert hit.sum() > 100
    assert (np.isfinite(fast) == hit).all()
    assert np.abs(fast[hit] - slow[hit]).max() < 0.02
    assert np.median(np.abs(fast[hit] - slow[hit])) < 5e-4
    assert (free.reshape(-1) <= slow).all()


def test_mask_is_the_silhouette_of_the_mesh(mesh: trimesh.Trimesh) -> None:
    view, size = View(40, 10, True), 64
    _, mask = photograph(HEAD, view.camera_to_world, size)
    world_to_camera = np.linalg.inv(view.camera_to_world)
    local = mesh.vertices @ world_to_camera[:3, :3].T + world_to_camera[:3, 3]
    column = size / 2 + PORTRAIT_LENS * size * local[:, 0] / -local[:, 2]
    row = size / 2 - PORTRAIT_LENS * size * local[:, 1] / -local[:, 2]
    seen = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    projected = np.zeros((size, size), bool)
    projected[row[seen].astype(int), column[seen].astype(int)] = True
    assert (projected & (mask == 0)).sum() < 0.02 * projected.sum(), "only slivers that no ray meets"
    assert not (projected & np.logical_not(binary_dilation(mask > 0))).any()
    assert not (~projected & (mask == 255)).any()


def test_pixels_outside_the_mask_are_black_and_inside_are_lit() -> None:
    image, mask = photograph(HEAD, View(150, 10, False).camera_to_world, 32)
    assert (image[mask == 0] == 0).all()
    assert image[mask == 255].min() > 0
    assert 0.2 < (mask == 255).mean() < 0.6


def test_colour_of_skin_does_not_change_with_the_view_but_for_gloss() -> None:
    point = np.array([[2.0, 0.1, 0.32]], np.float32)
    point[0, 0] -= trace(sdf, point, np.array([[-1.0, 0, 0]], np.float32))[0]
    left, right = (np.array([[-np.cos(a), -np.sin(a), 0]]) for a in (0.5, -0.5))
    assert np.abs(shade(HEAD, point, left) - shade(HEAD, point, right)).max() < 0.1


def test_mesh_is_closed_and_lies_on_the_surface() -> None:
    mesh = exact_mesh(HEAD, 192)
    assert mesh.is_watertight and mesh.volume > 0
    error = np.abs(sdf(mesh.vertices)) * MM_PER_UNIT
    assert error.max() < 0.3
    assert np.quantile(error, 0.99) < 0.02


@pytest.mark.parametrize("view", [view for view in HEAD.views if not view.sensitive])
def test_neutral_views_see_neither_nose_nor_eyes_nor_lips(mesh: trimesh.Trimesh, view: View) -> None:
    assert not visible(features(mesh), view).any()


def test_a_front_view_sees_the_face(mesh: trimesh.Trimesh) -> None:
    assert visible(features(mesh), View(0, 7, True)).mean() > 0.9


def test_face_check_passes_the_neutral_views_and_stops_a_front_view() -> None:
    neutral = [view for view in HEAD.views if not view.sensitive]
    assert not any(shows_face(photograph(HEAD, view.camera_to_world, 64)[0]) for view in neutral)
    assert shows_face(photograph(HEAD, View(0, 7, True).camera_to_world, 64)[0])


def features(mesh: trimesh.Trimesh) -> np.ndarray:
    """Vertices of brows and eyes, of the nose, and of the lips."""
    x, y, z = mesh.vertices.T
    side = np.abs(y)
    boxes = [(side < 0.24) & (z > 0.02) & (z < 0.25), (side < 0.11) & (z > -0.15) & (z < 0.2)]
    boxes.append((side < 0.13) & (z > -0.32) & (z < -0.2))
    parts = [mesh.vertices[(x > 0.28) & box] for box in boxes]
    assert all(len(part) > 100 for part in parts)
    return np.concatenate(parts).astype(np.float32)


def visible(points: np.ndarray, view: View) -> np.ndarray:
    camera = view.camera_to_world[:3, 3].astype(np.float32)
    distance = np.linalg.norm(points - camera, axis=1)
    directions = (points - camera) / distance[:, None]
    return trace(sdf, np.broadcast_to(camera, directions.shape), directions) > distance - 0.02


def test_capture_has_the_raw_format(capture: Path) -> None:
    transforms = json.loads((capture / "transforms.json").read_text())
    description = json.loads((capture / "capture.json").read_text())
    assert transforms["camera_model"] == "OPENCV"
    assert (transforms["w"], transforms["h"], transforms["cx"], transforms["cy"]) == (SIZE, SIZE, SIZE / 2, SIZE / 2)
    assert transforms["fl_x"] == transforms["fl_y"] == PORTRAIT_LENS * SIZE
    assert [transforms[key] for key in ("k1", "k2", "p1", "p2")] == [0, 0, 0, 0]
    frames = transforms["frames"]
    assert [frame["sensitive"] for frame in frames] == [False] * 10 + [True] * 20
    for frame in frames:
        assert Image.open(capture / frame["file_path"]).size == Image.open(capture / frame["mask_path"]).size
        assert Image.open(capture / frame["file_path"]).mode == "RGB"
        assert Image.open(capture / frame["mask_path"]).mode == "L"
        pose = np.array(frame["transform_matrix"])
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)
        assert np.linalg.det(pose) == pytest.approx(1)
        assert frame["sensitive"] == (abs(frame["azimuth_deg"] - 180) > 45)
    assert description["mm_per_unit"] == MM_PER_UNIT
    assert description["face_axis"] == [1, 0, 0] and description["up_axis"] == [0, 0, 1]
    assert (description["neutral"], description["sensitive"], description["size"]) == (10, 20, SIZE)
    vertices = trimesh.load_mesh(capture / "gt_mesh.ply", process=False).vertices
    assert np.linalg.norm(vertices - description["nose_tip"], axis=1).min() < 0.02
    assert description["nose_tip"] == pytest.approx([0.507, 0, -0.08], abs=0.012)


def test_capture_is_deterministic(capture: Path, tmp_path: Path) -> None:
    small_capture(tmp_path / "again")
    names = sorted(path.relative_to(capture) for path in capture.rglob("*") if path.is_file())
    assert len(names) == 30 + 30 + 3
    assert names == sorted(path.relative_to(tmp_path / "again") for path in tmp_path.rglob("*") if path.is_file())
    for name in names:
        assert (capture / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="exists already"):
        write_demo_capture(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("privhead_ns.demo.capture.exact_mesh", fail)
    with pytest.raises(RuntimeError):
        write_demo_capture(tmp_path / "capture", size=8, scene=replace(HEAD, views=HEAD.views[:1]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "size"), [("missing/capture", 64), ("capture", 4)])
def test_bad_arguments_are_told_in_one_sentence(tmp_path: Path, name: str, size: int) -> None:
    with pytest.raises(UserError, match=r"^[^\n]+\.$"):
        write_demo_capture(tmp_path / name, size=size)
    assert not list(tmp_path.iterdir())
