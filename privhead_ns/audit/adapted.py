"""Rung 2: the recogniser's embedding re-learned on protected views of other heads.

The attacker protects photographs of people he has, embeds them with the recogniser as it comes and with histograms of
oriented gradients (Dalal and Triggs, CVPR 2005), and learns in which directions views of one person differ:
within-class covariance normalisation (Hatch et al., Interspeech 2006), closed, quick, and content with few heads. A
gallery of photographs is no harder for him than one of protected views, since he can protect it.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.progress import track

from privhead_ns.audit.faces import Faces, describe, mean
from privhead_ns.audit.heads import Head
from privhead_ns.audit.off_the_shelf import Gallery
from privhead_ns.audit.recogniser import Image, Landmarks, aligned, enlarged, unit
from privhead_ns.audit.rung import Rung, few, nothing, percent

TITLE = "2. Recogniser adapted to protected views"
CHIP = 48
"""Side in pixels of the aligned face of which histograms are taken."""
HISTOGRAMS = 900
"""Values that describe an aligned face: 5 x 5 blocks of four cells of nine directions."""
SHRINKAGE = 1.0
"""Share of the mean variance that is added to every direction before whitening."""


def attack(gallery: Gallery, heads: list[Head], console: Console) -> Rung:
    """Identifies each head with a metric learned on all others; the subject is the first head.

    Gallery: views of even number of all heads. Probes: views of odd number of the head that was not learned from.
    """
    if len(heads) < 4:
        return nothing(TITLE, "it learns from protected views of other people; name three captures or more in --others")
    described = [
        protected_faces(gallery, head, places)
        for head, places in track(list(zip(heads, gallery.places, strict=True)), TITLE, console=console)
    ]
    plain = [Faces(faces.views, faces.embeddings[..., :-HISTOGRAMS]) for faces in described]
    rates = {
        "before learning": [rank1(plain, subject, learned=False) for subject in range(len(heads))],
        "after learning": [rank1(described, subject, learned=True) for subject in range(len(heads))],
    }
    rung = Rung(TITLE, pictures={"protected views, aligned": few(chips(heads[0].protected, gallery.places[0]))})
    for label, by_head in rates.items():
        rung.rows[f"protected to protected, {label}"] = {
            "rank-1": by_head[0],
            "rank-1, mean of all heads": mean(np.array([rate for rate in by_head if rate is not None])),
            "faces": float((described[0].views % 2 == 1).sum()),
        }
    photographs = mapped_rank1(described, gallery.faces)
    rung.rows["protected to photograph, by a learned map"] = {"rank-1": photographs}
    rates_found = [row["rank-1"] for row in rung.rows.values() if row["rank-1"] is not None]
    rung.recognition = max(rates_found, default=None)
    everyone = mean_rank1(rung)
    rung.sentence = (
        f"An attacker who learns from protected views of {len(heads) - 1} other people picks you out of {len(heads)} "
        f"in {percent(rung.recognition)} of protected views, against another protected view or a photograph that he "
        f"protects himself ({percent(everyone)} over all {len(heads)} people; guessing: {percent(1 / len(heads))})."
    )
    return rung


def mean_rank1(rung: Rung) -> float | None:
    """Returns rank-1 after learning, over all heads in turn: of many more faces than the subject's own."""
    return rung.rows.get("protected to protected, after learning", {}).get("rank-1, mean of all heads")


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


def rank1(described: list[Faces], subject: int, learned: bool) -> float | None:
    """Returns how often a subject's odd views are nearest to the subject's even ones; None where there are none."""
    known = [faces for index, faces in enumerate(described) if index != subject and len(faces.views)]
    probes = described[subject].embeddings[described[subject].views % 2 == 1]
    own = described[subject].embeddings[described[subject].views % 2 == 0]
    if not len(probes) or not len(own) or not known:
        return None
    centre, whitening = metric(known) if learned else (0.0, np.eye(probes.shape[1]))
    others = np.concatenate([faces.embeddings[faces.views % 2 == 0] for faces in known])
    to_own, to_others = (
        unit((probes - centre) @ whitening) @ unit((gallery - centre) @ whitening).T for gallery in (own, others)
    )
    return mean(to_own.max(axis=1) > to_others.max(axis=1))


def metric(known: list[Faces]) -> tuple[Float[np.ndarray, " c"], Float[np.ndarray, "c c"]]:
    """Returns the mean of all faces, and the map that whitens how faces of one head differ."""
    centre = np.concatenate([faces.embeddings for faces in known]).mean(axis=0)
    within = np.concatenate([faces.embeddings - faces.embeddings.mean(axis=0) for faces in known])
    covariance = within.T @ within / len(within)
    covariance += SHRINKAGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    variances, directions = np.linalg.eigh(covariance)
    return centre, directions / np.sqrt(variances.clip(1e-12))


def mapped_rank1(described: list[Faces], photographs: list[Faces]) -> float | None:
    """Returns rank-1 of the first head's odd protected views among photographs, by a ridge regression on the rest."""
    pairs = [(ours, theirs) for ours, theirs in zip(described[1:], photographs[1:], strict=True) if len(ours.views)]
    probes = described[0].embeddings[described[0].views % 2 == 1]
    own = photographs[0].embeddings[photographs[0].views % 2 == 0]
    if not pairs or not len(probes) or not len(own):
        return None
    given = np.concatenate([ours.embeddings for ours, _ in pairs])
    wanted = np.concatenate([theirs.embeddings for _, theirs in pairs])
    centre, target = given.mean(axis=0), wanted.mean(axis=0)
    spread = (given - centre).T @ (given - centre) + np.eye(given.shape[1])
    learned = np.linalg.solve(spread, (given - centre).T @ (wanted - target))
    guesses = unit((probes - centre) @ learned)
    others = np.concatenate([theirs.embeddings[theirs.views % 2 == 0] for _, theirs in pairs])
    return mean((guesses @ unit(own - target).T).max(axis=1) > (guesses @ unit(others - target).T).max(axis=1))
