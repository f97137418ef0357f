"""How fast views agree less with the angle between them, on a sphere whose look depends on the viewing direction."""

from __future__ import annotations

import math
from pathlib import Path
from typing import cast

import pytest
import torch
from nerfstudio.engine.callbacks import TrainingCallbackLocation
from raw_folder import write_raw_capture
from seen_sphere import RADIUS, SIZE, seen_sphere
from small_runs import STEPS, small_config, start

from privhead_ns.capture.protect import protect
from privhead_ns.model.agreement import Agreement
from privhead_ns.model.field import HeadField
from privhead_ns.model.model import PrivheadModel, PrivheadModelConfig
from privhead_ns.model.view_dependence import HIGH, LEAST_SHARE, LOW, half_angle, painting_share
from privhead_ns.operators import OperatorConfig
from privhead_ns.pipeline import PrivheadPipeline
from privhead_ns.trainer import PrivheadTrainer


def sphere() -> HeadField:
    box = torch.tensor([[-0.5] * 3, [0.5] * 3])
    field = HeadField(box, voxel_size=1 / 48, feature_channels=2, hidden_units=4, beta=0.01)
    axes = [torch.linspace(-0.5, 0.5, n) for n in field.sdf_grids.grids[-1].shape]
    field.set_sdf(torch.stack(torch.meshgrid(*axes, indexing="ij")).norm(dim=0) - RADIUS)
    return field


def turning(rate: int) -> Agreement:
    """Returns views, 20 degrees apart, whose NCC is the cosine of `rate` times the angle between them.

    Each shows cos(a) of one texture and sin(a) of another, independent one.
    """
    first, second = seen_sphere(18, seed=1), seen_sphere(18, seed=2)
    angle = (rate * torch.arange(18) * 2 * math.pi / 18)[:, None, None]
    first.images[..., 0] = angle.cos() * first.images[..., 0] + angle.sin() * second.images[..., 0]
    return first


def test_views_of_what_looks_the_same_from_all_sides_agree_at_all_angles() -> None:
    agreement = seen_sphere(18)
    assert half_angle(sphere(), agreement, agreement.poses) > 2 * HIGH


@pytest.mark.parametrize(("rate", "expected"), [(1, 43.9), (2, 10.2)])
def test_half_angle_of_a_look_that_turns_with_the_camera(rate: int, expected: float) -> None:
    """Expected is that of the exponential fitted to the cosine, at least `FLOOR`, at 20, 40 and 60 degrees."""
    agreement = turning(rate)
    found = half_angle(sphere(), agreement, agreement.poses)
    assert found == pytest.approx(expected, rel=0.15)
    assert painting_share(found) == LEAST_SHARE


def test_larger_views_are_reduced_before_they_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    agreement = seen_sphere(18)
    smaller = agreement.reduced(SIZE // 2)
    assert smaller.images.shape == (18, SIZE // 2, SIZE // 2, 2)
    torch.testing.assert_close(smaller.intrinsics, agreement.intrinsics / 2)
    means = agreement.images[..., 0].unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).mean(dim=(2, 4))
    torch.testing.assert_close(smaller.images[..., 0], 2 * means)  # per pixel, of which there are half as many
    assert agreement.reduced(SIZE) is agreement
    full = half_angle(sphere(), agreement, agreement.poses)
    monkeypatch.setattr("privhead_ns.model.view_dependence.SIDE", SIZE // 2)
    assert half_angle(sphere(), agreement, agreement.poses) == half_angle(sphere(), smaller, agreement.poses) != full


def test_noise_does_not_change_it() -> None:
    agreement = seen_sphere(18)
    shape = agreement.images[..., 0].shape
    agreement.images[..., 0] += 0.06 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    assert half_angle(sphere(), agreement, agreement.poses) > HIGH


def test_it_is_infinite_where_nothing_can_be_compared() -> None:
    agreement = seen_sphere(18)
    agreement.images[..., 0] = 0.1
    assert half_angle(sphere(), agreement, agreement.poses) == math.inf
    few = seen_sphere(4)
    assert half_angle(sphere(), few, few.poses) == math.inf, "they are 90 degrees apart"


def test_painting_bends_the_surface_by_degrees() -> None:
    shares = [painting_share(angle) for angle in (0, LOW, (LOW + HIGH) / 2, HIGH, math.inf)]
    assert shares == pytest.approx([LEAST_SHARE, LEAST_SHARE, (1 + LEAST_SHARE) / 2, 1, 1])


@pytest.fixture
def trainer(tmp_path: Path) -> PrivheadTrainer:
    protect(write_raw_capture(tmp_path / "raw"), tmp_path / "protected", OperatorConfig())
    config = small_config(tmp_path / "protected", tmp_path / "out")
    cast(PrivheadModelConfig, config.pipeline.model).agreement_size = 8
    return start(config)


@pytest.fixture
def pipeline(trainer: PrivheadTrainer) -> PrivheadPipeline:
    return cast(PrivheadPipeline, trainer.pipeline)


def test_training_follows_what_was_measured(
    pipeline: PrivheadPipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = cast(PrivheadModel, pipeline.model)
    pipeline.weigh_painting()
    assert model.painting_share == 1
    assert not capsys.readouterr().out
    monkeypatch.setattr("privhead_ns.pipeline.half_angle", lambda *_: 40.0)
    pipeline.weigh_painting()
    assert model.painting_share == LEAST_SHARE
    assert "halves within 40 degrees" in capsys.readouterr().out
    state = model.state_dict()
    model.painting_share = 0.5
    model.load_state_dict(state)
    assert model.painting_share == LEAST_SHARE


@pytest.mark.parametrize("share", [1.0, 0.25, 0.0])
def test_painting_passes_that_share_of_its_gradient_to_the_shape(pipeline: PrivheadPipeline, share: float) -> None:
    model = cast(PrivheadModel, pipeline.model)
    model.train()
    pipeline.set_step(STEPS - 1)
    rays, batch = pipeline.datamanager.next_train(STEPS - 1)
    model.painting_share = share
    outputs = model(rays)
    losses = model.get_loss_dict(outputs, batch)
    grid = cast(HeadField, model.field).sdf_grids.grids[-1]
    features = next(iter(cast(HeadField, model.field).features.parameters()))
    painting = losses["rgb"] + losses["gradient"] + losses["surface_magnitude"]
    to_shape, to_features = torch.autograd.grad(painting, (grid, features), retain_graph=True, allow_unused=True)
    assert to_features.abs().max() > 0
    norm = float(to_shape.norm()) if to_shape is not None else 0.0
    model.painting_share = 1.0
    full = model.get_loss_dict(model(rays), batch)
    painting = full["rgb"] + full["gradient"] + full["surface_magnitude"]
    (whole,) = torch.autograd.grad(painting, grid)
    assert whole.norm() > 0
    assert norm == pytest.approx(share * float(whole.norm()), rel=1e-3, abs=1e-9)
    (to_mask,) = torch.autograd.grad(losses["mask"], grid)
    assert to_mask.norm() > 0, "silhouettes always count"


@pytest.mark.parametrize(
    ("sizes", "share", "factor"),
    [((0.5, 1), 1.0, 1.0), ((0.5, 1), 0.5, 1.5), ((0.25, 0.5), 0.0, 2.0), ((0.5, 1.5), 0.0, 1.5), ((1, 2), 0.0, 1.0)],
)
def test_the_shape_seen_by_large_views_learns_faster_where_painting_does_not_bend_it(
    trainer: PrivheadTrainer,
    monkeypatch: pytest.MonkeyPatch,
    sizes: tuple[float, float],
    share: float,
    factor: float,
) -> None:
    model, rates = cast(PrivheadModel, trainer.pipeline.model), []
    assert model.agreement is not None
    side = max(model.agreement.images.shape[1:3])
    monkeypatch.setattr("privhead_ns.pipeline.UNPAINTED_SIZES", [size * side for size in sizes])
    for model.painting_share in (1.0, share):
        for callback in trainer.callbacks:
            callback.run_callback_at_location(STEPS - 1, TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)
        rates.append({name: one.param_groups[0]["lr"] for name, one in trainer.optimizers.optimizers.items()})
    ratios = {name: rates[1][name] / rate for name, rate in rates[0].items()}
    assert ratios.pop("sdf") == pytest.approx(factor)
    assert set(ratios.values()) == {1.0}
