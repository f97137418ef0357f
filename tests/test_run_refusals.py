"""What training refuses before anything is made, and a full disk."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from nerfstudio.configs.base_config import ViewerConfig
from raw_folder import write_raw_capture
from small_runs import small_config, start

from privhead_ns.capture.protect import protect
from privhead_ns.errors import UserError
from privhead_ns.operators import OperatorConfig
from privhead_ns.trainer import PrivheadTrainerConfig


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A protected capture without masks."""
    folder = tmp_path_factory.mktemp("refusals")
    protect(write_raw_capture(folder / "raw", masks=False), folder / "protected", OperatorConfig())
    return folder / "protected"


def cloud(config: PrivheadTrainerConfig, _: Path) -> None:
    config.vis = "viewer+wandb"


def shared(config: PrivheadTrainerConfig, _: Path) -> None:
    config.viewer.make_share_url = True


def mixed(config: PrivheadTrainerConfig, _: Path) -> None:
    config.mixed_precision = True


def parallel(config: PrivheadTrainerConfig, _: Path) -> None:
    config.machine.num_devices = 2


def traced(config: PrivheadTrainerConfig, _: Path) -> None:
    config.logging.profiler = "pytorch"


def empty(config: PrivheadTrainerConfig, folder: Path) -> None:
    config.load_dir = folder


def missing(config: PrivheadTrainerConfig, folder: Path) -> None:
    config.load_checkpoint = folder / "step-000000001.ckpt"


def blocked(config: PrivheadTrainerConfig, folder: Path) -> None:
    (folder / "file").touch()
    config.output_dir = folder / "file" / "outputs"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (cloud, "--vis viewer.wandb uploads .* --allow-cloud-logging"),
        (shared, "--viewer.make-share-url .* --allow-cloud-logging"),
        (mixed, "leave --mixed-precision out"),
        (parallel, "trained on one device: leave --machine.num-devices .* `privhead batch`"),
        (traced, "profiler pytorch"),
        (empty, "There is no checkpoint in"),
        (missing, "There is no file .*ckpt"),
        (blocked, "could not be written"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_made(
    capture: Path, tmp_path: Path, change: Callable[[PrivheadTrainerConfig, Path], None], sentence: str
) -> None:
    config = small_config(capture, tmp_path / "outputs")
    change(config, tmp_path)
    with pytest.raises(UserError, match=sentence):
        config.save_config()
    assert not (tmp_path / "outputs").exists()


def test_no_viewer_put_in_later_has_a_public_address(capture: Path, tmp_path: Path) -> None:
    config = small_config(capture, tmp_path)
    with pytest.raises(UserError, match=r"--viewer\.make-share-url"):
        config.viewer = ViewerConfig(make_share_url=True)


def test_cloud_loggers_run_if_a_flag_says_so(capture: Path, tmp_path: Path) -> None:
    config = small_config(capture, tmp_path)
    config.vis, config.allow_cloud_logging = "wandb", True
    config.save_config()


def test_a_full_disk_is_told_in_a_sentence_and_leaves_no_half_checkpoint(capture: Path, tmp_path: Path) -> None:
    trainer = start(small_config(capture, tmp_path))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(UserError, match=r"step-000000000\.ckpt could not be written"):
            trainer.save_checkpoint(0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    left = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert ".yml" in left and not {".ckpt", ".part"} & left
