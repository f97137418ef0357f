"""Settings and checkpoints that ask for more memory than there is are refused before any of it is taken."""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fuzz import within_seconds
from nerfstudio.configs.method_configs import all_methods
from raw_folder import write_raw_capture

from privhead_ns.capture.protect import protect
from privhead_ns.checkpoint import EXTRA_STATE, write_checkpoint
from privhead_ns.config_file import read_config_file
from privhead_ns.errors import UserError
from privhead_ns.forget import forget
from privhead_ns.limits import BOUNDS, check_grid, check_settings
from privhead_ns.mesh.export import export_mesh
from privhead_ns.operators import OperatorConfig
from privhead_ns.trainer import PrivheadTrainer

METHODS = ("privhead", "privhead-rgb", "privhead-paper")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """config.yml of a run with one checkpoint."""
    folder = tmp_path_factory.mktemp("limits")
    protect(write_raw_capture(folder / "raw"), folder / "protected", OperatorConfig())
    settings: Any = deepcopy(all_methods["privhead"])
    settings.pipeline.datamanager.data = folder / "protected"
    settings.output_dir, settings.vis, settings.machine.device_type = folder / "outputs", "tensorboard", "cpu"
    settings.experiment_name = settings.timestamp = "x"
    settings.pipeline.model.max_voxels = 20_000
    settings.save_config()
    trainer: PrivheadTrainer = settings.setup(local_rank=0, world_size=1)
    trainer.setup()
    trainer.save_checkpoint(0)
    return trainer.base_dir / "config.yml"


@pytest.mark.parametrize("method", METHODS)
def test_our_own_settings_are_within_bounds(method: str) -> None:
    check_settings(all_methods[method].pipeline)


def test_every_bound_is_of_a_setting_that_there_is() -> None:
    pipelines = [all_methods[method].pipeline for method in METHODS]
    for place, bounds in BOUNDS.items():
        for name, (low, high) in bounds.items():
            found = 0
            for pipeline in deepcopy(pipelines):
                owner: Any = pipeline
                for part in place.split("."):
                    owner = getattr(owner, part, None)
                if hasattr(owner, name):
                    found += 1
                    for value in (low - 1, high + 1, 10**400, -(10**400)):
                        object.__setattr__(owner, name, value)
                        with pytest.raises(UserError, match=f"^--pipeline.{place}.{name}".replace("_", "[-_]")):
                            check_settings(pipeline)
            assert found, f"{place}.{name}"


@pytest.mark.parametrize(
    ("name", "value"),
    [("hidden_units", "1000000000"), ("num_samples", "1000000000"), ("max_voxels", "1000000000000"),
     ("feature_channels", "1000000"), ("voxel_size", "1.0e-09"), ("voxel_size", ".nan"), ("hidden_units", "9" * 400),
     ("patches", "1000000000")],
)  # fmt: skip
def test_a_config_that_asks_for_too_much(config: Path, name: str, value: str) -> None:
    text = config.read_text()
    try:
        config.write_text(re.sub(rf"\b{name}: .*", f"{name}: {value}", text, count=1))
        assert config.read_text() != text
        for use in (lambda: export_mesh(config, config.with_name("x.ply"), 16, False), lambda: forget(config)):
            with (
                within_seconds(10),
                pytest.raises(UserError, match=rf"config\.yml: pipeline\..*\.{name} must lie between"),
            ):
                use()
        loaded = read_config_file(config)
        loaded.timestamp = "again"
        with within_seconds(10), pytest.raises(UserError, match=r"^--pipeline\..* must lie between"):
            loaded.save_config()
    finally:
        config.write_text(text)
    assert {path.name for path in config.parent.parent.iterdir()} == {"x"}
    assert not config.with_name("x.ply").exists()


@pytest.mark.parametrize(
    ("method", "changes", "flags"),
    [
        ("privhead", {"pixels.neutral_rays": 65_000, "model.num_samples": 1024}, "neutral-rays, .*num-samples"),
        ("privhead", {"pixels.neutral_rays_in_phase2": 65_000, "model.hidden_units": 2048}, "phase2, .*hidden-units"),
        ("privhead", {"pixels.patches": 64, "pixels.patch_size": 32, "model.num_samples": 999}, "patches, .*size"),
        ("privhead", {"model.eval_num_rays_per_chunk": 10**6, "model.num_coarse_samples": 1000}, "rays-per-chunk, "),
        ("privhead-rgb", {"pixels.neutral_rays_in_phase2": 65_000, "model.num_samples": 1024}, "num-samples"),
        ("privhead-paper", {"pixels.neutral_rays": 20_000}, "neutral-rays, .*sampler.initial"),
        ("privhead-paper", {"sampler.rounds": 100, "sampler.added": 1000}, "sampler.rounds"),
    ],
)  # fmt: skip
def test_rays_and_samples_that_are_too_many_together(
    config: Path, method: str, changes: dict[str, int], flags: str
) -> None:
    for share in (0.1, 1):
        settings: Any = deepcopy(all_methods[method])
        settings.pipeline.datamanager.data = read_config_file(config).pipeline.datamanager.data
        for name, value in changes.items():
            place, _, name = name.partition(".")
            model, pixels = settings.pipeline.model, settings.pipeline.datamanager.pixel_sampler
            if place == "sampler":
                model.sampler = replace(model.sampler, **{name: int(value * share)})
            else:
                setattr(model if place == "model" else pixels, name, int(value * share))
        if share < 1:
            check_settings(settings.pipeline)
    settings.output_dir = config.parent / "never"
    with pytest.raises(UserError, match=rf"^[\d,]+ rays .* more memory than machines have: reduce .*{flags}.*\.$"):
        settings.save_config()
    assert not settings.output_dir.exists()
    with pytest.raises(UserError, match=rf"^x/config\.yml: .* reduce some of pipeline\.{'.*'}_"):
        check_settings(settings.pipeline, Path("x/config.yml"))


def test_a_checkpoint_with_a_thin_box(config: Path) -> None:
    path = config.parent / "nerfstudio_models" / "step-000000000.ckpt"
    content = torch.load(path, weights_only=True)
    content["pipeline"][EXTRA_STATE]["capture"]["aabb"] = [[-0.5, -0.5, 0.0], [0.5, 0.5, 1e-12]]
    content["pipeline"][EXTRA_STATE]["capture"]["pixel_size"] = 1e-12
    write_checkpoint(content, path)
    with within_seconds(10), pytest.raises(UserError, match=r"A voxel grid of .* points would be larger than 6e\+07"):
        export_mesh(config, config.with_name("x.ply"), 16, False)


def test_a_grid_of_the_largest_setting_is_allowed() -> None:
    check_grid((369, 369, 369))
    with pytest.raises(UserError, match="A voxel grid of 400 x 400 x 400 points"):
        check_grid((400, 400, 400))
