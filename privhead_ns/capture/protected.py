"""Format and loader of a protected capture; the loader refuses files that deviate from the format.

transforms.json     cameras, kinds of views, subject, operator, box; see `ProtectedCapture`
neutral/000.png     8-bit RGB; there need not be any
protected/003.png   16-bit single channel, the magnitude that σ left
masks/000.png       8-bit grey, 255 on the head, 0 elsewhere, grey along the outline alone; where there was a mask
known/000.png       8-bit grey, 255 where something is known of the view; where that is not everywhere
template.ply        closed mesh of vertices and faces alone, in the capture's frame; where one was asked for
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from jaxtyping import Float
from PIL import Image

from privhead_ns.capture.masks import grey_off_outline
from privhead_ns.capture.png_file import HEADER, MoreThanPixels, NotWhole, check_only_pixels, png_chunks
from privhead_ns.capture.subject import Subject
from privhead_ns.capture.transforms import (
    LARGEST,
    capture_folder,
    read_frames,
    read_number,
    read_pose,
    read_positive,
    read_size,
)
from privhead_ns.errors import UserError
from privhead_ns.operators import OperatorConfig
from privhead_ns.template.files import read_template
from privhead_ns.text_files import is_file, read_json

FORMAT_VERSION = 2
MASKS = ("mask_path", "known_path")
FULL_SCALE = 65535
"""Stored value of the largest magnitude."""

MAGNITUDE, COLOUR, MASK = (16, 0), (8, 2), (8, 0)
"""Bit depth and colour type in a PNG's header (ISO/IEC 15948): 16-bit grey, 8-bit RGB, 8-bit grey."""
IN_WORDS = {MAGNITUDE: "16-bit single-channel", COLOUR: "8-bit RGB", MASK: "8-bit single-channel"}


@dataclass(frozen=True)
class ProtectedFrame:
    """One view that may leave its owner's machine."""

    path: Path
    mask_path: Path | None
    known_path: Path | None
    """White where something is known of the view; None where all is."""
    kind: Literal["neutral", "protected"]
    fl_x: float
    fl_y: float
    cx: float
    cy: float
    camera_to_world: Float[np.ndarray, "4 4"]


@dataclass(frozen=True)
class ProtectedCapture:
    """Everything that training reads of a head."""

    folder: Path
    width: int
    height: int
    frames: tuple[ProtectedFrame, ...]
    operator: OperatorConfig
    magnitude_maximum: float
    """The magnitude that the stored value 65535 means."""
    background: tuple[float, float, float]
    """Colour in [0, 1] behind the head in views that have a mask."""
    aabb: Float[np.ndarray, "2 3"]
    """Lower and upper corner of a box that holds the head, or a room's free space, in the capture's own frame."""
    mm_per_unit: float | None
    template_path: Path | None
    """A closed mesh in the capture's frame that training starts from; None where there is none."""
    subject: Subject
    """What was photographed; a room is seen from within."""
    refined_masks: bool
    """Whether the outlines of the masks were moved to where the photographs' colours change."""

    @property
    def masked(self) -> bool:
        """Whether every view has a mask."""
        return all(frame.mask_path is not None for frame in self.frames)

    @property
    def hides_all(self) -> bool:
        """Whether every view is protected."""
        return all(frame.kind == "protected" for frame in self.frames)


def load_protected_capture(folder: Path) -> ProtectedCapture:
    """Reads a protected capture; opens no file but transforms.json and those that it lists.

    Raises:
        UserError: if something is missing or broken, the capture is raw or from a newer version, there is no protected
            view, a file lies outside the folder, or a file is not of exactly the format promised: a mask that is no
            shape, for one.
    """
    folder = capture_folder(folder)
    path = folder / "transforms.json"
    content = read_json(path)
    if "privhead" not in content:
        raise UserError(
            f"{folder} is a raw capture, which training must not see: run `privhead protect --data {folder} "
            "--output-dir OUT` and train on OUT."
        )
    about = _read_about(content["privhead"], path)
    width, height = read_size(content, "w", str(path)), read_size(content, "h", str(path))
    frames = tuple(_read_frame(frame, path, width, height) for frame in read_frames(content, path))
    if not any(frame.kind == "protected" for frame in frames):
        raise UserError(f"{path} lists no protected view, and training needs some; protect the photographs again.")
    return ProtectedCapture(folder=folder, width=width, height=height, frames=frames, **about)


def read_neutral(path: Path) -> Float[np.ndarray, "height width 3"]:
    """Reads a neutral view: colour in [0, 1], float32."""
    return _pixels(path) / np.float32(255)


def read_magnitude(path: Path, maximum: float) -> Float[np.ndarray, "height width"]:
    """Reads a protected view: magnitudes in [0, maximum], float32."""
    return _pixels(path) * np.float32(maximum / FULL_SCALE)


def read_mask(path: Path) -> Float[np.ndarray, "height width"]:
    """Reads a mask: the share of each pixel that the head covers, float32."""
    return _pixels(path) / np.float32(255)


def _pixels(path: Path) -> Float[np.ndarray, "height width *channels"]:
    try:
        with Image.open(path, formats=("PNG",)) as image:
            return np.asarray(image).astype(np.float32)
    except (OSError, SyntaxError, ValueError):
        raise UserError(f"{path} cannot be decoded; copy it again from where it was protected.") from None


def _read_about(about: Any, path: Path) -> dict[str, Any]:
    """Returns the fields of `ProtectedCapture` that the entry `privhead` of transforms.json holds."""
    where = f"{path}: privhead"
    if not isinstance(about, dict):
        raise UserError(f"{where} must be a JSON object; protect the photographs again.")
    version = read_size(about, "format_version", where)
    if version > FORMAT_VERSION:
        raise UserError(
            f"{path} has format version {version}, and this privhead-ns knows versions up to {FORMAT_VERSION}: upgrade "
            "it with pip install --upgrade . in its folder."
        )
    operator = about.get("operator")
    if not isinstance(operator, dict) or not isinstance(operator.get("name"), str):
        raise UserError(f"{where} does not name its operator; protect the photographs again.")
    aabb = _read_array(about, "aabb", (2, 3), where)
    if (aabb[0] >= aabb[1]).any():
        raise UserError(
            f"{where}: aabb must be the lower and the upper corner of a box; protect the photographs again."
        )
    background = _read_array(about, "background", (3,), where)
    if background.min() < 0 or background.max() > 1:
        raise UserError(f"{where}: background must lie between 0 and 1; protect the photographs again.")
    return {
        "operator": OperatorConfig(
            operator["name"], read_number(operator, "blur", where), read_size(operator, "levels", where)
        ),
        "magnitude_maximum": read_positive(about, "magnitude_maximum", where),
        "background": tuple(background.tolist()),
        "aabb": aabb,
        "mm_per_unit": None if about.get("mm_per_unit") is None else read_positive(about, "mm_per_unit", where),
        "template_path": _read_template(about, path, where),
        "subject": _read_subject(about, where),
        "refined_masks": _read_flag(about, "refined_masks", where),
    }


def _read_flag(about: dict[str, Any], key: str, where: str) -> bool:
    """Returns a flag that older versions did not write, then false."""
    if not isinstance(flag := about.get(key, False), bool):
        raise UserError(f"{where}: {key} must be true or false; protect the photographs again.")
    return flag


def _read_subject(about: dict[str, Any], where: str) -> Subject:
    """Returns the subject; a head where an older version did not tell."""
    subject = about.get("subject", "head")
    if subject not in get_args(Subject):
        raise UserError(
            f"{where}: subject must be one of {', '.join(get_args(Subject))}; protect the photographs again."
        )
    return cast(Subject, subject)


def _read_template(about: dict[str, Any], path: Path, where: str) -> Path | None:
    """Returns the path of the template, whose file has been checked; None where there is none."""
    if about.get("template") is None:
        return None
    template = _inside(path.parent, about["template"], where)
    read_template(template)
    return template


def _read_array(entry: dict[str, Any], key: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    try:
        array = np.array(entry.get(key), dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.empty(0)
    if array.shape != shape or not (np.abs(array) <= LARGEST).all():
        raise UserError(f"{where}: {key} must be {math.prod(shape)} finite numbers; protect the photographs again.")
    return array


def _read_frame(frame: dict[str, Any], path: Path, width: int, height: int) -> ProtectedFrame:
    where = f"{path}: frame {frame['file_path']}"
    kind = frame.get("kind")
    if kind not in ("neutral", "protected"):
        raise UserError(f"{where}: kind must be neutral or protected, not {kind!r}; protect the photographs again.")
    image = _inside(path.parent, frame["file_path"], where)
    _check_png(image, COLOUR if kind == "neutral" else MAGNITUDE, width, height, kind)
    masks = {key: _inside(path.parent, frame[key], where) for key in MASKS if frame.get(key) is not None}
    for key, file in masks.items():
        _check_shape(_check_png(file, MASK, width, height, "mask"), file, two_valued=key == "known_path")
    return ProtectedFrame(
        path=image,
        mask_path=masks.get("mask_path"),
        known_path=masks.get("known_path"),
        kind=kind,
        fl_x=read_positive(frame, "fl_x", where),
        fl_y=read_positive(frame, "fl_y", where),
        cx=read_number(frame, "cx", where),
        cy=read_number(frame, "cy", where),
        camera_to_world=read_pose(frame, where),
    )


def _inside(folder: Path, name: Any, where: str) -> Path:
    """Returns the path of a listed file.

    Raises:
        UserError: if it leads out of the capture's folder, through `..`, as an absolute path or by a link.
    """
    try:
        inside = isinstance(name, str) and (folder / name).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):  # no path at all, or links in a circle
        inside = False
    if not inside:
        raise UserError(f"{where}: {name!r} lies outside the capture's folder; protect the photographs again.")
    return folder / name


def _check_png(path: Path, form: tuple[int, int], width: int, height: int, role: str) -> bytes:
    """Checks that a file is a whole PNG of exactly one pixel format and size, and holds nothing but pixels.

    Returns:
        the file's bytes.

    Raises:
        UserError: if not.
    """
    if not is_file(path):  # a pipe would not end
        raise UserError(f"There is no file {path}; copy the protected capture again.")
    data = path.read_bytes()
    try:
        chunks = png_chunks(data)
        stored_width, stored_height, *stored_form, _, _, interlaced = HEADER.unpack(chunks[0][1])
        if tuple(stored_form) != form or interlaced:
            raise UserError(
                f"{path} must be a {IN_WORDS[form]} PNG, as every {role} {'file' if role == 'mask' else 'view'} is, "
                "and is not; protect the photographs again."
            )
        if (stored_width, stored_height) != (width, height):
            raise UserError(
                f"{path} is {stored_width}x{stored_height} pixels, but transforms.json says {width}x{height}; protect "
                "the photographs again."
            )
        check_only_pixels(chunks)
    except NotWhole:
        raise UserError(f"{path} is not a whole PNG file; copy it again from where it was protected.") from None
    except MoreThanPixels:
        raise UserError(
            f"{path} holds more than pixels (metadata, or bytes after the image); protect the photographs again."
        ) from None
    return data


def _check_shape(data: bytes, path: Path, two_valued: bool) -> None:
    """Checks that a mask has grey along its outline alone, or none where it must be two-valued.

    Raises:
        UserError: if not.
    """
    try:
        mask = np.asarray(Image.open(BytesIO(data)))
    except (OSError, SyntaxError, ValueError):
        raise UserError(f"{path} cannot be decoded; copy it again from where it was protected.") from None
    if two_valued and ((mask > 0) & (mask < 255)).any():
        raise UserError(f"{path} must hold nothing but 0 and 255; protect the photographs again.")
    if grey_off_outline(mask).any():
        raise UserError(
            f"{path} holds grey away from the head's outline, and a mask must be a shape, for it could carry a "
            "photograph; protect the photographs again."
        )
