"""Features of photographs and their matches, in COLMAP's database."""

from __future__ import annotations

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
NEIGHBOURS = 15
"""Frames of a video before and after that a frame is matched to, beside those at powers of two."""

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
            cv2.imwrite(str(folder / f"{photograph.name}.png"), _feature_picture(photograph.rgb()))
            cameras[photograph.camera].append(photograph)
    options = pycolmap.FeatureExtractionOptions()
    options.sift.max_num_features = FEATURES
    options.sift.estimate_affine_shape = options.sift.domain_size_pooling = True
    with tracked(list(cameras.values()), "Finding features", console) as groups:
        for group in groups:
            reader = pycolmap.ImageReaderOptions()
            if (focal := group[0].relative_focal_length) is not None:
                reader.default_focal_length_factor = focal
            pycolmap.extract_features(
                database,
                folder,
                image_names=[f"{photograph.name}.png" for photograph in group],
                camera_mode=pycolmap.CameraMode.SINGLE,
                reader_options=reader,
                extraction_options=options,
            )
    verification = pycolmap.TwoViewGeometryOptions()
    verification.min_num_inliers = LEAST_INLIERS
    with console.status("Matching features"):
        if sequence:
            pairing = pycolmap.SequentialPairingOptions()
            pairing.overlap = NEIGHBOURS
            pairing.quadratic_overlap = True
            pycolmap.match_sequential(database, pairing_options=pairing, verification_options=verification)
        else:
            pycolmap.match_exhaustive(database, verification_options=verification)
    return database


def read_keypoints(database: Path) -> tuple[dict[int, str], dict[int, Float[np.ndarray, "features 2"]], Pairs]:
    """Returns pictures' names, positions of features in pixels, and matches, all by the pictures' ids."""
    with pycolmap.Database.open(database) as content:
        names = {image.image_id: image.name for image in content.read_all_images()}
        keypoints = {index: np.asarray(content.read_keypoints(index))[:, :2] for index in names}
        pairs, matches = content.read_all_matches()
    found = zip(map(pycolmap.pair_id_to_image_pair, pairs), matches, strict=True)
    return names, keypoints, {pair: np.asarray(match, dtype=np.int64).reshape(-1, 2) for pair, match in found}


def keep_matches(database: Path, keep: dict[tuple[int, int], Bool[np.ndarray, " matches"]]) -> None:
    """Removes all matches but those that `keep` says, and finds again which of them one movement explains."""
    names, _, matches = read_keypoints(database)
    kept = {pair: match[keep[pair]] for pair, match in matches.items()}
    listing = database.with_name("pairs.txt")
    with pycolmap.Database.open(database) as content:
        content.clear_two_view_geometries()
        content.clear_matches()
        for (first, second), match in kept.items():
            content.write_matches(first, second, match.astype(np.uint32))
    lines = [f"{names[first]} {names[second]}" for (first, second), match in kept.items() if len(match)]
    listing.write_text("\n".join(lines), encoding="utf-8")
    verification = pycolmap.TwoViewGeometryOptions()
    verification.min_num_inliers = LEAST_INLIERS
    pycolmap.verify_matches(database, listing, verification)


def _feature_picture(rgb: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "rows columns"]:
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    scale = FEATURE_SIDE / max(grey.shape)
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.createCLAHE(CONTRAST, (TILES, TILES)).apply(grey)
