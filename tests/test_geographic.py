"""Captures whose poses are in a geographic frame: the place stays with the owner, and every command takes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from raw_folder import edit, write_raw_capture

from privhead_ns.benchmark.full_rgb import FullRgbDataParserConfig
from privhead_ns.capture.protect import protect
from privhead_ns.capture.protected import load_protected_capture
from privhead_ns.capture.raw import load_raw_capture
from privhead_ns.capture.views import check_origin
from privhead_ns.errors import UserError
from privhead_ns.mesh import export
from privhead_ns.mesh.evaluate import evaluate
from privhead_ns.mesh.files import load_mesh
from privhead_ns.mesh.ground_truth import load_truth
from privhead_ns.operators import OperatorConfig

PLACE = (512345.0, 5276543.0, 100.0)


def geographic(folder: Path) -> Path:
    """Writes a raw capture with poses in a frame like UTM."""

    def shift(content: dict) -> None:
        for frame in content["frames"]:
            for axis in range(3):
                frame["transform_matrix"][axis][3] += PLACE[axis]

    edit(write_raw_capture(folder), shift)
    return folder


def test_geographic_places_stay(tmp_path: Path) -> None:
    """A capture protected in a geographic frame is that of the local frame, to rounding, and holds no coordinate."""
    protect(write_raw_capture(tmp_path / "raw"), tmp_path / "out", OperatorConfig(), box=(-1, -1, -1, 1, 1, 1))
    raw, out = geographic(tmp_path / "utm"), tmp_path / "utm_out"
    x, y, z = PLACE
    summary = protect(raw, out, OperatorConfig(), box=(x - 1, y - 1, z - 1, x + 1, y + 1, z + 1))
    assert "geographic" in summary.in_plain_words()
    local, relative = (json.loads((folder / "transforms.json").read_text()) for folder in (tmp_path / "out", out))
    for frame, other in zip(local["frames"], relative["frames"], strict=True):
        np.testing.assert_allclose(frame.pop("transform_matrix"), other.pop("transform_matrix"), atol=1e-8)
    assert local == relative
    for path in (path for path in out.rglob("*") if path.is_file()):
        data = path.read_bytes()
        assert path.suffix == ".json" or data == (tmp_path / "out" / path.relative_to(out)).read_bytes()
        assert not any(digits in data for digits in (b"51234", b"27654"))
    protect(raw, tmp_path / "found", OperatorConfig())
    assert np.abs(load_protected_capture(tmp_path / "found").aabb).max() < 2


def test_other_commands_take_geographic_captures(tmp_path: Path) -> None:
    raw, out = geographic(tmp_path / "raw"), tmp_path / "out"
    protect(raw, out, OperatorConfig())
    check_origin(load_raw_capture(raw), load_protected_capture(out))
    FullRgbDataParserConfig(photographs=raw).check(out)
    other = write_raw_capture(tmp_path / "other")
    edit(other, lambda content: content["frames"].reverse())
    with pytest.raises(UserError, match="cameras differ"):
        check_origin(load_raw_capture(other), load_protected_capture(out))


def write_truth(folder: Path, mesh: trimesh.Trimesh) -> None:
    """Writes gt_mesh.ply in double precision, which trimesh does not."""
    header = [
        "ply",
        "format ascii 1.0",
        f"element vertex {len(mesh.vertices)}",
        *(f"property double {axis}" for axis in "xyz"),
        f"element face {len(mesh.faces)}",
        "property list uchar int vertex_indices",
        "end_header",
    ]
    vertices = [f"{x!r} {y!r} {z!r}" for x, y, z in mesh.vertices.tolist()]
    faces = [f"3 {a} {b} {c}" for a, b, c in mesh.faces]
    (folder / "gt_mesh.ply").write_text("\n".join([*header, *vertices, *faces, ""]))


def sphere(radius: float, centre: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> trimesh.Trimesh:
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    return trimesh.Trimesh(mesh.vertices + np.array(centre), mesh.faces, process=False)


def test_meshes_are_compared_in_either_frame(tmp_path: Path) -> None:
    local, raw = write_raw_capture(tmp_path / "local"), geographic(tmp_path / "utm")
    write_truth(local, sphere(1.0))
    write_truth(raw, sphere(1.0, PLACE))
    (raw / "capture.json").write_text(json.dumps({"mm_per_unit": 100, "nose_tip": [PLACE[0] + 1, *PLACE[1:]]}))
    (local / "capture.json").write_text(json.dumps({"mm_per_unit": 100, "nose_tip": [1, 0, 0]}))
    expected = evaluate(sphere(1.02), local)
    assert expected.face is not None
    for mesh in (sphere(1.02), sphere(1.02, PLACE)):
        found = evaluate(mesh, raw)
        assert found.head.chamfer == pytest.approx(expected.head.chamfer, rel=1e-3)
        assert found.face is not None
        assert found.face.chamfer == pytest.approx(expected.face.chamfer, rel=1e-3)


def test_export_into_the_geographic_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = geographic(tmp_path / "utm")
    model = type("Model", (), {"kwargs": {"metadata": {"mm_per_unit": 10.0}}})
    monkeypatch.setattr(export, "load_model", lambda *_: model)
    monkeypatch.setattr(export, "surface", lambda *_: sphere(1.0))
    config, path = tmp_path / "config.yml", tmp_path / "head.obj"
    export.export_mesh(config, path, 8, millimetres=False, frame_of=raw)
    np.testing.assert_allclose(load_mesh(path).bounds.mean(axis=0), PLACE, atol=1e-6)
    assert load_mesh(path).bounds[1] - PLACE == pytest.approx([1, 1, 1], abs=1e-6)
    export.export_mesh(config, path, 8, millimetres=True, frame_of=raw)
    np.testing.assert_allclose(load_mesh(path).bounds.mean(axis=0), 10 * np.array(PLACE), atol=1e-5)
    with pytest.raises(UserError, match=r"head\.ply must end in \.obj"):
        export.export_mesh(config, tmp_path / "head.ply", 8, millimetres=False, frame_of=raw)


def test_the_truth_lies_at_the_origin_of_the_protected_capture(tmp_path: Path) -> None:
    raw = geographic(tmp_path / "utm")
    write_truth(raw, sphere(1.0, PLACE))
    truth = load_truth(raw / "transforms.json")
    np.testing.assert_allclose(truth.mesh.bounds, [[-1] * 3, [1] * 3], atol=1e-6)
