"""Marching cubes on analytic signed distances, and mesh files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from jaxtyping import Float
from torch import Tensor

from privhead_ns.errors import UserError
from privhead_ns.mesh.extract import extract_mesh
from privhead_ns.mesh.files import load_mesh, save_mesh

BOX = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])


def ball(
    points: Float[Tensor, "n 3"], radius: float = 0.6, centre: tuple[float, ...] = (0, 0, 0)
) -> Float[Tensor, " n"]:
    return (points - torch.tensor(centre, device=points.device)).norm(dim=-1) - radius


def test_ball_is_closed_and_exact() -> None:
    mesh = extract_mesh(ball, BOX, 64, "cpu")
    radius = np.linalg.norm(mesh.vertices, axis=1)
    assert mesh.is_watertight and mesh.is_winding_consistent
    assert mesh.euler_number == 2
    assert np.abs(radius - 0.6).max() < 0.02 * 2 / 64  # linear interpolation errs by voxel² / (8 radius)
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.6**3, rel=0.01)  # positive: faces look outwards


@pytest.mark.parametrize("resolution", [20, 33])
def test_blocks_leave_no_trace(resolution: int) -> None:
    small, whole = (extract_mesh(ball, BOX, resolution, "cpu", block=block) for block in (5, 1000))
    np.testing.assert_array_equal(small.vertices, whole.vertices)
    np.testing.assert_array_equal(small.faces, whole.faces)


def test_far_blocks_are_skipped() -> None:
    evaluated = 0

    def counting(points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        nonlocal evaluated
        evaluated += len(points)
        return ball(points, radius=0.3)

    extract_mesh(counting, BOX, 64, "cpu", block=8)
    assert evaluated < 0.5 * 66**3


def test_uneven_blocks_and_rounding_noise_do_not_open_the_mesh() -> None:
    def noisy(points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        # as of a network on batches of different sizes
        generator = torch.Generator().manual_seed(len(points))
        return ball(points) + 1e-6 * torch.randn(len(points), generator=generator)

    assert extract_mesh(noisy, BOX, 24, "cpu", block=7).is_watertight


def test_zeros_on_grid_points_leave_no_flat_triangles() -> None:
    # an octahedron whose corners and edges run through grid points
    mesh = extract_mesh(lambda points: points.abs().sum(dim=-1) - 0.5, BOX * 33 / 32, 33, "cpu")
    assert mesh.is_watertight and mesh.euler_number == 2
    assert mesh.area_faces.min() > 0
    assert mesh.volume == pytest.approx(4 / 3 * 0.5**3, rel=0.01)


def test_floaters_are_dropped() -> None:
    mesh = extract_mesh(lambda p: torch.minimum(ball(p), ball(p, 0.1, (0.85, 0.85, 0.85))), BOX, 48, "cpu")
    assert mesh.body_count == 1
    assert mesh.bounds[1].max() < 0.61


def test_the_box_cuts_with_a_cap() -> None:
    box = torch.tensor([[-1.0, -0.9, -0.33], [1.0, 0.9, 0.7]])
    slab = extract_mesh(lambda points: points[:, 2], box, 40, "cpu")
    assert slab.is_watertight and slab.euler_number == 2
    np.testing.assert_allclose(slab.bounds, [[-1, -0.9, -0.33], [1, 0.9, 0]], atol=1e-4)
    assert slab.volume == pytest.approx(2 * 1.8 * 0.33, rel=0.02)

    cut = extract_mesh(lambda points: ball(points, 0.8), torch.tensor([[-1.0, -1.0, -0.5], [1.0, 1.0, 1.0]]), 64, "cpu")
    assert cut.is_watertight and cut.euler_number == 2
    height = 0.8 - 0.5
    lost = math.pi * height**2 * (3 * 0.8 - height) / 3
    assert cut.volume == pytest.approx(4 / 3 * math.pi * 0.8**3 - lost, rel=0.01)


@pytest.mark.parametrize("offset", [1.0, -3.0])
def test_no_surface_in_the_box(offset: float) -> None:
    with pytest.raises(UserError, match="no zero level"):
        extract_mesh(lambda points: points.norm(dim=-1) * 0.5 + offset, BOX, 16, "cpu")


def test_broken_field_and_resolution() -> None:
    with pytest.raises(UserError, match="not finite"):
        extract_mesh(lambda points: points[:, 0] * float("nan"), BOX, 16, "cpu")
    with pytest.raises(UserError, match="--resolution"):
        extract_mesh(ball, BOX, 4, "cpu")


@pytest.mark.parametrize("ending", [".ply", ".obj", ".stl", ".glb", ".PLY"])
def test_files_hold_the_geometry_and_nothing_else(tmp_path: Path, ending: str) -> None:
    mesh = extract_mesh(ball, BOX, 16, "cpu")
    mesh.visual.vertex_colors = np.full((len(mesh.vertices), 4), [10, 200, 30, 255], dtype=np.uint8)  # type: ignore[attr-defined]
    path = tmp_path / f"head{ending}"
    save_mesh(mesh, path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    loaded = load_mesh(path)
    assert loaded.is_watertight
    assert (len(loaded.vertices), len(loaded.faces)) == (len(mesh.vertices), len(mesh.faces))
    assert loaded.volume == pytest.approx(mesh.volume, rel=1e-5)
    raw = trimesh.load(path, force="mesh", process=False)
    assert raw.visual.kind != "vertex"  # type: ignore[union-attr]
    content = path.read_bytes().lower()
    assert not any(word in content for word in (b"material", b"mtllib", b"color", b"red", b"texture"))


def test_file_mistakes(tmp_path: Path) -> None:
    mesh = trimesh.creation.box()
    with pytest.raises(UserError, match="must end in"):
        save_mesh(mesh, tmp_path / "head.xyz")
    with pytest.raises(UserError, match="no folder"):
        save_mesh(mesh, tmp_path / "missing" / "head.ply")
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="no mesh file"):
        load_mesh(tmp_path / "head.ply")
    (tmp_path / "broken.ply").write_bytes(b"ply\nformat nonsense")
    with pytest.raises(UserError, match="cannot be read"):
        load_mesh(tmp_path / "broken.ply")
    trimesh.PointCloud(np.eye(3)).export(tmp_path / "points.ply")
    with pytest.raises(UserError, match="no faces"):
        load_mesh(tmp_path / "points.ply")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "head.ply"
    save_mesh(trimesh.creation.box(), path)
    before = path.read_bytes()

    def fail(self: trimesh.Trimesh, file_obj: Path, file_type: str) -> None:
        file_obj.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(trimesh.Trimesh, "export", fail)
    with pytest.raises(OSError):
        save_mesh(trimesh.creation.icosphere(), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["head.ply"]
