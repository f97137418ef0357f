"""The CPU kernels against the torch code that GPUs run: values, gradients, NaN, and any number of threads."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from privhead_ns.model import kernels
from privhead_ns.model.density import Rendering
from privhead_ns.model.field import HeadField
from privhead_ns.model.geometry import Geometry
from privhead_ns.model.sampler import SurfaceSampler
from privhead_ns.model.segments import Opacity, intersect
from privhead_ns.model.voxels import FeaturePyramid, Resolution, ScalarPyramid, Trilinear, Upsample

SHAPES = [(5, 7, 4), (9, 8, 37), (3, 3, 3)]
SPACING = torch.tensor([0.5, 0.25, 2.0])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) - 0.5


def positions(shape: Resolution) -> Tensor:
    """Positions within the grid, on its points and faces, and outside, in an order that mixes them."""
    axes = [torch.linspace(0, 1, n) for n in shape]
    points = torch.cartesian_prod(*axes)
    inside, outside = random(300, 3, seed=1) + 0.5, 3 * random(100, 3, seed=2) + 0.5
    mixed = torch.cat([points, inside, outside])
    mixed = mixed[torch.randperm(len(mixed), generator=torch.Generator().manual_seed(3))]
    return mixed[: len(mixed) // 2 * 2].reshape(2, -1, 3)


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Compares a function's values and gradients by kernels and by torch, for inputs that it is given afresh."""

    def with_gradients(function: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
        inputs = [values.clone().requires_grad_() for values in inputs]
        values = function(*inputs)
        return [values.detach(), *torch.autograd.grad((values * random(*values.shape, seed=9)).sum(), inputs)]

    def compare(function: Callable[..., Tensor], *inputs: Tensor) -> None:
        found = with_gradients(function, list(inputs))
        with monkeypatch.context() as context:
            context.setattr(kernels, "supported", lambda *_: False)
            expected = with_gradients(function, list(inputs))
        for a, b in zip(found, expected, strict=True):
            assert b.abs().max() > 0
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * float(b.abs().max()))

    return compare


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("shape", [*SHAPES, (2, 2, 2), (2, 9, 3)])
@pytest.mark.parametrize("channels", [1, 3, 8])
def test_trilinear(shape: Resolution, channels: int, compare: Callable[..., None]) -> None:
    points = positions(shape)
    on_face = (points == 0) | (points == 1)  # where the derivative of torch's clamp depends on the version

    def interpolate(table: Tensor, points: Tensor) -> Tensor:
        return Trilinear(shape)(table, torch.where(on_face, points.detach(), points))

    compare(interpolate, random(*shape, channels), points)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("shape", SHAPES)
def test_sdf_and_gradient(shape: Resolution, compare: Callable[..., None]) -> None:
    def sample(sdf: Tensor) -> Tensor:
        values, gradient = Geometry(sdf, SPACING, Trilinear(shape)).sdf_and_gradient_at(positions(shape))
        return torch.cat([values[..., None], gradient], dim=-1)

    compare(sample, random(*shape))


def test_sdf_and_gradient_are_differentiable_by_positions() -> None:
    geometry = Geometry(random(5, 7, 4), SPACING, Trilinear((5, 7, 4)))
    points = positions((5, 7, 4)).requires_grad_()
    sdf, gradient = geometry.sdf_and_gradient_at(points)
    extent = SPACING * torch.tensor([4, 6, 3])
    torch.testing.assert_close(torch.autograd.grad(sdf.sum(), points)[0], gradient.detach() * extent)
    values, _ = geometry.sdf_and_gradient_at(points.detach())
    torch.testing.assert_close(values, sdf)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_regularisers(shape: Resolution, scale: float, compare: Callable[..., None]) -> None:
    def regularise(sdf: Tensor) -> Tensor:
        return torch.stack(Geometry(sdf, scale * SPACING, Trilinear(shape)).regularisers())

    compare(regularise, scale * random(*shape))


def test_regularisers_of_a_constant(compare: Callable[..., None]) -> None:
    """Whose gradient is 0, where the norm is not differentiable."""
    sdf = torch.zeros(4, 5, 6, requires_grad=True)
    eikonal, curvature = Geometry(sdf, SPACING, Trilinear((4, 5, 6))).regularisers()
    assert float(eikonal.detach()) == pytest.approx(1, abs=1e-5) and curvature == 0
    (eikonal + curvature).backward()
    assert sdf.grad is not None and (sdf.grad == 0).all()


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("fine", [(9, 7, 5), (5, 4, 3), (6, 4, 11)])
def test_refinement(fine: Resolution, compare: Callable[..., None]) -> None:
    compare(Upsample((5, 4, 3), fine), random(5, 4, 3))


def ray_inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Signed distances, their gradients and distances at the ends of 16 segments of 50 rays: most enter the head."""
    sdf = (random(50, 17, seed=4) - 0.5).cumsum(dim=1) * 0.04 + 0.2
    return sdf, random(50, 17, 3, seed=5), (random(50, 17, seed=6) + 0.6).cumsum(dim=1) * 0.05


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("rendering", ["neus", "volsdf"])
@pytest.mark.parametrize("opaque_end", [False, True])
@pytest.mark.parametrize("beta", [0.003, 0.1])
def test_segments(rendering: Rendering, opaque_end: bool, beta: float, compare: Callable[..., None]) -> None:
    sdf, gradient, distances = ray_inputs()
    assert ((sdf[:, :-1] > 0) & (sdf[:, 1:] <= 0)).any(dim=1).float().mean() > 0.8

    def see(sdf: Tensor, gradient: Tensor) -> Tensor:
        alphas = Opacity(rendering, opaque_end)(sdf, distances, torch.tensor(beta))
        seen = intersect(alphas, sdf, gradient, distances, torch.tensor(beta))
        visible = seen.weights.detach() > 1e-3
        depths = torch.where(visible, seen.depths, 0)
        normals = torch.where(visible[..., None], seen.normals, 0).flatten(1)
        return torch.cat(seen._replace(depths=depths, normals=normals), dim=1)

    compare(see, sdf, gradient)


def test_a_segment_without_gradient_has_no_normal(compare: Callable[..., None]) -> None:
    sdf, gradient, distances = ray_inputs()
    alphas, beta = torch.full((50, 16), 0.5), torch.tensor(0.01)
    scale = torch.ones(50, 17, 1).index_fill(1, torch.tensor([3, 4]), 0)
    compare(lambda gradient: intersect(alphas, sdf, scale * gradient, distances, beta).normals, gradient)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("rendering", ["neus", "volsdf"])
@pytest.mark.parametrize("opaque_end", [False, True])
@pytest.mark.parametrize("size", [0.2, 0.6, 5.0], ids=["small", "half", "all around"])
def test_sampler(rendering: Rendering, opaque_end: bool, size: float, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    head = HeadField(torch.tensor([[-1.0, -2.0, -1.0], [1.0, 2.0, 1.5]]), 0.1, 2, 4, beta=0.005)
    head.start_as_ellipsoid(size)
    torch.nn.init.normal_(head.sdf_grids.grids[1], std=0.05)
    origins, targets = 6 * F.normalize(random(80, 3, seed=7), dim=1), random(80, 3, seed=8)
    rays = RayBundle(origins, F.normalize(targets - origins, dim=1), torch.ones(80, 1))
    rays.nears, rays.fars = torch.full((80, 1), 4.0), torch.full((80, 1), 8.0)
    sampler, geometry = SurfaceSampler(32, 16, Opacity(rendering, opaque_end)), head.geometry()
    found = sampler(rays, head, geometry)
    monkeypatch.setattr(kernels, "supported", lambda *_: False)
    # where few samples fall, rounding moves quantiles most; a coarse segment is 0.125 long
    torch.testing.assert_close(found, sampler(rays, head, geometry), rtol=0, atol=5e-3)


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_the_number_of_threads_changes_no_bit(threads: int) -> None:
    def gradients() -> list[Tensor]:
        torch.manual_seed(0)
        pyramid, features = ScalarPyramid([(3, 4, 5), (5, 7, 9), (9, 13, 17)]), FeaturePyramid([(9, 13, 17)], 4)
        for parameter in [*pyramid.parameters(), *features.parameters()]:
            torch.nn.init.normal_(parameter)
        geometry = Geometry(pyramid(), SPACING, Trilinear((9, 13, 17)))
        points = positions((9, 13, 17)).requires_grad_()
        sdf, gradient = geometry.sdf_and_gradient_at(points.detach())
        eikonal, curvature = geometry.regularisers()
        loss = eikonal + curvature + sdf.square().mean() + gradient.square().mean() + features(points).square().mean()
        inputs = [*pyramid.parameters(), *features.parameters(), points]
        return [eikonal, curvature, sdf, gradient, *torch.autograd.grad(loss, inputs)]

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    expected = gradients()
    torch.set_num_threads(threads)
    found = gradients()
    torch.set_num_threads(before)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("where", [(0, 0, 0), (2, 3, 1), (4, 6, 3)])
def test_bad_values_reach_the_loss(bad: float, where: tuple[int, int, int]) -> None:
    pyramid = ScalarPyramid([(2, 2, 2), (5, 7, 4)])
    pyramid.grids[1].data[where] = bad
    geometry = Geometry(pyramid(), SPACING, Trilinear((5, 7, 4)))
    assert not torch.isfinite(geometry.regularisers()[0])
    point = torch.tensor(where) / torch.tensor([4, 6, 3])
    assert not torch.isfinite(torch.cat([x.flatten() for x in geometry.sdf_and_gradient_at(point[None])])).all()
    assert not torch.isfinite(geometry.sdf_at(point[None])).any()
    pyramid.grids[1].data[where] = 0
    pyramid.grids[0].data[1, 1, 1] = bad
    assert not torch.isfinite(pyramid()).all()


def test_lookups_at_nan_are_nan() -> None:
    table = random(5, 7, 4, 2).requires_grad_()
    points = torch.tensor([[math.nan, 0.5, 0.5], [0.5, 0.5, 0.5], [0.5, math.nan, math.inf]], requires_grad=True)
    values = Trilinear((5, 7, 4))(table, points)
    assert values.isnan().all(dim=1).tolist() == [True, False, True]
    values.sum().backward()
    assert table.grad is not None and table.grad.isnan().any()
    sdf, gradient = Geometry(table[..., 0], SPACING, Trilinear((5, 7, 4))).sdf_and_gradient_at(points.detach())
    assert sdf.isnan().tolist() == [True, False, True] and gradient[0].isnan().all()


@pytest.mark.parametrize("writable", [True, False], ids=["home", "nowhere"])
def test_kernels_compile_silently_in_a_read_only_installation(writable: bool, tmp_path: Path) -> None:
    """A file in place of the cache's folder keeps even root from writing there."""
    shutil.copy(kernels.__file__, tmp_path / "copied.py")
    (tmp_path / "__pycache__").touch()
    home = tmp_path / "home"
    home.mkdir() if writable else home.touch()
    code = """if True:
        import numpy as np, copied
        grid = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
        fine = np.zeros((2, 3, 2), np.float32)
        copied.stretch(0, 2, grid, fine)
        assert fine[0, 1, 1] == 2, fine
    """
    done = subprocess.run(
        [sys.executable, "-B", "-c", code],
        cwd=tmp_path,
        env={"HOME": str(home), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    cached = list(home.rglob("*.nbi")) if writable else []
    assert bool(cached) is writable
