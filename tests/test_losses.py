"""The terms of the loss, alone and as the model adds them up."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox
from torch import Tensor

from privhead_ns.data.frame import TrainingFrame
from privhead_ns.model.losses import (
    eikonal_loss,
    gradient_loss,
    mask_loss,
    masked_mean,
    mean,
    rgb_loss,
    surface_magnitude_loss,
)
from privhead_ns.model.model import PrivheadModel, PrivheadModelConfig
from privhead_ns.operators import SMOOTHING, GradientMagnitude, OperatorConfig, quantise, rounding
from privhead_ns.phases import LossWeights

PHASE_1, PHASE_2 = LossWeights(1.0, 0.1, 0.0, 0.0, 3.0), LossWeights(0.5, 0.1, 1e-3, 2.0, 3.0)
EDGE, NEUTRAL = 6, 20
"""Edge of the two patches, and number of neutral rays before them."""


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_masked_mean_is_the_mean_of_what_the_mask_selects() -> None:
    values = torch.tensor([1.0, math.nan, 3.0], requires_grad=True)
    average = masked_mean(values, torch.tensor([True, False, True]))
    average.backward()
    torch.testing.assert_close(average.detach(), torch.tensor(2.0))
    torch.testing.assert_close(values.grad, torch.tensor([0.5, 0.0, 0.5]))


def test_masked_mean_of_nothing_is_0_with_gradient_0() -> None:
    values = torch.ones(3, requires_grad=True)
    average = masked_mean(values, torch.zeros(3, dtype=torch.bool))
    average.backward()
    assert average == 0 and (values.grad == 0).all()
    assert masked_mean(torch.empty(0), torch.empty(0, dtype=torch.bool)) == 0
    assert mean(torch.empty(0)) == 0


def test_rgb_loss_has_a_known_value_and_keeps_its_shape() -> None:
    rendered = torch.tensor([[0.1, 0.5, 0.9], [0.2, 0.2, 0.2]])
    image = torch.tensor([[0.4, 0.5, 0.6], [0.2, 0.2, 0.2]])
    torch.testing.assert_close(rgb_loss(rendered, image), torch.tensor([0.2, 0.0]))


def test_rgb_loss_pulls_towards_the_image() -> None:
    rendered = torch.tensor([[0.1, 0.9, 0.5]], requires_grad=True)
    rgb_loss(rendered, torch.full((1, 3), 0.5)).sum().backward()
    torch.testing.assert_close(rendered.grad, torch.tensor([[-1 / 3, 1 / 3, 0.0]]))


@pytest.mark.parametrize("blur", [0.0, 0.6])
@pytest.mark.parametrize("kernel", SMOOTHING)
def test_gradient_loss_is_the_difference_of_magnitudes_inside_the_margin(kernel: str, blur: float) -> None:
    sigma, margin = GradientMagnitude(kernel, blur), GradientMagnitude(kernel, blur).margin
    a, b = random(2, 12, 12, 3), random(2, 12, 12, 3, seed=1)
    magnitude = torch.full((2, 12, 12), 99.0)  # what the margin holds must not matter
    magnitude[:, margin:-margin, margin:-margin] = sigma(b.permute(0, 3, 1, 2))
    expected = (sigma(a.permute(0, 3, 1, 2)) - sigma(b.permute(0, 3, 1, 2))).abs()
    torch.testing.assert_close(gradient_loss(a, magnitude, sigma, 0.0), expected)
    assert gradient_loss(b, magnitude, sigma, 0.0).max() < 1e-6


def test_gradient_loss_cannot_tell_a_colour_from_its_inverse() -> None:
    sigma, image = GradientMagnitude(), random(2, 8, 8, 3)
    magnitude = torch.nn.functional.pad(sigma(image.permute(0, 3, 1, 2)), [1] * 4)
    assert gradient_loss(1 - image, magnitude, sigma, 0.0).max() < 1e-5
    assert gradient_loss(0.5 * image, magnitude, sigma, 0.0).max() > 0.05


def test_gradient_loss_strengthens_edges_that_are_too_weak() -> None:
    ramp = 0.02 * torch.arange(6.0)[None, None, :, None].expand(1, 6, 6, 3)
    scale = torch.ones((), requires_grad=True)
    gradient_loss(ramp * scale, torch.full((1, 6, 6), 0.1), GradientMagnitude(), 0.0).mean().backward()
    torch.testing.assert_close(scale.grad, torch.tensor(-0.02 * math.sqrt(3)))


def test_consistency_loss_counts_only_what_lies_within_the_head_and_beyond_rounding() -> None:
    carried = torch.tensor([[0.1], [0.5], [0.5], [0.2], [0.5], [0.5]])
    magnitude = torch.tensor([[0.1], [0.2], [0.2], [0.6], [0.3], [0.55]])
    within = torch.tensor([[1.0], [1.0], [0.0], [0.5], [1.0], [1.0]])
    rounding = torch.tensor([[0.0], [0.0], [0.0], [0.0], [0.1], [0.1]])
    expected = torch.tensor([[0.0], [0.3], [0.0], [0.2], [0.1], [0.0]])
    torch.testing.assert_close(surface_magnitude_loss(carried, magnitude, within, rounding), expected)


@pytest.mark.parametrize("levels", [8, 32])
def test_no_image_differs_from_its_own_rounded_magnitudes(levels: int) -> None:
    """However few the levels, the truth costs nothing, while without regard to rounding it would."""
    sigma, image = GradientMagnitude(), random(2, 8, 8, 3)
    step = rounding(sigma.maximum, levels)
    rounded = F.pad(sigma.maximum * quantise(sigma(image.permute(0, 3, 1, 2)), sigma.maximum, levels), [1] * 4)
    assert gradient_loss(image, rounded, sigma, 0.0).mean() > step / 4
    assert gradient_loss(image, rounded, sigma, step).max() < 1e-6


def test_eikonal_loss_is_zero_on_unit_gradients_only() -> None:
    gradient = torch.tensor([[1.0, 0.6, 3.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.8, 4.0, 0.0]], requires_grad=True)
    loss = eikonal_loss(gradient)
    torch.testing.assert_close(loss, torch.tensor([0.0, 0.0, 16.0, 1.0]), rtol=1e-4, atol=1e-6)
    loss.sum().backward()
    assert gradient.grad is not None and torch.isfinite(gradient.grad).all()
    assert gradient.grad[0, 2] > 0


def test_mask_loss_is_cross_entropy() -> None:
    opacity, mask = torch.tensor([[0.25], [0.25], [0.5]]), torch.tensor([[1.0], [0.0], [0.5]])
    expected = torch.tensor([[math.log(4)], [math.log(4 / 3)], [math.log(2)]])
    torch.testing.assert_close(mask_loss(opacity, mask), expected, rtol=0, atol=1e-3)


def test_mask_loss_is_finite_at_the_ends() -> None:
    opacity = torch.tensor([[0.0], [1.0], [0.0], [1.0]], requires_grad=True)
    loss = mask_loss(opacity, torch.tensor([[0.0], [1.0], [1.0], [0.0]]))
    loss.sum().backward()
    assert torch.isfinite(loss).all() and opacity.grad is not None and torch.isfinite(opacity.grad).all()
    assert (loss[:2] < 1e-3).all() and (loss[2:] > 5).all()


def test_mask_loss_pulls_on_rays_that_miss_or_meet_the_head_entirely() -> None:
    opacity = torch.tensor([[0.0], [1e-6], [1.0], [1 - 1e-6]], requires_grad=True)
    mask_loss(opacity, torch.tensor([[1.0], [1.0], [0.0], [0.0]])).sum().backward()
    assert opacity.grad is not None
    assert (opacity.grad[:2] < -1e3).all() and (opacity.grad[2:] > 1e3).all()


def test_mask_loss_of_nan_is_nan() -> None:
    """So that training stops with a sentence about the loss, not with an error of torch's."""
    assert mask_loss(torch.tensor([[math.nan]]), torch.tensor([[1.0]])).isnan().all()


def model(background: tuple[float, float, float] | None = (0.0, 0.0, 0.0)) -> PrivheadModel:
    """A small model of a box of side 2, from a fixed seed."""
    torch.manual_seed(0)
    config = PrivheadModelConfig(voxel_size=1.0, num_coarse_samples=8, num_samples=8)
    metadata = {
        "protected": [True, True, False],
        "pixel_size": 0.09,
        "subject": "head",
        "frame": TrainingFrame((0.0, 0.0, 0.0), 2.0),
        "mm_per_unit": None,
        "operator": OperatorConfig(),
        "magnitude_maximum": math.sqrt(3),
        "background": background,
    }
    scene_box = SceneBox(aabb=torch.tensor([[-1.0, -1, -1], [1, 1, 1]]))
    built = config.setup(scene_box=scene_box, num_train_data=3, metadata=metadata)
    built.loss_weights = PHASE_1
    return built


def rays(number: int, seed: int = 0) -> RayBundle:
    """Rays from in front of the box into it."""
    origins = torch.cat([random(number, 2, seed=seed) - 0.5, torch.full((number, 1), 3.0)], dim=1)
    directions = torch.tensor([[0.0, 0.0, -1.0]]).expand(number, 3)
    views = torch.arange(number)[:, None] % 3
    return RayBundle(origins, directions, torch.ones(number, 1), camera_indices=views)


def batch(seed: int = 1) -> dict:
    """Pixels of a step of phase 2: neutral ones, then two patches."""
    number = NEUTRAL + 2 * EDGE**2
    return {
        "image": random(number, 3, seed=seed),
        "magnitude": random(number, 1, seed=seed + 1),
        "known": torch.ones(number, 1),
        "sigma_known": torch.ones(number, 1),
        "interior": (random(number, 1, seed=seed + 2) > 0.2).float(),
        "mask": torch.ones(number, 1),
        "protected": torch.arange(number) >= NEUTRAL,
        "patches": torch.Size([2, EDGE, EDGE]),
    }


def losses_of(given: dict, weights: LossWeights = PHASE_2) -> dict[str, Tensor]:
    head = model()
    head.loss_weights = weights
    return head.get_loss_dict(head(rays(len(given["image"]))), given)


def test_the_model_weighs_the_terms() -> None:
    once = losses_of(batch(), LossWeights(1.0, 1.0, 1.0, 1.0, 1.0))
    weighed = losses_of(batch(), PHASE_2)
    factors = {"rgb": 0.5, "eikonal": 0.1, "lipschitz": 1e-3, "gradient": 2, "surface_magnitude": 3}
    factors |= {"mask": 1, "curvature": 1, "prior": 1}
    assert set(weighed) == set(factors)
    for name, factor in factors.items():
        torch.testing.assert_close(weighed[name], factor * once[name])


def test_the_model_learns_no_colour_from_a_protected_view() -> None:
    given, other = batch(), batch()
    other["image"] = torch.where(given["protected"][:, None], random(len(given["image"]), 3, seed=9), given["image"])
    expected, found = losses_of(given), losses_of(other)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=0)
    other["image"] = 1 - given["image"]
    assert losses_of(other)["rgb"] != expected["rgb"]


@pytest.mark.parametrize("background", [(0.0, 0.5, 1.0), None])
@pytest.mark.parametrize("neutral", [0, NEUTRAL])
@pytest.mark.parametrize("patches", [0, 2])
def test_a_step_may_lack_neutral_rays_or_patches(
    neutral: int, patches: int, background: tuple[float, float, float] | None
) -> None:
    given = {key: value for key, value in batch().items() if key != "patches"}
    given = {key: value[NEUTRAL - neutral : NEUTRAL + patches * EDGE**2] for key, value in given.items()}
    if patches:
        given["patches"] = torch.Size([patches, EDGE, EDGE])
    head = model(background)
    head.loss_weights = PHASE_2
    losses = head.get_loss_dict(head(rays(neutral + patches * EDGE**2)), given)
    torch.stack(list(losses.values())).sum().backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert (losses["rgb"] == 0) == (neutral == 0)
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in head.parameters())


def test_the_model_compares_each_patch_with_its_own_magnitudes() -> None:
    given, head = batch(), model()
    head.loss_weights = PHASE_2
    outputs = head(rays(len(given["image"])))
    image = random(2, EDGE, EDGE, 3, seed=5)
    outputs["rgb"] = torch.cat([torch.zeros(NEUTRAL, 3), image.reshape(-1, 3)])
    magnitude = torch.nn.functional.pad(GradientMagnitude()(image.permute(0, 3, 1, 2)), [1] * 4)
    given["magnitude"] = torch.cat([torch.full((NEUTRAL, 1), 9.0), magnitude.reshape(-1, 1)])
    assert head.get_loss_dict(outputs, given)["gradient"] < 1e-6
    given["magnitude"][NEUTRAL:] = magnitude.flip(0).reshape(-1, 1)
    assert head.get_loss_dict(outputs, given)["gradient"] > 1e-2


def test_the_model_leaves_the_outline_out_of_the_carried_magnitudes() -> None:
    given, head = batch(), model()
    outputs = head(rays(len(given["image"])))
    expected = head.get_loss_dict(outputs, given)["surface_magnitude"]
    assert expected > 0
    given["magnitude"] = torch.where(given["interior"] > 0, given["magnitude"], 9.0)
    torch.testing.assert_close(head.get_loss_dict(outputs, given)["surface_magnitude"], expected)
    outputs["accumulation"] = torch.zeros_like(outputs["accumulation"])  # rays past the head say nothing of it
    assert head.get_loss_dict(outputs, given)["surface_magnitude"] == 0


def test_colours_of_neutral_views_turn_no_normals_where_silhouettes_tell_the_shape() -> None:
    given = rays(6)
    shading = model().train().shading(given)
    assert shading is not None and shading.tolist() == [True, True, False] * 2
    assert model(None).train().shading(given) is None
    assert model().eval().shading(given) is None
    full_rgb = model().train()
    full_rgb.kwargs["metadata"]["protected"] = [False] * 3
    assert full_rgb.shading(given) is None, "colours are all it has"


@pytest.mark.parametrize("background", [(0.0, 0.5, 1.0), None])
def test_the_same_seed_gives_the_same_model(background: tuple[float, float, float] | None) -> None:
    def trained() -> dict[str, Tensor]:
        head = model(background)
        head.loss_weights = PHASE_2
        groups = head.get_param_groups()
        optimizer = torch.optim.Adam([p for group in groups.values() for p in group], lr=0.01)
        for step in range(2):
            given = batch(seed=step)
            optimizer.zero_grad()
            torch.stack(
                list(head.get_loss_dict(head(rays(len(given["image"]), step)), given).values())
            ).sum().backward()
            optimizer.step()
        return head.state_dict()

    first, second, untrained = trained(), trained(), model(background).state_dict()
    assert first.keys() == second.keys()
    assert first.pop("_extra_state") == second.pop("_extra_state")
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=0)
    assert not torch.equal(first["field.sdf_grids.grids.0"], untrained["field.sdf_grids.grids.0"])
    assert not torch.equal(first["field.features.tables.0"], untrained["field.features.tables.0"])


@pytest.mark.parametrize("background", [(0.0, 0.5, 1.0), None])
def test_every_parameter_belongs_to_one_group(background: tuple[float, float, float] | None) -> None:
    head = model(background)
    grouped = [id(p) for group in head.get_param_groups().values() for p in group]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for p in head.parameters()} - {id(head.device_indicator_param)}


def test_rays_past_the_head_show_the_background() -> None:
    head = model(background=(0.0, 0.5, 1.0)).eval()
    bundle = rays(8)
    bundle.origins = bundle.origins + torch.tensor([5.0, 0, 0])
    outputs = head(bundle)
    rgb = outputs["rgb"].detach()
    torch.testing.assert_close(rgb, torch.tensor([[0.0, 0.5, 1.0]]).expand(8, 3), rtol=0, atol=1e-3)
    farthest_corner = (bundle.origins.abs() + 1).norm(dim=-1, keepdim=True)
    assert (outputs["depth"] > farthest_corner).all()
