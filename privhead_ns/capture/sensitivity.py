"""Decides which frames are sensitive: all that the owner did not declare neutral."""

from __future__ import annotations

import math
import os
import posixpath
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from privhead_ns.capture.camera import look_at_centre
from privhead_ns.capture.raw import RawCapture
from privhead_ns.errors import UserError

Vector = tuple[float, float, float]
Names = tuple[str, ...]
"""Names by which globs know a photograph."""


def classify(
    capture: RawCapture,
    neutral: Sequence[str] = (),
    sensitive: Sequence[str] = (),
    face_direction: Vector | None = None,
    neutral_beyond_deg: float = 100.0,
) -> list[bool]:
    """Returns for each frame whether it is sensitive.

    Three sources may declare a frame sensitive or neutral: its flag in transforms.json, the globs, and the angle of its
    camera about the head's centre. If one of them says sensitive, it is; it is neutral only if one of them says so and
    none contradicts. A frame that nobody declared neutral is sensitive.

    Args:
        capture: the photographs and cameras.
        neutral: globs of file paths or base names that show no face.
        sensitive: globs of those that do.
        face_direction: where the face looks, in the capture's frame; None to leave angles out.
        neutral_beyond_deg: cameras further than this from face_direction see no face.

    Returns:
        One value per frame, True for sensitive.

    Raises:
        UserError: if a glob matches nothing, the direction or angle is impossible, or no frame is sensitive.
    """
    declared_neutral = matches(capture, neutral, "--neutral")
    declared_sensitive = matches(capture, sensitive, "--sensitive")
    angles = _angles(capture, face_direction, neutral_beyond_deg)
    result = []
    for index, frame in enumerate(capture.frames):
        says_sensitive = frame.sensitive is True or declared_sensitive[index]
        says_neutral = frame.sensitive is False or declared_neutral[index]
        if angles is not None:
            says_sensitive |= bool(angles[index] <= neutral_beyond_deg)
            says_neutral |= bool(angles[index] > neutral_beyond_deg)
        result.append(says_sensitive or not says_neutral)
    if not any(result):
        raise UserError(
            f"All {len(result)} frames of {capture.folder / 'transforms.json'} are declared neutral, so "
            'nothing would be protected: declare those that show the face with "sensitive": true or with '
            "--sensitive GLOB."
        )
    return result


def matches(capture: RawCapture, globs: Sequence[str], flag: str) -> list[bool]:
    """Returns for each frame whether one of the globs matches its file path, or its file's name.

    Backslashes count as slashes. A glob may also be a path into the capture's folder, absolute or from the current one.
    One that matches nothing as written is tried without regard to case, unless that would be ambiguous: a frame that
    counts as neutral leaves in colour, so a guess must have but one meaning.

    Raises:
        UserError: if a glob matches no frame, or several ways of writing ones; `flag` names the command-line flag.
    """
    paths = [posixpath.normpath(frame.name.replace("\\", "/")) for frame in capture.frames]
    files = [frame.image_path.name for frame in capture.frames]
    names = [(path, posixpath.basename(path), file) for path, file in zip(paths, files, strict=True)]
    where = f"frame of {capture.folder / 'transforms.json'}"
    return any_match(names, capture.folder, globs, flag, where)


def any_match(names: Sequence[Names], folder: Path, globs: Sequence[str], flag: str, where: str) -> list[bool]:
    """Returns for each photograph whether one of the globs matches one of its names.

    A glob that is the name of a photograph matches that one alone, whatever brackets are in it. Otherwise as `matches`.

    Args:
        names: of each photograph; the first is its path in the folder.
        folder: the capture's.
        globs: what is looked for.
        flag: the command-line flag, for messages.
        where: names what the photographs are, for messages.

    Raises:
        UserError: if a glob matches none, or several ways of writing names.
    """
    found = [_match(names, folder, glob, flag, where) for glob in globs]
    return [any(hits) for hits in zip(*found, strict=True)] if found else [False] * len(names)


def _match(names: Sequence[Names], folder: Path, glob: str, flag: str, where: str) -> list[bool]:
    patterns = [posixpath.normpath(glob.replace("\\", "/"))]
    for resolve in (os.path.abspath, os.path.realpath):
        path, inside = resolve(patterns[0]), resolve(folder)
        if path.startswith(inside + os.sep):
            patterns.append(Path(path).relative_to(inside).as_posix())
    for pattern in patterns:
        for same in (str.__eq__, fnmatchcase):
            if any(found := [any(same(name, pattern) for name in alike) for alike in names]):
                return found
    paths = [alike[0] for alike in names]
    for pattern in patterns:
        hits = [[name for name in alike if fnmatchcase(name.lower(), pattern.lower())] for alike in names]
        if any(hits):
            written = {_literal_ends(found[0], pattern) for found in hits if found}
            if len(written) == 1 and "[" not in pattern and len({path.lower() for path in paths}) == len(set(paths)):
                return [bool(found) for found in hits]
            one = next(name for found in hits for name in found)
            raise UserError(f"{flag} {glob!r} matches {one} and others only in another case; write it in theirs.")
    raise UserError(f"{flag} {glob!r} matches no {where}; correct it.")


def _literal_ends(name: str, pattern: str) -> tuple[str, str]:
    """Returns the parts of a name that match the pattern before its first and after its last wildcard."""
    parts = re.split(r"[*?]", pattern)
    return (name, "") if len(parts) == 1 else (name[: len(parts[0])], name[len(name) - len(parts[-1]) :])


def _angles(capture: RawCapture, face_direction: Vector | None, neutral_beyond_deg: float) -> np.ndarray | None:
    """Returns the angle in degrees between the face's direction and each camera, seen from the head's centre."""
    if face_direction is None:
        return None
    direction = np.array(face_direction, dtype=np.float64)
    if direction.shape != (3,) or not np.isfinite(direction).all() or not direction.any():
        raise UserError(f"--face-direction must be three finite numbers, not all zero, not {face_direction}.")
    if not (math.isfinite(neutral_beyond_deg) and 0 < neutral_beyond_deg < 180):
        raise UserError(f"--neutral-beyond-deg must lie between 0 and 180 degrees, not {neutral_beyond_deg}.")
    poses = np.stack([frame.camera_to_world for frame in capture.frames])
    towards = poses[:, :3, 3] - look_at_centre(poses)
    cosine = towards @ direction / (np.linalg.norm(towards, axis=1) * np.linalg.norm(direction))
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))
