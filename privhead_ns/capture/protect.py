"""Turns a raw capture into a protected one, the only folder that may leave the owner's machine."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt16
from PIL import Image
from rich.console import Console
from torch import Tensor

from privhead_ns.capture.develop import DevelopedView, develop, resized
from privhead_ns.capture.face_check import shows_face
from privhead_ns.capture.hull import View, head_box
from privhead_ns.capture.mask_files import check_masks_complete, without_masks
from privhead_ns.capture.protected import FORMAT_VERSION, FULL_SCALE
from privhead_ns.capture.raw import RawCapture, RawFrame, load_raw_capture, read_image
from privhead_ns.capture.sensitivity import Vector, classify, matches
from privhead_ns.capture.silhouettes import check_outline, check_silhouettes
from privhead_ns.errors import UserError
from privhead_ns.operators import Operator, OperatorConfig, quantise
from privhead_ns.progress import tracked

Box = tuple[float, float, float, float, float, float]
"""x0 y0 z0 x1 y1 z1 in the capture's own frame."""


@dataclass(frozen=True)
class ProtectSummary:
    """What `protect` wrote."""

    output_dir: Path
    neutral: int
    protected: int
    silhouettes: int
    width: int
    height: int
    operator: OperatorConfig
    doubtful: tuple[str, ...] = ()
    """Views whose mask or pose agrees badly with the others, each with what is wrong."""

    def in_plain_words(self) -> str:
        """Says to the owner what is in the protected capture and may leave the machine, and what is not in it."""
        masked = self.silhouettes == self.neutral + self.protected
        surroundings = (
            "what lies outside the head's outline replaced by one colour" if masked else "surroundings included"
        )
        return "\n".join(
            [
                f"{self.output_dir} may leave this machine; the photographs it was made from stay where they are.",
                "",
                "In it:",
                f"  - {self.neutral} neutral views as colour photographs of {self.width}x{self.height} pixels, "
                f"{surroundings};",
                f"  - {self.protected} protected views as the strength of colour changes alone "
                f"({self.operator.name}, blur {self.operator.blur:g} pixels, {self.operator.levels} levels);",
                f"  - {self.silhouettes} outlines of the head;",
                "  - each camera's place and focal length, the box that holds the head and, if known, the scale.",
                "",
                "Not in it:",
                f"  - any colour of the {self.protected} protected views;",
                "  - the signs and directions of their colour changes, which would integrate back to the photograph;",
                "  - EXIF, GPS positions, thumbnails and original file names.",
                "",
                "What this does not promise: edges stay visible to a person who looks at a protected view; programs "
                "made for it told nearly all protected views of ten heads apart, and turned many into pictures that "
                "face recognition takes for the person (`privhead audit` measures it for yours); along an outline "
                "against a known background the brightness of skin and hair can be estimated; and the shape of a head "
                "identifies a person by itself, as does the mesh made from it.",
                *([""] if self.doubtful else []),
                *(f"Look at {view}" for view in self.doubtful),
            ]
        )


def protect(
    data: Path,
    output_dir: Path,
    operator: OperatorConfig,
    *,
    size: int | None = None,
    background: Vector = (0.0, 0.0, 0.0),
    neutral: Sequence[str] = (),
    sensitive: Sequence[str] = (),
    face_direction: Vector | None = None,
    neutral_beyond_deg: float = 100.0,
    allow_face: Sequence[str] = (),
    box: Box | None = None,
    ignore_masks: bool = False,
    console: Console | None = None,
) -> ProtectSummary:
    """Writes the protected capture of a raw one; `output_dir` appears whole or not at all.

    Every photograph is read and checked before the first file is written.

    Args:
        data: folder of the raw capture.
        output_dir: folder to make.
        operator: σ for the sensitive views.
        size: longer side of the views in pixels; None keeps the photographs' size.
        background: colour in [0, 1] put behind the head where there is a mask or alpha channel.
        neutral, sensitive, face_direction, neutral_beyond_deg: see `classify`.
        allow_face: globs of neutral frames to take although a face is found in them.
        box: holds the head; None to find it.
        ignore_masks: whether to use neither masks nor alpha channels.
        console: where progress is shown.

    Raises:
        UserError: if an input is missing, broken or contradictory, masks are no shapes or disagree with each other, or
            a face is found in a neutral view.
    """
    _check_output(output_dir)
    _check_background(background)
    sigma = operator.setup()
    capture = load_raw_capture(data)
    if ignore_masks:
        capture = without_masks(capture)
    is_sensitive = classify(capture, neutral, sensitive, face_direction, neutral_beyond_deg)
    may_show_face = matches(capture, allow_face, "--allow-face")
    width, height = _common_size(capture, size, sigma.margin)
    look = [not private and not allowed for private, allowed in zip(is_sensitive, may_show_face, strict=True)]
    with tracked(list(zip(capture.frames, look, strict=True)), "Checking photographs", console) as frames:
        views = [_check_view(frame, size, background, look_for_face) for frame, look_for_face in frames]
    check_masks_complete(capture, views)
    doubtful = check_silhouettes(views, [frame.name for frame in capture.frames])
    sound = [view for index, view in enumerate(views) if index not in doubtful]
    aabb = head_box(sound) if box is None else _read_box(box)
    with _appears_whole(output_dir) as folder, tracked(capture.frames, "Protecting", console) as frames:
        entries = []
        for index, frame in enumerate(frames):
            view = develop(*read_image(frame), frame.intrinsics, size, background)
            paths = _write_view(folder, index, view, sigma if is_sensitive[index] else None, operator.levels)
            entries.append(_entry(paths, frame, view, is_sensitive[index]))
        content = {
            "camera_model": "PINHOLE",
            "w": width,
            "h": height,
            "frames": entries,
            "privhead": {
                "format_version": FORMAT_VERSION,
                "operator": operator.to_dict(),
                "magnitude_maximum": sigma.maximum,
                "background": list(background),
                "masked": all("mask_path" in entry for entry in entries),
                "aabb": aabb.tolist(),
                "mm_per_unit": capture.mm_per_unit,
            },
        }
        (folder / "transforms.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    return ProtectSummary(
        output_dir=output_dir,
        neutral=is_sensitive.count(False),
        protected=is_sensitive.count(True),
        silhouettes=sum("mask_path" in entry for entry in entries),
        width=width,
        height=height,
        operator=operator,
        doubtful=tuple(f"{capture.frames[index].name}: {why}" for index, why in doubtful.items()),
    )


def magnitude_image(
    rgb: Float[np.ndarray, "height width 3"], sigma: Operator, levels: int
) -> UInt16[np.ndarray, "height width"]:
    """Passes a colour image in [0, 1] through σ and returns what is stored; the border that σ loses is zero.

    Raises:
        UserError: if an operator of the user's own returns anything but one finite channel of the promised size.
    """
    image = torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1)[None]
    with torch.no_grad():
        magnitude: Float[Tensor, "1 inner_height inner_width"] = sigma(image)
    margin = sigma.margin
    expected = (1, rgb.shape[0] - 2 * margin, rgb.shape[1] - 2 * margin)
    if tuple(magnitude.shape) != expected or not torch.isfinite(magnitude).all():
        raise UserError(
            f"The operator {type(sigma).__name__} must return one channel of finite values, {margin} pixels smaller on "
            "each side; correct it or choose another --operator."
        )
    stored = torch.round(quantise(magnitude, sigma.maximum, levels) * FULL_SCALE)
    return F.pad(stored[0], [margin] * 4).numpy().astype(np.uint16)


def _check_output(output_dir: Path) -> None:
    if os.path.lexists(output_dir):
        raise UserError(f"--output-dir {output_dir} exists already; remove it or choose another folder.")
    if not output_dir.absolute().parent.is_dir():
        raise UserError(f"There is no folder {output_dir.parent} to make --output-dir {output_dir} in; make it first.")


def _check_background(background: Vector) -> None:
    if len(background) != 3 or not all(0 <= value <= 1 for value in background):
        raise UserError(f"--background must be three numbers between 0 and 1, not {background}.")


def _read_box(box: Box) -> Float[np.ndarray, "2 3"]:
    aabb = np.array(box, dtype=np.float64)
    if aabb.shape != (6,) or not np.isfinite(aabb).all() or (aabb[:3] >= aabb[3:]).any():
        raise UserError(f"--box must be x0 y0 z0 x1 y1 z1 with x0 < x1, y0 < y1 and z0 < z1, not {box}.")
    return aabb.reshape(2, 3)


def _common_size(capture: RawCapture, size: int | None, margin: int) -> tuple[int, int]:
    """Returns the width and height that all developed views have.

    Raises:
        UserError: if they differ, --size would enlarge, or σ leaves nothing of them.
    """
    cameras = [frame.intrinsics for frame in capture.frames]
    shortest = min(max(camera.width, camera.height) for camera in cameras)
    if size is not None and not 1 <= size <= shortest:
        raise UserError(f"--size must lie between 1 and {shortest}, the longer side of the smallest image, not {size}.")
    sizes = [(camera.width, camera.height) for camera in (resized(camera, size) for camera in cameras)]
    if len(set(sizes)) > 1:
        other = next(index for index, pair in enumerate(sizes) if pair != sizes[0])
        at_shortest = {(camera.width, camera.height) for camera in (resized(camera, shortest) for camera in cameras)}
        mend = f"--size {shortest} would make them equal" if len(at_shortest) == 1 else "crop them to one shape first"
        raise UserError(
            f"All views must have one size, but {capture.frames[0].name} has {sizes[0][0]}x{sizes[0][1]} pixels and "
            f"{capture.frames[other].name} {sizes[other][0]}x{sizes[other][1]}; {mend}."
        )
    if min(sizes[0]) <= 2 * margin:
        raise UserError(
            f"Views of {sizes[0][0]}x{sizes[0][1]} pixels are too small for an operator that needs {margin} pixels on "
            "each side; raise --size or lower --blur."
        )
    return sizes[0]


def _check_view(frame: RawFrame, size: int | None, background: Vector, look_for_face: bool) -> View:
    """Reads a photograph, looks for a face where asked, and returns what the head's box is found from."""
    rgb, coverage = read_image(frame)
    if look_for_face and shows_face(rgb):
        raise UserError(
            f"A face was found in {frame.name}, which is declared neutral: declare it sensitive, or pass "
            f"--allow-face '{frame.name}' if it shows none."
        )
    view = develop(rgb, coverage, frame.intrinsics, size, background)
    silhouette = None
    if view.coverage is not None:
        silhouette = (view.coverage > 0).astype(np.uint8)
        check_outline(silhouette, frame.name)
    return View(frame.camera_to_world, view.intrinsics, silhouette)


@contextmanager
def _appears_whole(output_dir: Path) -> Iterator[Path]:
    """Gives a folder beside `output_dir` that takes its name at the end, or is removed if anything goes wrong."""
    folder = Path(tempfile.mkdtemp(prefix=f".{output_dir.name}.", dir=output_dir.absolute().parent))
    try:
        yield folder
        folder.chmod(0o755)
        folder.rename(output_dir)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _write_view(folder: Path, index: int, view: DevelopedView, sigma: Operator | None, levels: int) -> dict[str, str]:
    """Writes a view, through σ where given, and its silhouette; returns their paths as transforms.json names them."""
    stem = f"{index:03d}.png"
    if sigma is None:
        images = {"file_path": (f"neutral/{stem}", _to_bytes(view.rgb))}
    else:
        images = {"file_path": (f"protected/{stem}", magnitude_image(view.rgb, sigma, levels))}
    if view.coverage is not None:
        images["mask_path"] = (f"masks/{stem}", _to_bytes(view.coverage))
    for path, pixels in images.values():
        (folder / path).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / path)
    return {key: path for key, (path, _) in images.items()}


def _entry(paths: dict[str, str], frame: RawFrame, view: DevelopedView, is_sensitive: bool) -> dict[str, object]:
    camera = view.intrinsics
    return {
        **paths,
        "kind": "protected" if is_sensitive else "neutral",
        "fl_x": float(camera.fl_x),
        "fl_y": float(camera.fl_y),
        "cx": float(camera.cx),
        "cy": float(camera.cy),
        "transform_matrix": frame.camera_to_world.tolist(),
    }


def _to_bytes(values: Float[np.ndarray, "*shape"]) -> np.ndarray:
    return (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)
