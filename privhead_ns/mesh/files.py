"""Reads and writes mesh files: geometry alone, whole or not at all."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import numpy as np
import trimesh

from privhead_ns.errors import UserError
from privhead_ns.folders import replacing

MESH_ENDINGS = (".ply", ".obj", ".stl", ".glb")


def check_target(path: Path, endings: tuple[str, ...] = MESH_ENDINGS) -> None:
    """Checks that a file can be written at `path`, before long work.

    Raises:
        UserError: if the ending is not one of `endings`, the folder is missing or read-only, or `path` is a folder.
    """
    if path.suffix.lower() not in endings:
        raise UserError(f"{path} must end in {' or '.join(endings)}.")
    if not path.parent.is_dir():
        raise UserError(f"There is no folder {path.parent} to write {path.name} into; make it first.")
    if path.is_dir():
        raise UserError(f"{path} is a folder; give the name of a file.")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"The folder {path.parent} cannot be written to; choose another for {path.name}.")


def save_mesh(mesh: trimesh.Trimesh, path: Path) -> None:
    """Writes vertices and faces, and nothing else, in the format that the ending of `path` names.

    Raises:
        UserError: see `check_target`.
    """
    check_target(path)
    bare = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    with replacing(path) as temporary:
        bare.export(temporary, file_type=path.suffix.lower().lstrip("."))


def load_mesh(path: Path) -> trimesh.Trimesh:
    """Reads the geometry of a mesh file and merges vertices at equal positions.

    Raises:
        UserError: if the file is missing, unreadable, without faces, or has vertices that are not finite.
    """
    if not path.is_file():
        raise UserError(f"There is no mesh file {path}; check its path.")
    if path.suffix.lower() not in MESH_ENDINGS:
        raise UserError(f"{path} must end in {' or '.join(MESH_ENDINGS)}.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); copy it again.") from None
    mesh = parse_mesh(content, path)
    mesh.merge_vertices()
    return mesh


def parse_mesh(content: bytes, path: Path) -> trimesh.Trimesh:
    """Returns the geometry in a mesh file's content, with the vertices as they are stored.

    Args:
        content: the file's bytes.
        path: its name, whose ending is its format.

    Raises:
        UserError: if it is unreadable, without faces, or has vertices that are not finite.
    """
    try:
        loaded = trimesh.load(BytesIO(content), file_type=path.suffix[1:].lower(), force="mesh", process=False)
    except Exception as error:  # each format's reader fails in its own ways
        raise UserError(f"{path} cannot be read as a mesh ({type(error).__name__}); write it anew.") from error
    if not isinstance(loaded, trimesh.Trimesh) or len(loaded.faces) == 0:
        raise UserError(f"{path} has no faces; give a mesh, not a point cloud or an empty file.")
    if not np.isfinite(loaded.vertices).all():
        raise UserError(f"{path} has vertices that are not finite; write it anew.")
    return trimesh.Trimesh(loaded.vertices, loaded.faces, process=False)
