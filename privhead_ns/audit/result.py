"""Result of an attack."""

from __future__ import annotations

from dataclasses import dataclass, field

from privhead_ns.audit.faces import Recognition
from privhead_ns.audit.recogniser import Image

Figures = dict[str, float | None]


@dataclass
class AttackResult:
    """Measured figures, pictures and finding of one attack."""

    title: str
    rows: dict[str, Figures] = field(default_factory=dict)
    """Figures by what was attacked."""
    recognition: float | None = None
    """Share of pictures that the attack gave the right name: what --limit-recognition limits. None if not measured."""
    sentence: str = ""
    """The finding in words for the person who was photographed."""
    failed: bool = False
    """Whether the finding fails the audit whatever the limits are."""
    pictures: dict[str, list[Image]] = field(default_factory=dict)
    """What the attacker sees or makes, a few views of each."""
    drawings: dict[str, Image] = field(default_factory=dict)
    """Pictures that the report also writes as files, by their name."""


def in_figures(found: Recognition) -> Figures:
    """Returns the figures of a recognition for a table."""
    return {
        "faces": found.faces,
        "distance, same": found.same,
        "distance, others": found.other,
        "matched": found.matched,
        "falsely matched": found.falsely_matched,
        "matched at 1 % false": found.matched_strictly,
        "rank-1": found.rank1,
    }


def percent(share: float | None) -> str:
    """Describes a share in words."""
    return "an unknown share" if share is None else f"{100 * share:.0f} %"


def not_measured(title: str, needed: str) -> AttackResult:
    """Returns an attack that lacks an input."""
    return AttackResult(title, sentence=f"Not measured: {needed}.")


def subsample(pictures: list[Image], number: int = 4) -> list[Image]:
    """Returns some of the pictures, evenly spread."""
    step = max(1, len(pictures) // number)
    return pictures[step // 2 :: step][:number]
