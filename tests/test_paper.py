"""The paper's own configuration: its networks, its sampler, and a real run of a few steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.utils.eval_utils import eval_setup
from privhead_method_configs.paper import paper
from raw_folder import write_raw_capture
from torch import Tensor

from privhead_ns.capture.protect import protect
from privhead_ns.errors import UserError
from privhead_ns.forget import forget
from privhead_ns.mesh.export import export_mesh
from privhead_ns.model.density import laplace_cdf
from privhead_ns.operators import OperatorConfig
from privhead_ns.paper.model import PaperModel, PaperModelConfig
from privhead_ns.paper.network import INITIAL_RADIUS, PaperField
from privhead_ns.paper.sampler import (
    SamplerSettings,
    bisect_beta,
    error_bound_holds,
    error_bounded_samples,
    inverse_cdf,
    least_distance,
    opacity_bound,
    rendering_weights,
    safe_beta,
)
from privhead_ns.phases import LossWeights
from privhead_ns.trainer import PrivheadTrainer, PrivheadTrainerConfig

AABB = torch.tensor([[-1.0, -2.0, -1.5], [1.0, 2.0, 1.5]])
SETTINGS = SamplerSettings()


def make_field(seed: int) -> PaperField:
    torch.manual_seed(seed)
    return PaperField(AABB, layers=8, units=256, position_frequencies=6, direction_frequencies=4)


def ray_sdf(offsets: Tensor, radius: float = 0.5):
    """Returns the sdf of a sphere on parallel rays that pass its centre, at distance 2, by the offsets."""
    return lambda distances: (offsets[:, None].square() + (distances - 2).square()).sqrt() - radius


def test_the_field_starts_as_a_sphere_with_unit_gradient() -> None:
    directions = torch.nn.functional.normalize(torch.randn(200, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    at_surface, lengths, slopes = [], [], []
    for seed in range(8):
        field = make_field(seed)
        assert (field.sdf(torch.zeros(1, 3)) < -0.2).all()
        assert (field.sdf(2 * 1.3 * directions) > 0).all()
        at_surface.append(field.sdf(2 * INITIAL_RADIUS * directions).mean().item() / 2)
        gradient = field.local(INITIAL_RADIUS * directions).gradient
        lengths.append(gradient.norm(dim=-1).mean().item())
        slopes.append((gradient * directions).sum(dim=-1).min().item())
    assert abs(np.mean(at_surface)) < 0.1, "the initialisation is a sphere on average over the weights it draws"
    assert 0.8 < np.mean(lengths) < 1.2
    assert min(slopes) > 0, "distance grows outwards everywhere on it"


def test_gradients_are_those_of_finite_differences_and_exist_where_autograd_is_off() -> None:
    field = make_field(0).double().eval()
    points = torch.rand(20, 3, dtype=torch.double, generator=torch.Generator().manual_seed(1)) - 0.5
    with torch.no_grad():
        gradient = field.local(points).gradient
        step = 1e-6 * torch.eye(3, dtype=torch.double)
        differences = [(field.implicit(points + h) - field.implicit(points - h))[:, 0] / 2e-6 for h in step]
    torch.testing.assert_close(gradient, torch.stack(differences, dim=-1), atol=1e-5, rtol=1e-5)
    assert not gradient.requires_grad


def test_least_distance_of_known_triangles() -> None:
    sdf = torch.tensor([[0.5, 0.5], [0.3, 1.3], [0.2, 0.2], [0.5, -0.5]])
    spacing = torch.tensor([[0.6], [1.0], [1.0], [0.6]])
    expected = torch.tensor([[0.4], [0.3], [0.0], [0.0]])  # 3-4-5 triangle; ball in ball; balls apart; a crossing
    torch.testing.assert_close(least_distance(sdf, spacing), expected)


@pytest.mark.parametrize("beta", [0.02, 0.1, 0.5])
def test_no_error_of_opacity_exceeds_the_bound(beta: float) -> None:
    offsets = torch.tensor([0.0, 0.3, 0.49, 0.55, 0.9], dtype=torch.double)
    sdf, b = ray_sdf(offsets), torch.tensor([[beta]], dtype=torch.double)
    distances = torch.linspace(0.5, 3.5, 80, dtype=torch.double).expand(5, -1)
    fine = torch.linspace(0.5, 3.5, 79 * 64 + 1, dtype=torch.double).expand(5, -1)

    def density(at: Tensor) -> Tensor:
        return laplace_cdf(sdf(at), b) / b

    inner = torch.cumulative_trapezoid(density(fine), fine, dim=1)
    truth = torch.cat([torch.zeros(5, 1), inner], dim=1)
    held = density(distances)[:, :-1].repeat_interleave(64, dim=1)  # the rectangle rule's density is that of the start
    ruled = torch.cat([torch.zeros(5, 1), (held * fine.diff(dim=1)).cumsum(dim=1)], dim=1)
    error = (torch.exp(-truth) - torch.exp(-ruled)).abs()[:, 1:].unflatten(1, (79, 64)).amax(dim=2)
    bound = opacity_bound(sdf(distances), distances, b)
    assert (error <= bound + 1e-9).all()
    assert error.max() > 1e-3, "or the bound was not put to a test"


def test_beta_plus_is_the_least_that_keeps_the_tolerance() -> None:
    offsets = torch.tensor([0.0, 0.4, 2.0])
    distances = torch.linspace(0.5, 3.5, 64).expand(3, -1)
    sdf, wanted = ray_sdf(offsets)(distances), torch.tensor([[0.005]])
    upper = safe_beta(distances, 0.1)
    assert error_bound_holds(sdf, distances, upper, 0.1).all()
    found = bisect_beta(sdf, distances, wanted, upper, SETTINGS)
    assert error_bound_holds(sdf, distances, found, 0.1).all()
    assert not error_bound_holds(sdf[:2], distances[:2], 0.98 * found[:2], 0.1).any()
    assert (found[:2] > wanted).all() and found[2] == wanted[0], "a ray far from the surface needs no larger β"


def test_samples_gather_at_the_surface_and_opacity_comes_out_right() -> None:
    offsets, beta = torch.tensor([0.0, 0.3]), torch.tensor(0.01)
    nears, fars = torch.full((2, 1), 0.5), torch.full((2, 1), 3.5)
    for random in (False, True):
        distances = error_bounded_samples(ray_sdf(offsets), nears, fars, beta, SETTINGS, random)
        assert distances.shape == (2, 98)
        assert (distances.diff(dim=1) >= 0).all()
        assert torch.equal(distances[:, :1], nears) and torch.equal(distances[:, -1:], fars)
        surface = 2 - (0.25 - offsets.square()).sqrt()
        close = ((distances - surface[:, None]).abs() < 0.1).float().mean(dim=1)
        assert (close > 0.5).all(), "evenly spaced ones would have one in fifteen there"
        weights = rendering_weights(ray_sdf(offsets)(distances), distances, beta)
        torch.testing.assert_close(weights.sum(dim=1), torch.ones(2), atol=1e-3, rtol=0)
        depth = (weights * distances[:, :-1]).sum(dim=1)
        torch.testing.assert_close(depth, surface, atol=0.03, rtol=0)


def test_quantiles_of_a_known_distribution() -> None:
    distances = torch.tensor([[0.0, 1.0, 3.0]])
    drawn = inverse_cdf(distances, torch.tensor([[0.5, 0.5]]), torch.tensor([[0.0, 0.25, 0.5, 0.75, 1.0]]))
    torch.testing.assert_close(drawn, torch.tensor([[0.0, 0.5, 1.0, 2.0, 3.0]]))


def queried(beta: float, random: bool, settings: SamplerSettings = SETTINGS) -> tuple[list[Tensor], Tensor]:
    """Distances of which the sampler asks for the sdf, round by round, and the ones that it returns."""
    sdf, asked = ray_sdf(torch.tensor([0.0, 0.3])), []

    def recorded(distances: Tensor) -> Tensor:
        asked.append(distances)
        return sdf(distances)

    torch.manual_seed(0)
    nears, fars = torch.full((2, 1), 0.5), torch.full((2, 1), 3.5)
    return asked, error_bounded_samples(recorded, nears, fars, torch.tensor(beta), settings, random)


@pytest.mark.parametrize("random", [False, True])
def test_the_sampler_starts_from_128_samples_and_adds_128_in_at_most_4_rounds(random: bool) -> None:
    asked, _ = queried(1e-4, random, replace(SETTINGS, tolerance=1e-5))
    assert [distances.shape[1] for distances in asked] == [128] * 5
    easy, _ = queried(1.0, random)
    assert len(easy) == 1, "where the first samples are enough, none are added"


def test_the_first_samples_are_jittered_in_training_only_and_the_added_ones_never() -> None:
    [first, *_], _ = queried(0.01, random=False)
    torch.testing.assert_close(first, torch.linspace(0.5, 3.5, 128).expand(2, -1))
    [jittered, *_], _ = queried(0.01, random=True)
    assert (jittered.diff(dim=1) >= 0).all()
    assert 0 < (jittered - first).abs().max() <= 3 / 127 / 2 + 1e-6
    for added in queried(0.01, random=True)[0][1:]:
        assert torch.equal(added, added.sort(dim=1).values), "even quantiles are in order, random ones are not"


@pytest.mark.parametrize("random", [False, True])
def test_the_extra_samples_are_ones_whose_sdf_is_known(random: bool) -> None:
    asked, returned = queried(0.01, random)
    known = torch.cat(asked, dim=1)
    matches = (returned[:, :, None] == known[:, None]).any(dim=2).sum(dim=1)
    assert (matches >= SETTINGS.extra).all()
    assert (returned[:, 0] == 0.5).all() and (returned[:, -1] == 3.5).all()


def test_the_losses_of_no_rays_are_0() -> None:
    metadata = {
        "operator": OperatorConfig(),
        "magnitude_maximum": 1.7,
        "background": (0.0, 0.0, 0.0),
        "subject": "head",
    }
    config = PaperModelConfig(hidden_layers=4, hidden_units=64)
    model = config.setup(scene_box=SceneBox(aabb=AABB), num_train_data=3, metadata=metadata)
    model.loss_weights = LossWeights(1.0, 0.1, 1e-3, 2.0, 0.0)
    nothing = torch.empty(0, 3)
    outputs = model(RayBundle(origins=nothing, directions=nothing, pixel_area=torch.empty(0, 1)))
    losses = model.get_loss_dict(outputs, {"image": nothing, "protected": torch.empty(0, dtype=torch.bool)})
    torch.stack(list(losses.values())).sum().backward()
    assert losses["rgb"] == losses["eikonal"] == 0


@pytest.fixture(scope="module", params=[True, False], ids=["masks", "room"])
def capture(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paper")
    arguments = {} if request.param else {"box": (-1.2, -1.2, -1.2, 1.2, 1.2, 1.2)}
    protect(write_raw_capture(folder / "raw", masks=request.param), folder / "protected", OperatorConfig(), **arguments)
    return folder / "protected"


def small(capture: Path, steps: int) -> PrivheadTrainerConfig:
    """The method with small networks, one step of phase 1, and as many as are left of phase 2."""
    config = paper()
    config.pipeline.datamanager.data = capture
    config.output_dir, config.timestamp, config.experiment_name = capture.parent, "run", "x"
    config.vis, config.steps_per_save, config.machine.device_type = "tensorboard", 1, "cpu"
    model, phases = config.pipeline.model, config.pipeline.phases  # type: ignore[attr-defined]
    model.hidden_layers, model.hidden_units = 4, 64
    phases.phase1_steps, phases.phase2_steps = 1, steps - 1
    sampler = config.pipeline.datamanager.pixel_sampler  # type: ignore[attr-defined]
    sampler.neutral_rays, sampler.patches, sampler.patch_size = 32, 1, 6
    return config


def trainer(config: PrivheadTrainerConfig) -> PrivheadTrainer:
    config.set_timestamp()
    config.save_config()
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    return trainer


def test_trains_with_the_losses_of_each_phase_resumes_renders_and_exports(capture: Path) -> None:
    run = trainer(small(capture, 2))
    model = run.pipeline.model
    assert isinstance(model, PaperModel)
    seen, before = [], {name: value.detach().clone() for name, value in model.named_parameters()}
    for step in range(2):
        run.pipeline.set_step(step)
        _, losses, _ = run.pipeline.get_train_loss_dict(step)
        seen.append(set(losses))
    assert seen == [{"rgb", "eikonal"}, {"gradient", "lipschitz", "eikonal"}]
    run.train()
    still = {name for name, value in model.named_parameters() if torch.equal(value, before[name])}
    assert not {name for name in still if "implicit" in name or "color_network" in name or "beta" in name}
    path = run.config.get_base_dir() / "config.yml"
    [checkpoint] = run.checkpoint_dir.iterdir()
    optimizers = torch.load(checkpoint, weights_only=True)["optimizers"]
    assert all(optimizer["state"] for optimizer in optimizers.values()), "nothing is forgotten, so training can go on"

    resumed = small(capture, 3)
    resumed.load_dir = run.checkpoint_dir
    again = trainer(resumed)
    assert again.step == 2
    for name, value in again.pipeline.model.named_parameters():
        torch.testing.assert_close(value, dict(model.named_parameters())[name])
    again.train()

    pipeline = eval_setup(path, test_mode="test")[1]
    camera = pipeline.datamanager.train_dataset.cameras[:1]  # type: ignore[union-attr]
    outputs = pipeline.model.get_outputs_for_camera(camera)
    assert {"normals", "rgb", "depth", "accumulation", "magnitude"} <= set(outputs)
    assert all(torch.isfinite(value).all() for value in outputs.values())
    metrics = pipeline.get_average_eval_image_metrics()  # type: ignore[attr-defined]
    assert np.isfinite(metrics["neutral_psnr"]) and np.isfinite(metrics["protected_magnitude_l1"])
    with pytest.raises(UserError, match="cannot forget"):
        forget(path)
    mesh = export_mesh(path, capture.parent / "head.ply", 24, millimetres=False)
    assert mesh.is_watertight and len(mesh.faces) > 100
