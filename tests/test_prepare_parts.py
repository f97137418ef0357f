"""The parts of `privhead prepare`, against values known from geometry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from raw_folder import look_at

from privhead_ns.capture.camera import Intrinsics, PosedCamera
from privhead_ns.capture.crop import Sphere
from privhead_ns.capture.made_masks.body import agreed_body, footprint
from privhead_ns.capture.made_masks.cut_out import WIDE, cut_out, unsure_pixels
from privhead_ns.capture.made_masks.upright_crop import Crop, crop_about, onto_photograph, up_direction
from privhead_ns.errors import UserError
from privhead_ns.prepare import faces
from privhead_ns.prepare.declare import Declared, declare, read_globs
from privhead_ns.prepare.frame import head_frame
from privhead_ns.prepare.posed import PosedPhotograph
from privhead_ns.prepare.scale import find_markers, scale_of_marker
from privhead_ns.prepare.sources import Source
from privhead_ns.prepare.still_camera import find_still_camera
from privhead_ns.prepare.triangulate import rays_through, triangulate

CAMERA = Intrinsics(200, 150, 240.0, 240.0, 100.0, 75.0)
DISTORTED = Intrinsics(200, 150, 240.0, 240.0, 104.0, 72.0, (-0.1, 0.02, 0.001, -0.002, 0.0))


def ring(count: int, distance: float = 4.0, height: float = 0.3) -> list[np.ndarray]:
    angles = np.arange(count) * 2 * np.pi / count
    return [look_at(distance * np.array([np.cos(a), np.sin(a), height])) for a in angles]


def project(points: np.ndarray, pose: np.ndarray, camera: Intrinsics) -> np.ndarray:
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    return np.stack(
        [camera.fl_x * local[:, 0] / -local[:, 2] + camera.cx, camera.fl_y * local[:, 1] / local[:, 2] + camera.cy],
        axis=1,
    )


def matches_between(shifts: list[np.ndarray], turning: bool) -> tuple[dict, dict]:
    """Returns 40 features of a room moved by crops, and 40 of a head that turns, in each of some pictures."""
    random = np.random.default_rng(3)
    room, head = random.uniform(0, 500, (40, 2)), random.uniform(-80, 80, (40, 3))
    keypoints, pairs = {}, {}
    for index, shift in enumerate(shifts):
        angle = 0.25 * index
        seen = np.stack([np.cos(angle) * head[:, 0] - np.sin(angle) * head[:, 1] + 250, head[:, 2] + 250], axis=1)
        moved = room + shift if turning else room * (1 + 0.2 * index) + shift
        keypoints[index] = np.concatenate([moved, seen])
    same = np.stack([np.arange(80), np.arange(80)], axis=1)
    for first in range(len(shifts)):
        for second in range(first + 1, len(shifts)):
            pairs[first, second] = same
    return keypoints, pairs


def test_features_of_a_still_room_are_told_from_those_of_the_head() -> None:
    shifts = [np.array([12.0 * i, -5.0 * (i % 3)]) for i in range(8)]
    sizes = {i: np.array([500.0 + 20 * (i % 4), 500.0]) for i in range(8)}
    found = find_still_camera(*matches_between(shifts, turning=True), sizes)
    assert found is not None
    share = np.mean([[room[:40].mean(), room[40:].mean()] for room in found.room.values()], axis=0)
    assert share[0] == 1.0
    assert share[1] < 0.5
    off_middle = np.array([shift - size / 2 for shift, size in zip(shifts, sizes.values(), strict=True)])
    expected = off_middle - np.median(off_middle, axis=0)
    np.testing.assert_allclose(list(found.offsets.values()), expected, atol=0.05)


def test_a_camera_that_moves_is_not_taken_for_a_still_one() -> None:
    sizes = {i: np.array([500.0, 500.0]) for i in range(8)}
    assert find_still_camera(*matches_between([np.zeros(2)] * 8, turning=False), sizes) is None


def test_triangulation_finds_the_points_and_the_view_that_is_off() -> None:
    points = np.array([[0.1, 0.2, 0.0], [-0.3, 0.0, 0.2], [0.2, -0.2, -0.1]])
    cameras = [PosedCamera(pose, CAMERA) for pose in ring(7)]
    pixels = [project(points, camera.camera_to_world, CAMERA) for camera in cameras]
    pixels[4] += 30
    rays = np.stack([rays_through(camera, pixel) for camera, pixel in zip(cameras, pixels, strict=True)])
    origins = np.stack([camera.camera_to_world[:3, 3] for camera in cameras])
    found, agreeing = triangulate(origins, rays, 0.01)
    assert np.allclose(found, points, atol=1e-6)
    assert agreeing.tolist() == [True] * 4 + [False] + [True] * 2


def test_up_is_up_where_cameras_look_down_and_one_lies_on_its_side() -> None:
    poses = ring(12, height=1.5)
    poses[3][:3, :2] = poses[3][:3, [1, 0]] * [1, -1]
    assert up_direction(np.stack(poses)) @ [0, 0, 1] > 0.99


def test_a_crop_and_the_way_back_meet_in_the_same_pixels() -> None:
    pose = look_at(np.array([3.0, 1.0, 0.5]))
    turned = pose.copy()
    turned[:3, :2] = pose[:3, [1, 0]] * [1, -1]  # held sideways
    photograph = PosedPhotograph(Path("x.png"), turned, DISTORTED)
    point = np.array([[0.2, -0.3, 0.25]])
    picture = np.zeros((150, 200, 3), np.uint8)
    crop = crop_about(photograph, picture, Sphere(np.zeros(3), 0.8), np.array([0.0, 0.0, 1.0]), side=256)
    assert crop.camera.camera_to_world[2, 1] > 0.9  # upright again
    at = project(point, crop.camera.camera_to_world, crop.camera.intrinsics)[0]
    spot = np.zeros((256, 256), np.float32)
    cv2.circle(spot, (round(at[0] - 0.5), round(at[1] - 0.5)), 9, 1.0, -1)
    back = onto_photograph(spot, crop.camera, photograph, 200, 150)
    local = (point - turned[:3, 3]) @ turned[:3, :3]
    matrix = np.array([[240.0, 0, 104.0], [0, 240.0, 72.0], [0, 0, 1]])
    flipped = local * [1, -1, -1]
    expected = cv2.projectPoints(flipped, np.zeros(3), np.zeros(3), matrix, np.array(DISTORTED.distortion))[0].ravel()
    rows, columns = np.nonzero(back > 0.5)
    assert [columns.mean() + 0.5, rows.mean() + 0.5] == pytest.approx(expected, abs=1.0)


def busts() -> list:
    """Returns crops' views of a head (ball of radius 0.5), neck (0.2 thick) and shoulders (a slab), by ray casting."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1.2, 1.2, 97)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    radius = np.hypot(grid[:, 0], grid[:, 1])
    head = np.linalg.norm(grid - [0, 0, 0.4], axis=1) < 0.5
    neck = (radius < 0.2) & (grid[:, 2] < 0.2) & (grid[:, 2] > -0.5)
    shoulders = (radius < 0.8) & (grid[:, 2] < -0.45) & (grid[:, 2] > -0.9)
    solid = grid[head | neck | shoulders]
    views = []
    for pose in ring(16):
        photograph = PosedPhotograph(Path("x.png"), pose, Intrinsics(400, 400, 420.0, 420.0, 200.0, 200.0))
        black = np.zeros((400, 400, 3), np.uint8)
        crop = crop_about(photograph, black, Sphere(np.zeros(3), 1.3), np.array([0.0, 0.0, 1.0]), side=192)
        pixels = project(solid, crop.camera.camera_to_world, crop.camera.intrinsics).astype(int)
        drawn = np.zeros((192, 192), np.uint8)
        inside = ((pixels >= 0) & (pixels < 192)).all(axis=1)
        drawn[pixels[inside, 1], pixels[inside, 0]] = 1
        drawn = cv2.morphologyEx(drawn, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
        views.append(crop.view(1 + drawn))
    return views


def test_the_body_is_cut_where_the_shoulders_begin_and_bad_views_do_not_count() -> None:
    views = busts()
    for index in (3, 9):
        assert views[index].silhouette is not None
        views[index].silhouette[:] = 1  # segmentation found nobody
    body = agreed_body(views, Sphere(np.zeros(3), 1.3), np.array([0.0, 0.0, 1.0]), cut=True, share=0.8)
    assert body is not None
    assert body.centre[:, 2].max() == pytest.approx(0.9, abs=0.08)
    assert -0.45 < body.centre[:, 2].min() < -0.1  # below the head, above the shoulders
    top = body.centre[body.centre[:, 2] > 0.1]
    assert np.hypot(top[:, 0], top[:, 1]).max() == pytest.approx(0.5, abs=0.08)


def painted_crop(rgb: np.ndarray) -> Crop:
    crop = crop_about(
        PosedPhotograph(Path("x.png"), look_at(np.array([4.0, 0, 0])), CAMERA),
        np.zeros((150, 200, 3), np.uint8),
        Sphere(np.zeros(3), 1.0),
        np.array([0.0, 0.0, 1.0]),
        side=len(rgb),
    )
    return replace(crop, rgb=rgb, shown=np.full(rgb.shape[:2], 255, np.uint8))


def test_a_mask_follows_the_colours_near_the_hulls_outline() -> None:
    view = busts()[0]
    expected = np.zeros((192, 192), bool)
    expected[60:130, 60:130] = True
    rgb = np.full((192, 192, 3), (40, 60, 90), np.uint8)
    rgb[57:133, 57:133] = (200, 160, 120)  # the head is three pixels larger than the hull says
    mask = cut_out(painted_crop(rgb), expected, 0.04, 0.04)
    assert np.count_nonzero(mask) == pytest.approx(76**2, rel=0.01)
    assert footprint(
        agreed_body([view], Sphere(np.zeros(3), 1.3), np.array([0.0, 0, 1]), cut=False, share=0.8), view
    ).any()


def test_a_hollow_of_the_outline_is_cut_with_a_wide_band_and_unsure_with_a_narrow_one() -> None:
    expected = np.zeros((192, 192), bool)
    expected[40:150, 40:150] = True
    rgb = np.full((192, 192, 3), (40, 60, 90), np.uint8)
    rgb[40:150, 40:150] = (200, 160, 120)
    hollow = np.zeros((192, 192), bool)
    hollow[60:100, 40:56] = True
    rgb[hollow] = (40, 60, 90)
    crop = painted_crop(rgb)
    narrow, wide = cut_out(crop, expected, 0.02, 0.02), cut_out(crop, expected, *WIDE)
    assert narrow[hollow].mean() > 0.6
    np.testing.assert_array_equal(wide, expected & ~hollow)
    np.testing.assert_array_equal(unsure_pixels(crop, expected, narrow), narrow & hollow)
    assert not unsure_pixels(crop, expected, wide).any()


def test_a_face_is_found_from_its_landmarks_and_a_false_find_does_not_turn_it(monkeypatch: pytest.MonkeyPatch) -> None:
    places = np.zeros((478, 3))
    for index, place in {
        33: (0.5, -0.25, 0.1),
        263: (0.5, 0.25, 0.1),
        152: (0.5, 0, -0.4),
        10: (0.45, 0, 0.35),
    }.items():
        places[index] = place
    places[468], places[473] = (0.5, -0.17, 0.1), (0.5, 0.17, 0.1)
    angles = np.radians([-40, -25, -10, 10, 25, 40, 180])
    crops = []
    for angle in angles:
        pose = look_at(4 * np.array([np.cos(angle), np.sin(angle), 0.1]))
        photograph = PosedPhotograph(Path("x.png"), pose, CAMERA)
        crops.append(
            crop_about(photograph, np.zeros((150, 200, 3), np.uint8), Sphere(np.zeros(3), 0.9), np.array([0.0, 0, 1]))
        )
    found = iter([project(places, crop.camera.camera_to_world, crop.camera.intrinsics) for crop in crops[:6]])
    noise = np.random.default_rng(0).uniform(100, 200, (478, 2))
    monkeypatch.setattr(faces, "face_landmarks", lambda _: next(found, noise))
    face, seen = faces.find_face(crops)
    assert face is not None
    assert face.views == 6
    assert face.direction @ [1, 0, 0] > 0.98
    assert face.pupils == pytest.approx(0.34, rel=1e-3)
    assert seen.all()


def sources(count: int = 12, declared: bool | None = None) -> list[Source]:
    return [
        Source(f"{i:02}", PosedPhotograph(Path(f"{i:02}.jpg"), pose, CAMERA, sensitive=declared), lambda: None, None)  # type: ignore[arg-type]
        for i, pose in enumerate(ring(count, height=0.0))
    ]


def test_views_from_behind_are_neutral_and_nothing_else() -> None:
    front, none = np.array([1.0, 0.0, 0.0]), np.zeros(12, bool)
    private = declare(sources(), np.zeros(3), front, none, Declared())
    angle = np.minimum(np.arange(12), 12 - np.arange(12)) * 30
    assert private == (angle <= 115).tolist()
    seen = none.copy()
    seen[6] = True
    assert declare(sources(), np.zeros(3), front, seen, Declared())[6]
    assert not declare(sources(), np.zeros(3), front, seen, Declared(neutral=frozenset({Path("06.jpg")})))[6]
    assert declare(sources(), np.zeros(3), front, none, Declared(sensitive=frozenset({Path("05.jpg")})))[5]


def test_without_a_face_all_are_sensitive_but_those_declared_neutral() -> None:
    none = np.zeros(12, bool)
    assert all(declare(sources(), np.zeros(3), None, none, Declared()))
    assert not any(declare(sources(declared=False), np.zeros(3), None, none, Declared()))


@pytest.mark.parametrize(
    ("glob", "meant"),
    [("img1*", {1, 2}), ("img[1].png", {0}), ("more/*", {2}), ("/data/back/img1.png", {1}), ("*back*", set())],
)
def test_globs_mean_names_and_paths_in_the_folder(glob: str, meant: set[int]) -> None:
    data = Path("/data/back")
    paths = [data / "img[1].png", data / "img1.png", data / "more" / "img1.jpg"]
    if not meant:
        with pytest.raises(UserError, match=f"--neutral {glob!r} matches no photograph".replace("*", r"\*")):
            read_globs(paths, ["img[1]", "img1_png", "img1_jpg"], data, (glob,), ())
        return
    declared = read_globs(paths, ["img[1]", "img1_png", "img1_jpg"], data, (glob,), ())
    assert declared == Declared(neutral=frozenset(paths[index] for index in meant))


def test_no_photograph_is_declared_both_neutral_and_sensitive() -> None:
    paths = [Path(f"raw/{i:02}.jpg") for i in range(12)]
    with pytest.raises(UserError, match=r"05.jpg matches --neutral and --sensitive"):
        read_globs(paths, [path.stem for path in paths], Path("raw"), ("0*",), ("05.jpg",))


def test_the_heads_frame_has_the_face_along_x_and_up_along_z() -> None:
    up, face = np.array([0.0, -1.0, 0.0]), np.array([0.6, -0.3, 0.8])
    frame = head_frame(Sphere(np.array([1.0, 2.0, 3.0]), 0.5), up, face)
    assert np.allclose(frame.direction(up), [0, 0, 1])
    assert frame.direction(face)[1] == pytest.approx(0)
    assert frame.direction(face)[0] > 0
    assert np.linalg.det(frame.rotation) == pytest.approx(1)
    pose = np.eye(4)
    pose[:3, 3] = [1.0, 1.5, 3.0]  # half a unit above the centre, on the sphere
    assert np.allclose(frame.pose(pose)[:3, 3], [0, 0, 1])


def test_a_marker_gives_the_scale() -> None:
    side = 0.4
    corners = side * np.array([[-0.5, 0.5, 0], [0.5, 0.5, 0], [0.5, -0.5, 0], [-0.5, -0.5, 0]]) + [0.3, 0.1, 0.0]
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_5X5_1000)
    marker = np.pad(cv2.aruco.generateImageMarker(dictionary, 7, 120), 20, constant_values=255)
    photographs, pictures = [], []
    for pose in ring(4, height=3.0):
        outer = corners[0] + (corners - corners[0]) * 160 / 120 + (corners[0] - corners[2]) * 20 / 120
        target = project(outer, pose, CAMERA).astype(np.float32) * 3 - 0.5
        frame = np.array([[-0.5, -0.5], [159.5, -0.5], [159.5, 159.5], [-0.5, 159.5]], np.float32)
        warp = cv2.getPerspectiveTransform(frame, target)
        picture = cv2.warpPerspective(marker, warp, (600, 450), borderValue=(180,), flags=cv2.INTER_AREA)
        photographs.append(PosedPhotograph(Path("x.png"), pose, CAMERA))
        pictures.append(np.repeat(picture[..., None], 3, axis=2))
    found = [find_markers(picture) for picture in pictures]
    assert all(("5X5_1000", 7) in markers for markers in found)
    scale = scale_of_marker(photographs, found, [(600, 450)] * 4, 50.0)
    assert scale == pytest.approx(50.0 / side, rel=0.03)
    with pytest.raises(UserError, match="no ArUco or AprilTag marker is seen in 3 photographs"):
        scale_of_marker(photographs[:2], found[:2], [(600, 450)] * 2, 50.0)
