"""Meshes in each other's colours, with stand-ins for trained models."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from raw_folder import write_raw_capture
from rich.console import Console
from toy_recogniser import LANDMARKS, Toy

from privhead_ns.audit import painting, transfer
from privhead_ns.audit.audit import Inputs, run_audit
from privhead_ns.audit.faces import Faces
from privhead_ns.audit.heads import Head
from privhead_ns.audit.off_the_shelf import Gallery
from privhead_ns.audit.painting import Trained, align, face_points, load_painted, render_painted
from privhead_ns.capture.camera import Intrinsics, PosedCamera
from privhead_ns.errors import UserError

QUIET = Console(file=io.StringIO())
RED, GREEN, BLUE = np.eye(3)


class Painter:
    """Stands in for a model: a colour where a ray starts at x > 0, half of it elsewhere."""

    device = torch.device("cpu")

    def __init__(self, colour: np.ndarray, painted: bool = True) -> None:
        self.colour, self.painted = torch.as_tensor(colour, dtype=torch.float32), painted
        frame = SimpleNamespace(to_training=lambda points: points)
        self.kwargs = {"metadata": {"frame": frame, "protected": [True, False]}}

    def __call__(self, bundle: Any) -> dict[str, torch.Tensor]:
        return {"rgb": torch.where(bundle.origins[:, :1] > 0, self.colour, self.colour / 2)}


def camera() -> PosedCamera:
    """Looks along -z at the origin from a distance of 3."""
    pose = np.eye(4)
    pose[2, 3] = 3
    return PosedCamera(pose, Intrinsics(64, 64, 64, 64, 32, 32))


def trained(colour: np.ndarray, radius: float = 1.0, painted: bool = True) -> Trained:
    model: Any = Painter(colour, painted)
    return Trained(model, trimesh.creation.icosphere(3, radius))


def head(name: str) -> Head:
    """A head of four views from one camera."""
    nothing = np.zeros((4, 2, 2))
    return Head(name, (0, 1, 2, 3), (camera(),) * 4, [], nothing[..., None], nothing, 1.0)


@pytest.fixture
def gallery() -> Gallery:
    """Photographs of a red, a green and a blue head, as dark as their renders on black."""
    faces = [Faces(np.arange(4), np.repeat(0.25 * colour[None], 4, axis=0)) for colour in (RED, GREEN, BLUE)]
    return Gallery(Toy(), [[LANDMARKS, None, LANDMARKS, LANDMARKS]] * 3, faces)


def test_a_mesh_is_painted_where_it_is_seen_through_the_alignment() -> None:
    shape = trimesh.creation.icosphere(3, 0.5)
    shape.apply_translation((0.1, 0, 0))
    painter, onto = trained(RED, radius=20.0), np.diag([40.0, 40, 40, 1])
    onto[:3, 3] = -4, 0, 0
    aligned, shifted = (render_painted(shape, painter, [camera()], matrix)[0] for matrix in (onto, np.eye(4)))
    assert aligned.shape == (256, 256, 3) and (aligned[..., 1:] == 0).all()
    columns, bright = np.flatnonzero(aligned[128, :, 0]), np.flatnonzero(aligned[128, :, 0] == 255)
    assert len(columns) == pytest.approx(2 * 256 * 0.5 / 3, rel=0.05)
    assert bright.min() == pytest.approx(columns.mean(), abs=2), "the middle of the one is the middle of the other"
    assert (shifted[128, :, 0] == 255).sum() > len(bright) + 5, "as they are, x = 0 lies left of the middle"


def test_faces_are_aligned_by_their_features() -> None:
    rng = np.random.default_rng(0)
    face = rng.normal(size=(51, 3))
    turn = trimesh.transformations.rotation_matrix(0.4, (1, 2, 3))
    turn[:3, :3] *= 1.7
    turn[:3, 3] = 1, 2, 3
    there = trimesh.transform_points(face, turn)
    there[:5] = np.nan
    np.testing.assert_allclose(align(face, there), turn, atol=1e-9)
    place = np.full((68, 2), 0.5)
    place[30], place[40] = (0.5, 0.4), (0.01, 0.01)
    points = face_points(trimesh.creation.icosphere(4), camera(), place)
    assert points.shape == (51, 3) and np.isnan(points[40 - 17]).all(), "a ray beside the ball"
    np.testing.assert_allclose(points[0], (0, 0, 1), atol=0.02)
    assert points[30 - 17, 1] == pytest.approx(0.1 * 2.05, abs=0.02), "a tenth of the picture above the middle"


def test_colours_decide_whom_the_toy_sees_in_every_mesh(gallery: Gallery) -> None:
    heads = [head("red"), head("green"), head("blue")]
    meshes = {0: trimesh.creation.icosphere(3, 0.9), 2: trimesh.creation.icosphere(3, 0.8)}
    painters = {0: trained(RED), 2: trained(BLUE)}
    exchanged = transfer.exchange(heads, gallery.places, meshes, painters, QUIET)
    assert exchanged.views == {0: [0, 2, 3], 2: [0, 2, 3]}, "where the photographs show a face"
    result = transfer.attack(gallery, exchanged)
    assert result.rows["geometry of red, taken for that head"] == {
        "rank-1, colours of red": 1.0,
        "rank-1, colours of blue": 0.0,
    }
    assert result.rows["geometry of blue, taken for the head of the colours"] == {
        "rank-1, colours of red": 1.0,
        "rank-1, colours of blue": 1.0,
    }
    assert result.rows["all meshes in another's colours"] == {
        "faces": 6.0,
        "rank-1, head of the geometry": 0.0,
        "rank-1, head of the colours": 1.0,
        "follows the colours": 1.0,
    }
    assert "100 % of pictures are taken for the head of the colours and 0 %" in result.sentence
    drawing = result.drawings["transfer"]
    assert min(drawing.shape[:2]) > 300 and drawing[..., 0].max() == 255


def test_forgotten_colours_of_the_subject_are_said_to_be_not_measured(gallery: Gallery) -> None:
    heads = [head("red"), head("green"), head("blue")]
    meshes = {0: trimesh.creation.icosphere(3), 1: trimesh.creation.icosphere(3)}
    exchanged = transfer.exchange(heads, gallery.places, meshes, {1: trained(GREEN)}, QUIET)
    result = transfer.attack(gallery, exchanged)
    assert "The colours of red were not measured" in result.sentence and "--rgb-config" in result.sentence
    assert list(result.rows["geometry of red, taken for that head"]) == ["rank-1, colours of green"]
    assert "--transfer-config" in transfer.attack(gallery, None).sentence


def test_a_head_whose_photographs_show_no_face_gets_no_figures(gallery: Gallery) -> None:
    heads = [head("red"), head("green")]
    meshes = {0: trimesh.creation.icosphere(2), 1: trimesh.creation.icosphere(2)}
    blind = Gallery(Toy(), [gallery.places[0], [None] * 4], [gallery.faces[0], Faces(np.empty(0, int), np.empty(0))])
    exchanged = transfer.exchange(heads, blind.places, meshes, {0: trained(RED)}, QUIET)
    result = transfer.attack(blind, exchanged)
    assert result.rows["geometry of green, taken for the head of the colours"] == {"rank-1, colours of red": None}
    assert result.rows["all meshes in another's colours"]["follows the colours"] is None


def test_views_are_spread_evenly_up_to_a_limit() -> None:
    assert transfer.spread(0) == [] and transfer.spread(3) == [0, 1, 2]
    assert transfer.spread(29) == [0, 4, 8, 12, 16, 20, 24, 28]


def test_a_run_that_forgot_the_colours_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painting, "load", lambda path: trained(RED, painted=path.stem != "forgot"))
    assert len(load_painted([Path("one"), Path("two")])) == 2
    with pytest.raises(UserError, match="--transfer-config forgot has forgotten the colours"):
        load_painted([Path("one"), Path("forgot")])


def test_flags_that_do_not_fit_are_refused_before_any_work(tmp_path: Path) -> None:
    raw, other = write_raw_capture(tmp_path / "raw"), write_raw_capture(tmp_path / "other")
    config = tmp_path / "config.yml"
    config.touch()

    def refused(reason: str, **wishes: Any) -> None:
        with pytest.raises(UserError, match=reason):
            run_audit(Inputs(raw, **wishes), [Toy()], QUIET)

    refused("go together", transfer_config=(config, config), transfer_data=(other,))
    refused("--transfer-config needs a config", transfer_config=(tmp_path / "x",), transfer_data=(other,))
    refused("--load-config", transfer_config=(config,), transfer_data=(other,))
