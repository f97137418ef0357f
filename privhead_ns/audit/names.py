"""Searches files for names that must not leave: of photographs and their folder, of user, host and home folder."""

from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

OWN_NAME = re.compile(r"\d{3}\.png")
"""How protected captures name their files, whatever the photographs were called."""
GENERIC = {
    *("admin", "computer", "container", "data", "desktop", "docker", "head", "home", "host", "laptop", "local"),
    *("localhost", "model", "nerf", "pc", "root", "runner", "server", "test", "train", "ubuntu", "user", "work"),
}
"""Names of users and hosts that name nobody, or that any file may hold."""
SHORTEST = 3
"""Letters of the shortest user's or host's name that is sought."""
LONG = 6
"""Bytes from which a word is sought in bytes that are no text, where shorter ones occur by chance."""
GLUE = rb"[\s'\",/\\\[\]()-]{1,80}"
"""What stands between the parts of a path: separators, or a list's marks in YAML and JSON."""


@dataclass(frozen=True)
class Names:
    """Words, each with what it is and the pattern that finds it."""

    words: dict[str, re.Pattern[bytes]]
    short: dict[str, re.Pattern[bytes]]
    """Those that are sought in text alone."""
    skipped: list[str]
    """Names that are too short or too common to be sought."""

    @classmethod
    def of(cls, photographs: Sequence[str], folder: Path) -> Names:
        """Returns what must not be named of a capture.

        Args:
            photographs: file names of the sensitive photographs.
            folder: the folder that they lie in.
        """
        found = {f"the photographs' folder {folder.resolve()}": path_pattern(folder.resolve())}
        for base in sorted({PurePath(name).name for name in photographs}):
            if not OWN_NAME.fullmatch(base):
                found[f"the original name {base}"] = word_pattern(base)
        short, skipped = {}, []
        for what, word in identity().items():
            if len(word) < SHORTEST or word.lower() in GENERIC:
                skipped.append(f"{what} '{word}'")
            else:
                (found if len(word.encode()) >= LONG else short)[f"{what} {word}"] = word_pattern(word)
        home = Path.home()
        if home.name.lower() not in GENERIC and len(home.parts) > 2:
            found[f"the home folder {home}"] = path_pattern(home)
        return cls(found, short, skipped)

    def mentioned(self, content: bytes, text: bool) -> list[str]:
        """Returns what is named in a file's content, or in its name; short words count in text alone."""
        sought = self.words | self.short if text else self.words
        return [what for what, pattern in sought.items() if pattern.search(content)]


def identity() -> dict[str, str]:
    """Returns the user's and the host's name, the latter without its domain, where the system knows them."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # no entry for the user's number, as in containers
        user = ""
    return {"the user's name": user, "the host's name": socket.gethostname().partition(".")[0]}


def word_pattern(word: str) -> re.Pattern[bytes]:
    """Returns a pattern that finds a word, in UTF-8 or UTF-16, that is not a part of a longer one."""
    plain, wide = (re.escape(word.encode(code)) for code in ("utf-8", "utf-16-le"))
    return re.compile(rb"(?<![A-Za-z0-9])" + plain + rb"(?![A-Za-z0-9])|" + wide, re.IGNORECASE)


def path_pattern(path: Path) -> re.Pattern[bytes]:
    """Returns a pattern that finds an absolute path, also as a list of its parts."""
    parts = [re.escape(part.encode()) for part in path.parts[1:]]
    if len(parts) < 2:
        return word_pattern(str(path))
    return re.compile(rb"(?<![A-Za-z0-9])" + GLUE.join(parts) + rb"(?![A-Za-z0-9])")
