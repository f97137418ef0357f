"""Attack 6: the subject's face on other people's pictures (the paper's Fig. 8), and whom recognisers see there.

For each of the subject's views the attacker takes, of a few other people, the photograph whose landmarks fit best.
Where a detector finds no face in what he has of the subject, the landmarks of the photograph from the same camera stand
for a crop by hand, as in attack 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.progress import track

from privhead_ns.audit.faces import Faces, distances, landmarks, mean
from privhead_ns.audit.heads import Head
from privhead_ns.audit.off_the_shelf import FULL_RGB, RAW, Gallery
from privhead_ns.audit.recogniser import Image, Landmarks
from privhead_ns.audit.result import AttackResult, Figures, not_measured, percent
from privhead_ns.audit.swap import Swapper, Target, swapped

TITLE = "6. DeepFake"
UNSWAPPED = "other people's pictures as they are"
PEOPLE = 5
"""On how many other people's pictures each view is laid."""
STRICT = 0.01
"""Share of comparisons of unswapped pictures with the subject that the strict threshold lets through."""
COLUMNS = ("source", "target", "swap") * 2


@dataclass(frozen=True)
class Pair:
    """A view of the subject, and the picture that it is laid on."""

    view: int
    head: int
    """Whose picture, as the gallery counts."""
    target: int
    """Which view of that head."""
    misfit: float
    """Distance of the landmarks, centred and scaled to unit norm."""


@dataclass(frozen=True)
class Source:
    """Pictures of the subject, view by view."""

    pictures: list[Image]
    places: list[Landmarks | None]
    """Landmarks that were detected, or else those of the photograph; None where it has none either."""
    detected: float
    """In which share of the views that are used a face was detected."""


@dataclass
class Swaps:
    """Embeddings of pictures that one attack made, as one recogniser sees them."""

    pairs: list[Pair] = field(default_factory=list)
    embeddings: list[Float[np.ndarray, " channels"]] = field(default_factory=list)


def attack(
    galleries: Sequence[Gallery],
    exhibits: dict[str, list[Image]],
    heads: Sequence[Head],
    swappers: Sequence[Swapper],
    console: Console,
) -> list[AttackResult]:
    """Swaps faces with the first recogniser's landmarks; returns what each recogniser says of the results.

    Args:
        galleries: the photographs of all heads, as each recogniser sees them.
        exhibits: pictures of the subject, view by view, from which faces are taken.
        heads: the subject and the others.
        swappers: ways to swap.
        console: shows progress.
    """
    places = galleries[0].places
    pairs = choose(places, heads[0].photographs[0])
    if not pairs:
        needed = "a swap needs a face in another person's picture; name captures of other people with --others"
        return [not_measured(TITLE, needed) for _ in galleries]
    sources = {label: _source(galleries[0], pictures) for label, pictures in exhibits.items()}
    made: list[dict[str, Swaps]] = [{} for _ in galleries]
    pictures: dict[str, list[Image]] = {}
    examples = two(pairs)
    for pair in track(pairs, TITLE, console=console):
        photograph, place = heads[pair.head].photographs[pair.target], places[pair.head][pair.target]
        assert place is not None
        results = _swap(pair, sources, Target(photograph, place), swappers)
        for gallery, swaps in zip(galleries, made, strict=True):
            _embed(
                gallery, swaps, pair, {UNSWAPPED: photograph} | {label: swap for label, (_, swap) in results.items()}
            )
        for label, (source, swap) in results.items() if pair in examples else ():
            pictures.setdefault(label, []).extend([source, photograph, swap])
    detected = {f"{label}, {one.name}": source.detected for label, source in sources.items() for one in swappers}
    return [_result(gallery, swaps, detected, pictures) for gallery, swaps in zip(galleries, made, strict=True)]


def _source(gallery: Gallery, pictures: list[Image]) -> Source:
    """Finds the faces in pictures of the subject."""
    found = landmarks(gallery.recogniser, pictures)
    pairs = list(zip(found, gallery.places[0], strict=True))
    detected = np.array([own is not None for own, photograph in pairs if photograph is not None])
    return Source(
        pictures, [own if own is not None else photograph for own, photograph in pairs], float(detected.mean())
    )


def _swap(
    pair: Pair, sources: dict[str, Source], target: Target, swappers: Sequence[Swapper]
) -> dict[str, tuple[Image, Image]]:
    """Returns, for each source and way to swap, the source's picture and the target with its face."""
    results = {}
    for label, source in sources.items():
        picture, place = source.pictures[pair.view], source.places[pair.view]
        assert place is not None
        for swapper in swappers:
            results[f"{label}, {swapper.name}"] = picture, swapped(swapper, picture, place, target)
    return results


def choose(places: Sequence[Sequence[Landmarks | None]], picture: Image) -> list[Pair]:
    """Returns what is laid on what: for each view, the closest view of each of the `PEOPLE` others that fit best.

    Args:
        places: landmarks of all heads' photographs, the subject's first.
        picture: of the shape that all have.
    """
    sides = picture.shape[1], picture.shape[0]
    result = []
    for view, own in enumerate(places[0]):
        closest = []
        for head, others in enumerate(places[1:], start=1):
            fits = [
                Pair(view, head, target, misfit(own * sides, other * sides))
                for target, other in enumerate(others)
                if own is not None and other is not None
            ]
            closest += [min(fits, key=lambda pair: pair.misfit)] if fits else []
        result += sorted(closest, key=lambda pair: pair.misfit)[:PEOPLE]
    return result


def misfit(one: Float[np.ndarray, "68 2"], other: Float[np.ndarray, "68 2"]) -> float:
    """Returns the distance of two sets of landmarks, each centred and scaled to unit norm."""
    shapes = [points - points.mean(axis=0) for points in (one, other)]
    first, second = (points / np.linalg.norm(points).clip(1e-12) for points in shapes)
    return float(np.linalg.norm(first - second))


def two(pairs: Sequence[Pair]) -> list[Pair]:
    """Returns the pair that fits best, and the next one of another view and another head."""
    best, *rest = sorted(pairs, key=lambda pair: pair.misfit)
    return [best, *(pair for pair in rest if pair.view != best.view and pair.head != best.head)][:2]


def _embed(gallery: Gallery, swaps: dict[str, Swaps], pair: Pair, results: dict[str, Image]) -> None:
    """Adds the embeddings of pictures, at the landmarks of the target's photograph."""
    place = gallery.places[pair.head][pair.target]
    if place is not None:
        for label, picture in results.items():
            mine = swaps.setdefault(label, Swaps())
            mine.pairs.append(pair)
            mine.embeddings.append(gallery.recogniser.embed(picture, place))


def _result(
    gallery: Gallery, made: dict[str, Swaps], detected: dict[str, float], pictures: dict[str, list[Image]]
) -> AttackResult:
    """Returns what one recogniser says of all pictures."""
    result = AttackResult(TITLE, pictures=pictures)
    if not made:
        return not_measured(TITLE, f"{gallery.recogniser.name} finds no face in the pictures that faces are laid on")
    unswapped = compare(gallery, made[UNSWAPPED])[0]
    strict = float(np.quantile(unswapped[np.isfinite(unswapped)], STRICT))
    for label, swaps in made.items():
        result.rows[label] = {"detected": detected.get(label), **recognised(gallery, swaps, strict)}
    hidden = {
        label: rate
        for label, figures in result.rows.items()
        if label != UNSWAPPED and not label.startswith((RAW, FULL_RGB)) and (rate := figures["rank-1"]) is not None
    }
    result.recognition = max(hidden.values(), default=None)
    result.sentence = in_words(result, hidden, len(gallery.faces))
    return result


def compare(gallery: Gallery, swaps: Swaps) -> list[Float[np.ndarray, "swaps photographs"]]:
    """Returns the distances of pictures to the photographs of each head.

    They are infinite to photographs of the subject, and of heads that have no part in it, from the source's camera, and
    to the photograph that the face was laid on.
    """
    embeddings = np.stack(swaps.embeddings)
    view, head, target = np.array([(pair.view, pair.head, pair.target) for pair in swaps.pairs]).T
    return [
        distances(gallery.recogniser.distance, Faces(np.where(head == index, target, view), embeddings), faces)
        for index, faces in enumerate(gallery.faces)
    ]


def recognised(gallery: Gallery, swaps: Swaps, strict: float) -> Figures:
    """Measures how often pictures are taken for the subject.

    Args:
        gallery: the photographs of all heads.
        swaps: pictures with the subject's face.
        strict: a distance up to which two faces are also called the same.
    """
    tables = compare(gallery, swaps)
    nearest = np.stack([table.min(axis=1, initial=np.inf) for table in tables])
    mine, others = nearest[0], nearest[1:].min(axis=0)
    targets = nearest[[pair.head for pair in swaps.pairs], np.arange(len(swaps.pairs))]
    same = tables[0][np.isfinite(tables[0])]
    return {
        "faces": len(swaps.pairs),
        "distance, same": mean(same, np.median),
        "matched": mean(same <= gallery.recogniser.threshold),
        "matched at 1 % of unswapped": mean(same <= strict),
        "nearer than target": mean((mine < targets)[np.isfinite(mine) & np.isfinite(targets)]),
        "rank-1": mean((mine < others)[np.isfinite(mine) & np.isfinite(others)]),
    }


def in_words(result: AttackResult, hidden: dict[str, float], people: int) -> str:
    """Describes the finding in words."""
    rates = {label: percent(figures["rank-1"]) for label, figures in result.rows.items()}
    from_photographs = ", ".join(f"{rate} ({label})" for label, rate in rates.items() if label.startswith(RAW))
    best = max(hidden, key=lambda label: hidden[label], default=None)
    sentence = (
        f"Other people's pictures with your face on them are taken for you, out of {people} people, in "
        f"{from_photographs} of cases where the face comes from your photographs"
    )
    if best is not None:
        sentence += f", and at most in {rates[best]} where it comes from what leaves the machine ({best})"
    return (
        f"{sentence}; without your face it is {rates[UNSWAPPED]}. Where no face was detected in the source, the "
        "landmarks of the photograph stood for a crop by hand."
    )
