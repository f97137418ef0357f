"""What views may differ by: gains that are relative, and movements that are rigid."""

from __future__ import annotations

import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from scipy.spatial.transform import Rotation

from privhead_ns.model.corrections import ViewCorrections


def rays(views: list[int]) -> RayBundle:
    generator = torch.Generator().manual_seed(1)
    directions = torch.nn.functional.normalize(torch.randn(len(views), 3, generator=generator), dim=-1)
    origins = torch.randn(len(views), 3, generator=generator)
    return RayBundle(origins, directions, torch.ones(len(views), 1), camera_indices=torch.tensor(views)[:, None])


def test_nothing_is_corrected_at_first() -> None:
    corrections, before, after = ViewCorrections(3), rays([0, 2, 1]), rays([0, 2, 1])
    corrections.move(after)
    assert torch.allclose(after.origins, before.origins)
    assert torch.allclose(after.directions, before.directions)
    assert torch.equal(corrections.gains(before), torch.ones(3, 3))
    assert corrections.prior(1.0, 1.0) == 0


def test_gains_are_relative_to_their_mean() -> None:
    corrections = ViewCorrections(2)
    corrections.log_gains.data[:] = torch.tensor([[0.5, 0.1, 0.0], [0.1, 0.1, 0.4]])
    gains = corrections.gains(rays([0, 1]))
    assert torch.allclose(gains.log(), torch.tensor([[0.2, 0.0, -0.2], [-0.2, 0.0, 0.2]]), atol=1e-6)
    corrections.log_gains.data[:] = torch.tensor([[0.6], [0.2]])
    assert torch.allclose(corrections.brightness(rays([0, 1])).log(), torch.tensor([[0.2], [-0.2]]), atol=1e-6)


def test_a_movement_is_a_rotation_about_the_origin_and_a_translation_sideways() -> None:
    corrections, before, after = ViewCorrections(2), rays([0, 1]), rays([0, 1])
    movement = torch.tensor([0.01, 0.02, -0.03, 0.1, -0.2, 0.3])
    corrections.movements.data[:] = torch.stack([movement + 1, -movement + 1])  # the mean, 1, does not count
    corrections.move(after)
    for view, sign in ((0, 1.0), (1, -1.0)):
        rotation = torch.from_numpy(Rotation.from_rotvec(sign * movement[3:].numpy()).as_matrix()).float()
        assert torch.allclose(after.directions[view], rotation @ before.directions[view], atol=1e-6)
        shift = after.origins[view] - rotation @ before.origins[view]
        outwards = torch.nn.functional.normalize(before.origins[view], dim=0)
        assert float(shift @ outwards) == pytest.approx(0, abs=1e-6)  # from the head or to it, nothing is seen to move
        assert torch.allclose(torch.linalg.cross(shift - sign * movement[:3], outwards), torch.zeros(3), atol=1e-6)


def test_poses_move_as_their_rays_do() -> None:
    corrections, bundle = ViewCorrections(3), rays([2, 0, 1])
    corrections.movements.data[:] = 0.1 * torch.randn(3, 6, generator=torch.Generator().manual_seed(2))
    order = torch.tensor([1, 2, 0])  # of the rays, by view
    axes = torch.linalg.qr(torch.randn(3, 3, 3, generator=torch.Generator().manual_seed(3))).Q
    poses = torch.cat([axes, bundle.origins[order, :, None]], dim=-1)
    local = (axes.mT @ bundle.directions[order, :, None])[..., 0]
    corrections.move(bundle)
    moved = corrections.moved(poses)
    assert torch.allclose(moved[..., 3], bundle.origins[order], atol=1e-6)
    assert torch.allclose((moved[..., :3] @ local[..., None])[..., 0], bundle.directions[order], atol=1e-6)


def test_the_prior_weighs_gains_and_movements() -> None:
    corrections = ViewCorrections(4)
    corrections.log_gains.data[:] = 2.0
    corrections.movements.data[:] = 3.0
    assert float(corrections.prior(0.5, 0.1).detach()) == pytest.approx(0.5 * 4 + 0.1 * 9)
