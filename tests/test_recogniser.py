"""Recognisers: what faces they are shown, and files that are none."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
from toy_recogniser import LANDMARKS, Toy

from privhead_ns.audit.recogniser import DlibRecogniser, OnnxRecogniser, aligned
from privhead_ns.errors import UserError


def test_aligned_faces_have_eyes_and_nose_where_networks_expect_them() -> None:
    image = np.zeros((100, 100, 3), dtype=np.uint8)
    image[57:60, 49:52] = 255
    chip = aligned(image, LANDMARKS, 112)
    y, x = np.argwhere(chip[..., 0] > 200).mean(axis=0)
    assert (x, y) == pytest.approx((56.0, 71.7), abs=2)


def test_without_the_extra_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install \"\.\[audit\]\""):
        DlibRecogniser()


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no file"):
        OnnxRecogniser(tmp_path / "arcface.onnx", 0.5, Toy())
    (tmp_path / "arcface.onnx").write_bytes(b"not a network")
    with pytest.raises(UserError, match="cannot run"):
        OnnxRecogniser(tmp_path / "arcface.onnx", 0.5, Toy())


def test_an_onnx_network_sees_the_aligned_face_in_red_green_and_blue(tmp_path: Path) -> None:
    mean_colour = (  # GlobalAveragePool and Flatten of a (1, 3, 112, 112) input
        "CAgSADphChkKAXgSAXAiEUdsb2JhbEF2ZXJhZ2VQb29sCg8KAXASAXkiB0ZsYXR0ZW4SAWdaGwoBeBIWChQIARIQCgIIAQoCCAMKAghwCgII"
        "cGITCgF5Eg4KDAgBEggKAggBCgIIA0IECgAQDQ=="
    )
    (tmp_path / "mean.onnx").write_bytes(base64.b64decode(mean_colour))
    recogniser = OnnxRecogniser(tmp_path / "mean.onnx", 0.5, Toy())
    assert recogniser.name == "mean" and len(recogniser.faces(np.eye(100)[..., None] * (1, 2, 3))) == 1
    red, teal = (np.full((100, 100, 3), colour, dtype=np.uint8) for colour in ((255, 0, 0), (0, 255, 255)))
    small = 0.5 + 0.5 * (LANDMARKS - 0.5)  # a face well within the image
    embeddings = np.stack([recogniser.embed(image, small) for image in (red, teal)])
    np.testing.assert_allclose(embeddings, [(1, -1, -1), (-1, 1, 1)], atol=1e-6)
    np.testing.assert_allclose(recogniser.distance(embeddings, embeddings), [(0, 2), (2, 0)], atol=1e-6)


def test_an_onnx_network_that_starts_with_arithmetic_sees_values_up_to_255(tmp_path: Path) -> None:
    less_100 = (  # Sub of 100, then GlobalAveragePool and Flatten, of a (1, 3, 112, 112) input
        "CAgSADqAAQoOCgF4CgFhEgFzIgNTdWIKGQoBcxIBcCIRR2xvYmFsQXZlcmFnZVBvb2wKDwoBcBIBeSIHRmxhdHRlbhIBZyoNCAEQASIEAADI"
        "QkIBYVobCgF4EhYKFAgBEhAKAggBCgIIAwoCCHAKAghwYhMKAXkSDgoMCAESCAoCCAEKAggDQgQKABAN"
    )
    (tmp_path / "less.onnx").write_bytes(base64.b64decode(less_100))
    orange = np.full((100, 100, 3), (255, 100, 0), dtype=np.uint8)
    embedding = OnnxRecogniser(tmp_path / "less.onnx", 0.5, Toy()).embed(orange, 0.5 + 0.5 * (LANDMARKS - 0.5))
    np.testing.assert_allclose(embedding, (155, 0, -100), atol=1e-4)
