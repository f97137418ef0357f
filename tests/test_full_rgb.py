"""Full RGB, which benchmarks compare with: it needs the photographs, and sees their colours in all views."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from raw_folder import edit, write_raw_capture

from privhead_ns.benchmark.full_rgb import FullRgbDataManagerConfig, FullRgbDataParserConfig
from privhead_ns.capture.protect import protect
from privhead_ns.capture.raw import load_raw_capture, read_image
from privhead_ns.errors import UserError
from privhead_ns.operators import OperatorConfig


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A raw capture and its protected one."""
    folder = tmp_path_factory.mktemp("full_rgb")
    raw = write_raw_capture(folder / "raw")
    protect(raw, folder / "protected", OperatorConfig())
    return raw, folder / "protected"


def test_the_oracle_refuses_without_the_photographs(small: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match="benchmarks only"):
        FullRgbDataParserConfig().check(small[1])


def test_the_oracle_refuses_photographs_of_another_capture(small: tuple[Path, Path], tmp_path: Path) -> None:
    other = write_raw_capture(tmp_path / "other")
    edit(other, lambda content: content["frames"].reverse())
    with pytest.raises(UserError, match="cameras differ"):
        FullRgbDataParserConfig(photographs=other).check(small[1])


def test_the_oracle_sees_the_colours_of_all_views(small: tuple[Path, Path]) -> None:
    raw, protected = small
    config = FullRgbDataManagerConfig(data=protected)
    config.dataparser.photographs = raw
    dataset = config.setup(device="cpu").train_dataset
    for index, frame in enumerate(load_raw_capture(raw).frames):
        data = dataset[index]
        photograph, inside = read_image(frame)[0] / 255, data["mask"].numpy()
        assert not data["protected"]
        np.testing.assert_allclose(data["image"].numpy() * inside, photograph * inside, atol=1e-2)
