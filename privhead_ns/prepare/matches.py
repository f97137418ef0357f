"""Features of photographs and their matches, in COLMAP's database."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pycolmap
from jaxtyping import Bool, Float, Int, UInt8
from rich.console import Console

from privhead_ns.errors import UserError
from privhead_ns.prepare.photographs import Photograph
from privhead_ns.progress import tracked

FEATURE_SIDE = 1000
"""Longer side in pixels of what features are looked for in; larger photographs are reduced."""
FEATURES = 4096
"""Features of a photograph, the largest first."""
CONTRAST, TILES = 3.0, 8
"""Clip limit and tiles of the histogram equalisation (CLAHE: Zuiderveld 1994): dim photographs show features then."""
LEAST_INLIERS = 10
"""Matches that one movement explains, for two photographs to count as matched."""
CHUNK, BLOCK = 8, 300
"""Photographs, and pairs of them, between two steps of the progress bar."""
DISK = 4_000_000
"""Bytes that a photograph's grey picture, features and matches take."""
NEIGHBOURS = 15
"""Frames of a video that a frame is matched to, beside those at powers of two."""

pycolmap.logging.minloglevel = pycolmap.logging.FATAL.value
for level in (pycolmap.logging.INFO, pycolmap.logging.WARNING, pycolmap.logging.ERROR, pycolmap.logging.FATAL):
    pycolmap.logging.set_log_destination(level, "")  # else it keeps files with the host's and pictures' names in /tmp

Pairs = dict[tuple[int, int], Int[np.ndarray, "matches 2"]]
"""Indices of matching features, by the ids of two pictures."""
Offsets = dict[int, Float[np.ndarray, " 2"]]
"""Pixels from where the lens's centre is taken to be to where it is, by the pictures' ids."""


def find_matches(photographs: Sequence[Photograph], folder: Path, sequence: bool, console: Console) -> Path:
    """Finds the features of all photographs and matches them.

    Features are SIFT (Lowe 2004) with affine shape and domain-size pooling (Dong and Soatto 2015), which go together in
    twice as many photographs of a smooth head as without.

    One camera with one radial distortion stands for all photographs of a device, zoom and orientation.

    Args:
        photographs: what to match.
        folder: where grey pictures (see `picture_name`) and the database are written.
        sequence: whether only neighbours are compared, as in a video.
        console: where progress is shown.

    Returns:
        The database.

    Raises:
        UserError: if a photograph is broken, or the disk is full.
    """
    free = shutil.disk_usage(folder).free
    if free < DISK * len(photographs):
        raise UserError(
            f"{folder.parent} has {free / 1e6:.0f} MB of free space, and {len(photographs)} photographs need "
            f"{DISK * len(photographs) / 1e6:.0f}; free some, or choose another --output-dir."
        )
    database = folder / "database.db"
    cameras: dict[object, list[int]] = defaultdict(list)
    with tracked(list(enumerate(photographs)), "Reading photographs", console) as remaining:
        for index, photograph in remaining:
            if not (picture := folder / picture_name(index)).exists():
                _write_whole(picture, _feature_picture(photograph.rgb()))
            cameras[photograph.camera].append(index)
    done = folder / "matched"
    if not done.exists():
        database.unlink(missing_ok=True)
        focal = [photograph.relative_focal_length for photograph in photographs]
        try:
            _extract(database, list(cameras.values()), focal, console)
            _match(database, sequence, console)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"COLMAP failed in {folder} ({reason}): is there free space? Try again.") from None
        done.touch()
    return database


def picture_name(index: int) -> str:
    """Returns the name of a photograph's grey picture: a number, for COLMAP splits lists of names at blanks."""
    return f"{index:05}.png"


def _write_whole(path: Path, picture: UInt8[np.ndarray, "rows columns"]) -> None:
    temporary = path.with_name("unfinished.png")
    if not cv2.imwrite(str(temporary), picture):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    temporary.replace(path)


def _extract(database: Path, cameras: Sequence[Sequence[int]], focal: Sequence[float | None], console: Console) -> None:
    options = pycolmap.FeatureExtractionOptions()
    options.sift.max_num_features = FEATURES
    options.sift.estimate_affine_shape = options.sift.domain_size_pooling = True
    chunks = [(group, start) for group in cameras for start in range(0, len(group), CHUNK)]
    reader = pycolmap.ImageReaderOptions()
    with tracked(chunks, "Finding features", console) as remaining:
        for group, start in remaining:
            if start == 0:
                reader = pycolmap.ImageReaderOptions()
                if (relative := focal[group[0]]) is not None:
                    reader.default_focal_length_factor = relative
            chunk = [picture_name(index) for index in group[start : start + CHUNK]]
            pycolmap.extract_features(
                database,
                database.parent,
                image_names=chunk,
                camera_mode=pycolmap.CameraMode.SINGLE,
                reader_options=reader,
                extraction_options=options,
            )
            with pycolmap.Database.open(database) as content:
                image = content.read_image_with_name(chunk[0])
                assert image is not None
                reader.existing_camera_id = image.camera_id


def _match(database: Path, sequence: bool, console: Console) -> None:
    """Matches all pairs of pictures, or those near each other in a sequence, a block at a time."""
    names = sorted(read_names(database).values())
    pairs = [
        (first, second)
        for first, second in itertools.combinations(range(len(names)), 2)
        if not sequence or second - first <= NEIGHBOURS or (second - first) & (second - first - 1) == 0
    ]
    listing = database.with_name("pairs.txt")
    pairing = pycolmap.ImportedPairingOptions()
    pairing.match_list_path = listing
    with tracked(range(0, len(pairs), BLOCK), "Matching features", console) as starts:
        for start in starts:
            block = pairs[start : start + BLOCK]
            listing.write_text("\n".join(f"{names[a]} {names[b]}" for a, b in block), encoding="utf-8")
            pycolmap.match_image_pairs(database, pairing_options=pairing, verification_options=_verification())


def _verification() -> pycolmap.TwoViewGeometryOptions:
    options = pycolmap.TwoViewGeometryOptions()
    options.min_num_inliers = LEAST_INLIERS
    return options


def read_names(database: Path) -> dict[int, str]:
    """Returns the names of the pictures in a database, by their ids."""
    with pycolmap.Database.open(database) as content:
        return {image.image_id: image.name for image in content.read_all_images()}


def read_sizes(database: Path) -> dict[int, Float[np.ndarray, " 2"]]:
    """Returns widths and heights of the pictures in a database, by their ids."""
    with pycolmap.Database.open(database) as content:
        cameras = {image.image_id: content.read_camera(image.camera_id) for image in content.read_all_images()}
    return {index: np.array([camera.width, camera.height], np.float64) for index, camera in cameras.items()}


def read_keypoints(database: Path) -> tuple[dict[int, str], dict[int, Float[np.ndarray, "features 2"]], Pairs]:
    """Returns pictures' names, positions of features in pixels, and matches, all by the pictures' ids."""
    names = read_names(database)
    with pycolmap.Database.open(database) as content:
        keypoints = {index: np.asarray(content.read_keypoints(index))[:, :2] for index in names}
        pairs, matches = content.read_all_matches()
    found = zip(map(pycolmap.pair_id_to_image_pair, pairs), matches, strict=True)
    return names, keypoints, {pair: np.asarray(match, dtype=np.int64).reshape(-1, 2) for pair, match in found}


def keep_features(
    database: Path, keep: dict[int, Bool[np.ndarray, " features"]], offsets: Offsets | None = None
) -> Path:
    """Returns a copy of a database with the matches of those features alone, and finds again which one movement
    explains. The original stays, for a later call.

    Args:
        database: of `find_matches`.
        keep: features to keep, by the pictures' ids.
        offsets: subtracted from the features' places.
    """
    names, _, matches = read_keypoints(database)
    kept = {pair: match[keep[pair[0]][match[:, 0]] & keep[pair[1]][match[:, 1]]] for pair, match in matches.items()}
    listing, copy = database.with_name("pairs.txt"), database.with_name("kept.db")
    shutil.copy(database, copy)
    with pycolmap.Database.open(copy) as content:
        content.clear_two_view_geometries()
        content.clear_matches()
        for index, offset in (offsets or {}).items():
            places = np.asarray(content.read_keypoints(index), np.float32)
            content.update_keypoints(index, places - np.pad(offset, (0, places.shape[1] - 2)).astype(np.float32))
        for (first, second), match in kept.items():
            content.write_matches(first, second, match.astype(np.uint32))
    lines = [f"{names[first]} {names[second]}" for (first, second), match in kept.items() if len(match)]
    listing.write_text("\n".join(lines), encoding="utf-8")
    pycolmap.verify_matches(copy, listing, _verification())
    return copy


def _feature_picture(rgb: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "rows columns"]:
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    scale = FEATURE_SIDE / max(grey.shape)
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.createCLAHE(CONTRAST, (TILES, TILES)).apply(grey)
