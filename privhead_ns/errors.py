"""The exception for mistakes that the user can correct, and how a command reports it."""

from __future__ import annotations

import sys
from types import TracebackType

LONGEST = 2000
"""Maximum length of a message in characters; the middle of a longer one is left out."""


class UserError(Exception):
    """A mistake that the user can correct, described in one sentence.

    Commands print the sentence on standard error and end with status 1, without a traceback: `privhead` catches the
    exception in `cli.entrypoint`, Nerfstudio's commands through `print_user_errors`.

    Args:
        sentence: what is wrong, which file or flag it concerns, and how to correct it.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(_printable(sentence))


def print_user_errors() -> None:
    """Installs a `sys.excepthook` that prints the sentence of a `UserError` alone; other exceptions are unaffected."""
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, UserError):
            print(error, file=sys.stderr)
        else:
            previous(kind, error, trace)

    sys.excepthook = hook


def _printable(sentence: str) -> str:
    """Returns a sentence on one line, with control characters escaped (it may quote a file) and limited in length."""
    shown = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in sentence
    )
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST // 2]} … {shown[-LONGEST // 2 :]}"
