"""Faces on other people's pictures: what a swap changes, and how often recognisers fall for it."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.path import Path as Outline
from PIL import Image
from rich.console import Console
from scipy.spatial import ConvexHull

from privhead_ns.audit import deepfake
from privhead_ns.audit.faces import describe
from privhead_ns.audit.heads import Head
from privhead_ns.audit.learned_swap import OnnxSwapper
from privhead_ns.audit.off_the_shelf import PROTECTED, RAW, Gallery
from privhead_ns.audit.onnx_file import inputs_and_last_initializer
from privhead_ns.audit.recogniser import OnnxRecogniser
from privhead_ns.audit.report import Verdict, write_report
from privhead_ns.audit.swap import Target, Warp, swapped
from privhead_ns.capture.camera import Intrinsics, PosedCamera
from privhead_ns.errors import UserError

QUIET = Console(file=io.StringIO())
SIZE = 256
MEAN = (  # GlobalAveragePool and Flatten of a (1, 3, 112, 112) input
    "CAgSADphChkKAXgSAXAiEUdsb2JhbEF2ZXJhZ2VQb29sCg8KAXASAXkiB0ZsYXR0ZW4SAWdaGwoBeBIWChQIARIQCgIIAQoCCAMKAghwCgII"
    "cGITCgF5Eg4KDAgBEggKAggBCgIIA0IECgAQDQ=="
)
COLOUR = (  # 0 * target + source, of target (1, 3, 8, 8) and source (1, 3)
    "CAYSADrlAQoWCgZ0YXJnZXQKBHplcm8SAXQiA011bAojCgZzb3VyY2USAXUiCVVuc3F1ZWV6ZSoLCgRheGVzQAKgAQcKHgoBdRIBdiIJVW5zcXVl"
    "ZXplKgsKBGF4ZXNAA6ABBwoQCgF0CgF2EgNvdXQiA0FkZBIBZyoWCAEIAQgBCAEQAUIEemVyb0oEAAAAAFogCgZ0YXJnZXQSFgoUCAESEAoCCAEK"
    "AggDCgIICAoCCAhaGAoGc291cmNlEg4KDAgBEggKAggBCgIIA2IdCgNvdXQSFgoUCAESEAoCCAEKAggDCgIICAoCCAhCBAoAEAs="
)


def face(shift: float = 0.0, width: float = 1.0) -> np.ndarray:
    """Returns 68 landmarks of an oval face, as shares of a picture's sides."""
    angles = np.linspace(0, 2 * np.pi, 27, endpoint=False)
    oval = np.stack([0.25 * np.cos(angles), 0.3 * np.sin(angles)], axis=1)
    points = np.concatenate([oval, np.random.default_rng(0).uniform(-0.15, 0.15, (41, 2))])
    points[30], points[48], points[54] = (0, 0.02), (-0.07, 0.15), (0.07, 0.15)
    points[36:42], points[42:48] = ((sign * 0.09, -0.07) + 0.05 * oval[:24:4] for sign in (-1, 1))
    return 0.5 + points * (width, 1) + np.array([shift, 0.3 * shift])


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def test_a_face_swapped_onto_itself_is_the_same() -> None:
    picture = noise(0)
    target = Target(picture, face())
    result = swapped(Warp(), picture, face(), target)
    assert np.abs(result.astype(int) - picture).max() <= 1


def test_a_swap_moves_landmarks_to_the_targets() -> None:
    for number in (30, 36, 45, 48, 54):
        x, y = face()[number] * SIZE
        columns, rows = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
        spot = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8)
        source = np.repeat(spot[..., None], 3, axis=2).astype(np.uint8)
        there = face(0.05, 0.8)
        result = swapped(Warp(), source, face(), Target(np.zeros_like(source), there))[..., 0].astype(float)
        found = np.array([(columns * result).sum(), (rows * result).sum()]) / result.sum()
        assert found == pytest.approx(there[number] * SIZE, abs=1)


def test_nothing_outside_the_convex_hull_of_the_landmarks_changes() -> None:
    picture, landmarks = noise(1), face(0.05, 0.8)
    result = swapped(Warp(), noise(0), face(), Target(picture, landmarks))
    outline = landmarks[ConvexHull(landmarks).vertices] * SIZE
    pixels = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), axis=-1).reshape(-1, 2)
    inside = Outline(outline).contains_points(pixels).reshape(SIZE, SIZE)
    changed = (result != picture).any(axis=2)
    assert not changed[~inside].any()
    assert changed[inside].mean() > 0.8


def test_blending_keeps_the_colours_of_the_picture_and_the_detail_of_the_layer() -> None:
    picture = noise(2) // 2
    target = Target(picture, face())
    np.testing.assert_array_equal(target.blend(picture + np.uint8(60)), picture)
    dark = target.blend(np.zeros_like(picture))[target.inside]
    outline = picture[target.hull & ~target.inside]
    assert outline.min() <= dark.min() and dark.max() <= outline.max(), "a harmonic function has no maximum inside"


def test_a_face_that_reaches_beyond_the_picture_is_cut() -> None:
    target = Target(noise(3), face(0.4))
    assert target.hull[:, -1].any() and not target.inside[:, -1].any()
    swapped(Warp(), noise(4), face(), target)


class Nose:
    """Knows a head by how bright its nose is against the picture's corner; sees no face in flat pictures."""

    name, threshold = "nose", 0.1

    def faces(self, image: np.ndarray) -> list[np.ndarray]:
        return [] if (image == image[0, 0]).all() else [face()]

    def embed(self, image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        x, y = (landmarks[30] * image.shape[1]).round().astype(int)
        return (image[y, x, :1].astype(float) - image[0, 0, :1]) / 255

    def distance(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.abs(one - other.T)


def photograph(contrast: int) -> np.ndarray:
    """Returns a grey picture with a nose of another brightness."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    x, y = face()[30] * SIZE
    nose = (columns - x) ** 2 + (rows - y) ** 2 < 15**2
    return np.repeat(np.where(nose, 120 + contrast, 120)[..., None], 3, axis=2).astype(np.uint8)


def head(name: str, contrast: int) -> Head:
    empty = np.zeros((3, 8, 8), dtype=np.float32)
    cameras = (PosedCamera(np.eye(4), Intrinsics(8, 8, 8.0, 8.0, 4.0, 4.0)),) * 3
    return Head(name, (0, 1, 2), cameras, [photograph(contrast)] * 3, empty[..., None].repeat(3, axis=-1), empty, 1.0)


def gallery(heads: list[Head]) -> Gallery:
    places = [[face()] * len(one.photographs) for one in heads]
    faces = [describe(Nose(), one.photographs, place) for one, place in zip(heads, places, strict=True)]
    return Gallery(Nose(), places, faces)


def test_a_recogniser_counts_whom_it_sees(tmp_path: Path) -> None:
    heads = [head("subject", 100), head("dark", -120), head("plain", 10)]
    sources = {RAW: heads[0].photographs, PROTECTED: [photograph(0)] * 3}
    [result] = deepfake.attack([gallery(heads)], sources, heads, [Warp()], QUIET)
    unswapped, photographs, protected = result.rows.values()
    assert list(result.rows) == [deepfake.UNSWAPPED, f"{RAW}, warped", f"{PROTECTED}, warped"]
    assert photographs["faces"] == unswapped["faces"] == 6, "three views on pictures of two people"
    assert photographs["detected"] == 1 and protected["detected"] == 0
    assert photographs["rank-1"] == photographs["matched"] == photographs["nearer than target"] == 1
    assert unswapped["rank-1"] == unswapped["matched"] == unswapped["nearer than target"] == 0
    assert protected["rank-1"] == 0 and protected["nearer than target"] == 0.5, "nearer than dark, not than plain"
    assert photographs["distance, same"] == pytest.approx(0, abs=0.01)
    assert result.recognition == 0, "what counts is what leaves the machine"
    assert "100 % (photographs, warped)" in result.sentence
    write_report(tmp_path / "report", [Verdict("nose", 0.1, [result], 0.5)], {})
    assert Image.open(tmp_path / "report" / "deepfake.png").size[0] > 500


def test_swaps_are_compared_neither_with_their_source_nor_with_their_target() -> None:
    heads = [head("subject", 100), head("other", -60), head("third", 0)]
    swaps = deepfake.Swaps([deepfake.Pair(0, 1, 2, 0.0)], [np.zeros(1)])
    tables = deepfake.compare(gallery(heads), swaps)
    assert [np.isinf(table[0]).tolist() for table in tables] == [
        [True, False, False],
        [False, False, True],
        [True, False, False],
    ]


def test_each_view_is_laid_on_the_pictures_that_fit_best(monkeypatch: pytest.MonkeyPatch) -> None:
    moved, wide, profile = face(0.1), face(width=1.3), face(width=0.4)
    [pair, _] = deepfake.choose([[face()], [None, profile, moved], [wide, profile]], noise(0))
    assert (pair.head, pair.target) == (1, 2) and pair.misfit == pytest.approx(0, abs=1e-9)
    monkeypatch.setattr(deepfake, "PEOPLE", 1)
    assert deepfake.choose([[None, face()], [wide], [moved], []], noise(0)) == [deepfake.Pair(1, 2, 0, pair.misfit)]


def test_without_other_people_it_says_what_is_missing() -> None:
    heads = [head("subject", 100)]
    [result] = deepfake.attack([gallery(heads)], {RAW: heads[0].photographs}, heads, [Warp()], QUIET)
    assert result.recognition is None and "--others" in result.sentence


def message(number: int, content: bytes) -> bytes:
    """Returns a field of a protocol buffer that holds less than 128 bytes."""
    return bytes([number << 3 | 2, len(content)]) + content


def network(path: Path, mapping: np.ndarray) -> Path:
    """Writes a swapper that paints the source's numbers, with a last initializer."""
    rows, columns = mapping.shape
    raw = message(9, mapping.astype("<f4").tobytes())
    tensor = bytes([1 << 3, rows, 1 << 3, columns, 2 << 3, 1]) + message(8, b"emap") + raw
    path.write_bytes(base64.b64decode(COLOUR) + message(7, message(5, tensor)))
    return path


def test_a_swapper_of_the_users_gets_the_embedding_that_it_wants(tmp_path: Path) -> None:
    (tmp_path / "mean.onnx").write_bytes(base64.b64decode(MEAN))
    recogniser = OnnxRecogniser(tmp_path / "mean.onnx", 0.5, Nose())
    path = network(tmp_path / "swap.onnx", np.array([(0.0, 1.0, 0.0), (-0.5, 0.0, 0.0), (0.0, 0.0, -0.25)]))
    inputs, mapping = inputs_and_last_initializer(path)
    assert inputs == {"target": (1, 3, 8, 8), "source": (1, 3)}
    assert mapping.tolist() == [[0, 1, 0], [-0.5, 0, 0], [0, 0, -0.25]]
    swapper = OnnxSwapper(path, [Nose(), recogniser])
    red = np.full((SIZE, SIZE, 3), (255, 0, 0), dtype=np.uint8)  # embedded as (1, -1, -1)
    layer = swapper.face(red, face(), Target(noise(5), face()))
    expected = np.array([0.5, 1, 0.25]) / np.linalg.norm([0.5, 1, 0.25])
    assert layer.shape == (SIZE, SIZE, 3)
    np.testing.assert_allclose(layer.reshape(-1, 3) / 255, np.broadcast_to(expected, (SIZE**2, 3)), atol=0.005)


def test_a_swapper_that_does_not_fit_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "mean.onnx").write_bytes(base64.b64decode(MEAN))
    recogniser = OnnxRecogniser(tmp_path / "mean.onnx", 0.5, Nose())
    with pytest.raises(UserError, match="There is no file"):
        OnnxSwapper(tmp_path / "none.onnx", [recogniser])
    (tmp_path / "text.onnx").write_bytes(b"not a network")
    with pytest.raises(UserError, match="cannot load"):
        OnnxSwapper(tmp_path / "text.onnx", [recogniser])
    with pytest.raises(UserError, match="no initializer"):
        OnnxSwapper(tmp_path / "mean.onnx", [recogniser])
    with pytest.raises(UserError, match=r"takes target 1x3x8x8, source 1x3 and ends with an initializer of 3x2"):
        OnnxSwapper(network(tmp_path / "narrow.onnx", np.zeros((3, 2))), [recogniser])
    fitting = network(tmp_path / "swap.onnx", np.eye(3))
    with pytest.raises(UserError, match=r"needs embeddings of 3 numbers, and no network of --onnx"):
        OnnxSwapper(fitting, [Nose()])
