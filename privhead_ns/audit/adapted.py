"""Attack 2: the recogniser's embedding re-learned on protected views of other heads.

The attacker protects photographs of people he has, embeds them with the recogniser as it comes and with histograms of
oriented gradients (Dalal and Triggs, CVPR 2005), and learns in which directions views of one person differ:
within-class covariance normalisation (Hatch et al., Interspeech 2006), which has a closed form and needs few heads. A
gallery of photographs is no harder for him than one of protected views, since he can protect it.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.progress import track

from privhead_ns.audit.faces import Faces, describe, mean, rank1
from privhead_ns.audit.heads import Head
from privhead_ns.audit.off_the_shelf import Gallery
from privhead_ns.audit.recogniser import Image, Landmarks, aligned, cosine_distance, enlarged
from privhead_ns.audit.result import AttackResult, not_measured, percent, subsample

TITLE = "2. Recogniser adapted to protected views"
CHIP = 48
"""Side in pixels of the aligned face of which histograms are taken."""
HISTOGRAMS = 900
"""Values that describe an aligned face: 5 x 5 blocks of four cells of nine directions."""
SHRINKAGE = 1.0
"""Share of the mean variance that is added to every direction before whitening."""


def attack(gallery: Gallery, heads: list[Head], console: Console) -> AttackResult:
    """Identifies each head with a metric learned on all others; the subject is the first head.

    Every view is looked for among the views of all heads from other cameras.
    """
    if len(heads) < 4:
        return not_measured(
            TITLE, "it learns from protected views of other people; name three captures or more in --others"
        )
    described = [
        protected_faces(gallery, head, places)
        for head, places in track(list(zip(heads, gallery.places, strict=True)), TITLE, console=console)
    ]
    plain = [Faces(faces.views, faces.embeddings[..., :-HISTOGRAMS]) for faces in described]
    rates = {
        "before learning": [identified(plain, subject, learned=False) for subject in range(len(heads))],
        "after learning": [identified(described, subject, learned=True) for subject in range(len(heads))],
    }
    result = AttackResult(
        TITLE, pictures={"protected views, aligned": subsample(chips(heads[0].protected, gallery.places[0]))}
    )
    for label, by_head in rates.items():
        result.rows[f"protected to protected, {label}"] = {
            "rank-1": by_head[0],
            "rank-1, mean of all heads": mean(np.array([rate for rate in by_head if rate is not None])),
            "faces": float(len(described[0].views)),
        }
    photographs = mapped(described, gallery.faces)
    result.rows["protected to photograph, by a learned map"] = {"rank-1": photographs}
    rates_found = [row["rank-1"] for row in result.rows.values() if row["rank-1"] is not None]
    result.recognition = max(rates_found, default=None)
    everyone = mean_rank1(result)
    result.sentence = (
        f"An attacker who learns from protected views of {len(heads) - 1} other people picks you out of {len(heads)} "
        f"in {percent(result.recognition)} of protected views, against another protected view or a photograph that he "
        f"protects himself ({percent(everyone)} over all {len(heads)} people; guessing: {percent(1 / len(heads))})."
    )
    return result


def mean_rank1(result: AttackResult) -> float | None:
    """Returns rank-1 after learning, over all heads in turn: of many more faces than the subject's own."""
    return result.rows.get("protected to protected, after learning", {}).get("rank-1, mean of all heads")


def protected_faces(gallery: Gallery, head: Head, places: list[Landmarks | None]) -> Faces:
    """Describes the protected views of a head, cropped by hand."""
    pictures = head.protected
    faces = describe(gallery.recogniser, pictures, places)
    if not len(faces.views):
        return faces
    histograms = [histogram(chip) for chip in chips(pictures, places)]
    return Faces(faces.views, np.concatenate([faces.embeddings, histograms], axis=1))


def chips(pictures: list[Image], places: list[Landmarks | None]) -> list[Image]:
    """Returns the aligned faces."""
    pairs = zip(pictures, places, strict=True)
    return [aligned(enlarged(picture), place, CHIP) for picture, place in pairs if place is not None]


def histogram(chip: Image) -> Float[np.ndarray, " channels"]:
    """Returns histograms of oriented gradients of an aligned face."""
    descriptor = cv2.HOGDescriptor((CHIP, CHIP), (16, 16), (8, 8), (8, 8), 9)
    return np.asarray(descriptor.compute(cv2.cvtColor(chip, cv2.COLOR_RGB2GRAY))).ravel()


def identified(described: list[Faces], subject: int, learned: bool) -> float | None:
    """Returns how often the nearest view from another camera, of all heads, is the subject's; None where there is none.

    Args:
        described: the faces of each head.
        subject: which head is looked for.
        learned: whether by the metric that is learned on all other heads, or by the embedding as it comes.
    """
    known = [faces for index, faces in enumerate(described) if index != subject and len(faces.views)]
    own = described[subject]
    if not known or not len(own.views):
        return None
    centre, whitening = metric(known) if learned else (0.0, np.eye(own.embeddings.shape[1]))
    own, *others = (Faces(faces.views, (faces.embeddings - centre) @ whitening) for faces in (own, *known))
    return rank1(cosine_distance, own, own, others)


def metric(known: list[Faces]) -> tuple[Float[np.ndarray, " c"], Float[np.ndarray, "c c"]]:
    """Returns the mean of all faces, and the map that whitens how faces of one head differ."""
    centre = np.concatenate([faces.embeddings for faces in known]).mean(axis=0)
    within = np.concatenate([faces.embeddings - faces.embeddings.mean(axis=0) for faces in known])
    covariance = within.T @ within / len(within)
    covariance += SHRINKAGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    variances, directions = np.linalg.eigh(covariance)
    return centre, directions / np.sqrt(variances.clip(1e-12))


def mapped(described: list[Faces], photographs: list[Faces]) -> float | None:
    """Returns rank-1 of the first head's protected views among photographs, by a ridge regression on the rest."""
    pairs = [(ours, theirs) for ours, theirs in zip(described[1:], photographs[1:], strict=True) if len(ours.views)]
    if not pairs or not len(described[0].views):
        return None
    given = np.concatenate([ours.embeddings for ours, _ in pairs])
    wanted = np.concatenate([theirs.embeddings for _, theirs in pairs])
    centre, target = given.mean(axis=0), wanted.mean(axis=0)
    spread = (given - centre).T @ (given - centre) + np.eye(given.shape[1])
    learned = np.linalg.solve(spread, (given - centre).T @ (wanted - target))
    guesses = Faces(described[0].views, (described[0].embeddings - centre) @ learned)
    own, *others = (Faces(faces.views, faces.embeddings - target) for faces in (photographs[0], *(p for _, p in pairs)))
    return rank1(cosine_distance, guesses, own, others)
