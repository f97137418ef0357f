"""A raw capture: the photographs and cameras that only the capture side may open."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from privhead_ns.capture.masks import alpha_shape, mask_shape
from privhead_ns.capture.transforms import read_frames, read_json, read_number, read_pose, read_positive, read_size
from privhead_ns.errors import UserError

DISTORTION_KEYS = ("k1", "k2", "p1", "p2", "k3")
"""Brown's radial and tangential coefficients in OpenCV's order."""


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera with Brown distortion; the image's corner is pixel coordinate 0, a pixel's centre is at .5."""

    width: int
    height: int
    fl_x: float
    fl_y: float
    cx: float
    cy: float
    distortion: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)
    """k1, k2, p1, p2, k3."""


@dataclass(frozen=True)
class RawFrame:
    """One photograph that has not been protected."""

    name: str
    """Its file_path as written in transforms.json."""
    image_path: Path
    mask_path: Path | None
    intrinsics: Intrinsics
    camera_to_world: Float[np.ndarray, "4 4"]
    sensitive: bool | None
    """What transforms.json declares; None where it says nothing."""
    ignore_alpha: bool = False
    """Whether an alpha channel is no mask."""


@dataclass(frozen=True)
class RawCapture:
    """The photographs of one head with their cameras."""

    folder: Path
    frames: tuple[RawFrame, ...]
    mm_per_unit: float | None
    """Millimetres in one unit of the camera poses, where known."""


def load_raw_capture(folder: Path) -> RawCapture:
    """Reads and checks a Nerfstudio folder (`transforms.json` and the files it lists) without decoding an image.

    Raises:
        UserError: if a file is missing or broken, a camera is impossible or of an unknown model, or the folder holds a
            protected capture.
    """
    path = folder / "transforms.json"
    content = read_json(path)
    if "privhead" in content:
        raise UserError(f"{folder} is protected already; give --data the folder of the original photographs.")
    frames = tuple(_read_frame(content, frame, path) for frame in read_frames(content, path))
    return RawCapture(folder, frames, _read_scale(content, path))


def read_image(frame: RawFrame) -> tuple[UInt8[np.ndarray, "height width 3"], UInt8[np.ndarray, "height width"] | None]:
    """Decodes a photograph and its coverage: 255 on the head, else 0; None where it has neither mask nor alpha channel.

    Stored pixels are returned as they are: the EXIF orientation is not applied, since intrinsics refer to stored
    pixels. Where there are both a mask and an alpha channel, the head is where both say so.

    Raises:
        UserError: if a file is truncated, of another format than PNG or JPEG, or of another size than transforms.json
            says, or a mask is no shape.
    """
    image = _decode(frame.image_path, frame, "image")
    coverage = None if frame.ignore_alpha else alpha_shape(image, f"The alpha channel of {frame.name}")
    if frame.mask_path is not None:
        mask = mask_shape(_decode(frame.mask_path, frame, "mask"), f"The mask of {frame.name}, {frame.mask_path},")
        coverage = mask if coverage is None else np.minimum(coverage, mask)
    colour = _to_grey(image) if image.mode.startswith("I") else image
    return np.asarray(colour.convert("RGB")), coverage


def _read_frame(content: dict[str, Any], frame: dict[str, Any], path: Path) -> RawFrame:
    name = frame["file_path"]
    where = f"{path}: frame {name}"
    sensitive = frame.get("sensitive")
    if not isinstance(sensitive, bool | None):
        raise UserError(f"{where}: 'sensitive' must be true or false, not {sensitive!r}.")
    mask = frame.get("mask_path")
    if not isinstance(mask, str | None):
        raise UserError(f"{where}: mask_path must be a file's name, not {mask!r}.")
    for file in filter(None, (name, mask)):
        if not (path.parent / file).is_file():
            raise UserError(f"{where}: there is no file {path.parent / file}; restore it or drop the frame.")
    return RawFrame(
        name=name,
        image_path=path.parent / name,
        mask_path=path.parent / mask if mask else None,
        intrinsics=_read_intrinsics(content | frame, where),
        camera_to_world=read_pose(frame, where),
        sensitive=sensitive,
    )


def _read_intrinsics(entry: dict[str, Any], where: str) -> Intrinsics:
    model = entry.get("camera_model", "OPENCV")
    if model not in ("OPENCV", "PINHOLE"):
        raise UserError(
            f"{where}: camera_model {model!r} is not supported, only OPENCV and PINHOLE are; undistort first."
        )
    k1, k2, p1, p2, k3 = (read_number(entry, key, where, default=0.0) for key in DISTORTION_KEYS)
    if read_number(entry, "k4", where, default=0.0) != 0:
        raise UserError(f"{where}: k4 is not supported, only k1, k2, k3, p1 and p2 are; undistort the images first.")
    if model == "PINHOLE" and any((k1, k2, p1, p2, k3)):
        raise UserError(f"{where}: camera_model PINHOLE has no distortion; write OPENCV or remove k1, k2, k3, p1, p2.")
    return Intrinsics(
        width=read_size(entry, "w", where),
        height=read_size(entry, "h", where),
        fl_x=read_positive(entry, "fl_x", where),
        fl_y=read_positive(entry, "fl_y", where),
        cx=read_number(entry, "cx", where),
        cy=read_number(entry, "cy", where),
        distortion=(k1, k2, p1, p2, k3),
    )


def _read_scale(content: dict[str, Any], path: Path) -> float | None:
    """Returns mm_per_unit from transforms.json, else from capture.json, else None."""
    if content.get("mm_per_unit") is not None:
        return read_positive(content, "mm_per_unit", str(path))
    about = path.with_name("capture.json")
    if about.is_file() and (entry := read_json(about)).get("mm_per_unit") is not None:
        return read_positive(entry, "mm_per_unit", str(about))
    return None


def _decode(path: Path, frame: RawFrame, role: str) -> Image.Image:
    expected = frame.intrinsics.width, frame.intrinsics.height
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            if image.size != expected:
                raise UserError(
                    f"The {role} {path} is {image.width}x{image.height} pixels, but transforms.json says "
                    f"{expected[0]}x{expected[1]}; correct w and h or the {role}."
                )
            image.load()
            return image.copy()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise UserError(
            f"The {role} {path} cannot be decoded as PNG or JPEG, it may be truncated; copy or convert it again."
        ) from None


def _to_grey(image: Image.Image) -> Image.Image:
    """Converts to 8-bit grey; Pillow alone would clip 16-bit values instead of scaling them."""
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image, dtype=np.float64) / 65535 * 255 + 0.5).astype(np.uint8))
    return image.convert("L")
