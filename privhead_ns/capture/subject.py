"""What is photographed: a head, or an object with something on it that must not leave, such as a licence plate.

Messages speak of a head. `worded` makes them speak of an object.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from privhead_ns.errors import UserError

Subject = Literal["head", "object"]

PHRASES = {
    r"\bthe head\b": "the object",
    r"\b(show|shows) the face\b": r"\1 what is sensitive",
    r"\b(show|shows) no face\b": r"\1 nothing sensitive",
}
"""Patterns in messages about a head, and what they become for an object."""


def worded(text: str, subject: Subject) -> str:
    """Returns a message about a head in words that fit the subject."""
    if subject == "object":
        for pattern, replacement in PHRASES.items():
            text = re.sub(pattern, replacement, text)
    return text


@contextmanager
def errors_about(subject: Subject) -> Iterator[None]:
    """Makes each UserError raised inside speak of the subject."""
    try:
        yield
    except UserError as error:
        raise UserError(worded(str(error), subject)) from None
