"""The one exception that a user's mistake raises."""


class UserError(SystemExit):
    """A mistake the user can mend, told in one sentence.

    It derives from `SystemExit` so that every command, `ns-train` included, prints the sentence on
    standard error and ends with status 1, without a traceback.

    Args:
        sentence: what is wrong, which file or flag it concerns, and how to mend it.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
