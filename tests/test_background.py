"""The room behind the head: colours of rays from everywhere to everywhere."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from privhead_ns.model.background import BackgroundField

AABB = torch.tensor([[-1.0, -2.0, 0.0], [1.0, 1.0, 3.0]])


def background(aabb: Tensor = AABB) -> BackgroundField:
    """A room that is not of one colour."""
    torch.manual_seed(0)
    room = BackgroundField(aabb)
    for table in room.features.tables:
        table.data = torch.randn(table.shape)
    return room


def bundle(origins: Tensor, directions: Tensor) -> RayBundle:
    return RayBundle(origins=origins, directions=directions, pixel_area=torch.ones(len(origins), 1))


def random_rays(number: int = 300) -> tuple[Tensor, Tensor]:
    """Origins up to far outside the sphere about the box, and unit directions: into it, past it and away from it."""
    generator = torch.Generator().manual_seed(1)
    origins = AABB.mean(dim=0) + 8 * torch.randn(number, 3, generator=generator)
    return origins, F.normalize(torch.randn(number, 3, generator=generator), dim=-1)


def test_colours_are_colours() -> None:
    origins, directions = random_rays()
    origins[:100] = AABB.mean(dim=0) + 0.1 * (origins[:100] - AABB.mean(dim=0))
    colors = background()(bundle(origins, directions))
    assert colors.shape == (300, 3)
    assert ((colors > 0) & (colors < 1)).all()
    assert (colors.std(dim=0) > 0.01).all()


def test_rays_of_hard_cases_are_finite_with_their_gradients() -> None:
    center, radius = AABB.mean(dim=0), float((AABB[1] - AABB[0]).norm()) / 2
    x, y = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0])
    origins = torch.stack([center, center + radius * x, center + radius * x, center + radius * y, center + 1e4 * x])
    directions = torch.stack([x, x, -x, x, -x])  # from the middle, outwards, through, tangent, from afar
    room = background()
    colors = room(bundle(origins, directions))
    assert torch.isfinite(colors).all()
    colors.sum().backward()
    for parameter in room.parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all()


def test_all_light_is_accounted_for() -> None:
    room = background()
    last = room.network[-1]
    assert isinstance(last, torch.nn.Linear)
    last.weight.data.zero_()
    for density in (-20.0, 0.0, 5.0):  # thin air shows the wall at infinity, dense air itself
        last.bias.data = torch.tensor([density, 0.0, 1.0, -1.0])
        colors = room(bundle(*random_rays()))
        expected = torch.sigmoid(torch.tensor([0.0, 1.0, -1.0])).expand(300, 3)
        torch.testing.assert_close(colors, expected, rtol=1e-4, atol=1e-4)


def test_the_head_itself_is_not_in_it() -> None:
    """What lies inside the sphere about the box belongs to the head: nothing there is seen."""
    room, inner = background(), background()
    for table in inner.features.tables:
        axes = [torch.linspace(-2, 2, n) for n in table.shape[:3]]
        radius = torch.stack(torch.meshgrid(*axes, indexing="ij")).norm(dim=0)
        table.data[radius < 0.3] += 5.0
    center = AABB.mean(dim=0)
    origins, directions = random_rays()
    towards = F.normalize(center + 0.3 * directions - origins, dim=-1)
    torch.testing.assert_close(inner(bundle(origins, towards)), room(bundle(origins, towards)))


def test_a_larger_box_sees_the_same_room() -> None:
    origins, directions = random_rays()
    small, large = background(), background(100 * AABB)
    torch.testing.assert_close(
        large(bundle(100 * origins, directions)), small(bundle(origins, directions)), rtol=1e-3, atol=1e-3
    )


def test_gradients_flow_from_the_start() -> None:
    torch.manual_seed(0)
    room = BackgroundField(AABB)
    (room(bundle(*random_rays())) - torch.tensor([0.9, 0.2, 0.4])).square().sum().backward()
    for parameter in room.parameters():
        if parameter is not room.network[0].weight:  # its inputs, the features, start at zero
            assert parameter.grad is not None and parameter.grad.abs().max() > 0


def test_forgetting_leaves_one_grey_to_train_from() -> None:
    room = background()
    rays = bundle(*random_rays())
    room.forget()
    torch.testing.assert_close(room(rays), torch.full((300, 3), 0.5))
    before = room(rays).detach()
    optimizer = torch.optim.Adam(room.parameters(), lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        (room(rays) - torch.tensor([0.9, 0.2, 0.4])).square().sum().backward()
        optimizer.step()
    assert (room(rays) - before).abs().max() > 0.05
    assert all(table.any() for table in room.features.tables)
