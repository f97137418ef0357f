"""Reads template meshes of users and of protected captures, and writes them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import trimesh

from privhead_ns.errors import UserError
from privhead_ns.mesh.files import load_mesh, parse_mesh, save_mesh
from privhead_ns.template.average_head import LANDMARKS, average_head

AVERAGE = "average"
"""The name of the template that the package makes."""
TEMPLATE_FILE = "template.ply"


class Template(NamedTuple):
    """A head to start from, which looks along +x, with z up."""

    mesh: trimesh.Trimesh
    """Closed."""
    landmarks: dict[str, tuple[float, float, float]]
    """Places of its face by name, as far as they are known."""


def choose_template(name: str) -> Template:
    """Returns the average head, or the mesh in a file.

    Raises:
        UserError: if the file is missing, no mesh, or not closed.
    """
    if name == AVERAGE:
        return Template(average_head(), LANDMARKS)
    mesh = load_mesh(Path(name))
    if not mesh.is_watertight:
        raise UserError(f"--template {name} is not a closed surface; close its holes, or pass --template {AVERAGE}.")
    if mesh.volume < 0:
        mesh.invert()
    mesh.remove_unreferenced_vertices()
    return Template(mesh, {})


def write_template(mesh: trimesh.Trimesh, folder: Path) -> None:
    """Writes vertices and faces, and nothing else, into a protected capture."""
    save_mesh(trimesh.Trimesh(mesh.vertices.astype(np.float32), mesh.faces, process=False), folder / TEMPLATE_FILE)


def read_template(path: Path) -> trimesh.Trimesh:
    """Reads the template of a protected capture.

    Raises:
        UserError: if the file holds anything but the geometry of a closed surface, as `write_template` writes it: a
            vertex of no face, for one, which could carry anything.
    """
    content = path.read_bytes()
    stored = parse_mesh(content, path)
    if stored.export(file_type="ply") != content or not stored.referenced_vertices.all():
        raise UserError(f"{path} holds more than vertices and faces; protect the photographs again.")
    mesh = trimesh.Trimesh(stored.vertices, stored.faces, process=False)
    mesh.merge_vertices()
    if not mesh.is_watertight:
        raise UserError(f"{path} is not a closed surface; protect the photographs again.")
    return mesh
