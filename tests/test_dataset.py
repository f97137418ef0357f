"""Pixels of a protected capture, as Nerfstudio gets them: colour of neutral views, grey of all others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nerfstudio.model_components.ray_generators import RayGenerator
from PIL import Image
from raw_folder import FOCAL, NEUTRAL, SIZE, VIEWS, disc, photograph, ring, write_raw_capture

from privhead_ns.capture.protect import protect
from privhead_ns.capture.protected import FULL_SCALE
from privhead_ns.data.datamanager import PrivheadDataManager, PrivheadDataManagerConfig
from privhead_ns.data.dataparser import PrivheadDataParserConfig
from privhead_ns.data.dataset import PrivheadDataset, magnitude_picture
from privhead_ns.data.pixel_sampler import PhasePixelSamplerConfig
from privhead_ns.data.rays import PinholeRayGenerator
from privhead_ns.model.losses import gradient_loss
from privhead_ns.operators import OperatorConfig

FACES = [index for index in range(VIEWS) if index not in NEUTRAL]


@pytest.fixture(scope="module", params=[True, False], ids=["masks", "no masks"])
def capture(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A protected capture with or without masks."""
    folder = tmp_path_factory.mktemp("dataset")
    box = (-1.1, -1.1, -1.1, 1.1, 1.1, 1.1)
    protect(write_raw_capture(folder / "raw", masks=request.param), folder / "out", OperatorConfig(), box=box)
    return folder / "out"


@pytest.fixture
def dataset(capture: Path) -> PrivheadDataset:
    return PrivheadDataset(PrivheadDataParserConfig(data=capture).setup().get_dataparser_outputs("train"))


def stored_magnitude(capture: Path, index: int) -> np.ndarray:
    with Image.open(capture / "protected" / f"{index:03d}.png") as image:
        return np.asarray(image).astype(np.float64) / FULL_SCALE


def stored_colour(capture: Path, index: int) -> np.ndarray:
    with Image.open(capture / "neutral" / f"{index:03d}.png") as image:
        return np.asarray(image)


def test_views_are_of_the_kinds_protected(dataset: PrivheadDataset) -> None:
    assert len(dataset) == VIEWS
    assert dataset.protected == [index in FACES for index in range(VIEWS)]
    assert [bool(dataset[index]["protected"]) for index in range(VIEWS)] == dataset.protected


@pytest.mark.parametrize("index", FACES)
def test_a_protected_view_is_grey(dataset: PrivheadDataset, capture: Path, index: int) -> None:
    data = dataset[index]
    assert set(data) - {"mask"} == {"image_idx", "image", "magnitude", "known", "sigma_known", "interior", "protected"}
    image = data["image"]
    assert image.shape == (SIZE, SIZE, 3)
    assert torch.equal(image[..., 0], image[..., 1]) and torch.equal(image[..., 0], image[..., 2])
    expected = stored_magnitude(capture, index)
    assert expected.max() > 0.1
    np.testing.assert_allclose(image[..., 0], np.sqrt(expected), atol=1e-4)
    np.testing.assert_allclose(data["magnitude"][..., 0], expected * np.sqrt(3), atol=1e-5)


@pytest.mark.parametrize("index", [NEUTRAL[0], FACES[0]])
def test_within_means_that_all_pixels_around_are_head(dataset: PrivheadDataset, index: int) -> None:
    data = dataset[index]
    mask = np.pad(data.get("mask", torch.ones(SIZE, SIZE, 1))[..., 0].numpy(), 1)
    around = [np.roll(mask, (dy, dx), axis=(0, 1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    expected = np.min(around, axis=0)[1:-1, 1:-1] == 1
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(data["interior"][..., 0], expected)


@pytest.mark.parametrize("index", NEUTRAL)
def test_a_neutral_view_is_its_colours_and_their_magnitude(dataset: PrivheadDataset, capture: Path, index: int) -> None:
    data = dataset[index]
    expected = torch.from_numpy(stored_colour(capture, index) / np.float32(255))
    torch.testing.assert_close(data["image"], expected)
    magnitude = F.pad(OperatorConfig().setup()(expected.permute(2, 0, 1)[None]), [1] * 4)[0]
    torch.testing.assert_close(data["magnitude"][..., 0], magnitude)


def test_both_kinds_have_magnitudes_of_one_unit(dataset: PrivheadDataset) -> None:
    """σ of the photograph itself is what a protected view's magnitude means, like that of a neutral one."""
    sigma = OperatorConfig().setup()
    for index in range(VIEWS):
        photo = torch.from_numpy(photograph(index) / np.float32(255))
        if "mask" in dataset[index]:
            photo = torch.where(torch.from_numpy(disc())[..., None] > 0, photo, torch.zeros(()))
        expected = F.pad(sigma(photo.permute(2, 0, 1)[None]), [1] * 4)[0]
        torch.testing.assert_close(dataset.magnitude(index), expected, rtol=0, atol=2e-3 if index in NEUTRAL else 1e-4)


@pytest.mark.parametrize("index", range(VIEWS))
def test_eight_bits_and_floats_agree(dataset: PrivheadDataset, index: int) -> None:
    exact = dataset[index]["image"]
    eight_bits = dataset.get_data(index, image_type="uint8")["image"]
    assert isinstance(eight_bits, torch.Tensor) and eight_bits.dtype == torch.uint8
    torch.testing.assert_close(eight_bits / 255, exact, rtol=0, atol=0.5 / 255 + 1e-6)
    for other in (torch.from_numpy(dataset.get_numpy_image(index)), dataset.get_image_uint8(index)):
        assert torch.equal(other, eight_bits)


def test_no_way_to_an_image_gives_colour_of_a_protected_view(dataset: PrivheadDataset) -> None:
    for index in range(VIEWS):
        ways = [dataset.get_numpy_image(index), dataset.get_image_uint8(index), dataset.get_image_float32(index)]
        coloured = [bool((np.ptp(np.asarray(way), axis=-1) > 0).any()) for way in ways]
        assert coloured == 3 * [index in NEUTRAL]


def test_masks_are_shares_of_pixels(dataset: PrivheadDataset) -> None:
    has_masks = dataset._dataparser_outputs.mask_filenames is not None
    for index in range(VIEWS):
        assert ("mask" in dataset[index]) is has_masks
        if has_masks:
            np.testing.assert_array_equal(dataset[index]["mask"][..., 0], disc() / np.float32(255))


def test_cameras_are_those_of_the_capture(dataset: PrivheadDataset) -> None:
    frame = dataset.metadata["frame"]
    for index, pose in enumerate(ring()):
        np.testing.assert_allclose(dataset.cameras.camera_to_worlds[index][:, :3], pose[:3, :3], atol=1e-6)
        place = frame.to_capture(dataset.cameras.camera_to_worlds[index][:, 3].numpy())
        np.testing.assert_allclose(place, pose[:3, 3], atol=1e-5)
    np.testing.assert_allclose(dataset.cameras.fx, FOCAL)
    np.testing.assert_allclose(dataset.cameras.cx, SIZE / 2)
    rays = dataset.cameras.generate_rays(0, coords=torch.tensor([[SIZE / 2, SIZE / 2]]))
    np.testing.assert_allclose(rays.directions[0], -ring()[0][:3, 2], atol=1e-6)  # the middle looks along -z


def test_rays_are_those_of_nerfstudio(dataset: PrivheadDataset) -> None:
    generator = torch.Generator().manual_seed(0)
    indices = torch.stack([torch.randint(n, (200,), generator=generator) for n in (VIEWS, SIZE, SIZE)], dim=-1)
    ours, theirs = PinholeRayGenerator(dataset.cameras)(indices), RayGenerator(dataset.cameras)(indices)
    for name in ("origins", "directions", "camera_indices"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name))
    torch.testing.assert_close(ours.metadata["directions_norm"], theirs.metadata["directions_norm"])


def test_a_picture_of_magnitudes_is_their_square_root() -> None:
    picture = magnitude_picture(torch.tensor([[0.0, 0.5, 2.0, 9.0]]), 2.0)
    torch.testing.assert_close(picture[0, :, 0], torch.tensor([0.0, 0.5, 1.0, 1.0]))
    assert picture.shape == (1, 4, 3)


@pytest.mark.parametrize("blur", [0.0, 1.0, 2.0])
def test_patches_are_large_enough_for_the_operator(tmp_path: Path, blur: float) -> None:
    """A wide blur needs wide patches: its margin must leave something to compare."""
    operator = OperatorConfig(blur=blur)
    protect(write_raw_capture(tmp_path / "raw"), tmp_path / "out", operator)
    config = PrivheadDataManagerConfig(data=tmp_path / "out", pixel_sampler=PhasePixelSamplerConfig())
    data: PrivheadDataManager = config.setup(device="cpu", test_mode="val", world_size=1, local_rank=0)
    data.train()
    data.phase = 2
    rays, batch = data.next_train(0)
    shape = batch["patches"]
    assert len(rays) == len(batch["image"])
    magnitude = batch["magnitude"][-shape.numel() :].reshape(shape)
    difference = gradient_loss(torch.full((*shape, 3), 0.5), magnitude, operator.setup(), 0.0)
    assert difference.numel() > 0
    assert difference.mean() > 0
