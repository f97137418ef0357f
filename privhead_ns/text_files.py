"""Reads and writes JSON, and reads text in the encodings that other programs use."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

from privhead_ns.errors import UserError
from privhead_ns.folders import replacing


def is_file(path: Path) -> bool:
    """Returns whether there is a regular file at a path that a capture names, which may be no path at all."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def read_text(path: Path) -> str:
    """Reads a text file in UTF-8, or in UTF-16 where it begins with a byte order mark.

    Raises:
        UserError: if it cannot be read.
    """
    try:
        content = path.read_bytes()
        utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return content.decode("utf-16" if utf16 else "utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise UserError(f"{path} cannot be read as text ({error}): restore it or write it again.") from None


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        UserError: if the file is missing, is not JSON, or is not an object.
    """
    if not is_file(path):  # reading a pipe or device would not end
        raise UserError(f"There is no {path}: give the folder that holds a capture's {path.name}.")
    try:
        content = json.loads(read_text(path))
    except RecursionError:
        raise UserError(f"{path} is nested too deeply: restore it or write it again.") from None
    except ValueError as error:
        raise UserError(f"{path} cannot be read as JSON ({error}): restore it or write it again.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold one JSON object, not a {type(content).__name__}.")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a JSON object; the file appears whole or not at all, and replaces one of the same name."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def as_read(content: dict[str, Any]) -> dict[str, Any]:
    """Returns an object as `read_json` gives it after `write_json`: tuples become lists, keys become strings."""
    return json.loads(json.dumps(content))
