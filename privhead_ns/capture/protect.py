"""Turns a raw capture into a protected one, the only folder that may leave the owner's machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8, UInt16
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
from privhead_ns.capture.summary import ProtectSummary
from privhead_ns.errors import UserError
from privhead_ns.folders import check_new_folder, whole_folder
from privhead_ns.operators import Operator, OperatorConfig, quantise
from privhead_ns.progress import tracked

Box = tuple[float, float, float, float, float, float]
"""x0 y0 z0 x1 y1 z1 in the capture's own frame."""


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
    """Writes the protected capture of a raw one; `output_dir` appears whole or not at all, for its owner alone (0700).

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
        UserError: if an input is missing, broken or contradictory, masks are no shapes or disagree with each other, a
            face is found in a neutral view, or a photograph is declared neutral and is sensitive under another name.
    """
    check_new_folder(output_dir)
    _check_background(background)
    sigma = operator.setup()
    capture = load_raw_capture(data)
    if ignore_masks:
        capture = without_masks(capture)
    is_sensitive = classify(capture, neutral, sensitive, face_direction, neutral_beyond_deg)
    may_show_face = matches(capture, allow_face, "--allow-face")
    width, height = _common_size(capture, size, sigma.margin)
    look = [not private and not allowed for private, allowed in zip(is_sensitive, may_show_face, strict=True)]
    views, digests = [], []
    with tracked(list(zip(capture.frames, look, strict=True)), "Checking photographs", console) as frames:
        for frame, look_for_face in frames:
            rgb, coverage = read_image(frame)
            digests.append(hashlib.sha256(rgb.tobytes()).digest())
            views.append(_check_view(frame, rgb, coverage, size, background, look_for_face))
    _check_copies(capture, digests, is_sensitive)
    check_masks_complete(capture, views)
    if all(is_sensitive) and views[0].silhouette is None:
        raise UserError(
            f"All frames of {capture.folder / 'transforms.json'} are sensitive and have no masks, so nothing would "
            "tell where the head is: add a mask_path to every frame, or declare those without the face by --neutral."
        )
    doubtful = check_silhouettes(views, [frame.name for frame in capture.frames])
    sound = [view for index, view in enumerate(views) if index not in doubtful]
    aabb = head_box(sound) if box is None else _read_box(box) - capture.origin
    with whole_folder(output_dir) as folder, tracked(capture.frames, "Protecting", console) as frames:
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
        neutral_names=tuple(f.name for f, private in zip(capture.frames, is_sensitive, strict=True) if not private),
        protected=is_sensitive.count(True),
        silhouettes=sum("mask_path" in entry for entry in entries),
        width=width,
        height=height,
        operator=operator,
        resized_from=next((frame.resized_from for frame in capture.frames if frame.resized_from), None),
        geographic=bool(capture.origin.any()),
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


def _check_copies(capture: RawCapture, digests: Sequence[bytes], is_sensitive: Sequence[bool]) -> None:
    """Checks that no photograph of which a copy is sensitive counts as neutral; `digests` are of decoded pixels.

    Raises:
        UserError: if one does.
    """
    sensitive = {digests[index]: index for index, private in enumerate(is_sensitive) if private}
    for index, frame in enumerate(capture.frames):
        if not is_sensitive[index] and (other := sensitive.get(digests[index])) is not None:
            raise UserError(
                f"{frame.name} is declared neutral, but shows the same picture as {capture.frames[other].name}, which "
                "is sensitive: declare both alike, or drop one."
            )


def _check_view(
    frame: RawFrame,
    rgb: UInt8[np.ndarray, "height width 3"],
    coverage: UInt8[np.ndarray, "height width"] | None,
    size: int | None,
    background: Vector,
    look_for_face: bool,
) -> View:
    """Looks for a face in a photograph where asked, and returns what the head's box is found from."""
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
