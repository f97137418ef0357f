"""Decides which photographs are sensitive: all that were taken from the side to which the face looks."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch

import numpy as np
from jaxtyping import Bool, Float

from privhead_ns.errors import UserError
from privhead_ns.prepare.faces import Face, angles_from
from privhead_ns.prepare.sources import Source

SENSITIVE_WITHIN_DEG = 115.0
"""Angle off the face's direction up to which a photograph counts as sensitive.

From 100 degrees on no face is seen; the rest is for the direction's error: 3 and 16 degrees on two sculptures."""


def declare(
    sources: Sequence[Source],
    centre: Float[np.ndarray, " 3"],
    face: Face | None,
    face_seen: Bool[np.ndarray, " n"],
    neutral: Sequence[str],
    sensitive: Sequence[str],
) -> list[bool]:
    """Says for each photograph whether it is sensitive.

    A photograph that shows a face, or was taken within `SENSITIVE_WITHIN_DEG` of the face's direction, is sensitive;
    where no face was found, all are but those that the source declares neutral. What a person says goes before.

    Args:
        sources: the photographs.
        centre: of the head.
        face: where it looks; None if that is not known.
        face_seen: whether the detector saw a face, in each photograph.
        neutral, sensitive: globs of file names.

    Raises:
        UserError: if a glob matches nothing, or a photograph matches both kinds.
    """
    says_neutral, says_sensitive = _matches(sources, neutral, "--neutral"), _matches(sources, sensitive, "--sensitive")
    if both := [source.name for source, a, b in zip(sources, says_neutral, says_sensitive, strict=True) if a and b]:
        raise UserError(f"{both[0]} matches --neutral and --sensitive; correct one of them.")
    angles = np.zeros(len(sources))
    if face is not None:
        angles = angles_from(face.direction, centre, np.stack([source.posed.camera_to_world for source in sources]))
    result = []
    for index, source in enumerate(sources):
        declared = source.posed.sensitive
        away = angles[index] > SENSITIVE_WITHIN_DEG and declared is not True
        private = bool(face_seen[index]) or not (away or (face is None and declared is False))
        result.append(says_sensitive[index] or (private and not says_neutral[index]))
    return result


def _matches(sources: Sequence[Source], globs: Sequence[str], flag: str) -> list[bool]:
    result = [False] * len(sources)
    for glob in globs:
        found = [any(fnmatch(name, glob) for name in (s.name, s.posed.path.name, str(s.posed.path))) for s in sources]
        if not any(found):
            raise UserError(f"{flag} {glob!r} matches no photograph; correct it.")
        result = [one or other for one, other in zip(result, found, strict=True)]
    return result
