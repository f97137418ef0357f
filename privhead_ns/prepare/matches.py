"""Features of photographs and their matches, in COLMAP's database."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pycolmap
from jaxtyping import Bool, Float, Int, UInt8
from rich.console import Console

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
NEIGHBOURS = 15
"""Frames of a video that a frame is matched to, beside those at powers of two."""

pycolmap.logging.minloglevel = pycolmap.logging.ERROR.value

Pairs = dict[tuple[int, int], Int[np.ndarray, "matches 2"]]
"""Indices of matching features, by the ids of two pictures."""


def find_matches(photographs: Sequence[Photograph], folder: Path, sequence: bool, console: Console) -> Path:
    """Finds the features of all photographs and matches them.

    Features are SIFT (Lowe 2004) with affine shape and domain-size pooling (Dong and Soatto 2015), which go together in
    twice as many photographs of a smooth head as without.

    One camera with one radial distortion stands for all photographs of a device, zoom and orientation.

    Args:
        photographs: what to match.
        folder: where grey pictures `NAME.png` and the database are written.
        sequence: whether only neighbours are compared, as in a video.
        console: where progress is shown.

    Returns:
        The database.
    """
    database = folder / "database.db"
    cameras: dict[object, list[Photograph]] = defaultdict(list)
    with tracked(photographs, "Reading photographs", console) as remaining:
        for photograph in remaining:
            if not (picture := folder / f"{photograph.name}.png").exists():
                cv2.imwrite(str(picture), _feature_picture(photograph.rgb()))
            cameras[photograph.camera].append(photograph)
    done = folder / "matched"
    if not done.exists():
        database.unlink(missing_ok=True)
        _extract(database, list(cameras.values()), console)
        _match(database, sequence, console)
        done.touch()
    return database


def _extract(database: Path, cameras: Sequence[Sequence[Photograph]], console: Console) -> None:
    options = pycolmap.FeatureExtractionOptions()
    options.sift.max_num_features = FEATURES
    options.sift.estimate_affine_shape = options.sift.domain_size_pooling = True
    chunks = [(group, start) for group in cameras for start in range(0, len(group), CHUNK)]
    reader = pycolmap.ImageReaderOptions()
    with tracked(chunks, "Finding features", console) as remaining:
        for group, start in remaining:
            if start == 0:
                reader = pycolmap.ImageReaderOptions()
                if (focal := group[0].relative_focal_length) is not None:
                    reader.default_focal_length_factor = focal
            chunk = [f"{photograph.name}.png" for photograph in group[start : start + CHUNK]]
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


def read_keypoints(database: Path) -> tuple[dict[int, str], dict[int, Float[np.ndarray, "features 2"]], Pairs]:
    """Returns pictures' names, positions of features in pixels, and matches, all by the pictures' ids."""
    names = read_names(database)
    with pycolmap.Database.open(database) as content:
        keypoints = {index: np.asarray(content.read_keypoints(index))[:, :2] for index in names}
        pairs, matches = content.read_all_matches()
    found = zip(map(pycolmap.pair_id_to_image_pair, pairs), matches, strict=True)
    return names, keypoints, {pair: np.asarray(match, dtype=np.int64).reshape(-1, 2) for pair, match in found}


def keep_features(database: Path, keep: dict[int, Bool[np.ndarray, " features"]]) -> None:
    """Removes the matches of all features but those to keep, and finds again which matches one movement explains."""
    names, _, matches = read_keypoints(database)
    kept = {pair: match[keep[pair[0]][match[:, 0]] & keep[pair[1]][match[:, 1]]] for pair, match in matches.items()}
    listing = database.with_name("pairs.txt")
    with pycolmap.Database.open(database) as content:
        content.clear_two_view_geometries()
        content.clear_matches()
        for (first, second), match in kept.items():
            content.write_matches(first, second, match.astype(np.uint32))
    lines = [f"{names[first]} {names[second]}" for (first, second), match in kept.items() if len(match)]
    listing.write_text("\n".join(lines), encoding="utf-8")
    pycolmap.verify_matches(database, listing, _verification())


def _feature_picture(rgb: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "rows columns"]:
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    scale = FEATURE_SIDE / max(grey.shape)
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.createCLAHE(CONTRAST, (TILES, TILES)).apply(grey)
