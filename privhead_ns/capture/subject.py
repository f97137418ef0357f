"""The photographed subject: a head, an object with sensitive content such as a licence plate, or a room from within.

Messages are written for a head; `worded` adapts them to the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from privhead_ns.errors import UserError

Subject = Literal["head", "object", "room"]

PHRASES = {
    r"\bthe head\b": r"the {subject}",
    r"\b(show|shows) the face\b": r"\1 what is sensitive",
    r"\b(show|shows) no face\b": r"\1 nothing sensitive",
}
"""Patterns in messages about a head, and their replacements for another subject."""


def worded(text: str, subject: Subject) -> str:
    """Returns a message about a head in words that fit the subject."""
    if subject != "head":
        for pattern, replacement in PHRASES.items():
            text = re.sub(pattern, replacement.format(subject=subject), text)
    return text


@contextmanager
def errors_about(subject: Subject) -> Iterator[None]:
    """Adapts the message of each UserError raised inside to the subject."""
    try:
        yield
    except UserError as error:
        raise UserError(worded(str(error), subject)) from None
