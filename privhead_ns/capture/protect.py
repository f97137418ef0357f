"""Converts a raw capture into a protected capture, the only folder that may leave the owner's machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt16
from PIL import Image
from rich.console import Console
from torch import Tensor

from privhead_ns.capture.camera import PosedCamera
from privhead_ns.capture.made_masks.of_capture import with_made_masks
from privhead_ns.capture.mask_files import check_masks_complete, unused_mask, without_masks
from privhead_ns.capture.preview import save_preview
from privhead_ns.capture.protected import FORMAT_VERSION, FULL_SCALE, load_protected_capture
from privhead_ns.capture.raw import RawCapture, load_raw_capture
from privhead_ns.capture.room import RoomBox, check_cameras_inside, check_flags, check_no_masks, plan_room, room_box
from privhead_ns.capture.sensitivity import Vector, classify, matches
from privhead_ns.capture.subject import Subject
from privhead_ns.capture.summary import ProtectSummary
from privhead_ns.capture.survey import survey
from privhead_ns.capture.undistort import ViewPixels
from privhead_ns.capture.views import DEFAULT_SIZE, plan_views
from privhead_ns.errors import UserError
from privhead_ns.folders import check_new_folder, whole_folder
from privhead_ns.operators import Operator, OperatorConfig, quantise
from privhead_ns.progress import tracked
from privhead_ns.template.files import TEMPLATE_FILE, choose_template, write_template
from privhead_ns.template.pose import pose_template
from privhead_ns.text_files import write_json

Box = tuple[float, float, float, float, float, float]
"""x0 y0 z0 x1 y1 z1 in the capture's own frame."""


def protect(
    data: Path,
    output_dir: Path,
    operator: OperatorConfig,
    *,
    subject: Subject = "head",
    size: int = DEFAULT_SIZE,
    background: Vector = (0.0, 0.0, 0.0),
    neutral: Sequence[str] = (),
    sensitive: Sequence[str] = (),
    face_direction: Vector | None = None,
    neutral_beyond_deg: float = 100.0,
    allow_face: Sequence[str] = (),
    box: Box | None = None,
    ignore_masks: bool = False,
    keep_masks: bool = False,
    template: str | None = None,
    preview: Path | None = None,
    console: Console | None = None,
) -> ProtectSummary:
    """Writes the protected capture of a raw capture; `output_dir` appears whole or not at all, with mode 0700.

    Every photograph is read and checked before the first file is written; no two are in memory at once.

    Args:
        data: folder of the raw capture.
        output_dir: folder to make.
        operator: σ for the sensitive views.
        subject: what is photographed; messages, the face check and the views depend on it: of a room they are whole
            photographs.
        size: side of the views in pixels, of a room the longer one; they are smaller where most photographs have fewer
            on the head.
        background: colour in [0, 1] put behind the head where there is a mask or alpha channel.
        neutral, sensitive, face_direction, neutral_beyond_deg: see `classify`.
        allow_face: globs of neutral frames that are accepted although a face is found in them.
        box: holds the head, or the free space of the room; None to find it.
        ignore_masks: whether to use neither masks nor alpha channels, and to make none.
        keep_masks: whether to use masks as they are where colour tells outlines that fit each other better.
        template: `average`, or a mesh file: where training starts, beside the silhouettes; None for no template.
        preview: PNG to write that shows each photograph beside what leaves; for the owner's eyes alone.
        console: where progress is shown.

    Raises:
        UserError: if an input is missing, broken or contradictory, masks are no shapes or disagree with each other, a
            face is found in a neutral view, or a photograph is declared neutral and is sensitive under another name.
    """
    check_new_folder(output_dir)
    _check_background(background)
    if preview is not None:
        _check_preview(preview)
    room = subject == "room"
    if room:
        check_flags(face_direction=face_direction, template=template)
    sigma = operator.setup()
    shape = None if template is None else choose_template(template)
    capture = load_raw_capture(data)
    if ignore_masks:
        capture = without_masks(capture)
    if room:
        check_no_masks(capture, [frame.mask_path is not None for frame in capture.frames])
    is_sensitive = classify(capture, neutral, sensitive, face_direction, neutral_beyond_deg)
    may_show_face = matches(capture, allow_face, "--allow-face")
    if size < 1:
        raise UserError(f"--size must be at least 1, not {size}.")
    look = [not (private or allowed) for private, allowed in zip(is_sensitive, may_show_face, strict=True)]
    if not (room or ignore_masks):
        capture = with_made_masks(capture, subject, console or Console())
    surveyed = survey(capture, look, console or Console(), subject, refine=not (keep_masks or room))
    _check_copies(capture, surveyed.digests, is_sensitive)
    if room:
        check_no_masks(capture, [view.silhouette is not None for view in surveyed.views])
    check_masks_complete(capture, surveyed.views)
    if not room and all(is_sensitive) and surveyed.views[0].silhouette is None and shape is None:
        raise UserError(
            f"All frames of {capture.folder / 'transforms.json'} are sensitive and have no masks"
            f"{'' if ignore_masks else ', and none could be made'}, so nothing would tell where the head is: add a "
            "mask_path to every frame, declare those that show no face with --neutral GLOB, or pass --template average."
        )
    aabb, doubtful, box_found = None if box is None else _read_box(box) - capture.origin, {}, ""
    if room:
        found = room_box(capture) if aabb is None else RoomBox(aabb, "given by --box")
        plan, aabb, box_found = plan_room(capture, size, background), found.aabb, found.found
        check_cameras_inside(capture, aabb)
    else:
        plan, aabb, doubtful = plan_views(capture, surveyed, size, background, aabb)
    width, height = plan.cameras[0].intrinsics.width, plan.cameras[0].intrinsics.height
    _check_margin(width, height, sigma.margin)
    posed = None
    if shape is not None:
        facing = [view for view, private in zip(surveyed.views, is_sensitive, strict=True) if private]
        posed = pose_template(shape, surveyed.views, facing, aabb, face_direction, capture.landmarks)
    with whole_folder(output_dir) as folder, tracked(range(len(capture.frames)), "Protecting", console) as indices:
        entries, noisy = [], 0
        for index in indices:
            view = plan.view(index)
            noisy += view.noise > 0
            paths = _write_view(folder, index, view, sigma if is_sensitive[index] else None, operator.levels)
            entries.append(_entry(paths, plan.cameras[index], is_sensitive[index]))
        content = {
            "camera_model": "PINHOLE",
            "w": width,
            "h": height,
            "frames": entries,
            "privhead": {
                "format_version": FORMAT_VERSION,
                "subject": subject,
                "operator": operator.to_dict(),
                "magnitude_maximum": sigma.maximum,
                "background": list(background),
                "masked": all("mask_path" in entry for entry in entries),
                "refined_masks": plan.refined,
                "aabb": aabb.tolist(),
                "mm_per_unit": capture.mm_per_unit,
            },
        }
        if posed is not None:
            write_template(posed, folder)
            content["privhead"]["template"] = TEMPLATE_FILE
        write_json(folder / "transforms.json", content)
        if preview is not None:
            save_preview(preview, surveyed.thumbnails, load_protected_capture(folder))
    return ProtectSummary(
        output_dir=output_dir,
        subject=subject,
        neutral_names=tuple(f.name for f, private in zip(capture.frames, is_sensitive, strict=True) if not private),
        protected=is_sensitive.count(True),
        silhouettes=sum("mask_path" in entry for entry in entries),
        width=width,
        height=height,
        operator=operator,
        resized_from=next((frame.resized_from for frame in capture.frames if frame.resized_from), None),
        geographic=bool(capture.origin.any()),
        doubtful=tuple(f"{capture.frames[index].name}: {why}" for index, why in doubtful.items()),
        unused_mask=None if all("mask_path" in entry for entry in entries) else unused_mask(capture),
        size=size,
        native_size=plan.native_size,
        box_size=tuple((aabb[1] - aabb[0]).tolist()),
        box_found=box_found,
        brightest=float(plan.gains.max() / plan.gains.min()),
        template=template,
        refined_masks=plan.refined,
        made_masks=capture.frames[0].made is not None,
        noisy=noisy,
    )


def magnitude_image(
    rgb: Float[np.ndarray, "height width 3"],
    sigma: Operator,
    levels: int,
    known: Bool[np.ndarray, "height width"] | None = None,
) -> UInt16[np.ndarray, "height width"]:
    """Passes a colour image in [0, 1] through σ and returns what is stored.

    The border that σ loses is zero, and so is whatever σ made of pixels that are not known.

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
    result = F.pad(stored[0], [margin] * 4).numpy().astype(np.uint16)
    if known is not None:
        result[cv2.dilate((~known).astype(np.uint8), np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)) > 0] = 0
    return result


def _check_background(background: Vector) -> None:
    if len(background) != 3 or not all(0 <= value <= 1 for value in background):
        raise UserError(f"--background must be three numbers between 0 and 1, not {background}.")


def _check_preview(path: Path) -> None:
    if path.suffix.lower() != ".png" or not path.parent.is_dir() or path.is_dir():
        raise UserError(f"--preview {path} must be a PNG file in a folder that exists.")


def _read_box(box: Box) -> Float[np.ndarray, "2 3"]:
    aabb = np.array(box, dtype=np.float64)
    if aabb.shape != (6,) or not np.isfinite(aabb).all() or (aabb[:3] >= aabb[3:]).any():
        raise UserError(f"--box must be x0 y0 z0 x1 y1 z1 with x0 < x1, y0 < y1 and z0 < z1, not {box}.")
    return aabb.reshape(2, 3)


def _check_margin(width: int, height: int, margin: int) -> None:
    """Checks that σ of a view is not zero everywhere.

    Raises:
        UserError: if not.
    """
    if min(width, height) <= 2 * margin:
        raise UserError(
            f"Views of {width}x{height} pixels are too small for an operator that needs {margin} pixels on each side; "
            "raise --size or lower --blur."
        )


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


def _write_view(folder: Path, index: int, view: ViewPixels, sigma: Operator | None, levels: int) -> dict[str, str]:
    """Writes a view, through σ where given, its silhouette and known pixels; returns the paths in transforms.json."""
    stem = f"{index:03d}.png"
    if sigma is None:
        images = {"file_path": (f"neutral/{stem}", _to_bytes(view.rgb))}
    else:
        images = {"file_path": (f"protected/{stem}", magnitude_image(view.rgb, sigma, levels, view.known))}
    if view.coverage is not None:
        images["mask_path"] = (f"masks/{stem}", _to_bytes(view.coverage))
    if view.known is not None:
        images["known_path"] = (f"known/{stem}", view.known.astype(np.uint8) * 255)
    for path, pixels in images.values():
        (folder / path).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / path)
    return {key: path for key, (path, _) in images.items()}


def _entry(paths: dict[str, str], posed: PosedCamera, is_sensitive: bool) -> dict[str, object]:
    camera = posed.intrinsics
    return {
        **paths,
        "kind": "protected" if is_sensitive else "neutral",
        "fl_x": float(camera.fl_x),
        "fl_y": float(camera.fl_y),
        "cx": float(camera.cx),
        "cy": float(camera.cy),
        "transform_matrix": posed.camera_to_world.tolist(),
    }


def _to_bytes(values: Float[np.ndarray, "*shape"]) -> np.ndarray:
    return (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)
