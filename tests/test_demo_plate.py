"""The model car with its plate: its distance field, what its views show, and the reader of its letters."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import trimesh

from privhead_ns.capture.camera import Intrinsics, PosedCamera
from privhead_ns.capture.protect import magnitude_image
from privhead_ns.demo import plate
from privhead_ns.demo.capture import exact_mesh
from privhead_ns.demo.letters import STROKES, letter_distance
from privhead_ns.demo.photograph import photograph, trace
from privhead_ns.demo.reading import ALPHABET, Reading, read_mesh, read_pictures
from privhead_ns.demo.scene import PORTRAIT_LENS, View
from privhead_ns.demo.scenes import PLATE, SCENES
from privhead_ns.operators import GradientMagnitude


@pytest.fixture(scope="module")
def mesh() -> trimesh.Trimesh:
    return exact_mesh(PLATE, resolution=144)


def front_camera(size: int) -> PosedCamera:
    pose = View(4, 6, True).camera_to_world
    return PosedCamera(pose, Intrinsics(size, size, PORTRAIT_LENS * size, PORTRAIT_LENS * size, size / 2, size / 2))


def test_distance_to_letters_is_known_where_a_ruler_tells() -> None:
    # I is one stroke from (0, -1) to (0, 1) when 2 high; L runs along the left and the lower edge of 4/3 x 2
    points = np.array([[0, 0], [0.3, 0], [0, 1.5], [0.4, 1.3]], np.float32)
    np.testing.assert_allclose(letter_distance("I", points, 2), [0, 0.3, 0.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(letter_distance("L", points[:1], 2), [2 / 3], atol=1e-6)


def test_every_letter_looks_different() -> None:
    grid = np.stack(np.meshgrid(np.linspace(-0.8, 0.8, 24), np.linspace(-1.2, 1.2, 36)), -1).reshape(-1, 2)
    drawn = np.stack([letter_distance(letter, grid.astype(np.float32), 2) < 0.2 for letter in STROKES]).astype(float)
    correlation = np.corrcoef(drawn)
    assert len(STROKES) == 26
    assert (correlation - np.eye(26)).max() < 0.9


def test_letters_stand_on_the_plate_and_are_dark() -> None:
    places = np.array([[plate.PLATE_FRONT + 0.5, y, plate.PLATE_MIDDLE] for y in np.linspace(-0.4, 0.4, 161)])
    distance = trace(plate.sdf, places, np.tile([-1.0, 0, 0], (len(places), 1)))
    hits = places - np.array([[1.0, 0, 0]]) * distance[:, None]
    raised = hits[:, 0] > plate.PLATE_FRONT + plate.EMBOSSED / 2
    inked = plate.albedo(hits).mean(axis=1) < 0.1
    assert (inked == raised).mean() > 0.95
    assert 0.2 < raised.mean() < 0.7
    np.testing.assert_allclose(hits[raised, 0], plate.PLATE_FRONT + plate.EMBOSSED, atol=1e-3)
    np.testing.assert_allclose(hits[~raised & ~inked, 0], plate.PLATE_FRONT, atol=2e-3)


def test_sdf_is_no_longer_than_the_distance(mesh: trimesh.Trimesh) -> None:
    points = np.random.default_rng(0).uniform(plate.AABB[0], plate.AABB[1], (400, 3)).astype(np.float32)
    true_distance = trimesh.proximity.closest_point(mesh, points)[1]
    assert (np.abs(plate.sdf(points)) < 1.02 * true_distance + 0.01).all()
    assert np.linalg.norm(mesh.vertices, axis=1).max() < 1
    assert mesh.is_watertight and len(mesh.split()) == 1


def test_no_neutral_view_sees_the_front_of_the_plate() -> None:
    for view in PLATE.views:
        before_plate = view.camera_to_world[0, 3] > plate.PLATE_FRONT + plate.EMBOSSED
        assert view.sensitive or not before_plate
    assert SCENES["plate"] is PLATE and PLATE.count(sensitive=False) == 12


@pytest.mark.parametrize("text", ["KGRB", "QWXV"])
def test_another_text_is_read_from_photograph_magnitude_and_relief(text: str) -> None:
    panel = replace(plate.LETTERING, text=text)
    scene = replace(PLATE, sdf=partial(plate.sdf, text=text), albedo=partial(plate.albedo, text=text))
    camera = front_camera(128)
    rgb = photograph(scene, camera.camera_to_world, 128)[0].astype(np.float32) / 255
    assert read_pictures(panel, [camera], [rgb.mean(axis=2)]).together == text
    sigma = GradientMagnitude()
    magnitude = magnitude_image(rgb, sigma, 65536).astype(np.float64)
    assert read_pictures(panel, [camera], [magnitude], sigma).together == text
    if text == plate.TEXT:
        reading, relief = read_mesh(panel, exact_mesh(scene, resolution=192))
        assert reading.together == text and reading.single == 1
        assert relief.max() == pytest.approx(plate.EMBOSSED, abs=2e-3)


def test_nothing_is_read_where_nothing_varies() -> None:
    camera = front_camera(32)
    reading = read_pictures(plate.LETTERING, [camera], [np.zeros((32, 32))])
    assert (reading.correlations == 0).all()
    noise = torch.rand(12, 32, 32, generator=torch.Generator().manual_seed(0)).numpy()
    assert read_pictures(plate.LETTERING, [camera] * 12, list(noise)).single < 0.2


def test_a_reading_counts_letters_and_adds_up_pictures() -> None:
    correlations = np.zeros((2, 2, len(ALPHABET)))
    correlations[0, 0, ALPHABET.index("A")], correlations[1, 0, ALPHABET.index("B")] = 0.9, 0.5
    correlations[:, 1, ALPHABET.index("C")] = 0.4
    reading = Reading("AC", correlations)
    assert reading.single == pytest.approx(3 / 4)
    assert reading.together == "AC"
