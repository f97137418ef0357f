"""Intrinsics from the keys that Nerfstudio and instant-ngp write in transforms.json, whichever of them are there."""

from __future__ import annotations

import math
from typing import Any

from privhead_ns.capture.camera import Intrinsics
from privhead_ns.capture.transforms import read_number, read_positive, read_size
from privhead_ns.errors import UserError

PINHOLES = ("PINHOLE", "SIMPLE_PINHOLE")
BROWN = ("OPENCV", "FULL_OPENCV", "RADIAL", "SIMPLE_RADIAL", *PINHOLES)
FISHEYES = ("OPENCV_FISHEYE", "RADIAL_FISHEYE", "SIMPLE_RADIAL_FISHEYE")
FOCAL = ("fl_x", "fl_y", "camera_angle_x", "camera_angle_y")
COEFFICIENTS = ("k1", "k2", "k3", "k4", "p1", "p2")
"""Their order in Nerfstudio's `distortion_params`."""
DENOMINATOR = ("k4", "k5", "k6")
"""Brown coefficients that `Intrinsics` has no room for."""

Fisheye = tuple[float, float, float, float]


def frame_entry(content: dict[str, Any], frame: dict[str, Any]) -> dict[str, Any]:
    """Returns a frame's keys and those of the file for what the frame leaves open.

    A frame's own focal length counts whole: neither the file's nor its field of view is mixed with it.
    """
    own = any(key in frame for key in FOCAL)
    return {key: value for key, value in content.items() if not (own and key in FOCAL)} | frame


def read_lens(entry: dict[str, Any], picture: tuple[int, int], where: str) -> tuple[Intrinsics, Fisheye | None]:
    """Reads a camera.

    Args:
        entry: keys of a frame; `w`, `h`, `cx`, `cy` and one of two focal lengths may be left out.
        picture: width and height of the picture, in pixels.
        where: names the file and the frame, for messages.

    Returns:
        Intrinsics at the resolution that the entry says, and the fisheye coefficients of such a lens.

    Raises:
        UserError: if a number is missing or impossible, or the lens is of a model that is not read.
    """
    width, height = _read_resolution(entry, picture, where)
    fl_x, fl_y = _read_focal(entry, width, height, where)
    model = str(entry.get("camera_model") or "OPENCV").upper()
    if model not in (*BROWN, *FISHEYES):
        raise UserError(
            f"{where}: camera_model {model} is not supported, only {', '.join((*BROWN, *FISHEYES))} are; undistort the "
            "photographs first, e.g. with colmap image_undistorter."
        )
    values = _read_coefficients(entry, where)
    fisheye = None
    if entry.get("is_fisheye") or model in FISHEYES:
        if values["p1"] or values["p2"]:
            raise UserError(f"{where}: p1 and p2 are not supported in a fisheye lens; calibrate it without them.")
        fisheye = (values["k1"], values["k2"], values["k3"], values["k4"])
        values = dict.fromkeys(values, 0.0)
    if any(values[key] for key in DENOMINATOR):
        raise UserError(
            f"{where}: k4, k5 and k6 are not supported, only k1, k2, k3, p1 and p2 are; undistort the photographs "
            "first, or calibrate without them."
        )
    distortion = values["k1"], values["k2"], values["p1"], values["p2"], values["k3"]
    if model in PINHOLES and any(distortion):
        raise UserError(f"{where}: camera_model {model} has no distortion; write OPENCV or remove k1, k2, k3, p1, p2.")
    cx = read_number(entry, "cx", where, default=width / 2)
    cy = read_number(entry, "cy", where, default=height / 2)
    return Intrinsics(width, height, fl_x, fl_y, cx, cy, distortion), fisheye


def _read_resolution(entry: dict[str, Any], picture: tuple[int, int], where: str) -> tuple[int, int]:
    """Returns w and h; one that is left out follows from the picture's shape."""
    given = [read_size(entry, key, where) if entry.get(key) is not None else None for key in ("w", "h")]
    if given[0] is None and given[1] is None:
        return picture
    width = given[0] if given[0] is not None else max(1, round((given[1] or 0) * picture[0] / picture[1]))
    height = given[1] if given[1] is not None else max(1, round(width * picture[1] / picture[0]))
    return width, height


def _read_focal(entry: dict[str, Any], width: int, height: int, where: str) -> tuple[float, float]:
    """Returns the focal lengths in pixels; one that is left out is the other."""
    found: list[float | None] = []
    for axis, side in (("x", width), ("y", height)):
        if entry.get(f"fl_{axis}") is not None:
            found.append(read_positive(entry, f"fl_{axis}", where))
        elif entry.get(f"camera_angle_{axis}") is not None:
            angle = read_positive(entry, f"camera_angle_{axis}", where)
            if angle >= math.pi:
                raise UserError(f"{where}: camera_angle_{axis} must be in radians and below pi, not {angle:g}.")
            found.append(side / 2 / math.tan(angle / 2))
        else:
            found.append(None)
    x, y = found
    first = x if x is not None else y
    if first is None:
        raise UserError(f"{where} has neither fl_x nor camera_angle_x; add the focal length in pixels as fl_x.")
    return first, (y if y is not None else first)


def _read_coefficients(entry: dict[str, Any], where: str) -> dict[str, float]:
    """Returns k1 to k6, p1 and p2 by their keys, or from Nerfstudio's list `distortion_params`."""
    values = {key: read_number(entry, key, where, default=0.0) for key in (*COEFFICIENTS, "k5", "k6")}
    coefficients = entry.get("distortion_params")
    if coefficients is None:
        return values
    if not isinstance(coefficients, list) or len(coefficients) != len(COEFFICIENTS):
        raise UserError(f"{where}: distortion_params must be a list of {', '.join(COEFFICIENTS)}.")
    listed = {str(key): value for key, value in zip(COEFFICIENTS, coefficients, strict=True)}
    listed = {key: read_number(listed, key, f"{where}: distortion_params") for key in COEFFICIENTS}
    if any(key in entry and values[key] != listed[key] for key in COEFFICIENTS):
        raise UserError(f"{where}: distortion_params and k1, k2, k3, p1, p2 disagree; remove the wrong ones.")
    return values | listed
