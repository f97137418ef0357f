"""Makes a raw capture of photographs, a video or another program's capture: cameras, masks, sensitivity, scale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from rich.console import Console

from privhead_ns.capture.crop import Sphere
from privhead_ns.capture.made_masks.make import Silhouettes, first_sphere, make_masks
from privhead_ns.capture.made_masks.upright_crop import Mask, Picture, crop_about, reduced_picture, up_direction
from privhead_ns.capture.masks import enlarged
from privhead_ns.capture.silhouettes import judge, reduced, silhouette_view
from privhead_ns.errors import UserError
from privhead_ns.folders import check_new_folder, whole_folder
from privhead_ns.prepare import landmarks
from privhead_ns.prepare.choose import choose_views
from privhead_ns.prepare.declare import KNOWN_WITHIN_DEG, SENSITIVE_WITHIN_DEG, Declared, declare, read_globs
from privhead_ns.prepare.faces import Face, find_face
from privhead_ns.prepare.frame import SAME, Frame, head_frame
from privhead_ns.prepare.posed import PosedCapture
from privhead_ns.prepare.posing import kept_work, pose_photographs
from privhead_ns.prepare.readers.detect import read_posed
from privhead_ns.prepare.scale import find_markers, scale_of_marker, scale_of_pupils
from privhead_ns.prepare.sheet import save_sheet
from privhead_ns.prepare.silhouettes import WORKING_SIDE, check_outlines, given_silhouettes
from privhead_ns.prepare.sources import Source, posed_sources, save_picture
from privhead_ns.prepare.summary import PrepareSummary
from privhead_ns.prepare.truth import write_truth
from privhead_ns.prepare.wishes import Wishes, check_wishes
from privhead_ns.progress import tracked
from privhead_ns.text_files import write_json

MARKER_SIDE = 1600
LOSSLESS_SIDE = 1000
"""Longer side in pixels up to which photographs are stored as PNG: in small ones a head has no pixels to spare."""
MOST_LEFT_OUT = 0.25
"""Share of photographs that may be left out for their outlines: more say that cameras or masks are wrong altogether."""
ABSENT = "the head is not found in it"
MISFIT = "its outline does not fit those of the others"


def prepare(data: Path, output_dir: Path, wishes: Wishes, console: Console) -> PrepareSummary:
    """Writes a raw capture; `output_dir` appears whole or not at all, for its owner alone (0700).

    Args:
        data: folder of photographs, a video, or a capture with cameras of another program.
        output_dir: folder to make.
        wishes: see `Wishes`.
        console: where progress is shown.

    Raises:
        UserError: if an input is missing or broken, or too few photographs go together.
    """
    check_new_folder(output_dir)
    check_wishes(wishes)
    captured = read_posed(data, wishes.data_format)
    if captured is not None and wishes.masks is not None:
        raise UserError("--masks goes with photographs alone; put masks into the capture's own folder masks/.")
    with kept_work(output_dir, console) as work, whole_folder(output_dir) as folder:
        if captured is not None:
            sources, left_out = posed_sources(captured), {}
            check_outlines(sources, console)
            paths, names = [source.posed.path for source in sources], [source.name for source in sources]
            declared = read_globs(paths, names, data, wishes.neutral, wishes.sensitive)
        else:
            sources, left_out, declared = pose_photographs(data, work, wishes, console)
        return _write(folder, output_dir, sources, left_out, declared, captured, wishes, console)


def _write(
    folder: Path,
    output_dir: Path,
    sources: Sequence[Source],
    left_out: dict[str, str],
    declared: Declared,
    captured: PosedCapture | None,
    wishes: Wishes,
    console: Console,
) -> PrepareSummary:
    with tracked(sources, "Reading photographs", console) as remaining:
        pictures = [reduced_picture(source.rgb(), WORKING_SIDE) for source in remaining]
    up = up_direction(np.stack([source.posed.camera_to_world for source in sources]))
    silhouettes, made = _silhouettes(sources, pictures, up, console)
    keep = _agreeing(sources, silhouettes, left_out, _mend(made, captured is not None))
    sources, pictures, silhouettes = _only(keep, sources, pictures, silhouettes)
    cameras = [source.posed.camera for source in sources]
    sphere = first_sphere(cameras) if silhouettes is None else silhouettes.body.sphere
    face, face_seen = _face(sources, pictures, sphere, up)
    direction, within = None if face is None else face.direction, SENSITIVE_WITHIN_DEG
    if captured is not None and captured.head.face_direction is not None:
        direction, within = captured.head.face_direction, KNOWN_WITHIN_DEG
    private = declare(sources, sphere.center, direction, face_seen, declared, within)
    if (mm_per_unit := _scale(sources, face, wishes)) is None and captured is not None:
        mm_per_unit = captured.mm_per_unit
    frame = SAME if captured is not None else head_frame(sphere, up, direction)
    if mm_per_unit is not None:
        mm_per_unit /= frame.scale
    if wishes.views is not None:
        poses = np.stack([source.posed.camera_to_world for source in sources])
        keep = choose_views(poses, sphere.center, private, wishes.views)
        sources, pictures, silhouettes = _only(keep, sources, pictures, silhouettes)
        private = [private[i] for i in keep]
    entries = _write_pictures(folder, sources, silhouettes, private, frame, wishes.max_side, console)
    content = {"camera_model": "OPENCV", "frames": entries}
    content |= {} if mm_per_unit is None else {"mm_per_unit": mm_per_unit}
    content |= {} if direction is None else {"face_direction": frame.direction(direction).round(4).tolist()}
    if face is not None:
        content["face_landmarks"] = {name: frame.point(place).tolist() for name, place in face.landmarks.items()}
    write_json(folder / "transforms.json", content)
    if captured is not None:
        write_truth(folder, captured.head)
    agreement = None if silhouettes is None else silhouettes.agreement.tolist()
    names = [source.name for source in sources]
    save_sheet(
        folder / "sheet.png", names, pictures, None if silhouettes is None else silhouettes.masks, private, agreement
    )
    neutral = tuple(name for name, sensitive in zip(names, private, strict=True) if not sensitive)
    kind = "none" if silhouettes is None else "made" if made else "given"
    views = 0 if face is None else face.views
    return PrepareSummary(output_dir, len(sources), left_out, kind, neutral, views, mm_per_unit, captured)


def _only(
    keep: Sequence[int], sources: Sequence[Source], pictures: Sequence[Picture], silhouettes: Silhouettes | None
) -> tuple[list[Source], list[Picture], Silhouettes | None]:
    """Returns what belongs to some of the photographs."""
    return (
        [sources[i] for i in keep],
        [pictures[i] for i in keep],
        None if silhouettes is None else silhouettes.of(keep),
    )


def _silhouettes(
    sources: Sequence[Source], pictures: Sequence[Picture], up: Float[np.ndarray, " 3"], console: Console
) -> tuple[Silhouettes | None, bool]:
    """Returns the silhouettes, and whether they were made here."""
    if sources[0].mask is None:
        return make_masks([source.posed.camera for source in sources], pictures, up, console), True
    silhouettes = given_silhouettes(sources, up)
    if silhouettes is None:
        raise UserError(
            "The masks agree on no head: check that they are white on the head and belong to these photographs; a head "
            "that turns in a still room needs a camera that stands still too, or a plain background."
        )
    return silhouettes, False


def _mend(made: bool, posed: bool) -> tuple[str, str]:
    """Returns what masks are called where they do not fit, and what to do."""
    what = "the masks that were made" if made else "the masks"
    if posed:
        return what, "check that masks are white on the head, and that each pose and mask belongs to its photograph"
    return what, (
        "give good masks with --masks; if the head turned while the room stood still, photograph it before a plain "
        "background"
    )


def _agreeing(
    sources: Sequence[Source], silhouettes: Silhouettes | None, left_out: dict[str, str], mend: tuple[str, str]
) -> list[int]:
    """Returns the photographs whose silhouettes fit those of the others, and notes the others as left out.

    The worst are left out first, and the rest is measured again without them.

    Raises:
        UserError: if many do not fit.
    """
    if silhouettes is None:
        return list(range(len(sources)))
    kept = [index for index, mask in enumerate(silhouettes.masks) if mask.any()]
    left_out |= {source.name: ABSENT for source, mask in zip(sources, silhouettes.masks, strict=True) if not mask.any()}
    views = [
        reduced(silhouette_view(mask, source.posed.camera_to_world, source.posed.intrinsics))
        for source, mask in zip(sources, silhouettes.masks, strict=True)
    ]
    while broken := judge([views[index] for index in kept]).broken:
        if len(sources) - len(kept) >= max(2, MOST_LEFT_OUT * len(sources)):
            raise UserError(
                f"In more than {len(sources) - len(kept)} of {len(sources)} photographs {mend[0]} do not fit those of "
                f"the others, so cameras or masks are wrong: {mend[1]}."
            )
        wrong = [kept[place] for place in broken[: max(1, len(broken) // 3)]]
        kept = [index for index in kept if index not in wrong]
        left_out |= dict.fromkeys((sources[index].name for index in wrong), MISFIT)
    return kept


def _face(
    sources: Sequence[Source], pictures: Sequence[Picture], sphere: Sphere, up: Float[np.ndarray, " 3"]
) -> tuple[Face | None, np.ndarray]:
    if not landmarks.is_installed():
        return None, np.zeros(len(sources), dtype=bool)
    return find_face([crop_about(s.posed.camera, rgb, sphere, up) for s, rgb in zip(sources, pictures, strict=True)])


def _scale(sources: Sequence[Source], face: Face | None, wishes: Wishes) -> float | None:
    """Returns millimetres per unit where the person gave a length."""
    if wishes.pupils_mm is not None:
        return scale_of_pupils(face, wishes.pupils_mm)
    if wishes.marker_mm is None:
        return None
    larger = [reduced_picture(source.rgb(), MARKER_SIDE) for source in sources]
    sizes = [(picture.shape[1], picture.shape[0]) for picture in larger]
    posed = [source.posed for source in sources]
    return scale_of_marker(posed, [find_markers(picture) for picture in larger], sizes, wishes.marker_mm)


def _write_pictures(
    folder: Path,
    sources: Sequence[Source],
    silhouettes: Silhouettes | None,
    private: Sequence[bool],
    frame: Frame,
    max_side: int,
    console: Console,
) -> list[dict[str, object]]:
    """Writes photographs and masks, and returns their entries in transforms.json."""
    (folder / "images").mkdir()
    if silhouettes is not None:
        (folder / "masks").mkdir()
    entries: list[dict[str, object]] = []
    with tracked(list(range(len(sources))), "Writing", console) as remaining:
        for index in remaining:
            source = sources[index]
            rgb = reduced_picture(source.rgb(), max_side)
            camera = source.posed.intrinsics.scaled(rgb.shape[1], rgb.shape[0])
            path = f"images/{source.name}.{'png' if max(rgb.shape[:2]) <= LOSSLESS_SIDE else 'jpg'}"
            entry: dict[str, object] = {"file_path": path, "sensitive": private[index]}
            save_picture(folder / path, rgb)
            if silhouettes is not None:
                entry["mask_path"] = f"masks/{source.name}.png"
                size = rgb.shape[1], rgb.shape[0]
                save_picture(folder / f"masks/{source.name}.png", _mask(source, silhouettes.masks[index], size))
                if (known := _known(source, silhouettes, index, size)) is not None:
                    entry["known_path"] = f"known/{source.name}.png"
                    (folder / "known").mkdir(exist_ok=True)
                    save_picture(folder / f"known/{source.name}.png", known)
            entry |= {"w": camera.width, "h": camera.height, "fl_x": camera.fl_x, "fl_y": camera.fl_y}
            entry |= {"cx": camera.cx, "cy": camera.cy}
            entry |= dict(zip(("k1", "k2", "p1", "p2", "k3"), camera.distortion, strict=True))
            entry["transform_matrix"] = frame.pose(source.posed.camera_to_world).tolist()
            entries.append(entry)
    return entries


def _mask(source: Source, working: Mask, size: tuple[int, int]) -> Mask:
    """Returns a mask at the size of the stored photograph: the given one read again, a made one enlarged."""
    if source.mask is not None:
        return source.mask(size)
    return enlarged(working > 127, *size)


def _known(source: Source, silhouettes: Silhouettes, index: int, size: tuple[int, int]) -> Mask | None:
    """Returns where a mask is to be believed, at the size of the stored photograph; None where all of it is."""
    if source.known is not None:
        return source.known(size)
    if silhouettes.unsure is None or not silhouettes.unsure[index].any():
        return None
    return 255 - enlarged(silhouettes.unsure[index] > 127, *size)
