"""Reads the table that RealityCapture exports as "Internal/External camera parameters"."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from privhead_ns.capture.listed_files import refuse_missing
from privhead_ns.capture.picture_files import picture_size
from privhead_ns.errors import UserError
from privhead_ns.prepare.posed import PosedCapture
from privhead_ns.prepare.readers.files import find_mask, pick_picture, pictures_by_name
from privhead_ns.prepare.readers.fit import Listed, fit_all
from privhead_ns.text_files import read_text

NAME = "#name"
POSE = ("x", "y", "alt", "heading", "pitch", "roll")
INTERNAL = ("f", "px", "py")
DISTORTION = {"k1": "k1", "k2": "k2", "k3": "k3", "k4": "k4", "t1": "p2", "t2": "p1"}
"""Its distortion coefficients, and OpenCV's; t1 moves along x, as p2 does."""
FILM = 36.0
"""Width of the film in mm to which its focal lengths refer."""


def is_realitycapture(path: Path) -> bool:
    """Returns whether a file is a table with RealityCapture's columns of names and poses."""
    try:
        header = next(csv.reader(read_text(path).splitlines()), [])
    except (UserError, csv.Error):
        return False
    return NAME in header and all(column in header for column in POSE)


def read_realitycapture(path: Path) -> PosedCapture:
    """Reads a table of cameras.

    Args:
        path: the CSV file; photographs are sought by name in its folder and below.

    Raises:
        UserError: if a column, a number or a photograph is missing, or there is no camera.
    """
    rows = list(csv.DictReader(read_text(path).splitlines()))
    if not rows:
        raise UserError(f"{path} lists no cameras: align the photographs, then export their parameters.")
    for column in (*POSE, *INTERNAL):
        if column not in rows[0]:
            raise UserError(f"{path} has no column {column}; export as Internal/External camera parameters.")
    pictures = pictures_by_name(path.parent)
    found = {row[NAME]: pick_picture(pictures, row[NAME] or "", path) for row in rows}
    refuse_missing([str(name) for name, picture in found.items() if picture is None], path)
    listed = []
    for row in rows:
        picture, where = found[row[NAME]], f"{path}: camera {row[NAME]}"
        assert picture is not None
        numbers = {column: _number(row, column, where) for column in (*POSE, *INTERNAL, *DISTORTION)}
        lens = _lens(numbers, *picture_size(picture))
        listed.append(Listed(where, picture, _pose(numbers), lens, find_mask(picture, path.parent)))
    return PosedCapture(fit_all(listed))


def _number(row: dict[str, Any], column: str, where: str) -> float:
    """Returns a number of a row; a distortion coefficient whose column is left out is 0."""
    try:
        return float(row[column]) if column in row or column not in DISTORTION else 0.0
    except (TypeError, ValueError):
        raise UserError(f"{where}: {column} must be a number, not {row[column]!r}; export the cameras again.") from None


def _lens(numbers: dict[str, float], width: int, height: int) -> dict[str, Any]:
    """Returns intrinsics by the keys of transforms.json; lengths in the table count in longer sides."""
    side = max(width, height)
    return {
        "w": width,
        "h": height,
        "fl_x": numbers["f"] * side / FILM,
        "cx": width / 2 + numbers["px"] * side,
        "cy": height / 2 + numbers["py"] * side,
        **{opencv: numbers[name] for name, opencv in DISTORTION.items()},
    }


def _pose(numbers: dict[str, float]) -> Float[np.ndarray, "3 4"]:
    """Returns camera-to-world: heading clockwise about z, then pitch about x and roll about y, in degrees."""
    values = [numbers[column] for column in POSE]
    pose = np.full((3, 4), np.nan)  # refused with the camera's name where a number is not finite
    if np.isfinite(values).all():
        x, y, altitude, heading, pitch, roll = values
        pose[:, :3] = Rotation.from_euler("ZXY", [-heading, pitch, roll], degrees=True).as_matrix()
        pose[:, 3] = x, y, altitude
    return pose
