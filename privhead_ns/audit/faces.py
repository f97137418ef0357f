"""Embeddings of pictures of a head, with verification and identification by their distances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from privhead_ns.audit.recogniser import Image, Landmarks, Recogniser

Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Takes n and m embeddings, and returns the distance between each two, n by m."""

FALSE_MATCHES = 0.01
"""Share of false matches at which recognition is also stated, with a threshold measured for it."""


@dataclass(frozen=True)
class Faces:
    """Faces in pictures of one head, one picture per view; views without a face are left out."""

    views: Float[np.ndarray, " n"]
    """Which view each face is from."""
    embeddings: Float[np.ndarray, "n channels"]


@dataclass(frozen=True)
class Recognition:
    """How well pictures of a subject are recognised; rates in [0, 1], distances in the recogniser's own measure.

    What is None was not measured: there was no face to compare, or no other head to compare with.
    """

    faces: int
    """Pictures compared."""
    same: float | None
    """Median distance to photographs of the subject that other cameras took."""
    other: float | None
    """Median distance to photographs of other heads."""
    matched: float | None
    """Share of the former within the recogniser's threshold."""
    falsely_matched: float | None
    """Share of the latter within the recogniser's threshold."""
    matched_strictly: float | None
    """Share of the former within the threshold that lets `FALSE_MATCHES` of the latter through."""
    rank1: float | None
    """Share of pictures whose nearest photograph, of all heads, is of the subject."""


def landmarks(recogniser: Recogniser, pictures: Sequence[Image]) -> list[Landmarks | None]:
    """Returns where the recogniser's detector sees the face of each picture, None where it sees none."""
    return [next(iter(recogniser.faces(picture)), None) for picture in pictures]


def describe(recogniser: Recogniser, pictures: Sequence[Image], places: Sequence[Landmarks | None]) -> Faces:
    """Embeds the faces at given places."""
    views = [view for view, place in enumerate(places) if place is not None]
    embeddings = [recogniser.embed(pictures[view], place) for view in views if (place := places[view]) is not None]
    return Faces(np.array(views, dtype=int), np.array(embeddings))


def recognition(recogniser: Recogniser, probes: Faces, own: Faces, others: Sequence[Faces]) -> Recognition:
    """Compares pictures of a subject with photographs of the subject and of others.

    A probe is never compared with a photograph that the same camera took, of whichever head.

    Args:
        recogniser: whose distance counts.
        probes: faces in the pictures.
        own: faces in photographs of the subject.
        others: faces in photographs of each other head.
    """
    same = distances(recogniser.distance, probes, own)
    other = [distances(recogniser.distance, probes, faces) for faces in others if len(faces.views)]
    ours = same[np.isfinite(same)]
    theirs = np.concatenate([table[np.isfinite(table)] for table in other]) if other else np.empty(0)
    strict = np.quantile(theirs, FALSE_MATCHES) if len(theirs) else None
    return Recognition(
        faces=len(probes.views),
        same=mean(ours, np.median),
        other=mean(theirs, np.median),
        matched=mean(ours <= recogniser.threshold),
        falsely_matched=mean(theirs <= recogniser.threshold),
        matched_strictly=None if strict is None else mean(ours <= strict),
        rank1=rank1(recogniser.distance, probes, own, others),
    )


def rank1(distance: Distance, probes: Faces, own: Faces, others: Sequence[Faces]) -> float | None:
    """Returns the share of probes whose nearest picture from another camera is of the subject; None of nothing."""
    tables = [distances(distance, probes, faces) for faces in others if len(faces.views)]
    if not tables or not len(own.views):
        return None
    nearest = distances(distance, probes, own).min(axis=1)
    return mean(nearest < np.min([table.min(axis=1) for table in tables], axis=0))


def distances(distance: Distance, probes: Faces, gallery: Faces) -> Float[np.ndarray, "probes gallery"]:
    """Returns all distances, infinite between pictures from one camera."""
    if not len(probes.views) or not len(gallery.views):
        return np.full((len(probes.views), len(gallery.views)), np.inf)
    table = distance(probes.embeddings, gallery.embeddings)
    return np.where(probes.views[:, None] == gallery.views[None], np.inf, table)


def mean(values: np.ndarray, how: Callable[[np.ndarray], Any] = np.mean) -> float | None:
    """Returns the mean, or another summary, of some values; None of none."""
    return float(how(values)) if len(values) else None
