"""Compares every silhouette with the visual hull of the others, to find wrong masks and poses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from privhead_ns.capture.camera import Intrinsics
from privhead_ns.capture.hull import View, Votes, footprint_box, project, vote
from privhead_ns.capture.undistort import resized, undistort_and_resize
from privhead_ns.errors import UserError
from privhead_ns.outline import distance_to

LONGEST_SIDE = 128
"""Larger silhouettes are reduced to this many pixels."""
VOXELS = 64
COARSE_VOXELS = 32
"""Voxels along each side of the box in which the hull is looked for, and of the fine one."""
ROUNDS = 4
"""Rounds of carving; in all but the last, views that carve too much are excluded from the next."""
EXPLAINED = 0.93
EXPLAINED_WELL = 0.95
"""Shares of a silhouette that the hull must explain: below the first `protect` stops, below the second it warns.

Measured at 64 pixels, smallest share of a view: at least 0.992 in 14 rendered captures, 0.98 in 3 photographed ones (of
70, 66 and 66 views; without the one view that CARVES finds), 0.96 where outlines stray by a pixel; the guilty view has
at most 0.88 where its camera is turned by 3 degrees and 0.73 where its mask is 1.3 times too large.
"""
CARVES = 0.03
CARVES_FAR = 0.2
"""Shares of the hull that one view alone may carve: above the first `protect` warns, above the second it stops.

Measured likewise: at most 0.014 in sound captures, 0.13 for a mask of a photographed capture that cuts the head off,
0.11 to 0.16 where a mask is 0.84 times too small, and at least 0.25 where it is 0.7 times too small.
"""
UNUSUAL = 4.0
"""Multiple of the views' median share that does not count as much: each of a few views carves a lot."""
BETTER, FITS = 0.05, 0.75
"""Intersection over union: by how much another mask must fit better, and how well, to be named."""
BORDER = 0.75
"""Share of the picture's border that a head may cover; in the photographed captures it is at most 0.5."""
LARGER = 1.05
"""Area of a mask over the hull's in its picture above which it is too large, where it carves nothing."""
SPAN = 0.9
"""Share of the picture's width or height that a lens's mask spans at least."""


@dataclass(frozen=True)
class Agreement:
    """How well the silhouette of each view fits the visual hull (Laurentini 1994)."""

    explained: Float[np.ndarray, " n"]
    """Share of the silhouette that the hull covers; a mask too large and a pose that is off lower it."""
    carved: Float[np.ndarray, " n"]
    """Share of the hull of all others that this view alone takes away; a mask too small and such a pose raise it."""
    covered: tuple[Bool[np.ndarray, "height width"], ...]
    """Pixels of each reduced view that the hull covers."""


@dataclass(frozen=True)
class Judgement:
    """Disagreement between silhouettes."""

    agreement: Agreement
    carved: Float[np.ndarray, " n"]
    """The largest share that each carved in any round."""
    usual: float
    """Share that views may carve where there are few."""
    broken: list[int]
    """Views that cannot belong to the same head, the worst first."""


def silhouette_agreement(views: Sequence[View]) -> Float[np.ndarray, " n"]:
    """Returns the share of each silhouette that the visual hull of all views explains.

    Args:
        views: all with silhouettes.

    Raises:
        UserError: if the cameras do not look at a common point.
    """
    return agreement([reduced(view) for view in views], range(len(views))).explained


def agreement(views: Sequence[View], trusted: Sequence[int]) -> Agreement:
    """Measures each silhouette against the hull of the trusted ones.

    Voxels that fewer than half of the views have in their image count neither for nor against: where close-ups cut the
    head, nobody knows.

    Args:
        views: reduced, with silhouettes.
        trusted: the views that carve.

    Raises:
        UserError: if the cameras do not look at a common point.
    """
    carvers = [views[number] for number in trusted]
    votes = vote(carvers, consensus_box(carvers), VOXELS, allowed=1)
    known = 2 * votes.seen >= len(carvers)
    hull, alone = known & (votes.outside == 0), known & (votes.outside == 1)
    unknown = ~known & (votes.outside == 0)
    explained, covered = np.ones(len(views)), []
    for number, view in enumerate(views):
        on_hull = _picture(view, votes, hull)
        testable = _silhouette(view) & (on_hull | ~_picture(view, votes, unknown))
        if testable.any():
            explained[number] = on_hull[testable].mean()
        covered.append(on_hull)
    carved = np.zeros(len(views))
    carved[list(trusted)] = np.bincount(votes.objector[alone], minlength=len(carvers))
    return Agreement(explained, carved / np.maximum(np.count_nonzero(hull) + carved, 1), tuple(covered))


def check_silhouettes(views: Sequence[View], names: Sequence[str]) -> dict[int, str]:
    """Compares every silhouette with the hull of all, and raises an error for those of another head.

    Views that alone carve more than CARVES of the hull are excluded from the hull that the others are compared with.

    Args:
        views: all with silhouettes, or there is nothing to compare.
        names: of the views, for sentences.

    Returns:
        What is wrong with the views that agree badly, but not so badly that they must be mended; by index.

    Raises:
        UserError: if a view disagrees; it names the view and what seems wrong.
    """
    if any(view.silhouette is None for view in views):
        return {}
    views = [reduced(view) for view in views]
    _check_lens_mask(views)
    judged = judge(views)
    explained, carved, broken = judged.agreement.explained, judged.carved, judged.broken
    if len(broken) > max(2, len(views) / 4):
        raise UserError(
            f"The masks and the camera poses in transforms.json disagree in {len(broken)} of {len(views)} views: check "
            "that masks are white on the head, that each pose belongs to its image, and that no pose is mirrored; or "
            "pass --ignore-masks."
        )
    if broken:
        what = "; ".join(f"{names[i]} ({_fault(views, judged.agreement, carved, i, names)})" for i in broken[:3])
        raise UserError(
            f"The mask or the pose does not fit those of the other views in {what}. Correct it, drop the frame, or "
            "pass --ignore-masks."
        )
    return {
        i: f"its mask or pose fits the others badly: {_in_words(explained[i], carved[i])}"
        for i in range(len(views))
        if explained[i] < EXPLAINED_WELL or carved[i] > max(CARVES, judged.usual)
    }


def judge(views: Sequence[View]) -> Judgement:
    """Measures all silhouettes against a hull without the views that alone carve much.

    Args:
        views: reduced, with silhouettes.

    Raises:
        UserError: if the cameras do not look at a common point.
    """
    trusted, carved, usual = list(range(len(views))), np.zeros(len(views)), 0.0
    for _ in range(ROUNDS):
        result = agreement(views, trusted)
        carved = np.maximum(carved, result.carved)
        usual = UNUSUAL * float(np.median(result.carved[trusted]))
        wrong = {number for number in trusted if result.carved[number] > max(CARVES, usual)}
        if not wrong or len(trusted) - len(wrong) < max(2, len(views) / 2):
            break
        trusted = [number for number in trusted if number not in wrong]
    explained = result.explained
    worst_first = np.argsort(explained - carved).tolist()
    broken = [i for i in worst_first if explained[i] < EXPLAINED or carved[i] > max(CARVES_FAR, usual)]
    return Judgement(result, carved, usual, broken)


def _fault(views: Sequence[View], result: Agreement, carved: np.ndarray, index: int, names: Sequence[str]) -> str:
    """Describes the likely fault of a view: inverted mask, wrong pose, mask of another view, too small or too large."""
    own, hull = _silhouette(views[index]), result.covered[index]
    figures = _in_words(result.explained[index], carved[index])
    if overlap(~own, hull) > FITS:
        return f"its mask seems to be inverted; {figures}"
    if result.explained[index] >= EXPLAINED_WELL:
        return f"its mask seems to be too small; {figures}"
    if carved[index] < CARVES and np.count_nonzero(own) > LARGER * np.count_nonzero(hull):
        return f"its mask seems to be too large; {figures}"
    masks = [_silhouette(view) for view in views]
    fits = [overlap(mask, hull) if mask.shape == hull.shape else 0.0 for mask in masks]
    moved, best = overlap(_moved_onto(own, hull), hull), int(np.argmax(fits))
    if moved > max(FITS, fits[index] + BETTER, fits[best] - BETTER):
        return f"its pose seems to be off, for the mask would fit elsewhere in the picture; {figures}"
    if fits[best] > max(FITS, fits[index] + BETTER):
        return f"the mask of {names[best]} would fit better, so masks or poses may be swapped; {figures}"
    return f"its pose seems to be off, or its mask another view's; {figures}"


def _moved_onto(mask: Bool[np.ndarray, "height width"], other: Bool[np.ndarray, "height width"]) -> np.ndarray:
    """Returns the mask shifted so that the centres of both coincide."""
    if not mask.any() or not other.any():
        return mask
    shift = [round(np.mean(to) - np.mean(at)) for to, at in zip(np.nonzero(other), np.nonzero(mask), strict=True)]
    matrix = np.array([[1, 0, shift[1]], [0, 1, shift[0]]], dtype=np.float64)
    return cv2.warpAffine(mask.astype(np.uint8), matrix, mask.shape[::-1]) > 0


def _in_words(explained: float, carved: float) -> str:
    return f"the others explain {explained:.0%} of it, and it alone cuts {carved:.0%} off the head"


def overlap(a: Bool[np.ndarray, "height width"], b: Bool[np.ndarray, "height width"]) -> float:
    """Returns intersection over union."""
    return float(np.count_nonzero(a & b) / max(np.count_nonzero(a | b), 1))


def check_outline(
    silhouette: UInt8[np.ndarray, "height width"], name: str, instead: str = ", or pass --ignore-masks"
) -> None:
    """Checks one silhouette by itself.

    A head may be cut by three sides of its picture; what runs along nearly all of the border masks nothing.

    Args:
        silhouette: above 0 on the head.
        name: of the photograph, for messages.
        instead: what else the user may do, for messages.

    Raises:
        UserError: if it is empty, or covers the border all round.
    """
    inside = silhouette > 0
    if not inside.any():
        raise UserError(f"The mask of {name} is empty: it must be white on the head; correct it.")
    border = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]]).mean()
    if border > BORDER:
        raise UserError(
            f"The mask of {name} covers {border:.0%} of the picture's border: it seems to be inverted, or masks "
            f"nothing; make it white on the head and black elsewhere{instead}."
        )


def _check_lens_mask(views: Sequence[View]) -> None:
    """Refuses a mask that is equal in all views and spans the image, such as the circle of a lens."""
    first = _silhouette(views[0])
    same = all(np.array_equal(_silhouette(view), first) for view in views[1:])
    spans = [(np.ptp(np.flatnonzero(line)) + 1) / len(line) for line in (first.any(axis=0), first.any(axis=1))]
    if same and len(views) > 1 and max(spans) >= SPAN:
        raise UserError(
            "All frames have the same mask, which spans the picture: it is not the head's but perhaps the lens's; mask "
            "the head in each image, or pass --ignore-masks."
        )


def silhouette_view(
    mask: UInt8[np.ndarray, "height width"],
    camera_to_world: Float[np.ndarray, "4 4"],
    camera: Intrinsics,
    size: int | None = None,
) -> View:
    """Returns a photograph's camera without distortion, with its mask as silhouette.

    Args:
        mask: 255 on the head, at any resolution.
        camera_to_world: pose.
        camera: of the photograph, at any resolution.
        size: longer side of the view in pixels; None for that of the mask.
    """
    height, width = mask.shape
    no_colour = np.zeros((height, width, 3), np.uint8)
    shown = undistort_and_resize(no_colour, mask, camera.scaled(width, height), size, (0.0, 0.0, 0.0))
    assert shown.coverage is not None
    return View(camera_to_world, shown.intrinsics, (shown.coverage >= 0.5).astype(np.uint8))


def reduced(view: View) -> View:
    """Returns the view with at most LONGEST_SIDE pixels along its longer side."""
    camera = view.intrinsics
    if max(camera.width, camera.height) <= LONGEST_SIDE:
        return view
    camera = resized(camera, LONGEST_SIDE)
    share = cv2.resize(
        _silhouette(view).astype(np.float32), (camera.width, camera.height), interpolation=cv2.INTER_AREA
    )
    return replace(view, intrinsics=camera, silhouette=(share >= 0.5).astype(np.uint8))


def consensus_box(views: Sequence[View]) -> Float[np.ndarray, "2 3"]:
    """Returns a box around what most views take for the head; a few wrong views neither shrink nor move it."""
    box = footprint_box(views)
    for _ in range(2):
        votes = vote(views, box, COARSE_VOXELS, allowed=max(1, len(views) // 8))
        found = votes.centre[2 * votes.seen >= len(views)]
        if not len(found):
            break
        box = np.stack([found.min(axis=0) - 1.5 * votes.voxel, found.max(axis=0) + 1.5 * votes.voxel])
    return box


def _picture(view: View, votes: Votes, chosen: Bool[np.ndarray, " n"]) -> Bool[np.ndarray, "height width"]:
    """Returns the pixels of a view that the chosen voxels cover."""
    camera = view.intrinsics
    pixel, depth = project(view, votes.centre[chosen])
    covered = np.zeros((camera.height, camera.width), dtype=bool)
    if not (pixel >= 0).any():
        return covered
    covered.ravel()[pixel[pixel >= 0]] = True
    radius = np.linalg.norm(votes.voxel) / 2 * max(camera.fl_x, camera.fl_y) / np.median(depth[pixel >= 0])
    return distance_to(covered) <= radius


def _silhouette(view: View) -> Bool[np.ndarray, "height width"]:
    assert view.silhouette is not None
    return view.silhouette > 0
