"""The start is kept where training made views agree no better, and nowhere else; the views show a textured sphere."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import torch
from raw_folder import write_raw_capture
from seen_sphere import RADIUS, cameras, directions, seen_sphere
from small_runs import STEPS, small_config, start
from torch import Tensor

from privhead_ns.capture.protect import protect
from privhead_ns.model.agreement import Agreement
from privhead_ns.model.field import HeadField
from privhead_ns.model.keep_start import average, keep_start
from privhead_ns.model.model import PrivheadModel, PrivheadModelConfig
from privhead_ns.model.surface_points import zero_crossings
from privhead_ns.operators import OperatorConfig
from privhead_ns.pipeline import PrivheadPipeline

BOX = torch.tensor([[-0.5] * 3, [0.5] * 3])


@pytest.fixture(scope="module")
def agreement() -> Agreement:
    return seen_sphere()


def grid_radii(field: HeadField) -> Tensor:
    axes = [torch.linspace(-0.5, 0.5, n) for n in field.sdf_grids.grids[-1].shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).norm(dim=0)


def trained(sdf: Tensor | None = None) -> HeadField:
    field = HeadField(BOX, voxel_size=1 / 48, feature_channels=2, hidden_units=4, beta=0.01)
    field.set_sdf(grid_radii(field) - RADIUS if sdf is None else sdf)
    return field


def ring() -> Tensor:
    """Returns points where the cameras, which stand around the z axis, see the sphere."""
    points = RADIUS * directions(200, seed=7)
    return points[points[:, 2].abs() < RADIUS / 2]


def test_what_made_the_views_agree_is_kept(agreement: Agreement) -> None:
    field = trained()
    share = keep_start(field, grid_radii(field) - 1.15 * RADIUS, agreement, cameras())
    assert share < 0.2
    assert field.sdf(ring()).abs().max() < 0.02 * RADIUS


def test_what_did_not_goes_back_to_the_start(agreement: Agreement) -> None:
    field = trained()
    radii = grid_radii(field)
    crumbled = radii - RADIUS + 0.03 * torch.randn(radii.shape, generator=torch.Generator().manual_seed(0))
    field.set_sdf(crumbled)
    assert field.sdf(ring()).abs().max() > 0.1 * RADIUS
    assert keep_start(field, radii - RADIUS, agreement, cameras()) > 0.8
    assert field.sdf(ring()).abs().max() < 0.02 * RADIUS


def test_only_the_side_that_training_spoiled_goes_back(agreement: Agreement) -> None:
    field = trained()
    radii = grid_radii(field)
    front = torch.linspace(-0.5, 0.5, radii.shape[0])[:, None, None] > 0
    field.set_sdf(torch.where(front, radii - 1.15 * RADIUS, radii - RADIUS))
    keep_start(field, torch.where(front, radii - RADIUS, radii - 1.15 * RADIUS), agreement, cameras())
    points = ring()
    far_from_the_seam = points[points[:, 0].abs() > RADIUS / 2]
    assert field.sdf(far_from_the_seam).abs().max() < 0.02 * RADIUS


def test_the_trained_shape_is_kept_where_all_is_flat(agreement: Agreement) -> None:
    flat = Agreement(
        torch.full_like(agreement.images[..., 0], 0.1), agreement.images[..., 1], cameras(), agreement.intrinsics
    )
    field = trained()
    before = field.sdf_grids().clone()
    assert keep_start(field, grid_radii(field) - 1.15 * RADIUS, flat, cameras()) < 1e-3
    torch.testing.assert_close(field.sdf_grids(), before, rtol=0, atol=1e-4)


def test_zero_crossings_lie_on_the_surface() -> None:
    field = trained()
    points = zero_crossings(field.sdf_grids()) - 0.5
    torch.testing.assert_close(points.norm(dim=1), torch.full((len(points),), RADIUS), rtol=0, atol=1e-3)
    assert not len(zero_crossings(torch.ones(4, 5, 6)))


def test_average_is_local_and_reaches_everywhere() -> None:
    points_on_surface = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 0, 0]])
    points = torch.tensor([[0.0, 0, 0], [1, 0, 0], [9, 0, 0]])
    ncc, texture = average(points, points_on_surface, torch.tensor([0.1, 0.2, 0.8]), torch.tensor([0.5, 1, 0]))
    torch.testing.assert_close(ncc, torch.tensor([0.1, 0.2, 0.2]))
    torch.testing.assert_close(texture, torch.tensor([0.5, 0.5, 0.5]))


@pytest.mark.parametrize("steps", [STEPS - 1, STEPS])
def test_training_ends_with_it(tmp_path: Path, steps: int) -> None:
    protect(write_raw_capture(tmp_path / "raw"), tmp_path / "protected", OperatorConfig())
    config = small_config(tmp_path / "protected", tmp_path / "out")
    cast(PrivheadModelConfig, config.pipeline.model).agreement_size = 8
    config.max_num_iterations = steps
    trainer = start(config)
    trainer.train()
    *coarse, finest = cast(HeadField, trainer.pipeline.model.field).sdf_grids.grids
    blended = all((grid == 0).all() for grid in coarse)
    assert blended == (steps == STEPS)
    assert (finest != 0).any()


def test_a_start_that_fits_the_silhouettes_badly_is_not_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    protect(write_raw_capture(tmp_path / "raw"), tmp_path / "protected", OperatorConfig())
    config = small_config(tmp_path / "protected", tmp_path / "out")
    cast(PrivheadModelConfig, config.pipeline.model).agreement_size = 8
    pipeline = cast(PrivheadPipeline, start(config).pipeline)
    asked: list[Tensor] = []
    monkeypatch.setattr("privhead_ns.pipeline.keep_start", lambda _, initial, *__: asked.append(initial) or 0.0)
    initial = pipeline.start
    assert initial is not None
    pixels = [pipeline.datamanager.next_train(0) for _ in range(5)]
    error = pipeline.silhouette_error(pixels)
    pipeline.start = initial + 0.1
    pipeline.keep_start()
    assert not asked, "it is too small"
    torch.testing.assert_close(cast(HeadField, pipeline.model.field).sdf_grids(), initial)
    pipeline.start = initial
    pipeline.keep_start()
    assert len(asked) == 1
    cast(HeadField, pipeline.model.field).set_sdf(initial + 0.1)
    assert pipeline.silhouette_error(pixels) > 2 * error


@pytest.mark.parametrize(("painting_share", "restored"), [(1.0, False), (0.1, True)])
def test_where_painting_hardly_bends_the_surface_the_start_may_fit_worse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, painting_share: float, restored: bool
) -> None:
    protect(write_raw_capture(tmp_path / "raw"), tmp_path / "protected", OperatorConfig())
    config = small_config(tmp_path / "protected", tmp_path / "out")
    cast(PrivheadModelConfig, config.pipeline.model).agreement_size = 8
    pipeline = cast(PrivheadPipeline, start(config).pipeline)
    cast(PrivheadModel, pipeline.model).painting_share = painting_share
    asked: list[float] = []
    monkeypatch.setattr("privhead_ns.pipeline.keep_start", lambda *arguments: asked.append(arguments[-1]) or 0.0)
    errors = iter([1.0, 1.7])
    monkeypatch.setattr(pipeline, "silhouette_error", lambda _: next(errors))
    pipeline.keep_start()
    assert asked == [painting_share] * restored


def test_without_painting_more_agreement_is_asked_for(agreement: Agreement) -> None:
    shares = []
    for painting_share in (1.0, 0.5, 0.0):
        field = trained()
        shares.append(keep_start(field, grid_radii(field) - 1.005 * RADIUS, agreement, cameras(), painting_share))
    assert shares[0] < shares[1] < shares[2]
