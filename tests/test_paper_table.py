"""The paper's Table 2 and Fig. 7 for one's own capture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from toy_recogniser import LANDMARKS, Toy

from privhead_ns.audit.faces import Faces
from privhead_ns.audit.off_the_shelf import (
    MESH,
    PROTECTED,
    RAW,
    Gallery,
    descendants,
    key,
    most_frontal,
)
from privhead_ns.audit.paper_table import CITED, FOUND, PAPER, Line, lines
from privhead_ns.audit.result import AttackResult

FACES = Faces(np.array([0, 1, 3]), np.array([(0.5, 0, 0), (0.52, 0, 0), (0.54, 0, 0)]))
"""Of four views, the photographs of three show a face; all within the toy's threshold of 0.1."""


def attack(protected: float) -> AttackResult:
    """AttackResult 1 of a run without full RGB."""
    found, cropped = "found by the detector", "cropped by hand"
    return AttackResult(
        "1.",
        rows={
            f"{RAW}, {found}": {"verified": 0.9, "rank-1": 1.0},
            f"{PROTECTED}, {found}": {"verified": 0.0, "rank-1": None},
            f"{PROTECTED}, {cropped}": {"verified": protected, "falsely matched": 0.125, "rank-1": 0.25},
            f"{MESH}, {found}": {"verified": 0.5, "rank-1": 0.5},
            key(MESH): {"verified": 0.75, "rank-1": 0.5},
        },
    )


def pick(found: list[Line], recogniser: str, measure: str) -> Line:
    [line] = [line for line in found if line.recogniser == recogniser and line.measure == measure]
    return line


def test_a_recogniser_has_its_measures_beside_the_paper_s() -> None:
    found = lines({"dlib": attack(0.2)})
    assert len(found) == 5
    assert pick(found, "dlib", FOUND).cells == ["90 %", "0 %", "50 %", "not measured", "not measured"]
    assert pick(found, "dlib", "verified, cropped by hand").cells[:3] == ["90 %", "20 %", "75 %"]
    others = pick(found, "dlib", "verified as another person, cropped by hand")
    assert others.cells[:2] == ["not measured", "12 %"]
    assert pick(found, "dlib", "rank-1, cropped by hand").cells[:3] == ["100 %", "25 %", "50 %"]
    assert pick(found, "dlib", CITED).cells == ["93.75 %", "3.17 %", "1.77 %", "37.50 %", "71.57 %"]


def test_a_network_of_the_user_s_has_no_figures_of_the_paper_and_enters_the_mean() -> None:
    found = lines({"dlib": attack(0.2), "mine": attack(0.4)})
    assert [line.measure for line in found if line.recogniser == "mine"] == [line.measure for line in found[:4]]
    average = pick(found, "mean of 2", "verified, cropped by hand")
    assert average.figures["protected"] == pytest.approx(0.3) and average.figures["our rendering"] is None
    assert pick(found, "mean of 1", CITED).cells == pick(found, "dlib", CITED).cells


def test_the_paper_s_figures_have_the_averages_that_it_prints() -> None:
    found = lines(dict.fromkeys(PAPER, attack(0.2)))
    assert pick(found, "mean of 7", CITED).cells == ["91.67 %", "6.05 %", "6.12 %", "33.95 %", "77.64 %"]


def test_verified_counts_pairs_of_cameras_and_a_picture_without_a_face_as_none() -> None:
    gallery = Gallery(Toy(), [[LANDMARKS, LANDMARKS, None, LANDMARKS]], [FACES])
    assert gallery.verified(FACES) == 1
    assert gallery.verified(Faces(np.array([0]), np.array([(0.5, 0, 0)]))) == pytest.approx(1 / 3)
    near_one_of_two = Faces(np.array([0]), np.array([(0.63, 0, 0)]))  # 0.11 from view 1, 0.09 from view 3
    assert gallery.verified(near_one_of_two) == pytest.approx(1 / 6)
    hidden_view = Faces(np.array([2]), np.array([(0.5, 0, 0)]))
    assert gallery.verified(hidden_view) == 0, "its photograph shows no face"
    alone = Faces(np.array([1]), np.array([(0.5, 0, 0)]))
    assert Gallery(Toy(), [[None, LANDMARKS]], [alone]).verified(alone) is None


def test_the_most_frontal_view_has_the_nose_between_the_eyes() -> None:
    aside = LANDMARKS.copy()
    aside[30, 0] += 0.1
    assert most_frontal([None, aside, LANDMARKS, aside])[0] == 2


def test_descendants_are_drawn_with_their_distances_and_what_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(
        "privhead_ns.audit.off_the_shelf.draw_descendants",
        lambda shown, apart, name, threshold: drawn.update(shown=shown, apart=apart),
    )
    gallery = Gallery(Toy(), [[None, LANDMARKS]], [FACES])
    levels = {RAW: 100, PROTECTED: 202, MESH: 110}
    exhibits = {
        label: [np.full((8, 8, 3), level * view, dtype=np.uint8) for view in (0, 1)] for label, level in levels.items()
    }
    descendants(gallery, exhibits)
    expected = {"original": 0, "protected": 0.4 * 3**0.5, "rendered mesh": 10 / 255 * 3**0.5}
    assert drawn["apart"] == pytest.approx(expected)
    missing = [label for label, picture in drawn["shown"].items() if picture is None]
    assert missing == ["our rendering", "full-RGB rendering"]
    monkeypatch.undo()
    image = descendants(gallery, exhibits)
    assert image.dtype == np.uint8 and image.shape[1] > 3 * image.shape[0]
