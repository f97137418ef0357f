"""Photographs or a video to sources with cameras."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console

from privhead_ns.errors import UserError
from privhead_ns.folders import make_private
from privhead_ns.prepare.crops import up_direction
from privhead_ns.prepare.given_masks import find_masks, orientation_is_open, read_mask
from privhead_ns.prepare.silhouettes import given_silhouettes
from privhead_ns.prepare.sources import Source, estimated_sources

INSTALL = 'pip install ".[prepare]"'
FITS = 0.9
"""Median intersection over union of masks and their hull from which cameras and masks belong together."""
BESIDE = 0.02
"""Width of the rim about a mask whose features count as the head's, over the picture's longer side."""


@contextmanager
def kept_work(output_dir: Path, console: Console) -> Iterator[Path]:
    """Gives a private folder `.NAME.prepare` beside the output that outlives a kill, so that the same command goes on.

    It is removed at the end, and where an input is wrong.
    """
    work = output_dir.absolute().with_name(f".{output_dir.name}.prepare")
    make_private(work)
    try:
        yield work
    except UserError:
        shutil.rmtree(work, ignore_errors=True)
        raise
    except BaseException:
        console.print(f"What was found so far is kept in {work}: the same command goes on from there.", style="yellow")
        raise
    shutil.rmtree(work, ignore_errors=True)


def pose_photographs(
    data: Path, work: Path, masks: Path | None, frames: int, console: Console
) -> tuple[list[Source], dict[str, str]]:
    """Estimates the cameras of photographs, or of a video's frames.

    A head that turns before a camera that stands still is recognised, and so are cameras that do not fit the given
    masks; then features of the head alone count.

    Returns:
        The photographs that have cameras, and by name why others are left out.

    Raises:
        UserError: if pycolmap is missing, there are no photographs, or too few go together.
    """
    _check_installed()
    from privhead_ns.prepare import matches, poses
    from privhead_ns.prepare.photographs import list_photographs
    from privhead_ns.prepare.still_camera import room_features

    folder, sequence = (data, False) if data.is_dir() else (_frames(data, work, frames, console), True)
    photographs, others = list_photographs(folder)
    mask_paths = find_masks(photographs, masks)
    cameras = _fresh(work / "cameras", [(photo.name, photo.path.stat().st_mtime, photo.size) for photo in photographs])
    database = matches.find_matches(photographs, cameras, sequence, console)
    _, keypoints, pairs = matches.read_keypoints(database)
    if (room := room_features(keypoints, pairs)) is not None:
        console.print("The camera stood still while the head turned: features of the room are left out.")
        matches.keep_features(database, {index: ~still for index, still in room.items()})

    def sources(sensor_orientation: bool = False) -> list[Source]:
        return estimated_sources(capture, photographs, mask_paths, sensor_orientation)

    model = poses.estimate_cameras(database, len(photographs), console)
    capture = poses.posed_capture(model, photographs)
    best, fit = sources(), 1.0
    if mask_paths is not None:
        fit = _fit(best)
        if orientation_is_open(photographs, mask_paths) and (other := _fit(sources(True))) > fit:
            best, fit = sources(True), other
        if fit < FITS:
            console.print("The cameras do not fit the masks: features outside them are left out.")
            names = matches.read_names(database)
            by_name = {f"{photo.name}.png": (photo, path) for photo, path in zip(photographs, mask_paths, strict=True)}
            inside = {
                index: _inside(*by_name[names[index]], keypoints[index], cameras / names[index]) for index in names
            }
            matches.keep_features(database, inside)
            model = poses.estimate_cameras(database, len(photographs), console)
            capture = poses.posed_capture(model, photographs)
            best = max((sources(), sources(True)), key=_fit)
    posed = {source.posed.path for source in best}
    left_out = dict.fromkeys((path.name for path in others), "it is no picture that can be read")
    unposed = (photograph.name for photograph in photographs if photograph.path not in posed)
    left_out |= dict.fromkeys(unposed, "it shares too little with the others to find its camera")
    return best, left_out


def _check_installed() -> None:
    if any(importlib.util.find_spec(name) is None for name in ("pycolmap", "pillow_heif")):
        raise UserError(f"Estimating cameras needs pycolmap and pillow-heif: {INSTALL} in the folder of privhead-ns.")


def _frames(video: Path, work: Path, frames: int, console: Console) -> Path:
    """Returns the folder of a video's sharpest frames, which is filled once."""
    from privhead_ns.prepare.video import write_sharpest_frames

    if frames < 2:
        raise UserError(f"--frames must be at least 2, not {frames}.")
    folder = _fresh(work / "frames", [(str(video.absolute()), video.stat().st_mtime, frames)])
    if not (folder / ".whole").exists():
        write_sharpest_frames(video, folder, frames, console)
        (folder / ".whole").touch()
    return folder


def _fresh(folder: Path, origin: object) -> Path:
    """Returns the folder, emptied if it was made from something else."""
    record, written = folder / ".origin.json", json.dumps(origin)
    if not record.is_file() or record.read_text(encoding="utf-8") != written:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        record.write_text(written, encoding="utf-8")
    return folder


def _fit(sources: Sequence[Source]) -> float:
    """Returns the median intersection over union of masks and their hull."""
    up = up_direction(np.stack([source.posed.camera_to_world for source in sources]))
    silhouettes = given_silhouettes(sources, up)
    return 0.0 if silhouettes is None else float(np.median(silhouettes.agreement))


def _inside(photograph, mask_path: Path, keypoints: np.ndarray, picture: Path) -> np.ndarray:
    """Says which features lie on a mask or just beside it."""
    height, width = cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE).shape[:2]  # pyright: ignore
    mask = read_mask(photograph, mask_path, False, (width, height))
    reach = 2 * round(BESIDE * max(width, height)) + 1
    wider = cv2.dilate(mask, np.ones((reach, reach), np.uint8))
    columns, rows = np.minimum(keypoints.astype(int), [width - 1, height - 1]).T
    return wider[rows, columns] > 0
