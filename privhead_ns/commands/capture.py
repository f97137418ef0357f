"""The commands of the capture side: the only ones that see the photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from privhead_ns.capture.subject import Subject, errors_about
from privhead_ns.prepare.readers import DataFormat


def prepare(
    data: Path,
    output_dir: Path,
    masks: Path | None = None,
    neutral: tuple[str, ...] = (),
    sensitive: tuple[str, ...] = (),
    marker_mm: float | None = None,
    pupils_mm: float | None = None,
    max_side: int = 1600,
    frames: int = 80,
    data_format: Annotated[DataFormat, tyro.conf.arg(name="format")] = "auto",
    views: tuple[int, int] | None = None,
) -> None:
    """Turn photographs of a head, a video, or a capture of another program into a raw capture, on this machine.

    It finds cameras and masks, says which photographs show the face, and draws sheet.png for you to check. Nothing is
    uploaded or downloaded. The same command goes on where it was killed.

    Args:
        data: Folder of photographs, a video, or a capture with cameras: COLMAP, Nerfstudio, instant-ngp, Blender,
            Polycam, Record3D, NeRFCapture, Metashape, RealityCapture, or the data sets FaceScape (IMGS/ID/EXPRESSION)
            and H3DS (the folder of a scene).
        output_dir: Folder to write the raw capture into; it must not exist yet. It shows the face: keep it.
        masks: Folder with a mask for each photograph, white on the head, of the same name or named IMAGE.png.
        neutral: Globs of photographs that show no face, whatever was found.
        sensitive: Globs of photographs that show a face, whatever was found.
        marker_mm: Side in millimetres of a printed ArUco or AprilTag marker beside the head.
        pupils_mm: Distance of the pupils in millimetres.
        max_side: Longer side in pixels to which larger photographs are reduced.
        frames: Frames to take from a video: the sharpest of as many equal stretches.
        data_format: Refuse data that is not of this data set, and say what is wrong with it.
        views: How many neutral and sensitive views to keep, spread evenly about the head; the paper takes 10 20 of
            FaceScape and 16 20 of H3DS.
    """
    from privhead_ns.prepare.prepare import prepare as make_capture
    from privhead_ns.prepare.wishes import Wishes

    wishes = Wishes(masks, neutral, sensitive, marker_mm, pupils_mm, max_side, frames, data_format, views)
    print(make_capture(data, output_dir, wishes, Console()).in_plain_words())


def protect(
    data: Path,
    output_dir: Path,
    subject: Subject = "head",
    operator: str = "sobel",
    blur: float = 0.0,
    levels: int = 65536,
    size: int = 128,
    background: tuple[float, float, float] = (0.0, 0.0, 0.0),
    neutral: tuple[str, ...] = (),
    sensitive: tuple[str, ...] = (),
    face_direction: tuple[float, float, float] | None = None,
    neutral_beyond_deg: float = 100.0,
    allow_face: tuple[str, ...] = (),
    box: tuple[float, float, float, float, float, float] | None = None,
    ignore_masks: bool = False,
    keep_masks: bool = False,
    template: str | None = None,
    preview: Path | None = None,
) -> None:
    """Turn raw photographs of a head, object or room into a protected capture, the only folder that may leave here.

    A photograph that nothing declares neutral counts as sensitive: neither "sensitive": false in transforms.json, nor
    --neutral, nor --face-direction.

    Args:
        data: Folder of the raw capture: transforms.json and the photographs.
        output_dir: Folder to write the protected capture into; it must not exist yet. Its owner alone may read it.
        subject: What is photographed. The face check expects a large upright face on a head, small or turned ones on an
            object, and small upright ones in a room; it does not look for writing or anything else. A room is seen from
            within: its photographs are kept whole and need no masks. "Face" below means whatever on an object or in a
            room is sensitive.
        operator: What protects a sensitive photograph: sobel, scharr, prewitt, central, or one of your own.
        blur: Standard deviation in pixels of a Gaussian blur before the operator.
        levels: Number of values that a stored magnitude can take, 2 to 65536.
        size: Side of the stored views in pixels: squares about the head, never enlarged; of a room, the longer side.
        background: Colour between 0 and 1 to put behind the head where there is a mask or an alpha channel.
        neutral: Globs of photographs that show no face.
        sensitive: Globs of photographs that show a face.
        face_direction: Direction in which the face looks, in the capture's frame.
        neutral_beyond_deg: With --face-direction: photographs taken from farther off it than this are neutral.
        allow_face: Globs of neutral photographs to accept although a face detector fires.
        box: Box that holds the head or room, x0 y0 z0 x1 y1 z1 in the capture's frame; by default found from the masks.
            That of a room is aabb of transforms.json, or found from the points of ply_file_path, or else guessed: it
            reaches half the cameras' extent beyond them.
        ignore_masks: Use neither masks nor alpha channels, and make none: all views keep their surroundings. Without
            masks `protect` makes them, from colours and cameras.
        keep_masks: Use masks exactly as they are. Otherwise their outlines move by up to 2 % of the head's width to
            where colours change, if all of them then fit each other better.
        template: Where training starts beside the silhouettes: average, a head of nobody, or a mesh file of yours,
            closed, the face along +x, z up. For photographs from the front only, or with --ignore-masks.
        preview: PNG to write that shows each photograph beside what leaves: for your own eyes.
    """
    from privhead_ns.capture import protect as capture_side
    from privhead_ns.operators import OperatorConfig

    with errors_about(subject):
        summary = capture_side.protect(
            data,
            output_dir,
            OperatorConfig(operator, blur, levels),
            subject=subject,
            size=size,
            background=background,
            neutral=neutral,
            sensitive=sensitive,
            face_direction=face_direction,
            neutral_beyond_deg=neutral_beyond_deg,
            allow_face=allow_face,
            box=box,
            ignore_masks=ignore_masks,
            keep_masks=keep_masks,
            template=template,
            preview=preview,
        )
    print(summary.in_plain_words())
