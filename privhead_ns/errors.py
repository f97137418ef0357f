"""The one exception that a user's mistake raises."""

LONGEST = 2000
"""Letters that a sentence may have; of a longer one the middle is left out."""


class UserError(SystemExit):
    """A mistake the user can mend, told in one sentence.

    It derives from `SystemExit` so that every command, `ns-train` included, prints the sentence on
    standard error and ends with status 1, without a traceback.

    Args:
        sentence: what is wrong, which file or flag it concerns, and how to mend it.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(_printable(sentence))


def _printable(sentence: str) -> str:
    """Returns a sentence, which may quote a file, on one line, without control characters and not too long."""
    shown = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in sentence
    )
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST // 2]} … {shown[-LONGEST // 2 :]}"
