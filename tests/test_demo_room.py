"""The room with its whiteboard: its distance field, what its views show, and the reader of its letters."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from privhead_ns.capture.camera import Intrinsics, PosedCamera
from privhead_ns.capture.protect import magnitude_image
from privhead_ns.demo import room
from privhead_ns.demo.capture import exact_mesh, write_demo_capture
from privhead_ns.demo.photograph import photograph, trace
from privhead_ns.demo.reading import read_pictures
from privhead_ns.demo.scene import View
from privhead_ns.demo.scenes import ROOM
from privhead_ns.mesh.evaluate import evaluate
from privhead_ns.mesh.ground_truth import load_truth
from privhead_ns.mesh.pictures import orbit_camera
from privhead_ns.operators import GradientMagnitude


@pytest.fixture(scope="module")
def mesh() -> trimesh.Trimesh:
    return exact_mesh(ROOM, resolution=96)


def before_board(size: int, aside: float = 0.0) -> PosedCamera:
    """A camera 0.9 units before the whiteboard that looks at its wall."""
    pose = View(0, 0, True, (0.27, aside, room.BOARD.middle)).camera_to_world
    return PosedCamera(pose, Intrinsics(size, size, room.FOCAL * size, room.FOCAL * size, size / 2, size / 2))


def test_walls_lie_where_the_room_ends() -> None:
    ways = np.array([[1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float32)
    start = np.tile(np.array([[0.5, -0.1, 0.3]], np.float32), (5, 1))
    known = [0.65 - 0.5, 0.55 + 0.1, 0.55 - 0.1, 0.025, 0.625]
    np.testing.assert_allclose(trace(room.sdf, start, ways)[[1, 3, 4]], np.array(known)[[1, 3, 4]], atol=1e-3)
    front = trace(room.sdf, np.array([[0.27, 0, 0.05]], np.float32), np.array([[-1, 0, 0]], np.float32))
    assert front[0] == pytest.approx(0.27 - room.BOARD.front, abs=1e-3)


def test_the_exact_mesh_is_the_inner_surface(mesh: trimesh.Trimesh) -> None:
    assert mesh.is_watertight and mesh.volume < 0
    assert -mesh.volume < 8 * np.prod(room.HALF) < -1.15 * mesh.volume
    assert (np.abs(mesh.vertices).max(axis=0) < np.array(room.HALF) + 2e-3).all()
    points = np.random.default_rng(0).uniform(-np.array(room.HALF), room.HALF, (300, 3)).astype(np.float32)
    true_distance = trimesh.proximity.closest_point(mesh, points)[1]
    assert (np.abs(room.sdf(points)) < 1.02 * true_distance + 0.02).all()


def test_neutral_views_do_not_see_the_whiteboard(mesh: trimesh.Trimesh) -> None:
    assert ROOM.count(sensitive=True) >= 10 and ROOM.count(sensitive=False) >= 18
    across = (np.arange(40) + 0.5) / 40 - 0.5
    for view in ROOM.views:
        pose = view.camera_to_world
        x, y = np.meshgrid(across, -across)
        ways = np.stack([x, y, np.full_like(x, -room.FOCAL)], axis=-1).reshape(-1, 3) @ pose[:3, :3].T
        ways = (ways / np.linalg.norm(ways, axis=1, keepdims=True)).astype(np.float32)
        place = np.broadcast_to(pose[:3, 3].astype(np.float32), ways.shape)
        assert room.sdf(place[:1])[0] > 0.03, "the camera stands free"
        hits = place + trace(room.sdf, place, ways)[:, None] * ways
        places = np.abs(room.BOARD.places(hits.T))
        on_board = (hits[:, 0] < room.BOARD.front + 0.01) & (places < np.array(room.BOARD.half)).all(axis=1)
        assert view.sensitive or not on_board.any()


def test_the_whiteboard_is_read_from_photograph_and_magnitude_where_it_is_whole() -> None:
    sigma = GradientMagnitude()
    cameras = [before_board(96), before_board(96, aside=0.4)]
    rgb = [photograph(ROOM, camera.camera_to_world, 96)[0].astype(np.float32) / 255 for camera in cameras]
    reading = read_pictures(room.BOARD, cameras, [one.mean(axis=2) for one in rgb])
    assert reading.together == room.BOARD.text and reading.single == 1
    assert not np.isfinite(reading.correlations[1]).all(axis=1).all(), "the second view cuts the board"
    magnitudes = [magnitude_image(one, sigma, 65536).astype(np.float64) for one in rgb]
    assert read_pictures(room.BOARD, cameras, magnitudes, sigma).together == room.BOARD.text
    behind = View(180, 0, True, (0.27, 0.0, 0.0)).camera_to_world
    away = read_pictures(room.BOARD, [PosedCamera(behind, cameras[0].intrinsics)], [torch.zeros(96, 96).numpy()])
    assert np.isnan(away.correlations).all()


def test_a_room_is_measured_from_within(tmp_path: Path, mesh: trimesh.Trimesh) -> None:
    write_demo_capture(tmp_path / "raw", 8, ROOM)
    truth = load_truth(tmp_path / "raw")
    assert truth.subject == "room" and truth.region is not None and truth.region.name == "whiteboard"
    assert not (tmp_path / "raw" / "masks").exists()
    content = json.loads((tmp_path / "raw" / "transforms.json").read_text())
    assert not any("mask_path" in frame for frame in content["frames"])
    moved = mesh.copy()
    moved.vertices[moved.vertices[:, 0] < -0.6, 0] -= 0.005
    result = evaluate(moved, tmp_path / "raw")
    assert result.subject == "room" and result.face is not None
    assert result.face.chamfer == pytest.approx(0.005 * room.MM_PER_UNIT, rel=0.15)
    assert result.threshold == pytest.approx(0.01 * truth.mesh.scale * room.MM_PER_UNIT)
    camera = orbit_camera(truth, 0, 32)
    assert room.sdf(camera.camera_to_world[None, :3, 3].astype(np.float32))[0] > 0
    np.testing.assert_allclose(-camera.camera_to_world[:3, 2], [-1, 0, 0], atol=1e-9)  # the board is in front
