"""A dry run on CUDA without one: fake tensors have shapes and devices, and tell what would fail or wait on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.engine.trainer import Trainer
from privhead_method_configs.paper import paper
from privhead_method_configs.privhead import full_rgb
from raw_folder import SIZE, VIEWS, write_raw_capture
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorDeviceMismatchError,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from privhead_ns.capture.protect import protect
from privhead_ns.data.pixel_sampler import PhasePixelSampler
from privhead_ns.data.rays import PinholeRayGenerator
from privhead_ns.errors import UserError
from privhead_ns.model import model as model_module
from privhead_ns.model.model import PrivheadModel, PrivheadModelConfig
from privhead_ns.operators import OperatorConfig
from privhead_ns.paper import sampler
from privhead_ns.phases import PhaseSchedule
from privhead_ns.pipeline import PrivheadPipeline, PrivheadPipelineConfig
from privhead_ns.trainer import FINITE_LOSS_INTERVAL, PrivheadTrainer, PrivheadTrainerConfig


def small_paper() -> PrivheadTrainerConfig:
    config = paper()
    model: Any = config.pipeline.model
    model.hidden_layers, model.hidden_units, model.eval_num_rays_per_chunk = 2, 64, SIZE**2
    model.sampler = replace(model.sampler, rounds=1, bisections=1)
    return config


METHODS: dict[str, Callable[[], Any]] = {
    "privhead": PrivheadPipelineConfig,
    "privhead-rgb": full_rgb,
    "privhead-paper": lambda: small_paper().pipeline,
}
OURS = {"rgb", "eikonal", "curvature", "surface_magnitude", "prior", "agreement"}
LOSSES = {
    "privhead": [OURS, OURS | {"gradient", "lipschitz"}],
    "privhead-rgb": [OURS - {"surface_magnitude"}] * 2,
    "privhead-paper": [{"rgb", "eikonal"}, {"gradient", "lipschitz", "eikonal"}],
}
"""Of both phases, without masks."""


class TransferError(Exception):
    """A tensor went from one device to the other, for which host and GPU wait."""


class NoTransfer(TorchDispatchMode):
    """Lets no tensor go to another device. CPU tensors without dimensions may be arguments: they are mere numbers."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        taken, given = ([leaf for leaf in tree_leaves(x) if isinstance(leaf, Tensor)] for x in ((args, kwargs), result))
        arrays = {tensor.device.type for tensor in taken + given if tensor.dim() > 0}
        fetched = arrays == {"cuda"} and any(tensor.device.type == "cpu" for tensor in given)
        if len(arrays) > 1 or fetched:
            raise TransferError(f"{func} of {[(tuple(tensor.shape), str(tensor.device)) for tensor in taken]}")
        return result


class Source(NamedTuple):
    """What dry runs start from, on the CPU; they work on copies."""

    method: str
    schedule: PhaseSchedule
    model: PrivheadModel
    draws: PhasePixelSampler
    generator: PinholeRayGenerator
    images: dict[str, Any]
    views: list[tuple[RayBundle, dict[str, Any]]]
    """Rays and pixels of a neutral and of a protected view, as evaluation gets them."""


@pytest.fixture(scope="module", params=[True, False], ids=["masks", "room"])
def capture(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A protected capture with or without masks; its photographs lie in `raw` beside it."""
    folder = tmp_path_factory.mktemp("cuda")
    raw = write_raw_capture(folder / "raw", masks=request.param)
    protect(raw, folder / "protected", OperatorConfig(blur=0.4), box=(-1.2, -1.2, -1.2, 1.2, 1.2, 1.2))
    return folder / "protected"


@pytest.fixture(scope="module", params=METHODS)
def ready(request: pytest.FixtureRequest, capture: Path) -> Source:
    return source(request.param, capture)


@cache
def source(method: str, capture: Path) -> Source:
    config = METHODS[method]()
    config.datamanager.data = capture
    pixels = config.datamanager.pixel_sampler
    pixels.neutral_rays, pixels.neutral_rays_in_phase2, pixels.patch_size = 64, 32, 8
    config.phases.phase1_steps = config.phases.phase2_steps = 1
    if method == "privhead-rgb":
        config.datamanager.dataparser.photographs = capture.parent / "raw"
    if isinstance(config.model, PrivheadModelConfig):
        config.model.agreement_size = 16
    pipeline: PrivheadPipeline = config.setup(device="cpu")
    data = pipeline.datamanager
    draws, generator = data.train_pixel_sampler, data.train_ray_generator
    assert isinstance(draws, PhasePixelSampler) and isinstance(generator, PinholeRayGenerator)
    images = next(data.iter_train_image_dataloader)
    draws.fill_pools(images)
    cameras, dataset = data.eval_dataset.cameras, data.eval_dataset
    views = [(cameras.generate_rays(i, keep_shape=True), {**dataset[i], "protected": i != 0}) for i in (0, VIEWS - 1)]
    return Source(method, config.phases, pipeline.model, draws, generator, images, views)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeTensorMode:
    """Within it, CUDA is there and fake: no tensor has values, and no shape may depend on any.

    There is no backward pass without a GPU, so that the paper's normals are made up. Its sampler alone may ask for
    values, to stop early.
    """
    monkeypatch.setattr(torch.autograd, "grad", lambda values, points, **_: (values * torch.ones_like(points),))
    monkeypatch.setattr(sampler, "converged", lambda upper, wanted: False)
    return FakeTensorMode(allow_non_fake_inputs=True)


def on_cuda(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value.to("cuda") if isinstance(value, Tensor) else value for key, value in values.items()}


def losses(
    ready: Source, phase: int, fake: FakeTensorMode, plant: Callable[[PrivheadModel], object] = lambda _: None
) -> dict[str, Tensor]:
    """Returns the losses of a training step on fake CUDA, with something planted in the model before."""
    model, draws, generator = deepcopy((ready.model, ready.draws, ready.generator))
    step = phase - 1
    with fake:
        model.train().to("cuda")
        model.set_schedule(ready.schedule.weights(step), ready.schedule.beta(step))
        plant(model)
        images, draws.pools, draws.phase = on_cuda(ready.images), on_cuda(draws.pools), phase
        generator.to("cuda")
        with NoTransfer():
            batch = draws.sample(images)
            outputs = model(generator(batch["indices"]))
            metrics = model.get_metrics_dict(outputs, batch)
            found = model.get_loss_dict(outputs, batch, metrics)
    assert all(value.device.type == "cuda" and value.dim() == 0 for value in [*metrics.values(), *found.values()])
    return found


@pytest.mark.parametrize("phase", [1, 2])
def test_a_training_step_never_waits_for_the_gpu(ready: Source, phase: int, fake: FakeTensorMode) -> None:
    expected = LOSSES[ready.method][phase - 1]
    if "mask" in ready.images and ready.method != "privhead-paper":
        expected = expected | {"mask"}
    assert set(losses(ready, phase, fake)) == expected


def to_cpu(model: PrivheadModel) -> None:
    model.field.aabb = torch.zeros(2, 3)


def colors(change: Callable[[Tensor], Tensor]) -> Callable[[PrivheadModel], object]:
    """Puts something in the way of the colours."""

    def plant(model: PrivheadModel) -> None:
        before = model.field.appearance

        def appearance(*args: Any) -> Any:
            color, magnitude = before(*args)
            return change(color), magnitude

        model.field.appearance = appearance  # type: ignore[method-assign]

    return plant


@pytest.mark.parametrize("capture", [True], ids=["masks"], indirect=True)
@pytest.mark.parametrize(
    ("plant", "error"),
    [
        (to_cpu, FakeTensorDeviceMismatchError),
        (colors(lambda x: x * torch.tensor([3.0])), FakeTensorDeviceMismatchError),
        (colors(lambda x: x * torch.tensor([3.0], device=x.device)), TransferError),
        (colors(lambda x: x[torch.zeros(len(x), dtype=torch.long)]), TransferError),
        (colors(lambda x: x * x.cpu().to(x.device)), TransferError),
        (colors(lambda x: x * (x[x > 0].sum() > 0)), DynamicOutputShapeException),
        (colors(lambda x: x / float(x.max().detach())), DataDependentOutputException),
        (colors(lambda x: x if torch.isfinite(x).all() else 0 * x), DataDependentOutputException),
    ],
    ids=["buffer", "constant", "copy", "index", "round trip", "boolean index", "float", "branch"],
)
def test_a_planted_wait_is_found(
    plant: Callable[[PrivheadModel], object], error: type[Exception], capture: Path, fake: FakeTensorMode
) -> None:
    with pytest.raises(error):
        losses(source("privhead", capture), 2, fake, plant)


@pytest.mark.parametrize("view", [0, 1], ids=["neutral", "protected"])
def test_evaluation_pictures(ready: Source, view: int, fake: FakeTensorMode, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Nerfstudio makes them: rays and views from the CPU, and numbers for the writer at last."""
    devices: list[str] = []
    monkeypatch.setattr(model_module, "float", lambda value: devices.append(value.device.type) or 0.5, raising=False)
    rays, batch = ready.views[view]
    model = deepcopy(ready.model).eval()
    with fake:
        model.to("cuda")
        outputs = model.get_outputs_for_camera_ray_bundle(rays)
        metrics, images = model.get_image_metrics_and_images(outputs, batch)
    assert {"normals", "rgb", "depth", "accumulation", "magnitude"} == set(outputs)
    assert all(value.shape[:2] == (SIZE, SIZE) for value in outputs.values())
    assert devices == ["cuda"] * len(metrics)
    assert ("psnr" in metrics) is (view == 0)
    assert all(image.dim() == 3 for image in images.values())


@pytest.mark.parametrize("phase", [1, 2])
def test_half_precision_does_not_break_a_step(capture: Path, phase: int) -> None:
    """On the CPU, with gradients; the trainer refuses it, for the signed distance needs more digits."""
    ready = source("privhead", capture)
    model, draws = deepcopy((ready.model.train(), ready.draws))
    model.set_schedule(ready.schedule.weights(phase - 1), ready.schedule.beta(phase - 1))
    draws.phase = phase
    batch = draws.sample(ready.images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model.get_loss_dict(model(ready.generator(batch["indices"])), batch)
    torch.stack(list(found.values())).sum().backward()
    assert all(torch.isfinite(value) for value in found.values())


def test_the_loss_is_looked_at_every_few_steps_only(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = PrivheadTrainer.__new__(PrivheadTrainer)
    trainer.checkpoint_dir = Path("nowhere")
    monkeypatch.setattr(Trainer, "train_iteration", lambda self, step: (torch.tensor(torch.nan), {}, {}))
    for step in (1, 2, FINITE_LOSS_INTERVAL - 1):
        trainer.train_iteration(step)
    with pytest.raises(UserError, match="The loss became nan by step"):
        trainer.train_iteration(FINITE_LOSS_INTERVAL)
