"""Folders of results that a command adds to each time it is run: each holds a note of the settings it was made with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from privhead_ns.errors import UserError
from privhead_ns.folders import holds_nothing, make_private
from privhead_ns.text_files import read_json


def open_results(output_dir: Path, note: str, kind: str) -> dict[str, Any] | None:
    """Returns the note of a folder of results; None if it is new or empty, in which case it is created (mode 0700).

    Args:
        output_dir: the folder.
        note: name of the file of settings in it, which the caller writes.
        kind: what the results are of, for the error sentence.

    Raises:
        UserError: if the folder holds something else.
    """
    path = output_dir / note
    if path.exists():
        return read_json(path)
    if not holds_nothing(output_dir):
        raise UserError(f"--output-dir {output_dir} exists and is no {kind}; choose another folder.")
    make_private(output_dir)
    return None


def check_same(output_dir: Path, noted: dict[str, Any], settings: dict[str, Any]) -> None:
    """Checks that the noted settings are the wanted ones; a setting that is not noted counts as equal.

    Raises:
        UserError: if one differs.
    """
    for key, value in settings.items():
        if noted.get(key, value) != value:
            raise UserError(
                f"{output_dir} was made with {key} {noted[key]}, not {value}; use the same value, or choose another "
                "--output-dir."
            )
