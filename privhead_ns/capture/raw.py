"""Reads raw captures: photographs and cameras, which only the capture side may open."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from privhead_ns.capture.camera import Intrinsics, frame_origin
from privhead_ns.capture.lens import frame_entry, read_lens
from privhead_ns.capture.listed_files import locate, refuse_missing
from privhead_ns.capture.masks import alpha_shape, enlarged, mask_shape, resized_shape
from privhead_ns.capture.picture_files import UPRIGHT, decode, picture_size, same_shape
from privhead_ns.capture.transforms import (
    capture_folder,
    read_frames,
    read_points,
    read_pose,
    read_positive,
)
from privhead_ns.errors import UserError
from privhead_ns.text_files import read_json

WHITES = (255, 4095, 65535)
"""Largest values of 8, 12 and 16 bits."""
MASK_KEYS = ("mask_path", "known_path")


@dataclass(frozen=True)
class MadeMask:
    """A mask that colours and cameras tell, at any resolution."""

    head: Bool[np.ndarray, "height width"]
    unsure: Bool[np.ndarray, "height width"]
    """Where it is unreliable."""


@dataclass(frozen=True)
class RawFrame:
    """One photograph that has not been protected."""

    name: str
    """Its file_path as written in transforms.json."""
    image_path: Path
    mask_path: Path | None
    known_path: Path | None
    """Image that is black where `mask_path` is unreliable; None if all of it is reliable."""
    intrinsics: Intrinsics
    camera_to_world: Float[np.ndarray, "4 4"]
    sensitive: bool | None
    """Flag in transforms.json; None if it is missing."""
    orientation: int = UPRIGHT
    """EXIF orientation by which stored pixels are turned to be what the camera sees; 1 where they are that already."""
    mask_orientation: int = UPRIGHT
    """The same of the mask, which may be stored either way."""
    resized_from: tuple[int, int] | None = None
    """Width and height in transforms.json where the photograph has others; its intrinsics are scaled already."""
    ignore_alpha: bool = False
    """Whether an alpha channel does not count as a mask."""
    made: MadeMask | None = None
    """In place of `mask_path` and `known_path`, where there are none."""


@dataclass(frozen=True)
class RawCapture:
    """The photographs of one head with their cameras."""

    folder: Path
    frames: tuple[RawFrame, ...]
    mm_per_unit: float | None
    """Millimetres in one unit of the camera poses, where known."""
    origin: Float[np.ndarray, " 3"]
    """What was subtracted from the camera positions in transforms.json: zero but in geographic frames."""
    landmarks: dict[str, Float[np.ndarray, " 3"]]
    """Places of the face that `prepare` found, by name."""


def load_raw_capture(folder: Path) -> RawCapture:
    """Reads and checks a Nerfstudio folder (`transforms.json` and the files it lists).

    Camera positions in a geographic frame are made relative to `frame_origin`. Of the photographs only headers are
    read, unless EXIF orientations leave open which way up they belong (see `orient`).

    Args:
        folder: the folder, or its transforms.json.

    Raises:
        UserError: if a file is missing or broken, a camera is impossible or of an unknown model, a photograph is of
            another shape than transforms.json says, or the folder holds a protected capture.
    """
    from privhead_ns.capture.orientation import orient  # imports this module, to read photographs
    from privhead_ns.capture.silhouettes import silhouette_agreement

    folder = capture_folder(folder)
    path = folder / "transforms.json"
    content = read_json(path)
    if "privhead" in content:
        raise UserError(f"{folder} is protected already; give --data the folder of the original photographs.")
    missing: list[str] = []
    found = [_read_frame(content, frame, path, missing) for frame in read_frames(content, path)]
    refuse_missing(missing, path)
    frames = [frame for frame in found if frame is not None]
    origin = frame_origin(np.stack([frame.camera_to_world for frame in frames]))
    for frame in frames:
        frame.camera_to_world[:3, 3] -= origin
    landmarks = {name: place - origin for name, place in read_points(content, "face_landmarks", path).items()}
    return RawCapture(folder, orient(frames, path, silhouette_agreement), _read_scale(content, path), origin, landmarks)


def read_image(frame: RawFrame) -> tuple[UInt8[np.ndarray, "height width 3"], UInt8[np.ndarray, "height width"] | None]:
    """Decodes a photograph and its coverage: 255 on the head, else 0; None where it has neither mask nor alpha channel.

    Both are turned by the frame's orientations. Where there are a mask and an alpha channel, the head is where both say
    so.

    Raises:
        UserError: if a file is broken, of a format that is not read, or of another size than the camera, or a mask is
            no shape, or of another shape than its photograph.
    """
    image = decode(frame.image_path, "image", frame.orientation)
    camera = frame.intrinsics
    if image.size != (camera.width, camera.height):
        raise UserError(
            f"The image {frame.image_path} is {image.width}x{image.height} pixels, but its camera has "
            f"{camera.width}x{camera.height}; resize the image."
        )
    coverage = None if frame.ignore_alpha else alpha_shape(image, f"The alpha channel of {frame.name}")
    if frame.mask_path is not None:
        mask = _read_shape(frame.mask_path, frame, f"The mask of {frame.name}, {frame.mask_path},")
        coverage = mask if coverage is None else np.minimum(coverage, mask)
    if frame.made is not None:
        coverage = enlarged(frame.made.head, image.width, image.height)
    colour = to_grey(image) if image.mode.startswith("I") else image
    return np.asarray(colour.convert("RGB")), coverage


def read_unsure(frame: RawFrame) -> Bool[np.ndarray, "height width"] | None:
    """Returns where a photograph's mask is unreliable; None if all of it is reliable.

    Raises:
        UserError: if the file is broken, of another shape than the photograph, or no mask.
    """
    if frame.made is not None:
        size = frame.intrinsics.width, frame.intrinsics.height
        return enlarged(frame.made.unsure, *size) > 0 if frame.made.unsure.any() else None
    if frame.known_path is None:
        return None
    return _read_shape(frame.known_path, frame, f"{frame.known_path}, of {frame.name},") == 0


def _read_frame(content: dict[str, Any], frame: dict[str, Any], path: Path, missing: list[str]) -> RawFrame | None:
    """Returns what one frame says; None if a file that it names is missing, which is added to `missing`."""
    name = frame["file_path"]
    where = f"{path}: frame {name}"
    sensitive = frame.get("sensitive")
    if not isinstance(sensitive, bool | None):
        raise UserError(f"{where}: 'sensitive' must be true or false, not {sensitive!r}.")
    for key in MASK_KEYS:
        if not isinstance(file := frame.get(key), str | None):
            raise UserError(f"{where}: {key} must be a file's name, not {file!r}.")
    wanted = [name, *(frame.get(key) or "" for key in MASK_KEYS)]
    image, mask, known = (locate(path.parent, one) if one else None for one in wanted)
    absent = [one for one, file in zip(wanted, (image, mask, known), strict=True) if one and file is None]
    if image is None or absent:
        missing += [str(path.parent / one) for one in absent]
        return None
    entry = frame_entry(content, frame)
    size = picture_size(image) if None in (entry.get("w"), entry.get("h")) else (0, 0)  # not looked at
    intrinsics, fisheye = read_lens(entry, size, where)
    if fisheye is not None:
        raise UserError(
            f"{where}: the camera is a fisheye, and protect reads pinhole cameras only: undistort the capture with "
            "`privhead prepare`, and give --data the folder that it writes."
        )
    return RawFrame(name, image, mask, known, intrinsics, read_pose(frame, where), sensitive)


def _read_scale(content: dict[str, Any], path: Path) -> float | None:
    """Returns mm_per_unit from transforms.json, else from capture.json, else None."""
    if content.get("mm_per_unit") is not None:
        return read_positive(content, "mm_per_unit", str(path))
    about = path.with_name("capture.json")
    if about.is_file() and (entry := read_json(about)).get("mm_per_unit") is not None:
        return read_positive(entry, "mm_per_unit", str(about))
    return None


def _read_shape(path: Path, frame: RawFrame, where: str) -> UInt8[np.ndarray, "height width"]:
    """Reads a mask, at the resolution of its photograph.

    Raises:
        UserError: if it is broken, no shape, or of another shape than the photograph.
    """
    picture, camera = decode(path, "mask", frame.mask_orientation), frame.intrinsics
    if not same_shape(picture.size, (camera.width, camera.height)):
        raise UserError(
            f"The mask {path} is {picture.width}x{picture.height} pixels, but its photograph has "
            f"{camera.width}x{camera.height}, which is another shape; give the mask of this photograph."
        )
    return resized_shape(mask_shape(picture, where), camera.width, camera.height)


def to_grey(image: Image.Image) -> Image.Image:
    """Converts to 8-bit grey; Pillow alone would clip 16-bit values instead of scaling them.

    Where no value needs more than 8 or 12 bits, as sensors give them, so many are taken for white.
    """
    if not image.mode.startswith("I"):
        return image.convert("L")
    values = np.asarray(image, dtype=np.float64)
    white = next((white for white in WHITES if values.max() <= white), WHITES[-1])
    return Image.fromarray((values / white * 255 + 0.5).clip(0, 255).astype(np.uint8))
