"""σ against values known from mathematics and against OpenCV."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from privhead_ns.errors import UserError
from privhead_ns.operators import SMOOTHING, GradientMagnitude, OperatorConfig, quantise


def random_image(seed: int = 0, size: int = 12) -> torch.Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kernel", SMOOTHING)
@pytest.mark.parametrize("blur", [0.0, 0.8])
@pytest.mark.parametrize("axis", [2, 3])
def test_ramp_gives_its_slope(kernel: str, blur: float, axis: int) -> None:
    slope = 0.03
    shape = [1, 1, 1, 1]
    shape[axis] = 16
    image = torch.zeros(1, 3, 16, 16)
    image[:, 1:2] = slope * torch.arange(16.0).reshape(shape)
    magnitude = GradientMagnitude(kernel, blur)(image)
    torch.testing.assert_close(magnitude, torch.full_like(magnitude, slope))


def test_channels_add_as_an_l2_norm_and_directions_add_up() -> None:
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    image = torch.stack([0.03 * x, 0.04 * x, 0.05 * y])[None]
    magnitude = GradientMagnitude()(image)
    torch.testing.assert_close(magnitude, torch.full_like(magnitude, math.hypot(0.03, 0.04) + 0.05))


@pytest.mark.parametrize("kernel", SMOOTHING)
@pytest.mark.parametrize("blur", [0.0, 1.5])
def test_constant_image_gives_zero(kernel: str, blur: float) -> None:
    magnitude = GradientMagnitude(kernel, blur)(torch.full((1, 3, 20, 20), 0.7))
    torch.testing.assert_close(magnitude, torch.zeros_like(magnitude), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kernel", SMOOTHING)
def test_sign_is_lost(kernel: str) -> None:
    image, sigma = random_image(), GradientMagnitude(kernel, 0.7)
    torch.testing.assert_close(sigma(image), sigma(1 - image))


def test_never_exceeds_its_maximum() -> None:
    # a checkerboard of two-pixel squares is the strongest gradient along both axes
    y, x = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    for kernel in SMOOTHING:
        sigma = GradientMagnitude(kernel)
        for image in (((x // 2 + y // 2) % 2).expand(1, 3, -1, -1).float(), random_image().round()):
            assert sigma(image).max() <= sigma.maximum


@pytest.mark.parametrize("blur", [0.0, 0.5, 2.0])
def test_margin_is_what_is_lost_and_suffices(blur: float) -> None:
    sigma = GradientMagnitude("sobel", blur)
    image = random_image(size=24)
    magnitude = sigma(image)
    inner = 24 - 2 * sigma.margin
    assert magnitude.shape == (2, inner, inner)
    # a patch with its margin gives the same values as the whole image
    patch = sigma(image[..., 3 : 3 + 2 * sigma.margin + 2, 1 : 1 + 2 * sigma.margin + 5])
    torch.testing.assert_close(patch, magnitude[:, 3:5, 1:6])


def test_gradient_is_finite_on_flat_patches() -> None:
    image = torch.full((1, 3, 6, 6), 0.5, requires_grad=True)
    GradientMagnitude()(image).sum().backward()
    assert image.grad is not None
    assert torch.isfinite(image.grad).all()


def test_gradient_agrees_with_finite_differences() -> None:
    image = random_image(size=5).double().requires_grad_()
    assert torch.autograd.gradcheck(GradientMagnitude("scharr").double(), image)


def test_sobel_agrees_with_opencv() -> None:
    image = random_image()[:1]
    planes = image[0].permute(1, 2, 0).numpy()
    x, y = (cv2.Sobel(planes, cv2.CV_32F, *order, ksize=3, scale=1 / 8) for order in ((1, 0), (0, 1)))
    expected = np.linalg.norm(x, axis=-1) + np.linalg.norm(y, axis=-1)
    np.testing.assert_allclose(GradientMagnitude("sobel")(image)[0], expected[1:-1, 1:-1], atol=1e-6)


def test_blur_agrees_with_opencv() -> None:
    image, sigma = random_image(size=24)[:1], GradientMagnitude("central", 1.0)
    blurred = cv2.GaussianBlur(image[0].permute(1, 2, 0).numpy(), (7, 7), 1.0)
    expected = GradientMagnitude("central")(torch.from_numpy(blurred).permute(2, 0, 1)[None])
    inner = sigma.margin - 1
    torch.testing.assert_close(sigma(image), expected[:, inner:-inner, inner:-inner])


@pytest.mark.parametrize("kernel", SMOOTHING)
@pytest.mark.parametrize("blur", [0.0, 1.2])
def test_uses_no_convolution_and_no_matrix_product(kernel: str, blur: float) -> None:
    """On CUDA those may round to TF32, and choose another algorithm in each run."""
    used: set[str] = set()

    class Record(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            used.add(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    image, sigma = random_image(), GradientMagnitude(kernel, blur)
    with Record():
        sigma(image)
    assert used <= {"slice", "add", "sub", "mul", "div", "linalg_vector_norm"}


@pytest.mark.parametrize("kernel", SMOOTHING)
@pytest.mark.parametrize("blur", [0.0, 1.2])
def test_agrees_with_convolutions_in_double_precision(kernel: str, blur: float) -> None:
    image, sigma = random_image(size=24), GradientMagnitude(kernel, blur)
    radius = sigma.margin - 1
    gaussian = torch.exp(-0.5 * (torch.arange(-radius, radius + 1).double() / max(blur, 1)) ** 2)
    gaussian = gaussian / gaussian.sum()
    center, side = SMOOTHING[kernel]
    smoothing = torch.tensor([side, center, side], dtype=torch.float64)
    difference = torch.tensor([-0.5, 0.0, 0.5], dtype=torch.float64)
    planes = F.conv2d(image.double().flatten(0, 1)[:, None], torch.outer(gaussian, gaussian)[None, None])
    gradients = [
        F.conv2d(planes, torch.outer(*pair)[None, None]).reshape(2, 3, *[24 - 2 * sigma.margin] * 2)
        for pair in ((smoothing, difference), (difference, smoothing))
    ]
    expected = sum(gradient.norm(dim=1) for gradient in gradients)
    assert isinstance(expected, torch.Tensor)
    torch.testing.assert_close(sigma(image), expected.float(), rtol=0, atol=3e-7)


def test_quantise_known_values() -> None:
    magnitude = torch.tensor([0.0, 0.4, 0.6, 1.9, 2.0, 5.0])
    assert quantise(magnitude, maximum=2.0, levels=3).tolist() == [0.0, 0.0, 0.5, 1.0, 1.0, 1.0]


def test_quantise_keeps_the_number_of_levels() -> None:
    values = quantise(torch.linspace(0, 1, 10_000), maximum=1.0, levels=7)
    assert len(values.unique()) == 7
    torch.testing.assert_close(quantise(values, 1.0, 7), values)


@pytest.mark.parametrize(
    ("config", "word"),
    [
        (OperatorConfig(name="laplace"), "laplace"),
        (OperatorConfig(blur=-1.0), "--blur"),
        (OperatorConfig(blur=math.nan), "--blur"),
        (OperatorConfig(levels=1), "--levels"),
        (OperatorConfig(levels=65537), "--levels"),
    ],
)
def test_bad_config(config: OperatorConfig, word: str) -> None:
    with pytest.raises(UserError, match=word):
        config.setup()
