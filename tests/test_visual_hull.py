"""The visual hull that training starts from: of silhouettes of known shapes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from raw_folder import look_at

from privhead_ns.model.field import HeadField
from privhead_ns.model.visual_hull import Silhouette, hull_sdf
from privhead_ns.outline import signed_distance

RADIUS = 0.4
DISTANCE = 3.0
SIZE = 64
FOCAL = 160.0


def silhouette(position: np.ndarray, radius: float = RADIUS) -> Silhouette:
    """Returns what a camera sees of a ball at the origin; a pixel covers about 0.02 units there."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5 - SIZE / 2
    outline = FOCAL * radius / np.sqrt(DISTANCE**2 - radius**2)
    coverage = np.clip(outline - np.hypot(x, y) + 0.5, 0, 1)
    pose = torch.from_numpy(look_at(position * DISTANCE)[:3]).float()
    mask = torch.from_numpy(coverage).float()
    return Silhouette(mask, torch.ones_like(mask), pose, FOCAL, FOCAL, SIZE / 2, SIZE / 2)


@pytest.fixture(scope="module")
def directions() -> np.ndarray:
    """Forty directions, spread evenly over the sphere (Fibonacci lattice)."""
    index = np.arange(40) + 0.5
    z, angle = 1 - 2 * index / 40, np.pi * (1 + 5**0.5) * index
    return np.stack([np.sqrt(1 - z**2) * np.cos(angle), np.sqrt(1 - z**2) * np.sin(angle), z], axis=1)


@pytest.fixture(scope="module")
def points() -> torch.Tensor:
    return torch.rand(2000, 3, generator=torch.Generator().manual_seed(0)) - 0.5


def test_the_hull_of_a_ball_is_the_ball(directions: np.ndarray, points: torch.Tensor) -> None:
    sdf = hull_sdf(points, [silhouette(direction) for direction in directions])
    truth = points.norm(dim=-1) - RADIUS
    near = truth.abs() < 0.1
    assert (sdf - truth)[near].abs().mean() < 0.008
    assert (sdf[truth > 0.04] > 0).all() and (sdf[truth < -0.04] < 0).all()


def test_one_bad_mask_does_not_cut_the_head(directions: np.ndarray, points: torch.Tensor) -> None:
    views = [silhouette(direction) for direction in directions]
    views[7] = silhouette(directions[7], radius=0.1)
    inside = points.norm(dim=-1) < RADIUS - 0.05
    assert (hull_sdf(points, views)[inside] < 0).all()


def test_a_few_views_from_one_side_all_carve(points: torch.Tensor) -> None:
    angles = np.radians([-55, -35, -15, 0, 15, 35, 55])
    views = [silhouette(np.array([np.cos(angle), np.sin(angle), 0.0])) for angle in angles]
    beside = (points[:, 1].abs() > RADIUS + 0.05) | (points[:, 2].abs() > RADIUS + 0.05)
    assert (hull_sdf(points, views)[beside & (points[:, 0].abs() < 0.1)] > 0).all()


def test_what_is_not_known_carves_nothing(directions: np.ndarray, points: torch.Tensor) -> None:
    views = [silhouette(direction) for direction in directions]
    blind = [view._replace(mask=torch.zeros_like(view.mask), known=torch.zeros_like(view.mask)) for view in views[:20]]
    inside = points.norm(dim=-1) < RADIUS - 0.05
    assert (hull_sdf(points, blind + views[20:])[inside] < 0).all()


def test_the_border_of_the_picture_is_no_outline() -> None:
    mask = np.zeros((20, 30), dtype=np.float32)
    mask[:, :10] = 1
    distance = signed_distance(mask)
    assert distance[0, 0] == pytest.approx(-9.5) and distance[0, 29] == pytest.approx(19.5)


def test_the_field_starts_as_the_largest_body() -> None:
    aabb = torch.tensor([[-0.5, -0.5, -0.5], [0.5, 0.5, 0.5]])
    field = HeadField(aabb, voxel_size=0.02, feature_channels=2, hidden_units=8, beta=0.01)
    floater = torch.tensor([0.45, 0.45, 0.45])
    field.start_as(lambda p: torch.minimum(p.norm(dim=-1) - 0.3, (p - floater).norm(dim=-1) - 0.08))
    assert field.sdf(floater[None]) > 0
    surface = 0.3 * torch.nn.functional.normalize(torch.randn(100, 3), dim=-1)
    assert field.sdf(surface).abs().max() < 0.01
