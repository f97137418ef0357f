"""Every mistake gets one sentence that names the file or flag, and leaves nothing behind."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from raw_folder import SIZE, disc, edit, photograph, write_raw_capture

from privhead_ns.capture.protect import protect
from privhead_ns.capture.protected import load_protected_capture
from privhead_ns.errors import UserError
from privhead_ns.operators import OperatorConfig


def top(**values: Any) -> Callable[[Path], None]:
    """A mistake in the top level of transforms.json."""
    return lambda folder: edit(folder, lambda content: content.update(values))


def frame(**values: Any) -> Callable[[Path], None]:
    """A mistake in the third frame."""
    return lambda folder: edit(folder, lambda content: content["frames"][2].update(values))


def without(key: str) -> Callable[[Path], None]:
    return lambda folder: edit(folder, lambda content: content.pop(key))


def pose(change: Callable[[np.ndarray], Any]) -> Callable[[Path], None]:
    def mistake(content: dict[str, Any]) -> None:
        matrix = np.array(content["frames"][2]["transform_matrix"])
        change(matrix)
        content["frames"][2]["transform_matrix"] = matrix.tolist()

    return lambda folder: edit(folder, mistake)


def write(name: str, content: bytes) -> Callable[[Path], None]:
    def mistake(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return mistake


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def truncate(name: str) -> Callable[[Path], None]:
    def mistake(folder: Path) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return mistake


def draw(name: str, pixels: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: Image.fromarray(pixels).save(folder / name)


def masks_in_the_corner(folder: Path) -> None:
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[:2, :2] = 255
    for path in (folder / "masks").iterdir():
        Image.fromarray(mask).save(path)


RAW_MISTAKES = {
    "no transforms.json": (remove("transforms.json"), "transforms.json"),
    "broken transforms.json": (write("transforms.json", b'{"frames": ['), "transforms.json"),
    "binary transforms.json": (write("transforms.json", b"\xff\xfe\x00"), "transforms.json"),
    "transforms.json is a list": (write("transforms.json", b"[]"), "transforms.json"),
    "no frames": (top(frames=[]), "transforms.json lists no frames"),
    "a frame without a file": (frame(file_path=None), "frame number 2"),
    "image missing": (remove("images/view_2.png"), r"images/view_2\.png"),
    "mask missing": (remove("masks/view_3.png"), r"masks/view_3\.png"),
    "image truncated": (truncate("images/view_2.png"), r"images/view_2\.png.*as PNG.*truncated"),
    "image in HEIC": (
        write("images/view_2.png", b"\0\0\0\x18ftypheic" + bytes(99)),
        r"view_2\.png cannot be decoded as HEIC",
    ),
    "image in GIF": (write("images/view_2.png", b"GIF89a" + bytes(99)), r"view_2\.png.*GIF; convert it"),
    "image of nothing": (write("images/view_2.png", b""), r"view_2\.png is an empty file"),
    "image of unknown bytes": (write("images/view_2.png", b"abcd" * 9), r"view_2\.png.*unknown format; convert it"),
    "image with floats": (
        lambda folder: Image.fromarray(disc().astype(np.float32)).save(folder / "images/view_2.png", "TIFF"),
        r"view_2\.png.*floating-point",
    ),
    "images missing": (
        lambda folder: [path.unlink() for path in (folder / "images").iterdir()],
        r"view_0\.png, .*view_4\.png and 1 more; restore",
    ),
    "mask not an image": (write("masks/view_2.png", b"no image"), r"masks/view_2\.png"),
    "image of another shape": (draw("images/view_4.png", photograph(4)[:20]), r"view_4\.png is 32x20.*32x32.*cropped"),
    "mask of another shape": (draw("masks/view_4.png", disc()[:20]), r"masks/view_4\.png is 32x20.*32x32"),
    "mask empty": (draw("masks/view_4.png", disc() * 0), r"view_4\.png is empty"),
    "unsure pixels missing": (frame(known_path="known/view_2.png"), r"known/view_2\.png; restore"),
    "unsure pixels no name": (frame(known_path=3), r"view_2\.png: known_path must be"),
    "unsure pixels no shape": (frame(known_path="images/view_2.png"), r"images/view_2\.png, of .*must be a shape"),
    "pose with NaN": (pose(lambda m: m.__setitem__((0, 3), math.nan)), r"view_2\.png.*NaN"),
    "pose not invertible": (pose(lambda m: m.__setitem__((slice(3), slice(3)), 0)), r"view_2\.png.*rotation"),
    "pose mirrored": (pose(lambda m: m.__setitem__((slice(3), 0), -m[:3, 0])), r"view_2\.png.*rotation"),
    "pose scaled": (pose(lambda m: m.__setitem__((slice(3), slice(3)), 2 * m[:3, :3])), r"view_2\.png.*rotation"),
    "pose 2x4": (frame(transform_matrix=np.eye(4)[:2].tolist()), r"view_2\.png.*4x4"),
    "pose of words": (frame(transform_matrix="identity"), r"view_2\.png.*4x4"),
    "pose sheared": (pose(lambda m: m.__setitem__((0, 0), m[0, 0] + 0.05)), r"view_2\.png.*rotation"),
    "focal length zero": (top(fl_x=0), "fl_x"),
    "focal length negative": (frame(fl_y=-3.0), r"view_2\.png: fl_y"),
    "focal length NaN": (top(fl_x=math.nan), "fl_x"),
    "focal length missing": (top(fl_x=None, fl_y=None), "neither fl_x nor camera_angle_x"),
    "fractional width": (top(w=31.5), "w must be a whole number"),
    "distortion infinite": (top(k1=math.inf), "k1"),
    "distortion folding": (top(k1=-30.0), "distortion"),
    "fisheye": (top(camera_model="OPENCV_FISHEYE"), "fisheye.*undistort"),
    "fisheye of instant-ngp": (top(is_fisheye=True), "fisheye.*undistort"),
    "panorama": (top(camera_model="EQUIRECTANGULAR"), "EQUIRECTANGULAR.*only OPENCV"),
    "distortion list too short": (top(distortion_params=[0.1, 0, 0, 0]), "distortion_params must be.*k1, k2, k3, k4"),
    "distortion list of words": (top(distortion_params=["a"] * 6), "distortion_params: k1"),
    "distortion list with k4": (top(distortion_params=[0, 0, 0, 0.1, 0, 0]), "k4, k5 and k6 are not supported"),
    "two distortions": (top(distortion_params=[0.1, 0, 0, 0, 0, 0], k1=0.2), "distortion_params and k1.*disagree"),
    "pinhole with distortion": (top(camera_model="PINHOLE", k1=0.1), "PINHOLE"),
    "protected already": (top(privhead={"format_version": 1}), "protected already"),
    "flag is a word": (frame(sensitive="false"), r"view_2\.png.*'sensitive'"),
    "scale negative": (top(mm_per_unit=-1), "mm_per_unit"),
    "poses and masks disagree": (masks_in_the_corner, "masks.*camera poses.*disagree"),
}


@pytest.mark.parametrize("mistake", RAW_MISTAKES)
def test_bad_raw_capture(tmp_path: Path, mistake: str) -> None:
    spoil, words = RAW_MISTAKES[mistake]
    raw = write_raw_capture(tmp_path / "raw")
    spoil(raw)
    with pytest.raises(UserError, match=words) as error:
        protect(raw, tmp_path / "out", OperatorConfig())
    assert len(str(error.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == [raw]


BAD_OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "none sensitive": ({"neutral": ["images/*"]}, "All 6 frames.*--sensitive"),
    "neutral glob without a match": ({"neutral": ["rear_*"]}, r"--neutral 'rear_\*'"),
    "sensitive glob without a match": ({"sensitive": ["face_*"]}, r"--sensitive 'face_\*'"),
    "allow-face glob without a match": ({"allow_face": ["face_*"]}, r"--allow-face 'face_\*'"),
    "no direction": ({"face_direction": (0.0, 0.0, 0.0)}, "--face-direction"),
    "direction NaN": ({"face_direction": (math.nan, 0.0, 0.0)}, "--face-direction"),
    "angle": ({"face_direction": (1.0, 0.0, 0.0), "neutral_beyond_deg": 200.0}, "--neutral-beyond-deg"),
    "size zero": ({"size": 0}, "--size"),
    "size eaten by the blur": ({"operator": OperatorConfig(blur=6.0)}, "--blur"),
    "unknown operator": ({"operator": OperatorConfig(name="canny")}, "canny"),
    "background": ({"background": (0.0, 0.0, 255.0)}, "--background"),
    "background NaN": ({"background": (0.0, 0.0, math.nan)}, "--background"),
    "box inside out": ({"box": (1.0, 1.0, 1.0, -1.0, -1.0, -1.0)}, "--box"),
}


@pytest.mark.parametrize("mistake", BAD_OPTIONS)
def test_bad_option(tmp_path: Path, mistake: str) -> None:
    options, words = BAD_OPTIONS[mistake]
    raw = write_raw_capture(tmp_path / "raw")
    with pytest.raises(UserError, match=words):
        protect(data=raw, output_dir=tmp_path / "out", **{"operator": OperatorConfig(), **options})
    assert list(tmp_path.iterdir()) == [raw]


def test_output_that_exists_is_left_alone(tmp_path: Path) -> None:
    raw = write_raw_capture(tmp_path / "raw")
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=r"--output-dir .*out exists"):
        protect(raw, tmp_path / "out", OperatorConfig())
    assert not list((tmp_path / "out").iterdir())


def test_output_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    raw = write_raw_capture(tmp_path / "raw")
    with pytest.raises(UserError, match="--output-dir"):
        protect(raw, tmp_path / "missing" / "out", OperatorConfig())
    assert list(tmp_path.iterdir()) == [raw]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A protected capture, to be copied before it is spoilt."""
    folder = tmp_path_factory.mktemp("whole")
    protect(write_raw_capture(folder / "raw"), folder / "out", OperatorConfig())
    return folder / "out"


def about(**values: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder, lambda content: content["privhead"].update(values))


def with_text(folder: Path) -> None:
    path = folder / "protected/002.png"
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "hello")
    with Image.open(path) as image:
        image.load()
        image.save(path, pnginfo=text)


def with_a_tail(folder: Path) -> None:
    path = folder / "protected/002.png"
    path.write_bytes(path.read_bytes() + b"\xff\xd8 a photograph")


def only(kind: str) -> Callable[[Path], None]:
    return lambda folder: edit(
        folder, lambda content: content.update(frames=[f for f in content["frames"] if f["kind"] == kind])
    )


def linked(folder: Path) -> None:
    outside = folder.parent / "outside.png"
    shutil.move(folder / "protected/002.png", outside)
    (folder / "protected/002.png").symlink_to(outside)


PROTECTED_MISTAKES = {
    "no transforms.json": (remove("transforms.json"), "transforms.json"),
    "broken transforms.json": (write("transforms.json", b"{"), "transforms.json"),
    "a raw capture": (without("privhead"), "privhead protect --data .* --output-dir"),
    "a version from the future": (about(format_version=3), "version 3.*upgrade"),
    "no version": (about(format_version=None), "format_version"),
    "no operator": (about(operator=None), "operator"),
    "bad box": (about(aabb=[[1, 1, 1], [0, 0, 0]]), "aabb"),
    "bad background": (about(background=[0, 0, 2]), "background"),
    "maximum zero": (about(magnitude_maximum=0), "magnitude_maximum"),
    "image missing": (remove("protected/002.png"), r"protected/002\.png"),
    "image truncated": (truncate("protected/002.png"), r"protected/002\.png"),
    "mask truncated": (truncate("masks/000.png"), r"masks/000\.png"),
    "not a png": (write("neutral/000.png", b"\xff\xd8\xff jpeg"), r"neutral/000\.png"),
    "protected view has colour": (draw("protected/002.png", photograph(2)), r"protected/002\.png.*16-bit single"),
    "protected view has 8 bits": (draw("protected/002.png", disc()), r"protected/002\.png.*16-bit single"),
    "neutral file listed as protected": (frame(file_path="neutral/000.png"), r"neutral/000\.png.*16-bit single"),
    "metadata": (with_text, r"protected/002\.png.*metadata"),
    "bytes after the image": (with_a_tail, r"protected/002\.png.*bytes after"),
    "wrong size": (draw("protected/002.png", np.zeros((9, 8), np.uint16)), r"protected/002\.png is 8x9.*32x32"),
    "wrong size of a mask": (draw("masks/002.png", disc(8)), r"masks/002\.png is 8x8"),
    "pose with NaN": (pose(lambda m: m.__setitem__((0, 0), math.nan)), "NaN"),
    "focal length zero": (frame(fl_x=0), "fl_x"),
    "unknown kind": (frame(kind="raw"), "kind"),
    "no protected view": (only("neutral"), "no protected view"),
    "a path that climbs out": (frame(file_path="../raw/images/view_2.png"), "outside"),
    "an absolute path": (frame(mask_path="/etc/passwd"), "outside"),
    "a link that leads out": (linked, "outside"),
}


@pytest.mark.parametrize("mistake", PROTECTED_MISTAKES)
def test_bad_protected_capture(tmp_path: Path, whole: Path, mistake: str) -> None:
    spoil, words = PROTECTED_MISTAKES[mistake]
    folder = tmp_path / "out"
    shutil.copytree(whole, folder)
    load_protected_capture(folder)
    spoil(folder)
    with pytest.raises(UserError, match=words) as error:
        load_protected_capture(folder)
    assert len(str(error.value).splitlines()) == 1


def test_nothing_but_what_is_listed_is_opened(tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out"
    shutil.copytree(whole, folder)
    (folder / "images").mkdir()
    Image.fromarray(photograph(2)).save(folder / "images" / "stray.png")
    opened: list[Path] = []
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: opened.append(self) or read(self))
    capture = load_protected_capture(folder)
    listed = {frame.path for frame in capture.frames} | {frame.mask_path for frame in capture.frames}
    assert set(opened) == listed | {folder / "transforms.json"}
    assert (capture.width, capture.height) == (SIZE, SIZE)
