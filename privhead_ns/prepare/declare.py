"""Decides which photographs are sensitive: all that were taken from the side of the face."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from privhead_ns.errors import UserError
from privhead_ns.prepare.faces import angles_from
from privhead_ns.prepare.sources import Source

SENSITIVE_WITHIN_DEG = 115.0
"""Angle off the face's direction up to which a photograph counts as sensitive.

From 100 degrees on no face is seen; the rest is for the direction's error: 3 and 16 degrees on two sculptures."""

KNOWN_WITHIN_DEG = 100.0
"""The same where a data set says in which direction the face looks."""


def declare(
    sources: Sequence[Source],
    centre: Float[np.ndarray, " 3"],
    direction: Float[np.ndarray, " 3"] | None,
    face_seen: Bool[np.ndarray, " n"],
    neutral: Sequence[str],
    sensitive: Sequence[str],
    within_deg: float = SENSITIVE_WITHIN_DEG,
) -> list[bool]:
    """Returns for each photograph whether it is sensitive.

    A photograph that shows a face, or was taken within some angle of the face's direction, is sensitive;
    where its direction is unknown, all are but those that the source declares neutral. Globs take precedence.

    Args:
        sources: the photographs.
        centre: of the head.
        direction: in which the face looks; None if that is not known.
        face_seen: whether the detector saw a face, in each photograph.
        neutral, sensitive: globs of file names; see `check_globs`.
        within_deg: that angle.
    """
    names = [file_names(source.name, source.posed.path) for source in sources]
    says_neutral, says_sensitive = ([_matches(name, globs) for name in names] for globs in (neutral, sensitive))
    angles = np.zeros(len(sources))
    if direction is not None:
        angles = angles_from(direction, centre, np.stack([source.posed.camera_to_world for source in sources]))
    result = []
    for index, source in enumerate(sources):
        declared = source.posed.sensitive
        away = angles[index] > within_deg and declared is not True
        private = bool(face_seen[index]) or not (away or (direction is None and declared is False))
        result.append(says_sensitive[index] or (private and not says_neutral[index]))
    return result


def file_names(name: str, path: Path) -> tuple[str, str, str]:
    """Returns the names by which globs know a photograph."""
    return name, path.name, str(path)


def check_globs(names: Sequence[tuple[str, str, str]], neutral: Sequence[str], sensitive: Sequence[str]) -> None:
    """Checks globs of photographs, before long work.

    Raises:
        UserError: if one matches nothing, or a photograph matches both kinds.
    """
    for flag, globs in (("--neutral", neutral), ("--sensitive", sensitive)):
        for glob in globs:
            if not any(_matches(name, (glob,)) for name in names):
                raise UserError(f"{flag} {glob!r} matches no photograph; correct it.")
    if both := [name[1] for name in names if _matches(name, neutral) and _matches(name, sensitive)]:
        raise UserError(f"{both[0]} matches --neutral and --sensitive; correct one of them.")


def _matches(names: tuple[str, str, str], globs: Sequence[str]) -> bool:
    return any(fnmatch(name, glob) for name in names for glob in globs)
