"""A picture of each mesh from the front, and sheets of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image, ImageDraw

from privhead_ns.capture.camera import Intrinsics, PosedCamera
from privhead_ns.capture.protected import ProtectedCapture, ProtectedFrame
from privhead_ns.capture.undistort import resized
from privhead_ns.folders import replacing
from privhead_ns.mesh.pictures import render_normals

SIZE = 192
"""Longer side in pixels of the picture of one mesh."""
CAPTION = 16
"""Height in pixels of the name below it."""
COLUMNS, ROWS = 10, 20
"""Pictures on one sheet."""


def save_picture(path: Path, mesh: trimesh.Trimesh, capture: ProtectedCapture, scale: float) -> None:
    """Writes a PNG of a mesh's normals, seen by the camera of the most frontal protected view.

    Args:
        path: file to write.
        mesh: the surface, `scale` times as large as in the frame of the capture.
        capture: gives the camera.
        scale: millimetres per unit, if the mesh is in millimetres, else 1.
    """
    frame = most_frontal(capture)
    lens = Intrinsics(capture.width, capture.height, frame.fl_x, frame.fl_y, frame.cx, frame.cy)
    pose = np.array(frame.camera_to_world, dtype=np.float64)
    pose[:3, 3] *= scale
    Image.fromarray(render_normals(mesh, PosedCamera(pose, resized(lens, SIZE)))).save(path)


def most_frontal(capture: ProtectedCapture) -> ProtectedFrame:
    """Returns the protected view from nearest the mean direction of all protected views, which look at the face."""
    frames = [frame for frame in capture.frames if frame.kind == "protected"]
    directions = np.stack([frame.camera_to_world[:3, 3] for frame in frames]) - capture.aabb.mean(axis=0)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return frames[int(np.argmax(directions @ directions.mean(axis=0)))]


def save_sheets(output_dir: Path, pictures: Sequence[tuple[str, Path | None]]) -> list[Path]:
    """Writes sheet.png, or sheet-1.png and so on where there are more pictures than one holds.

    Args:
        output_dir: folder to write them into; sheets that lie there already are replaced.
        pictures: names and files, None for a head without a mesh.

    Returns:
        what was written.
    """
    for stale in output_dir.glob("sheet*.png"):
        stale.unlink()
    count = COLUMNS * ROWS
    pages = [pictures[start : start + count] for start in range(0, len(pictures), count)]
    paths = [output_dir / ("sheet.png" if len(pages) == 1 else f"sheet-{n}.png") for n in range(1, len(pages) + 1)]
    for path, page in zip(paths, pages, strict=True):
        with replacing(path) as temporary:
            sheet(page).save(temporary)
    return paths


def sheet(pictures: Sequence[tuple[str, Path | None]]) -> Image.Image:
    """Draws pictures in rows, each above its name; a cell without a picture is grey."""
    columns = min(COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    page = Image.new("RGB", (columns * SIZE, rows * (SIZE + CAPTION)), "white")
    draw = ImageDraw.Draw(page)
    for number, (name, path) in enumerate(pictures):
        x, y = number % columns * SIZE, number // columns * (SIZE + CAPTION)
        if path is None:
            draw.rectangle((x + 4, y + 4, x + SIZE - 5, y + SIZE - 5), fill="lightgrey")
            draw.text((x + SIZE / 2, y + SIZE / 2), "failed", fill="black", anchor="mm")
        else:
            with Image.open(path) as picture:
                page.paste(picture, (x + (SIZE - picture.width) // 2, y + (SIZE - picture.height) // 2))
        draw.text((x + SIZE / 2, y + SIZE + CAPTION / 2), name[:30], fill="black", anchor="mm")
    return page
