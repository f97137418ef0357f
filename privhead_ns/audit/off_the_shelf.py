"""Attack 1: an off-the-shelf recogniser on everything that leaves the machine (the paper's Table 2 and Fig. 7).

Two attackers: one whose detector must find the face, and one who crops it by hand, which the landmarks of the
photograph from the same camera stand for: a detector that misses protects nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.progress import track

from privhead_ns.audit.drawings import draw_descendants
from privhead_ns.audit.faces import Faces, describe, distances, landmarks, recognition
from privhead_ns.audit.heads import Head
from privhead_ns.audit.recogniser import Image, Landmarks, Recogniser
from privhead_ns.audit.result import AttackResult, Figures, in_figures, percent, subsample
from privhead_ns.errors import UserError

TITLE = "1. Recogniser off the shelf"
RAW, PROTECTED, MESH = "photographs", "protected views", "renders of the mesh"
RADIANCE, FULL_RGB = "renders of the trained colours", "renders of a full-RGB run"
COLUMNS = {
    "original": RAW,
    "protected": PROTECTED,
    "rendered mesh": MESH,
    "our rendering": RADIANCE,
    "full-RGB rendering": FULL_RGB,
}
"""The columns of the paper's Table 2."""
HIDDEN = (PROTECTED, RADIANCE)
"""Exhibits that protection is about; the mesh's renders are judged by attack 4."""


@dataclass(frozen=True)
class Gallery:
    """The photographs of all heads as a recogniser sees them."""

    recogniser: Recogniser
    places: list[list[Landmarks | None]]
    """Landmarks by head and view, None where the detector sees no face; the subject is the first head."""
    faces: list[Faces]

    def compare(self, pictures: list[Image], places: list[Landmarks | None] | None = None) -> Figures:
        """Compares pictures of the subject with everyone's photographs; by default at the photographs' landmarks."""
        probes = describe(self.recogniser, pictures, self.places[0] if places is None else places)
        figures = in_figures(recognition(self.recogniser, probes, self.faces[0], self.faces[1:]))
        return {**figures, "verified": self.verified(probes)}

    def verified(self, probes: Faces) -> float | None:
        """Returns how often a picture and a photograph from another camera are called the same person.

        It is the mean over all cameras whose photograph shows a face; a picture without one counts as never. None if
        there is but one such camera.
        """
        own = self.faces[0]
        if len(own.views) < 2:
            return None
        table = distances(self.recogniser.distance, probes, own)
        rates = (table <= self.recogniser.threshold).sum(axis=1) / (len(own.views) - 1)
        return float(rates[np.isin(probes.views, own.views)].sum() / len(own.views))


def photographs(recogniser: Recogniser, heads: list[Head], console: Console) -> Gallery:
    """Finds and embeds the faces of all photographs.

    Raises:
        UserError: if no face is found in any photograph of the first head, since nothing could be measured.
    """
    places, faces = [], []
    for head in track(heads, "Photographs", console=console):
        places.append(landmarks(recogniser, head.photographs))
        faces.append(describe(recogniser, head.photographs, places[-1]))
        if not len(faces[0].views):
            raise UserError(
                f"{recogniser.name} finds no face in any of the {len(head.photographs)} sensitive photographs of "
                f"{head.name}, so nothing can be measured; give larger or more frontal photographs."
            )
    return Gallery(recogniser, places, faces)


def attack(gallery: Gallery, exhibits: dict[str, list[Image]], console: Console) -> AttackResult:
    """Measures detection and recognition of each exhibit; `exhibits` are the subject's views, in their order."""
    result = AttackResult(TITLE)
    recogniser = gallery.recogniser
    for label, pictures in track(list(exhibits.items()), TITLE, console=console):
        found = landmarks(recogniser, pictures)
        result.pictures[label] = subsample(pictures)
        detected = sum(place is not None for place in found) / len(pictures)
        result.rows[f"{label}, found by the detector"] = {"detected": detected, **gallery.compare(pictures, found)}
        if label != RAW:
            result.rows[f"{label}, cropped by hand"] = {"detected": None, **gallery.compare(pictures)}
    result.recognition = max(filter(None, (headline(result.rows.get(key(label))) for label in HIDDEN)), default=None)
    if result.recognition is None and headline(result.rows[key(PROTECTED)]) is not None:
        result.recognition = 0.0
    result.sentence = in_words(result, len(gallery.faces))
    return result


def descendants(gallery: Gallery, exhibits: dict[str, list[Image]]) -> Image:
    """Draws the most frontal photograph beside what was made of it, and how far it is from each (Fig. 7).

    Here alone pictures from one camera are compared, as the paper does.
    """
    view, place = most_frontal(gallery.places[0])
    shown = {column: exhibits[label][view] if label in exhibits else None for column, label in COLUMNS.items()}
    embeddings = {
        column: gallery.recogniser.embed(picture, place) for column, picture in shown.items() if picture is not None
    }
    first, *_ = COLUMNS
    apart = {
        column: float(gallery.recogniser.distance(embeddings[first][None], embedding[None])[0, 0])
        for column, embedding in embeddings.items()
    }
    return draw_descendants(shown, apart, gallery.recogniser.name, gallery.recogniser.threshold)


def most_frontal(places: Sequence[Landmarks | None]) -> tuple[int, Landmarks]:
    """Returns the view in which the tip of the nose is nearest to the middle between the eyes, and its landmarks.

    There must be a view with landmarks.
    """

    def turned(place: Landmarks) -> float:
        right, left = place[36:42, 0].mean(), place[42:48, 0].mean()
        return float(abs(place[30, 0] - (right + left) / 2) / max(abs(left - right), 1e-6))

    return min(((view, place) for view, place in enumerate(places) if place is not None), key=lambda x: turned(x[1]))


def key(label: str) -> str:
    """Returns the row of an exhibit's hand-cropped faces."""
    return f"{label}, cropped by hand"


def headline(figures: Figures | None) -> float | None:
    """Returns rank-1, or without other heads to rank among, the share within the threshold."""
    if figures is None:
        return None
    return figures["matched"] if figures["rank-1"] is None else figures["rank-1"]


def in_words(result: AttackResult, heads: int) -> str:
    """Describes the finding in words."""
    raw, protected = (result.rows[f"{label}, found by the detector"] for label in (RAW, PROTECTED))
    cropped = result.rows[key(PROTECTED)]
    parts = [
        f"Face recognition that was not made for protected views finds a face in {percent(protected['detected'])} of "
        f"yours ({percent(raw['detected'])} of the photographs)"
    ]
    if heads > 1:
        parts.append(
            f" and, where the face is cropped by hand, picks you out of {heads} people in {percent(cropped['rank-1'])} "
            f"of them; guessing would give {percent(1 / heads)}, your photographs give {percent(raw['rank-1'])}"
        )
    else:
        parts.append(
            f"; {percent(cropped['matched'])} of comparisons with your photographs call it the same person. Whether "
            "other people would match as well is unknown: name captures of them with --others"
        )
    if (painted := headline(result.rows.get(key(RADIANCE)))) is not None:
        parts.append(f". Of renders of the trained colours, {percent(painted)} are taken for you")
    return "".join(parts) + "."
