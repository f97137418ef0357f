"""Which pixels a step may see, and that they are the ones it is told they are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from privhead_ns.data.pixel_sampler import PhasePixelSampler, PhasePixelSamplerConfig

PROTECTED = torch.tensor([True, False, True, True, False])
"""Of the images as they lie in the batch."""
NUMBERS = [7, 3, 0, 9, 4]
"""Their numbers in the dataset."""
HEIGHT, WIDTH = 20, 30


def image_batch(height: int = HEIGHT, width: int = WIDTH, masks: bool = False) -> dict[str, Tensor]:
    """Images whose pixels tell where they come from: dataset number, y and x."""
    number, y, x = torch.meshgrid(torch.tensor(NUMBERS), torch.arange(height), torch.arange(width), indexing="ij")
    image = torch.stack([number, y, x], dim=-1).float()
    batch = {
        "image": image,
        "magnitude": image.sum(dim=-1, keepdim=True),
        "known": torch.ones_like(image[..., :1]),
        "protected": PROTECTED,
        "image_idx": torch.tensor(NUMBERS),
    }
    if masks:  # a head of 4x6 pixels
        mask = torch.zeros(len(NUMBERS), height, width, 1)
        mask[:, 8:12, 12:18] = 1
        batch["mask"] = mask
    return batch


def sampler(phase: int | None, **options: float) -> PhasePixelSampler:
    torch.manual_seed(0)
    config = PhasePixelSamplerConfig(num_rays_per_batch=500, **options)  # type: ignore[arg-type]
    built = config.setup()
    built.phase = phase
    return built


def drawn(phase: int | None, masks: bool = False, steps: int = 10, **options: float) -> dict[str, Tensor]:
    """Pixels of several steps."""
    source, images = sampler(phase, **options), image_batch(masks=masks)
    batches = [source.sample(images) for _ in range(steps)]
    return {key: torch.cat([batch[key] for batch in batches]) for key in batches[0] if key != "patches"}


def numbers(protected: bool) -> set[int]:
    return {number for number, private in zip(NUMBERS, PROTECTED.tolist(), strict=True) if private is protected}


@pytest.mark.parametrize("phase", [None, 1, 2])
@pytest.mark.parametrize("masks", [False, True])
def test_values_are_those_at_the_indices(phase: int | None, masks: bool) -> None:
    pixels = drawn(phase, masks)
    torch.testing.assert_close(pixels["image"], pixels["indices"].float())
    torch.testing.assert_close(pixels["magnitude"][:, 0], pixels["indices"].sum(dim=1).float())
    private = torch.isin(pixels["indices"][:, 0], torch.tensor(sorted(numbers(protected=True))))
    assert torch.equal(pixels["protected"], private)


def test_phase_1_sees_every_neutral_view_and_no_protected_one() -> None:
    pixels = drawn(1, neutral_rays=100)
    assert len(pixels["indices"]) == 10 * 100
    assert set(pixels["indices"][:, 0].tolist()) == numbers(protected=False)
    assert not pixels["protected"].any()


def test_silhouettes_of_protected_views_count_in_phase_1() -> None:
    pixels = drawn(1, masks=True, neutral_rays=100, silhouette_rays=30)
    assert pixels["protected"].sum() == 10 * 30
    assert len(pixels["indices"]) == 10 * 130
    assert set(pixels["indices"][pixels["protected"]][:, 0].tolist()) == numbers(protected=True)


@pytest.mark.parametrize("phase", [1, 2])
def test_nothing_is_drawn_about_pixels_of_which_nothing_is_known(phase: int) -> None:
    source, images = sampler(phase, patches=4, patch_size=1), image_batch()
    images["known"][:, :, 10:] = 0
    assert all(source.sample(images)["indices"][:, 2].max() < 10 for _ in range(5))


def test_without_neutral_views_phase_2_draws_single_pixels_of_protected_ones() -> None:
    images = image_batch() | {"protected": torch.ones_like(PROTECTED)}
    batch = sampler(2, neutral_rays_in_phase2=50, patches=3, patch_size=4).sample(images)
    assert len(batch["indices"]) == 50 + 3 * 16 and batch["protected"].all()


def test_phase_1_has_no_patches() -> None:
    assert "patches" not in sampler(1).sample(image_batch())


@pytest.mark.parametrize("masks", [False, True])
def test_patches_are_whole_and_of_protected_views(masks: bool) -> None:
    source, images = sampler(2, neutral_rays_in_phase2=50, patches=6, patch_size=8), image_batch(masks=masks)
    seen: set[int] = set()
    for _ in range(10):
        batch = source.sample(images)
        assert batch["patches"] == torch.Size([6, 8, 8])
        assert len(batch["indices"]) == 50 + 6 * 64
        assert not batch["protected"][:50].any()
        assert batch["protected"][50:].all()
        image, y, x = batch["indices"][50:].reshape(6, 8, 8, 3).unbind(-1)
        assert (image == image[:, :1, :1]).all()
        steps = torch.arange(8)
        assert torch.equal(y, (y[:, :1, :1] + steps[:, None]).expand(6, 8, 8))
        assert torch.equal(x, (x[:, :1, :1] + steps).expand(6, 8, 8))
        assert y.min() >= 0 and y.max() < HEIGHT and x.min() >= 0 and x.max() < WIDTH
        seen |= set(image.flatten().tolist())
    assert seen == numbers(protected=True)


def test_patches_reach_every_corner_of_an_image() -> None:
    pixels = drawn(2, steps=200, patches=8, patch_size=6)
    private = pixels["indices"][pixels["protected"]]
    covered = {tuple(row) for row in private[:, 1:].tolist()}
    assert {(0, 0), (0, WIDTH - 1), (HEIGHT - 1, 0), (HEIGHT - 1, WIDTH - 1)} <= covered


@pytest.mark.parametrize(("height", "width"), [(10, 30), (30, 9), (5, 7)])
def test_a_patch_shrinks_to_a_small_image(height: int, width: int) -> None:
    edge = min(14, height, width)
    batch = sampler(2, neutral_rays_in_phase2=10, patches=3, patch_size=14).sample(image_batch(height, width))
    assert batch["patches"] == torch.Size([3, edge, edge])
    torch.testing.assert_close(batch["image"], batch["indices"].float())


def test_outside_training_every_view_is_drawn_from() -> None:
    pixels = drawn(None)
    assert len(pixels["indices"]) == 10 * 500
    counts = torch.bincount(pixels["indices"][:, 0], minlength=10)[NUMBERS]
    assert counts.min() > 800  # of 1000 each
    assert pixels["indices"][:, 1].unique().tolist() == list(range(HEIGHT))
    assert pixels["indices"][:, 2].unique().tolist() == list(range(WIDTH))


def test_neutral_pixels_lie_near_the_head_but_for_the_background_share() -> None:
    pixels = drawn(1, masks=True, steps=20, neutral_rays=100, silhouette_rays=0, background_share=0.2, outline_width=2)
    y, x = pixels["indices"][:, 1], pixels["indices"][:, 2]
    near = (y >= 6) & (y < 14) & (x >= 10) & (x < 20)
    expected = 0.8 + 0.2 * 80 / (HEIGHT * WIDTH)
    assert float(near.float().mean()) == pytest.approx(expected, abs=0.02)
    everything = drawn(1, True, 20, neutral_rays=100, silhouette_rays=0, background_share=0.0, outline_width=2)
    y, x = everything["indices"][:, 1], everything["indices"][:, 2]
    assert (int(y.min()), int(y.max()), int(x.min()), int(x.max())) == (6, 13, 10, 19)


def test_patches_lie_about_the_head() -> None:
    source, images = (
        sampler(2, neutral_rays_in_phase2=0, patches=50, patch_size=4, outline_width=1),
        image_batch(masks=True),
    )
    batch = source.sample(images)
    _, y, x = batch["indices"].reshape(50, 16, 3)[:, 10].unbind(-1)  # the pixel that each patch is laid about
    assert y.min() >= 7 and y.max() <= 12
    assert x.min() >= 11 and x.max() <= 18


@pytest.mark.parametrize("phase", [1, 2])
@pytest.mark.parametrize("patches", [0, 3])
@pytest.mark.parametrize("protected", [True, False])
def test_kinds_of_views_that_are_not_sampled_need_not_exist(phase: int, patches: int, protected: bool) -> None:
    """Captures may be all protected, or all neutral, if no pixels are wanted of the kind that they lack."""
    images = image_batch() | {"protected": torch.full_like(PROTECTED, protected)}
    neutral = 0 if protected else 5
    patches = patches if protected else 0
    source = sampler(phase, neutral_rays=neutral, neutral_rays_in_phase2=neutral, patches=patches, patch_size=4)
    batch = source.sample(images)
    expected = neutral + (16 * patches if phase == 2 else 0)
    assert len(batch["indices"]) == len(batch["image"]) == len(batch["protected"]) == expected == source.num_rays
