"""H3DS's own protocol: known distances, and its own evaluator where the package `h3ds` is installed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import trimesh
from data_sets import SCENE, TURN, write_h3ds, write_small_demo

from privhead_ns.errors import UserError
from privhead_ns.mesh.files import load_mesh
from privhead_ns.mesh.h3ds_protocol import evaluate_h3ds
from privhead_ns.prepare.posed import KnownHead
from privhead_ns.prepare.readers.h3ds import read_h3ds
from privhead_ns.prepare.truth import write_truth

MM = 185.0


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_demo(tmp_path_factory.mktemp("demo") / "raw")


@pytest.fixture(scope="module")
def scene(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_h3ds(tmp_path_factory.mktemp("h3ds"), demo)


def truth(demo: Path) -> trimesh.Trimesh:
    mesh = trimesh.load(demo / "gt_mesh.ply", process=False)
    assert isinstance(mesh, trimesh.Trimesh)
    return mesh


def test_the_truth_elsewhere_and_of_another_size_is_perfect(demo: Path) -> None:
    matrix = trimesh.transformations.rotation_matrix(np.radians(0.4), [1, 2, 3])
    matrix[:3, :3] *= 1.004
    matrix[:3, 3] = [0.6 / MM, -0.4 / MM, 0.5 / MM]
    scores = evaluate_h3ds(truth(demo).apply_transform(matrix), demo)
    for one in (scores.head, scores.face_sphere):
        assert max(one.to_vertices, one.to_surface) < 1e-3
        assert one.scale == pytest.approx(1 / 1.004, rel=1e-4)


def test_only_the_head_sees_its_rear(demo: Path) -> None:
    mesh = truth(demo)
    rear = mesh.vertices[:, 0] < -0.2
    mesh.vertices[rear] *= 1 + 20 / MM
    scores = evaluate_h3ds(mesh, demo)
    assert scores.face_sphere.to_vertices < 1e-3
    share = np.count_nonzero(rear) / len(mesh.vertices)
    moved = np.linalg.norm(mesh.vertices[rear], axis=1).mean() / (1 + 20 / MM) * 20
    assert 0.4 * share * moved < scores.head.to_vertices <= share * moved
    assert scores.head.to_surface < scores.head.to_vertices


def test_what_a_mesh_has_too_much_is_not_seen(demo: Path) -> None:
    mesh = truth(demo)
    extra = trimesh.creation.icosphere(radius=0.2).apply_translation([0, 0, 3])
    scores = evaluate_h3ds(trimesh.util.concatenate([mesh, extra]), demo)
    assert scores.head.to_vertices < 1e-3


def test_the_data_sets_own_regions_count(demo: Path, tmp_path: Path) -> None:
    shutil.copytree(demo, raw := tmp_path / "raw")
    mesh = truth(demo)
    rear = np.flatnonzero(mesh.vertices[:, 0] < -0.2)
    write_truth(raw, KnownHead(mesh, nose_tip=np.zeros(3), regions={"face_sphere": rear}))
    changed = mesh.copy()
    changed.vertices[changed.vertices[:, 0] > 0.2] += 0.2
    assert evaluate_h3ds(changed, raw).face_sphere.to_vertices < 1e-3
    (raw / "regions/face_sphere.txt").write_text("0 -1")
    with pytest.raises(UserError, match=r"face_sphere\.txt must hold the number of a vertex"):
        evaluate_h3ds(changed, raw)


def test_what_is_missing_is_told(demo: Path, tmp_path: Path) -> None:
    shutil.copytree(demo, raw := tmp_path / "raw")
    about = json.loads((raw / "capture.json").read_text())
    (raw / "capture.json").write_text(json.dumps({**about, "nose_tip": None}))
    with pytest.raises(UserError, match=r"neither regions/face\.txt nor a nose_tip"):
        evaluate_h3ds(truth(demo), raw)
    for name in ("capture.json", "transforms.json"):
        content = json.loads((raw / name).read_text())
        (raw / name).write_text(json.dumps({**content, "mm_per_unit": None}))
    with pytest.raises(UserError, match="no mm_per_unit, which --protocol h3ds needs"):
        evaluate_h3ds(truth(demo), raw)


@pytest.fixture
def package(scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """H3DS's own reader on the scene; numpy no longer has the `np.int` that it uses."""
    dataset = pytest.importorskip("h3ds.dataset")
    monkeypatch.setattr(np, "int", int, raising=False)
    config = f'version = 0.4\nfile_id = "0"\nfile_md5 = "0"\n[scenes.{SCENE}]\nviews = 10\n'
    (tmp_path / "config.toml").write_text(f"{config}[scenes.{SCENE}.default_views_configs]\n3 = [0, 1, 2]\n")
    return dataset.H3DS(str(scene.parent), str(tmp_path / "config.toml"))


def test_the_package_h3ds_reads_what_we_read(scene: Path, package) -> None:
    assert package.is_available()
    mesh, images, masks, cameras = package.load_scene(SCENE)
    ours = read_h3ds(scene)
    assert ours.head.mesh is not None and ours.head.nose_tip is not None
    np.testing.assert_allclose(ours.head.mesh.vertices, mesh.vertices)
    np.testing.assert_allclose(ours.head.mesh.faces, mesh.faces)
    np.testing.assert_allclose(ours.head.nose_tip, mesh.vertices[package.load_landmarks(SCENE)["nose_tip"]])
    assert np.array_equal(ours.head.regions["face"], package.load_region(SCENE, "face"))
    assert len(images) == len(masks) == len(ours.photographs)
    for photograph, (intrinsics, pose) in zip(ours.photographs, cameras, strict=True):
        np.testing.assert_allclose(photograph.camera_to_world @ np.diag([1, -1, -1, 1]), pose, atol=0.05)
        lens = photograph.intrinsics
        np.testing.assert_allclose([lens.fl_x, lens.cx, lens.cy], intrinsics[[0, 0, 1], [0, 2, 2]], atol=0.01)


def test_the_package_h3ds_measures_what_we_measure(scene: Path, demo: Path, package, tmp_path: Path) -> None:
    from h3ds.mesh import Mesh  # pyright: ignore

    shutil.copytree(demo, raw := tmp_path / "raw")
    write_truth(raw, read_h3ds(scene).head)
    for name in ("capture.json", "transforms.json"):
        content = json.loads((raw / name).read_text())
        (raw / name).write_text(json.dumps({**content, "mm_per_unit": 1.0}))
    mesh = truth(demo).subdivide()
    mesh = trimesh.Trimesh(MM * mesh.vertices @ TURN.T, mesh.faces, process=False)
    mesh.vertices += np.random.default_rng(0).normal([1.0, -0.5, 0.7], 0.5, mesh.vertices.shape)
    mesh.export(tmp_path / "mesh.ply")
    scores = evaluate_h3ds(load_mesh(tmp_path / "mesh.ply"), raw)
    predicted = Mesh().load(str(tmp_path / "mesh.ply"))
    for region, ours in ((None, scores.head), ("face_sphere", scores.face_sphere)):
        theirs = float(package.evaluate_scene(SCENE, predicted, None, region)[0].mean())
        print(f"{region}: h3ds {theirs:.6f}, here {ours.to_vertices:.6f}, to the surface {ours.to_surface:.6f}")
        assert ours.to_vertices == pytest.approx(theirs, rel=1e-4)
        assert ours.to_surface < ours.to_vertices
