"""Template files: what a user gives, and what a protected capture holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh

from privhead_ns.errors import UserError
from privhead_ns.mesh.files import load_mesh, save_mesh
from privhead_ns.template.average_head import average_head

AVERAGE = "average"
"""The name of the template that the package makes."""
TEMPLATE_FILE = "template.ply"


def choose_template(name: str) -> trimesh.Trimesh:
    """Returns the average head, or the mesh in a file: it must be closed, look along +x, and have z up.

    Raises:
        UserError: if the file is missing, no mesh, or not closed.
    """
    if name == AVERAGE:
        return average_head()
    mesh = load_mesh(Path(name))
    if not mesh.is_watertight:
        raise UserError(f"--template {name} is not a closed surface; close its holes, or pass --template {AVERAGE}.")
    if mesh.volume < 0:
        mesh.invert()
    return mesh


def write_template(mesh: trimesh.Trimesh, folder: Path) -> None:
    """Writes vertices and faces, and nothing else, into a protected capture."""
    save_mesh(trimesh.Trimesh(mesh.vertices.astype(np.float32), mesh.faces, process=False), folder / TEMPLATE_FILE)


def read_template(path: Path) -> trimesh.Trimesh:
    """Reads the template of a protected capture.

    Raises:
        UserError: if the file holds anything but the geometry of a closed surface, as `write_template` writes it.
    """
    mesh = load_mesh(path)
    whole = trimesh.load(path, force="mesh", process=False)
    assert isinstance(whole, trimesh.Trimesh)
    geometry = trimesh.Trimesh(whole.vertices, whole.faces, process=False).export(file_type="ply")
    if geometry != path.read_bytes():
        raise UserError(f"{path} holds more than vertices and faces; protect the photographs again.")
    if not mesh.is_watertight:
        raise UserError(f"{path} is not a closed surface; protect the photographs again.")
    return mesh
