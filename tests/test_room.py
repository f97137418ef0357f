"""A room seen from within: its box, whole views, the start and the end of rays, and the mesh of its walls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import trimesh
from nerfstudio.cameras.rays import RayBundle
from PIL import Image
from raw_folder import VIEWS, edit, write_raw_capture
from rich.console import Console
from scipy.spatial.transform import Rotation
from skimage.data import astronaut
from small_runs import small_config, start

from privhead_ns.capture.protect import protect
from privhead_ns.capture.protected import load_protected_capture
from privhead_ns.capture.raw import load_raw_capture
from privhead_ns.capture.room import room_box
from privhead_ns.errors import UserError
from privhead_ns.mesh.export import export_mesh
from privhead_ns.mesh.extract import extract_mesh
from privhead_ns.model.agreement import Agreement
from privhead_ns.model.field import HeadField
from privhead_ns.model.renderer import SurfaceRenderer
from privhead_ns.model.room import free_space_sdf
from privhead_ns.operators import OperatorConfig

QUIET = Console(quiet=True)
BOX = torch.tensor([[-0.5, -0.4, -0.3], [0.5, 0.4, 0.3]])
HALF = torch.tensor([0.42, 0.33, 0.24])
"""Half sides of the free space in that box."""


def free_box(points: torch.Tensor) -> torch.Tensor:
    return (HALF - points.abs()).amin(dim=-1)


def rays_from(origins: torch.Tensor, directions: torch.Tensor) -> RayBundle:
    """Rays from inside `BOX` to its faces."""
    far = torch.where(directions > 0, (BOX[1] - origins) / directions, (BOX[0] - origins) / directions).amin(dim=-1)
    near = torch.zeros(len(origins), 1)
    return RayBundle(origins, directions, torch.ones_like(near), nears=near, fars=far[:, None])


def some_rays(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return (torch.rand(count, 3) - 0.5) * 0.3, F.normalize(torch.randn(count, 3), dim=-1)


def rendered(sdf: Any) -> tuple[Any, torch.Tensor, torch.Tensor]:
    field = HeadField(BOX, 0.02, 2, 8, beta=0.001)
    field.start_as(sdf, largest_body=False) if callable(sdf) else field.set_sdf(torch.full_like(field.sdf_grids(), sdf))
    origins, directions = some_rays(200)
    with torch.no_grad():
        seen = SurfaceRenderer("neus", 32, 16, opaque_end=True)(rays_from(origins, directions), field, field.geometry())
    return seen, origins, directions


def test_rays_from_within_end_at_the_walls() -> None:
    seen, origins, directions = rendered(free_box)
    true = torch.where(directions > 0, (HALF - origins) / directions, (-HALF - origins) / directions).amin(dim=-1)
    error = (seen.depth[:, 0] - true).abs()
    assert error.median() < 0.002 and error.max() < 0.04  # smoothed edges of the room, seen slantingly
    assert seen.accumulation.min() > 0.999
    towards_camera = (seen.normals * directions).sum(dim=-1)
    assert (towards_camera < 0).all()


def test_the_last_segment_is_the_wall_where_there_is_none() -> None:
    seen, origins, directions = rendered(1.0)
    far = rays_from(origins, directions).fars
    assert far is not None
    assert seen.accumulation.min() > 0.999
    assert (seen.depth > 0.9 * far).all() and (seen.depth <= far).all()


def textured_room(turn: np.ndarray, size: int = 48, views: int = 24) -> Agreement:
    """Magnitudes of smooth random waves on the walls of a turned box, from cameras that look outwards all around."""
    to_room = torch.from_numpy(turn.T).float()
    waves = torch.randn(40, 3, generator=torch.Generator().manual_seed(3)) * 45
    phases = torch.arange(40.0)
    poses, images = [], []
    for number in range(views):
        angle = 2 * np.pi * number / views
        ahead = np.array([np.cos(angle), np.sin(angle), 0.5 * np.sin(3.1 * number)])
        backward = -ahead / np.linalg.norm(ahead)
        right = np.cross([0, 0, 1], backward) / np.linalg.norm(np.cross([0, 0, 1], backward))
        position = -0.12 * ahead + (0.06 if number % 2 else -0.06) * right
        poses.append(np.stack([right, np.cross(backward, right), backward, position * [1, 1, 0.5]], axis=1))
    pose = torch.from_numpy(np.stack(poses)).float()
    y, x = torch.meshgrid(*[(torch.arange(size) + 0.5) / size - 0.5] * 2, indexing="ij")
    local = F.normalize(torch.stack([x, -y, torch.full_like(x, -0.7)], dim=-1), dim=-1)
    for one in pose:
        origin, ray = to_room @ one[:, 3], local @ one[:, :3].T @ to_room.T
        ends = torch.where(ray > 0, (HALF - origin) / ray, (-HALF - origin) / ray).amin(dim=-1, keepdim=True)
        images.append(0.3 + 0.05 * torch.sin((origin + ray * ends) @ waves.T + phases).sum(dim=-1) / 4)
    lens = torch.tensor([0.7 * size, 0.7 * size, size / 2, size / 2]).expand(views, 4)
    return Agreement(torch.stack(images), torch.ones(views, size, size), pose, lens, inside_out=True)


@pytest.mark.parametrize("degrees", [0, 25])
def test_training_starts_near_the_walls_however_they_are_turned(degrees: int) -> None:
    turn = Rotation.from_euler("z", degrees, degrees=True).as_matrix()
    larger = 1.4 * BOX  # where the walls are is not known
    sdf = free_space_sdf(textured_room(turn), larger)
    angles = torch.arange(0, 360, 15.0).deg2rad()
    directions = torch.stack([angles.cos(), angles.sin(), torch.zeros_like(angles)], dim=-1)
    local = directions @ torch.from_numpy(turn).float()
    true = (HALF / local.abs()).amin(dim=-1)
    along = torch.linspace(0, 0.75, 300)
    values = sdf((directions[:, None] * along[:, None]).reshape(-1, 3)).reshape(len(angles), -1)
    found = along[(values < 0).int().argmax(dim=1)]
    assert (values[:, 0] > 0).all()
    assert (found - true).abs().median() < 0.03 and (found - true).abs().max() < 0.12  # a box's cell is 0.03 wide


def test_the_mesh_of_a_room_is_its_inner_surface() -> None:
    def sdf(points: torch.Tensor) -> torch.Tensor:
        table = (points - torch.tensor([0.1, 0, 0])).norm(dim=-1) - 0.06
        pocket = 0.03 - (points - torch.tensor([0.46, 0.36, 0.27])).norm(dim=-1)
        return torch.maximum(torch.minimum(0.2 - points.norm(dim=-1), table), pocket)

    mesh = extract_mesh(sdf, BOX, 96, "cpu", inside_out=True)
    ball = 4 / 3 * np.pi
    assert mesh.is_watertight and np.abs(mesh.vertices).max() < 0.21, "neither the box nor a pocket in the wall"
    assert mesh.volume == pytest.approx(-ball * (0.2**3 - 0.06**3), rel=0.01), "faces look into the free space"
    assert len(mesh.split()) == 2, "what stands free in the room stays"
    empty = extract_mesh(lambda points: torch.ones(len(points)), 2 * BOX - 1, 16, "cpu", inside_out=True)
    np.testing.assert_allclose(empty.bounds, (2 * BOX - 1).numpy(), atol=1e-5)


def outwards(folder: Path, **top: Any) -> Path:
    """A raw capture without masks whose cameras stand on a ring of radius 1 and look away from its middle."""
    write_raw_capture(folder, masks=False, **top)

    def turn(content: dict[str, Any]) -> None:
        for frame in content["frames"]:
            pose = np.array(frame["transform_matrix"])
            pose[:3, 3] *= 0.25
            pose[:3, [0, 2]] *= -1
            frame["transform_matrix"] = pose.tolist()
            frame.pop("sensitive", None)

    edit(folder, turn)
    return folder


def room(raw: Path, out: Path, **values: Any) -> Any:
    return protect(raw, out, OperatorConfig(), subject="room", console=QUIET, **values)


def test_all_views_of_an_undeclared_room_are_protected_and_whole(tmp_path: Path) -> None:
    summary = room(outwards(tmp_path / "raw"), tmp_path / "out")
    capture = load_protected_capture(tmp_path / "out")
    assert capture.hides_all and capture.subject == "room" and not capture.masked
    assert (capture.width, capture.height) == (32, 32) and len(capture.frames) == VIEWS
    raw = load_raw_capture(tmp_path / "raw")
    for ours, theirs in zip(capture.frames, raw.frames, strict=True):
        np.testing.assert_allclose(ours.camera_to_world, theirs.camera_to_world)
        assert (ours.fl_x, ours.cx) == (48, 16)
    words = summary.in_plain_words()
    assert "no colour photograph" in words and "no detector looks for writing" in words and "MISSES PEOPLE" in words
    assert "box that holds the room" in words and "guessed from the cameras" in words
    assert not {"head", "face", "outlines", "skin"} & set(words.replace(str(tmp_path), "").split())


def test_the_box_reaches_beyond_the_cameras_by_half_their_extent(tmp_path: Path) -> None:
    capture = load_raw_capture(outwards(tmp_path / "raw"))
    places = np.stack([frame.camera_to_world[:3, 3] for frame in capture.frames])
    extent = places.max(axis=0) - places.min(axis=0)
    box = room_box(capture).aabb
    np.testing.assert_allclose(box[0], places.min(axis=0) - extent.max() / 2)
    np.testing.assert_allclose(box[1], places.max(axis=0) + extent.max() / 2)


def test_sparse_points_and_a_stated_box_tell_the_room_s_size(tmp_path: Path) -> None:
    raw = outwards(tmp_path / "raw")
    points = np.random.default_rng(0).uniform([-3, -2, -1.5], [3, 2, 1.5], (2000, 3))
    points[:20] *= 50  # seen through a window
    trimesh.PointCloud(points).export(raw / "sparse_pc.ply")
    edit(raw, lambda content: content.update(ply_file_path="sparse_pc.ply"))
    found = room_box(load_raw_capture(raw))
    np.testing.assert_allclose(found.aabb, [[-3, -2, -1.5], [3, 2, 1.5]], rtol=0.12)
    assert "2000 sparse points" in found.found
    edit(raw, lambda content: content.update(aabb=[[-4, -3, -2], [4, 3, 2]]))
    assert room_box(load_raw_capture(raw)).aabb.tolist() == [[-4, -3, -2], [4, 3, 2]]
    room(raw, tmp_path / "out", box=(-5, -5, -2, 5, 5, 2))
    assert load_protected_capture(tmp_path / "out").aabb.tolist() == [[-5, -5, -2], [5, 5, 2]]


def one_place(content: dict[str, Any]) -> None:
    for frame in content["frames"]:
        for row in range(3):
            frame["transform_matrix"][row][3] = 0.5


def another_shape(content: dict[str, Any]) -> None:
    content["frames"][2] |= {"w": 32, "h": 24, "cy": 12}


@pytest.mark.parametrize(
    ("change", "flags", "words"),
    [
        (one_place, {}, "stand in one place"),
        (another_shape, {}, "32x24 pixels and images/view_0.png 32x32"),
        (lambda content: content.update(aabb=[[1, 2, 3]]), {}, "aabb"),
        (lambda content: content.update(ply_file_path="none.ply"), {}, "none.ply"),
        (lambda content: content["frames"][1].update(mask_path="masks/m.png"), {}, "view_1.png has a mask"),
        (None, {"face_direction": (1.0, 0.0, 0.0)}, "--face-direction"),
        (None, {"template": "average"}, "--template"),
        (None, {"box": (-0.5, -0.5, -0.5, 0.5, 0.5, 0.5)}, "outside the room's box"),
        (None, {"neutral": ("*",)}, "nothing would be protected"),
    ],
)
def test_what_a_room_cannot_be_is_told(tmp_path: Path, change: Any, flags: dict[str, Any], words: str) -> None:
    raw = outwards(tmp_path / "raw")
    Image.fromarray(np.full((32, 32), 255, np.uint8)).save(raw / "masks" / "m.png")
    if change is not None:
        edit(raw, change)
        if change is another_shape:
            Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(raw / "images" / "view_2.png")
    with pytest.raises(UserError) as error:
        room(raw, tmp_path / "out", **flags)
    assert words in str(error.value) and "head" not in str(error.value).replace("heads and objects", "")
    assert not (tmp_path / "out").exists()


def test_photographs_of_one_shape_are_reduced_to_one_size(tmp_path: Path) -> None:
    raw = outwards(tmp_path / "raw")
    edit(raw, lambda content: content["frames"][2].update(w=64, h=64, cx=32, cy=32, fl_x=96, fl_y=96))
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(raw / "images" / "view_2.png")
    room(raw, tmp_path / "out")
    capture = load_protected_capture(tmp_path / "out")
    assert capture.width == 32 and capture.frames[2].fl_x == 48


def test_who_stands_in_a_neutral_photograph_of_a_room_is_found(tmp_path: Path) -> None:
    raw = outwards(tmp_path / "raw")
    person = astronaut()[:220, 110:330]
    lens = {"w": 220, "h": 220, "cx": 110, "cy": 110, "fl_x": 330, "fl_y": 330}
    edit(raw, lambda content: content["frames"][2].update(lens))
    Image.fromarray(person).save(raw / "images" / "view_2.png")
    with pytest.raises(UserError, match=r"A face was found in images/view_2\.png"):
        room(raw, tmp_path / "out", neutral=("view_2.png",))
    assert not (tmp_path / "out").exists()
    room(raw, tmp_path / "out", neutral=("view_2.png",), allow_face=("view_2.png",))
    assert load_protected_capture(tmp_path / "out").frames[2].kind == "neutral"


def test_wide_photographs_through_a_lens_stay_whole(tmp_path: Path) -> None:
    raw = outwards(tmp_path / "raw", k1=-0.05)
    edit(raw, lambda content: content.update(w=48, h=32, cx=24, fl_x=36, fl_y=36))
    for index in range(VIEWS):
        Image.fromarray(np.full((32, 48, 3), 40 * index, np.uint8)).save(raw / "images" / f"view_{index}.png")
    room(raw, tmp_path / "out", size=24, neutral=("view_1.png",))
    capture = load_protected_capture(tmp_path / "out")
    assert (capture.width, capture.height) == (24, 16)
    assert all(frame.known_path is None for frame in capture.frames), "no black borders"
    neutral = np.asarray(Image.open(capture.frames[1].path))
    assert (np.abs(neutral.astype(int) - 40) <= 1).all()


def test_a_capture_tells_its_subject(tmp_path: Path) -> None:
    room(outwards(tmp_path / "raw"), tmp_path / "out")
    path = tmp_path / "out" / "transforms.json"
    content = json.loads(path.read_text())
    for subject, words in (("garage", "subject must be one of"), (None, "subject must be one of")):
        path.write_text(json.dumps(content | {"privhead": content["privhead"] | {"subject": subject}}))
        with pytest.raises(UserError, match=words):
            load_protected_capture(tmp_path / "out")
    del content["privhead"]["subject"]  # as older versions wrote it
    path.write_text(json.dumps(content))
    assert load_protected_capture(tmp_path / "out").subject == "head"


def test_a_trained_room_ends_as_a_mesh_that_faces_its_cameras(tmp_path: Path) -> None:
    room(outwards(tmp_path / "raw"), tmp_path / "out", neutral=("view_0.png", "view_1.png"))
    trainer = start(small_config(tmp_path / "out", tmp_path / "outputs"))
    trainer.train()
    model = trainer.pipeline.model
    assert model.background is None and model.room
    mesh = export_mesh(trainer.base_dir / "config.yml", tmp_path / "room.ply", 48, millimetres=False)
    capture = load_protected_capture(tmp_path / "out")
    assert (mesh.bounds[0] >= capture.aabb[0] - 1e-6).all() and (mesh.bounds[1] <= capture.aabb[1] + 1e-6).all()
    assert mesh.is_watertight and mesh.volume < 0
    for frame in capture.frames:
        pose = frame.camera_to_world
        directions = np.array([[x, y, -1.5] for x in (-0.4, 0.1, 0.4) for y in (-0.4, 0.1, 0.4)]) @ pose[:3, :3].T
        _, hit, triangles = mesh.ray.intersects_location(np.tile(pose[:3, 3], (9, 1)), directions, multiple_hits=False)[
            0:3
        ]
        assert len(hit) == 9, "no ray leaves the room"
        assert ((mesh.face_normals[triangles] * directions[hit]).sum(axis=1) < 0).all()


def test_the_paper_s_method_refuses_rooms(tmp_path: Path) -> None:
    room(outwards(tmp_path / "raw"), tmp_path / "out")
    config = small_config(tmp_path / "out", tmp_path / "outputs", "privhead-paper")
    with pytest.raises(UserError, match="is a room, and privhead-paper trains heads"):
        config.save_config()
    assert not (tmp_path / "outputs").exists()
