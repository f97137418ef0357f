"""The paper's Table 2 for one's own capture: five kinds of pictures by recogniser, beside the paper's figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from privhead_ns.audit.faces import mean
from privhead_ns.audit.off_the_shelf import COLUMNS, RAW, key
from privhead_ns.audit.result import AttackResult, Figures

TITLE = "All recognisers, in the columns of the paper's Table 2"
PAPER = {
    "VGG-Face": (93.75, 6.51, 3.03, 43.74, 84.62),
    "Facenet": (96.88, 9.68, 18.18, 31.23, 81.52),
    "Facenet512": (96.87, 3.23, 3.20, 18.77, 79.27),
    "ArcFace": (90.63, 6.66, 6.46, 31.25, 79.23),
    "dlib": (93.75, 3.17, 1.77, 37.50, 71.57),
    "SFace": (84.38, 6.45, 9.14, 43.71, 73.35),
    "GhostFaceNet": (85.42, 6.62, 1.04, 31.44, 73.92),
}
"""Recognition accuracy in percent as the paper prints it."""
CROPPED = {
    "verified, cropped by hand": "verified",
    "verified as another person, cropped by hand": "falsely matched",
    "rank-1, cropped by hand": "rank-1",
}
FOUND = "verified, found by the detector"
CITED = "the paper's Table 2"
NOTE = (
    "Verified: the share of pairs of a picture and a photograph from another camera that a recogniser calls the same "
    "person at its own threshold, of all cameras in whose photograph it finds a face. As another person: the same with "
    "photographs of others, of which a good recogniser verifies next to none. The paper's figures are of its own heads "
    "and pictures, and were not measured here."
)


@dataclass(frozen=True)
class Line:
    """A line of the table: one measure of one recogniser, by column; what is None was not measured."""

    recogniser: str
    measure: str
    figures: Figures

    @property
    def cells(self) -> list[str]:
        """The figures as the table shows them."""
        places = 2 if self.measure == CITED else 0
        return ["not measured" if x is None else f"{100 * x:.{places}f} %" for x in self.figures.values()]


def lines(attacks: Mapping[str, AttackResult]) -> list[Line]:
    """Returns the table's lines.

    Args:
        attacks: attack 1 of each recogniser, by its name.
    """
    found = [line for name, attack in attacks.items() for line in _lines(name, attack)]
    measures = dict.fromkeys(line.measure for line in found)
    if len(attacks) == 1:
        return found
    return found + [_average([line for line in found if line.measure == measure]) for measure in measures]


def table(found: list[Line]) -> Table:
    """Returns the table for a terminal."""
    result = Table("", "", title=TITLE, caption=NOTE)
    for column in COLUMNS:
        result.add_column(column, justify="right")
    for line in found:
        result.add_row(line.recogniser, line.measure, *line.cells, end_section=line.measure == found[-1].measure)
    return result


def _lines(name: str, attack: AttackResult) -> list[Line]:
    """Returns the lines of one recogniser."""

    def figure(row: str, measure: str) -> float | None:
        return attack.rows.get(row, {}).get(measure)

    def cropped(label: str) -> str:  # the photographs' landmarks are the detector's own
        return f"{label}, found by the detector" if label == RAW else key(label)

    measured = [Line(name, FOUND, {c: figure(f"{x}, found by the detector", "verified") for c, x in COLUMNS.items()})]
    for title, measure in CROPPED.items():
        measured.append(Line(name, title, {c: figure(cropped(x), measure) for c, x in COLUMNS.items()}))
    if name in PAPER:
        measured.append(Line(name, CITED, {c: x / 100 for c, x in zip(COLUMNS, PAPER[name], strict=True)}))
    return measured


def _average(same: list[Line]) -> Line:
    """Returns the mean over recognisers of one measure."""
    figures: Figures = {
        column: mean(np.array([x for line in same if (x := line.figures[column]) is not None])) for column in COLUMNS
    }
    return Line(f"mean of {len(same)}", same[0].measure, figures)
