"""Training in a frame of its own: neither the capture's unit nor its place matters."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from raw_folder import write_raw_capture

from privhead_ns.capture.protect import protect
from privhead_ns.data.dataparser import PrivheadDataParserConfig
from privhead_ns.data.description import describe, restore
from privhead_ns.data.frame import TrainingFrame
from privhead_ns.operators import OperatorConfig


def outputs_of(folder: Path, unit: float, place: float) -> DataparserOutputs:
    """Returns what training gets of a capture in another unit and at another place."""
    raw = write_raw_capture(folder / "raw")
    path = raw / "transforms.json"
    content = json.loads(path.read_text())
    for frame in content["frames"]:
        pose = np.array(frame["transform_matrix"])
        pose[:3, 3] = pose[:3, 3] * unit + place * unit
        frame["transform_matrix"] = pose.tolist()
    path.write_text(json.dumps(content))
    protect(raw, folder / "protected", OperatorConfig())
    return PrivheadDataParserConfig(data=folder / "protected").setup().get_dataparser_outputs("train")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> DataparserOutputs:
    return outputs_of(tmp_path_factory.mktemp("first"), 1.0, 0.0)


@pytest.mark.parametrize(
    ("unit", "place"), [(1e-3, 0.0), (0.185, 30.0), (185.0, 1e6), (1000.0, 0.0), (1e-3, 1e6), (1000.0, 1e6)]
)
def test_training_sees_the_same_in_any_unit_and_place(
    tmp_path: Path, first: DataparserOutputs, unit: float, place: float
) -> None:
    other = outputs_of(tmp_path, unit, place)
    torch.testing.assert_close(other.cameras.camera_to_worlds, first.cameras.camera_to_worlds, atol=2e-5, rtol=0)
    torch.testing.assert_close(other.scene_box.aabb, first.scene_box.aabb, atol=2e-5, rtol=0)
    assert other.metadata["pixel_size"] == pytest.approx(first.metadata["pixel_size"], rel=1e-4)
    assert float((first.scene_box.aabb[1] - first.scene_box.aabb[0]).max()) == pytest.approx(1)


def test_the_frame_goes_there_and_back(tmp_path: Path) -> None:
    outputs = outputs_of(tmp_path, 2.0, 5.0)
    frame: TrainingFrame = outputs.metadata["frame"]
    points = np.random.default_rng(0).normal(size=(10, 3))
    np.testing.assert_allclose(frame.to_capture(frame.to_training(points)), points)
    metadata, box = restore(describe(outputs.metadata, outputs.scene_box))
    assert metadata["frame"] == frame
    torch.testing.assert_close(box.aabb, outputs.scene_box.aabb)
