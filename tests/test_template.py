"""The template: an average head, posed in a capture, kept as geometry alone, and where training starts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from raw_folder import edit, look_at, write_raw_capture
from scipy.spatial.transform import Rotation

from privhead_ns.capture.camera import Intrinsics, PosedCamera
from privhead_ns.capture.hull import View
from privhead_ns.capture.protect import protect
from privhead_ns.capture.protected import load_protected_capture
from privhead_ns.data.dataparser import PrivheadDataParserConfig
from privhead_ns.data.dataset import PrivheadDataset
from privhead_ns.errors import UserError
from privhead_ns.mesh.raycast import RayScene
from privhead_ns.model.template import template_sdf
from privhead_ns.operators import OperatorConfig
from privhead_ns.start import SLACK, compare_views, start_sdf
from privhead_ns.template.average_head import LANDMARKS, average_head
from privhead_ns.template.files import Template, choose_template, read_template, write_template
from privhead_ns.template.pose import pose_template

LENS = Intrinsics(64, 64, 120.0, 120.0, 32.0, 32.0)
ROTATION = Rotation.from_euler("zyx", [20.0, -6.0, 4.0], degrees=True).as_matrix()
"""Turns the head away from +x: how a head may stand in its capture."""
SCALE, PLACE = 0.8, np.array([0.05, -0.1, 0.08])


@pytest.fixture(scope="module")
def head() -> trimesh.Trimesh:
    """The average head somewhere in a capture."""
    return trimesh.Trimesh(SCALE * average_head().vertices @ ROTATION.T + PLACE, average_head().faces, process=False)


def front(head: trimesh.Trimesh | None) -> list[View]:
    """Seven cameras within 60 degrees of the face, with silhouettes of a mesh if there is one."""
    views = []
    for index, angle in enumerate(np.radians([-40, -20, 0, 20, 40, 60, 75])):
        pose = look_at(4 * np.array([np.cos(angle), np.sin(angle), 0.3 * (-1) ** index]))
        shape = None
        if head is not None:
            shape = RayScene(head).cast(PosedCamera(pose, LENS), 64, 64).seen.astype(np.uint8) * 255
        views.append(View(pose, LENS, shape))
    return views


def test_a_template_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_template(trimesh.creation.icosphere(2), tmp_path)
    read = Path.read_bytes

    def read_and_remove(path: Path) -> bytes:
        content = read(path)
        path.unlink()
        return content

    monkeypatch.setattr(Path, "read_bytes", read_and_remove)
    assert len(read_template(tmp_path / "template.ply").vertices) == 162


def test_the_average_head_is_a_head() -> None:
    mesh = average_head()
    assert mesh.is_watertight and mesh.volume > 0 and mesh.body_count == 1
    low, high = mesh.bounds
    assert low[1] == pytest.approx(-high[1], abs=0.01)  # as wide on both sides
    tip = mesh.vertices[mesh.vertices[:, 0].argmax()]
    assert abs(tip[1]) < 0.05 and -0.2 < tip[2] < 0.05  # the nose
    nearest = trimesh.proximity.closest_point(mesh, list(LANDMARKS.values()))[1]
    assert nearest.max() < 0.06


def test_landmarks_tell_the_whole_pose() -> None:
    landmarks = {name: SCALE * ROTATION @ np.array(place) + PLACE for name, place in LANDMARKS.items()}
    posed = pose_template(
        Template(average_head(), LANDMARKS), front(None), [], np.array([[0, 0, 0], [9, 9, 9.0]]), None, landmarks
    )
    assert np.abs(posed.vertices - (SCALE * average_head().vertices @ ROTATION.T + PLACE)).max() < 1e-9


def test_silhouettes_from_the_front_tell_scale_and_place(head: trimesh.Trimesh) -> None:
    box, direction = np.array([[-1.2, -1, -1], [1, 1, 1.2]]), (1.0, 0.1, 0.1)
    posed = pose_template(Template(average_head(), {}), front(head), [], box, direction, {})
    start = pose_template(Template(average_head(), {}), front(None), [], box, direction, {})
    error, before = (np.linalg.norm(mesh.vertices - head.vertices, axis=1).mean() for mesh in (posed, start))
    assert error < 0.04 and before > 0.15


def test_without_silhouettes_it_looks_along_the_direction() -> None:
    box, direction = np.array([[1.0, 1, 1], [3, 3, 3]]), (0.0, -2.0, 0.0)
    posed = pose_template(Template(average_head(), {}), front(None), [], box, direction, {})
    tip = posed.vertices[average_head().vertices[:, 0].argmax()]  # of the nose
    assert np.allclose(posed.bounds.mean(axis=0), 2, atol=0.02)
    assert tip[1] == posed.bounds[0, 1] and abs(tip[0] - 2) < 0.05


def test_signed_distance_of_a_ball() -> None:
    points = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    sdf = template_sdf(trimesh.creation.icosphere(subdivisions=4))(points)
    assert (sdf - (points.norm(dim=-1) - 1)).abs().max() < 0.005


def test_files_hold_geometry_alone(tmp_path: Path) -> None:
    ball = trimesh.creation.icosphere(subdivisions=2)
    write_template(ball, tmp_path)
    assert np.allclose(read_template(tmp_path / "template.ply").vertices, ball.vertices, atol=1e-6)
    painted = ball.copy()
    painted.visual.vertex_colors = np.full((len(ball.vertices), 4), 77, np.uint8)  # type: ignore[attr-defined]
    painted.export(tmp_path / "painted.ply")
    with pytest.raises(UserError, match="more than vertices and faces"):
        read_template(tmp_path / "painted.ply")
    loose = trimesh.Trimesh(np.concatenate([ball.vertices, [[0.1, 0.2, 0.3]]]), ball.faces, process=False)
    write_template(loose, tmp_path)
    with pytest.raises(UserError, match="more than vertices and faces"):
        read_template(tmp_path / "template.ply")
    assert len(choose_template(str(tmp_path / "template.ply")).mesh.vertices) == len(ball.vertices)
    open_ball = trimesh.Trimesh(ball.vertices, ball.faces[5:], process=False)
    write_template(open_ball, tmp_path)
    with pytest.raises(UserError, match="not a closed surface"):
        read_template(tmp_path / "template.ply")
    with pytest.raises(UserError, match=r"--template .* is not a closed surface"):
        choose_template(str(tmp_path / "template.ply"))
    with pytest.raises(UserError, match="There is no mesh file averag"):
        choose_template("averag")


def test_protect_poses_it_and_needs_no_masks_then(tmp_path: Path) -> None:
    raw = write_raw_capture(tmp_path / "raw", masks=False)
    edit(raw, lambda content: [frame.pop("sensitive", None) for frame in content["frames"]])
    with pytest.raises(UserError, match="--template average"):
        protect(raw, tmp_path / "none", OperatorConfig())
    summary = protect(raw, tmp_path / "out", OperatorConfig(), template="average", face_direction=(0, 1, 0))
    path = load_protected_capture(tmp_path / "out").template_path
    assert path is not None and "template" in summary.in_plain_words()
    posed = read_template(path)
    tip = posed.vertices[average_head().vertices[:, 0].argmax()]
    assert tip[1] == pytest.approx(posed.bounds[1, 1])


def test_where_the_face_looks_has_to_be_known(tmp_path: Path) -> None:
    raw = write_raw_capture(tmp_path / "raw")
    edit(raw, lambda content: [frame.pop("sensitive", None) for frame in content["frames"]])
    with pytest.raises(UserError, match="give --face-direction X Y Z"):
        protect(raw, tmp_path / "out", OperatorConfig(), template="average")
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]
    protect(raw, tmp_path / "up", OperatorConfig(), template="average", face_direction=(0, 0, 1))
    read_template(tmp_path / "up" / "template.ply")


def test_landmarks_of_a_raw_capture_are_points(tmp_path: Path) -> None:
    raw = write_raw_capture(tmp_path / "raw", face_landmarks={"chin": [0, 1]})
    with pytest.raises(UserError, match="face_landmarks must name points of three finite numbers"):
        protect(raw, tmp_path / "out", OperatorConfig())


@pytest.mark.parametrize("masks", [True, False])
def test_training_starts_inside_hull_and_template(tmp_path: Path, masks: bool) -> None:
    raw = write_raw_capture(tmp_path / "raw", masks=masks)
    protect(raw, tmp_path / "out", OperatorConfig(), template="average", face_direction=(1, 0, 0))
    outputs = PrivheadDataParserConfig(data=tmp_path / "out").setup().get_dataparser_outputs()
    dataset, frame = PrivheadDataset(outputs), outputs.metadata["frame"]
    sdf = start_sdf(dataset, compare_views(dataset))
    mesh = read_template(tmp_path / "out" / "template.ply")
    moved = trimesh.Trimesh(frame.to_training(mesh.vertices), mesh.faces, process=False)
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    assert sdf is not None
    found, template = sdf(points), template_sdf(moved)(points)
    if masks:
        assert (found >= template - SLACK - 1e-6).all() and (found > template - SLACK + 1e-3).any()
        assert (found < 0).any()
    else:
        torch.testing.assert_close(found, template)
