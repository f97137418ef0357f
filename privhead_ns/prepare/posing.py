"""Estimates the cameras of photographs or of a video's frames, resumable after a kill."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console

from privhead_ns.capture.made_masks.upright_crop import up_direction
from privhead_ns.errors import UserError
from privhead_ns.folders import PRIVATE, make_private
from privhead_ns.prepare.declare import Declared, read_globs
from privhead_ns.prepare.given_masks import check_masks, find_masks, orientation_is_open, read_mask
from privhead_ns.prepare.photographs import LEAST_SIDE, SUFFIXES, Photograph, list_photographs
from privhead_ns.prepare.posed import PosedCapture
from privhead_ns.prepare.silhouettes import given_silhouettes
from privhead_ns.prepare.sources import Source, estimated_sources
from privhead_ns.prepare.wishes import Wishes
from privhead_ns.text_files import as_read, read_json, write_json

CAMERAS, FOUND = "cameras", "found"
"""Folder of features and matches, and the file in it that says that cameras were found from them."""
CLUTTER = {"thumbs.db", "desktop.ini"}
INSTALL = 'pip install ".[prepare]"'
FITS = 0.9
"""Median intersection over union of masks and their hull from which cameras and masks belong together."""
BESIDE = 0.02
"""Width of the rim about a mask whose features count as the head's, over the picture's longer side."""


@contextmanager
def kept_work(output_dir: Path, console: Console) -> Iterator[Path]:
    """Yields a private folder `.NAME.prepare` beside the output, kept after a kill for the same command to continue.

    It is removed at the end, and after an error from which its content does not help: before cameras were found.

    Raises:
        UserError: if another process uses it, or it is not this user's.
    """
    work = output_dir.absolute().with_name(f".{output_dir.name}.prepare")
    make_private(work)
    about = work.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
        raise UserError(f"{work} is not a folder of yours; remove it, or choose another --output-dir.")
    work.chmod(PRIVATE)
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"Another privhead prepare is writing {output_dir}; wait for it to end.") from None
        try:
            yield work
        except BaseException as error:
            if isinstance(error, UserError) and not (work / CAMERAS / FOUND).exists():
                shutil.rmtree(work, ignore_errors=True)
            else:
                note = f"What was found so far is kept in {work}: the same command goes on from there."
                console.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)
            raise
        shutil.rmtree(work, ignore_errors=True)


def pose_photographs(
    data: Path, work: Path, wishes: Wishes, console: Console
) -> tuple[list[Source], dict[str, str], Declared]:
    """Estimates the cameras of photographs, or of a video's frames.

    A head that turns before a camera that stands still is recognised, and so are cameras that do not fit the given
    masks; then features of the head alone count.

    Returns:
        The photographs that have cameras; by name why others are left out; and what --neutral and --sensitive mean.

    Raises:
        UserError: if pycolmap is missing, photographs or masks are wrong, or too few photographs go together.
    """
    _check_installed()
    from privhead_ns.prepare import matches, poses
    from privhead_ns.prepare.still_camera import find_still_camera

    if data.suffix.lower() in SUFFIXES and data.is_file():
        raise UserError(f"{data} is one photograph: give --data the folder that holds all of them.")
    folder, sequence = (data, False) if data.is_dir() else (_frames(data, work, wishes.frames, console), True)
    photographs, others = list_photographs(folder)
    if len(photographs) < poses.LEAST_REGISTERED:
        raise UserError(f"{data} has {len(photographs)} photographs or frames, too few for a head: {poses.ADVICE}.")
    paths, names = [photo.path for photo in photographs], [photo.name for photo in photographs]
    declared = read_globs(paths, names, folder, wishes.neutral, wishes.sensitive)
    mask_paths = find_masks(photographs, wishes.masks)
    if mask_paths is not None:
        check_masks(photographs, mask_paths, console)
    cameras = _fresh(work / CAMERAS, [_origin(photo.path) for photo in photographs])
    database = matches.find_matches(photographs, cameras, sequence, console)
    _, keypoints, pairs = matches.read_keypoints(database)
    used, offsets = database, None
    if (still := find_still_camera(keypoints, pairs, matches.read_sizes(database))) is not None:
        console.print("The camera stood still while the head turned: features of the room are left out.")
        offsets = still.offsets
        used = matches.keep_features(database, {index: ~room for index, room in still.room.items()}, offsets)

    def estimate() -> PosedCapture:
        return poses.posed_capture(poses.estimate_cameras(used, len(photographs), console), photographs, offsets)

    def sources(sensor_orientation: bool = False) -> list[Source]:
        return estimated_sources(capture, photographs, mask_paths, sensor_orientation)

    capture = estimate()
    (cameras / FOUND).touch()
    best = sources()
    if mask_paths is not None:
        fit = _fit(best)
        if orientation_is_open(photographs, mask_paths) and (other := _fit(sources(True))) > fit:
            best, fit = sources(True), other
        if fit < FITS:
            console.print("The cameras do not fit the masks: features outside them are left out.")
            inside = {}
            for index, name in matches.read_names(database).items():
                number = int(Path(name).stem)
                inside[index] = _inside(photographs[number], mask_paths[number], keypoints[index], cameras / name)
            used = matches.keep_features(database, inside, offsets)
            capture = estimate()
            best = max((sources(), sources(True)), key=_fit)
    posed = {source.posed.path for source in best}
    unposed = (photograph.name for photograph in photographs if photograph.path not in posed)
    left_out = dict.fromkeys(unposed, "it shares too little with the others to find its camera")
    return best, left_out | _not_pictures(others), declared


def _not_pictures(paths: Sequence[Path]) -> dict[str, str]:
    """Returns pictures that cannot be read by their names, and other files counted by their endings."""
    broken = [path for path in paths if path.suffix.lower() in SUFFIXES]
    reasons = {path.name: f"it is broken, or smaller than {LEAST_SIDE} pixels" for path in broken}
    others = [path for path in paths if path not in broken and path.name.lower() not in CLUTTER]
    endings = Counter(path.suffix.lower() or path.name for path in others)
    return reasons | {
        f"{count} {ending} file{'s' if count > 1 else ''}": "no photograph that can be read is in "
        + ("them" if count > 1 else "it")
        for ending, count in endings.items()
    }


def _origin(path: Path) -> list[object]:
    about = path.stat()
    return [str(path.absolute()), about.st_mtime_ns, about.st_size, about.st_ino]


def _check_installed() -> None:
    if any(importlib.util.find_spec(name) is None for name in ("pycolmap", "pillow_heif")):
        raise UserError(f"Estimating cameras needs pycolmap and pillow-heif: {INSTALL} in the folder of privhead-ns.")


def _frames(video: Path, work: Path, frames: int, console: Console) -> Path:
    """Returns the folder of a video's sharpest frames, which is filled once."""
    from privhead_ns.prepare.video import write_sharpest_frames

    folder = _fresh(work / "frames", [*_origin(video), frames])
    if not (folder / ".whole").exists():
        write_sharpest_frames(video, folder, frames, console)
        (folder / ".whole").touch()
    return folder


def _fresh(folder: Path, origin: object) -> Path:
    """Returns the folder, emptied if it was made from something else."""
    record, wanted = folder / ".origin.json", as_read({"origin": origin})
    if not record.is_file() or read_json(record) != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_json(record, wanted)
    return folder


def _fit(sources: Sequence[Source]) -> float:
    """Returns the median intersection over union of masks and their hull."""
    up = up_direction(np.stack([source.posed.camera_to_world for source in sources]))
    silhouettes = given_silhouettes(sources, up)
    return 0.0 if silhouettes is None else float(np.median(silhouettes.agreement))


def _inside(photograph: Photograph, mask_path: Path, keypoints: np.ndarray, picture: Path) -> np.ndarray:
    """Returns which features lie on a mask or just beside it."""
    height, width = cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE).shape[:2]  # pyright: ignore
    mask = read_mask(photograph, mask_path, False, (width, height))
    reach = 2 * round(BESIDE * max(width, height)) + 1
    wider = cv2.dilate(mask, np.ones((reach, reach), np.uint8))
    columns, rows = np.minimum(keypoints.astype(int), [width - 1, height - 1]).T
    return wider[rows, columns] > 0
