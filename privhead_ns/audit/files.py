"""Attack 5: searches the files that leave the machine for content of sensitive photographs.

Everything that can be decoded in a file is compared with the sensitive views as σ saw them and as they were stored.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import track

from privhead_ns.audit.contents import Piece, pieces
from privhead_ns.audit.names import Names
from privhead_ns.audit.result import AttackResult, Figures
from privhead_ns.audit.runs import Runs
from privhead_ns.audit.secrets import Secrets, gather
from privhead_ns.audit.sheet import Gallery, Match
from privhead_ns.capture.protected import ProtectedCapture
from privhead_ns.capture.raw import RawCapture

TITLE = "7. Files"
NAMED = 5
"""Finds that the sentence names; the table names all."""


class Search:
    """Looks for views in files.

    Args:
        secrets: the views.
    """

    def __init__(self, secrets: Secrets) -> None:
        self.gallery = Gallery(secrets.views)
        self.runs = Runs(secrets.sizes)

    @property
    def sought(self) -> set[str]:
        """The sensitive frames of which something can be sought."""
        return self.gallery.sought

    def match(self, piece: Piece) -> Match | None:
        """Returns the sensitive view that a piece of a file shows, if any."""
        if piece.picture is not None:
            return self.gallery.best(piece.picture)
        if piece.array is not None:
            return self.gallery.best_slice(piece.array)
        return None if piece.numbers is None else self.runs.best(piece.numbers)


def search(raw: RawCapture, capture: ProtectedCapture, folders: list[Path], console: Console) -> AttackResult:
    """Searches folders for colour and signed gradients of sensitive photographs, for metadata, and for names.

    Args:
        raw: the photographs.
        capture: what `privhead protect` made of them; it says which are sensitive and what σ saw.
        folders: that capture, and what was made from it.
        console: where progress is shown.

    Raises:
        UserError: if a photograph cannot be decoded.
    """
    secrets = gather(raw, capture)
    views, names = Search(secrets), Names.of(secrets.frames, raw.folder)
    files = list_files(folders)
    result = AttackResult(TITLE)
    found: dict[str, Figures] = {
        f"{raw.folder / 'transforms.json'}: listed twice, {what}": {} for what in secrets.listed_twice
    }
    for path in track(files, TITLE, console=console):
        found |= {f"{path}: {what}": figures for what, figures in in_file(path, views, names).items()}
    size = sum(path.stat().st_size for path in files) / 1e6
    figures = {"files": len(files), "megabytes": size, "views sought": len(views.sought), "finds": len(found)}
    result.rows = {"searched": figures, **found}
    result.failed = bool(found) or not views.sought
    result.sentence = in_words(secrets, views, names, len(files), size, list(found))
    return result


def in_file(path: Path, views: Search, names: Names) -> dict[str, Figures]:
    """Returns the findings in a file: a view that it shows, metadata of pictures, and names, also in its own name."""
    shown: dict[str, Figures] = {}
    found: dict[str, Figures] = {what: {} for what in names.mentioned(path.name.encode(), text=True)}
    for piece in pieces(path):
        match = views.match(piece) if not shown else None
        if match is not None:
            shown = {f"{match.content} of {match.view}": {"correlation": match.correlation}}
        if piece.metadata is not None:
            found[f"metadata of a picture ({piece.metadata})"] = {}
        if piece.content is not None:
            found |= {what: {} for what in names.mentioned(piece.content, piece.text)}
    return shown | found


def finds(folder: Path, views: Search) -> list[str]:
    """Returns the names of the files under a folder that show a sensitive view."""
    return [path.name for path in list_files([folder]) if any(map(views.match, pieces(path)))]


def list_files(folders: list[Path]) -> list[Path]:
    """Returns all files under folders."""
    return [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]


def in_words(secrets: Secrets, views: Search, names: Names, files: int, size: float, found: list[str]) -> str:
    """Returns the finding as a sentence."""
    total = len(secrets.frames)
    if not views.sought:
        reason = "no view is sensitive" if not total else "the sensitive views are too small or too flat to be known by"
        words = f"Not measured: {reason}; nothing of them could be sought in {files} files ({size:.0f} MB)"
    else:
        words = (
            f"{files} files ({size:.0f} MB) were searched for colours and signed gradients of {len(views.sought)} of "
            f"your {total} sensitive photographs, for metadata and for original names"
        )
    if names.skipped:
        words += f" (not for {' and '.join(names.skipped)}, too short or common a name)"
    if found:
        more = f"; and {len(found) - NAMED} more in the table" if len(found) > NAMED else ""
        words += f", and {len(found)} finds were made: {'; '.join(found[:NAMED])}{more}"
    elif views.sought:
        words += ", and nothing was found"
    return words + "."
