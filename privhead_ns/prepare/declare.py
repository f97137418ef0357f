"""Decides which photographs are sensitive: all that were taken from the side of the face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from privhead_ns.capture.sensitivity import Names, any_match
from privhead_ns.errors import UserError
from privhead_ns.prepare.faces import angles_from
from privhead_ns.prepare.sources import Source

SENSITIVE_WITHIN_DEG = 115.0
"""Angle off the face's direction up to which a photograph counts as sensitive.

From 100 degrees on no face is seen; the rest is for the direction's error: 3 and 16 degrees on two sculptures."""

KNOWN_WITHIN_DEG = 100.0
"""The same where a data set says in which direction the face looks."""


@dataclass(frozen=True)
class Declared:
    """Files that the person declares, by globs."""

    neutral: frozenset[Path] = frozenset()
    sensitive: frozenset[Path] = frozenset()


def read_globs(
    paths: Sequence[Path], names: Sequence[str], data: Path, neutral: Sequence[str], sensitive: Sequence[str]
) -> Declared:
    """Returns which photographs the globs of --neutral and --sensitive mean, before long work leaves some of them out.

    Args:
        paths: of all photographs.
        names: their names without ending.
        data: folder that their paths may be relative to.
        neutral, sensitive: the globs.

    Raises:
        UserError: if one matches nothing, or a photograph matches both kinds.
    """
    known = [_names(name, path, data) for name, path in zip(names, paths, strict=True)]

    def meant(globs: Sequence[str], flag: str) -> frozenset[Path]:
        found = any_match(known, data, globs, flag, "photograph")
        return frozenset(path for path, hit in zip(paths, found, strict=True) if hit)

    declared = Declared(meant(neutral, "--neutral"), meant(sensitive, "--sensitive"))
    if both := declared.neutral & declared.sensitive:
        raise UserError(f"{min(both).name} matches --neutral and --sensitive; correct one of them.")
    return declared


def _names(name: str, path: Path, data: Path) -> Names:
    inside = path.relative_to(data).as_posix() if path.is_relative_to(data) else path.name
    return inside, path.name, name


def declare(
    sources: Sequence[Source],
    centre: Float[np.ndarray, " 3"],
    direction: Float[np.ndarray, " 3"] | None,
    face_seen: Bool[np.ndarray, " n"],
    globs: Declared,
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
        globs: what the person declares.
        within_deg: that angle.
    """
    angles = np.zeros(len(sources))
    if direction is not None:
        angles = angles_from(direction, centre, np.stack([source.posed.camera_to_world for source in sources]))
    result = []
    for index, source in enumerate(sources):
        declared = source.posed.sensitive
        away = angles[index] > within_deg and declared is not True
        private = bool(face_seen[index]) or not (away or (direction is None and declared is False))
        path = source.posed.path
        result.append(path in globs.sensitive or (private and path not in globs.neutral))
    return result
