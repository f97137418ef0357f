"""Reads a capture of FaceScape's multi-view data (Yang et al., CVPR 2020): one subject with one expression.

Photographs lie in `IMGS/<id>/<k_expression>/`, with `params.json` beside; the surface in `MESH/<id>/<k_expression>.ply`
or beside the folder. Every capture has a frame and a unit of its own; `Rt_scale_dict.json` of FaceScape's toolkit leads
to millimetres: v_mm = R (scale v) + t, with the face towards +z and its top towards +y.
"""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float

from privhead_ns.capture.listed_files import refuse_missing
from privhead_ns.capture.transforms import read_size
from privhead_ns.errors import UserError
from privhead_ns.prepare.posed import KnownHead, PosedCapture
from privhead_ns.prepare.readers.files import find_mask
from privhead_ns.prepare.readers.fit import Listed, fit_all
from privhead_ns.prepare.readers.pose import opencv_to_opengl, rigid_pose
from privhead_ns.text_files import read_json, read_text

PARAMETERS, SCALES = "params.json", "Rt_scale_dict.json"
KEYS = 9
"""Entries in params.json for each photograph."""
COEFFICIENTS = ("k1", "k2", "p1", "p2", "k3")
LEVELS = 4
"""Folders from the capture's own up to that which holds IMGS, in any of which `SCALES` may lie."""
NAMED = 8
"""Photographs left out that are named; the others are counted."""


def is_facescape(data: Path) -> bool:
    """Returns whether a folder looks like a capture of FaceScape, broken or not."""
    try:
        return (data / PARAMETERS).is_file() and '"0_Rt"' in read_text(data / PARAMETERS)
    except UserError:
        return False


def read_facescape(data: Path) -> PosedCapture:
    """Reads a capture; photographs whose cameras FaceScape calls invalid do not count.

    Raises:
        UserError: if the folder is no capture, or a file of it is missing or broken.
    """
    if not is_facescape(data):
        below = (path for depth in range(1, LEVELS) for path in sorted(data.glob("*/" * depth + PARAMETERS)))
        found = next((path.parent for path in below), None)
        how = f"one capture, such as {found}" if found else "a folder IMGS/<id>/<k_expression>"
        raise UserError(f"{data} has no {PARAMETERS} of FaceScape: give --data {how}.")
    path = data / PARAMETERS
    content = read_json(path)
    views = range(len(content) // KEYS)
    valid = [view for view in views if _get(content, view, "valid", path) in (True, 1)]
    if not valid:
        raise UserError(f"{path} calls no photograph's camera valid; take another capture.")
    refuse_missing([str(data / f"{view}.jpg") for view in valid if not (data / f"{view}.jpg").is_file()], path)
    listed = [_list_view(data, content, view, path) for view in valid]
    unreliable = [f"{view}.jpg" for view in views if view not in valid]
    scale, rotation, remark = _read_scale(data)
    remarks = [_unreliable(unreliable)] if unreliable else []
    head = _read_head(data, rotation, [*remarks, *([remark] if remark else [])])
    return PosedCapture(fit_all(listed), scale, head=head)


def _get(content: dict[str, Any], view: int, name: str, path: Path) -> Any:
    if f"{view}_{name}" not in content:
        raise UserError(f"{path} has no {view}_{name}; restore it.")
    return content[f"{view}_{name}"]


def _numbers(
    content: dict[str, Any], view: int, name: str, shapes: tuple[tuple[int, ...], ...], path: Path
) -> Float[np.ndarray, "*shape"]:
    """Returns an array of one of some shapes, of finite numbers."""
    try:
        values = np.array(_get(content, view, name, path), dtype=np.float64)
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.shape not in shapes or not np.isfinite(values).all():
        wanted = " or ".join("x".join(map(str, shape)) for shape in shapes)
        raise UserError(f"{path}: {view}_{name} must be {wanted} finite numbers; restore the file.")
    return values


def _list_view(data: Path, content: dict[str, Any], view: int, path: Path) -> Listed:
    """Returns a view; FaceScape's cameras are OpenCV's, in which the first pixel's centre is 0."""
    matrix = _numbers(content, view, "K", ((3, 3), (4, 4)), path)
    world_to_camera = np.eye(4)
    world_to_camera[:3] = _numbers(content, view, "Rt", ((3, 4), (4, 4)), path)[:3]
    where = f"{path}: photograph {view}"
    distortion = _numbers(content, view, "distortion", ((5,), (1, 5), (5, 1)), path).ravel()
    lens: dict[str, Any] = {"fl_x": float(matrix[0, 0]), "fl_y": float(matrix[1, 1])}
    lens |= {"cx": float(matrix[0, 2]) + 0.5, "cy": float(matrix[1, 2]) + 0.5}
    lens |= {key: read_size(content, f"{view}_{name}", str(path)) for key, name in (("w", "width"), ("h", "height"))}
    lens |= dict(zip(COEFFICIENTS, distortion.tolist(), strict=True))
    picture = data / f"{view}.jpg"
    pose = opencv_to_opengl(np.linalg.inv(rigid_pose(world_to_camera, where)))
    return Listed(where, picture, pose, lens, find_mask(picture, data))


def _read_head(data: Path, rotation: Float[np.ndarray, "3 3"] | None, remarks: list[str]) -> KnownHead:
    mesh = None
    if (path := _find_mesh(data)) is None:
        name = f"{data.absolute().name}.ply"
        remarks.append(f"No {name} is there, neither beside {data} nor in MESH/: evaluate has no true surface.")
    else:
        mesh = _read_mesh(path)
    if rotation is None:
        return KnownHead(mesh, remarks=tuple(remarks))
    up, forward = rotation[1], rotation[2]
    nose_tip = None if mesh is None else np.asarray(mesh.vertices)[np.argmax(mesh.vertices @ forward)]
    return KnownHead(mesh, forward, up, nose_tip, remarks=tuple(remarks))


def _find_mesh(data: Path) -> Path | None:
    """Returns the surface of a capture: beside its folder, or `<id>/<k_expression>.ply` beside the root IMGS."""
    folder = data.absolute()
    name = f"{folder.name}.ply"
    places = [folder.with_name(name)]
    for root in folder.parents[2:3]:
        places += sorted(root.glob(f"*/{glob.escape(folder.parent.name)}/{glob.escape(name)}"))
    return next((place for place in places if place.is_file()), None)


def _read_mesh(path: Path) -> trimesh.Trimesh:
    try:
        mesh = trimesh.load(path, force="mesh", process=False)
        vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)  # type: ignore[union-attr]
    except Exception:  # trimesh fails in many ways
        vertices, faces = np.empty((0, 3)), np.empty((0, 3))
    if len(faces) == 0 or not np.isfinite(vertices).all():
        raise UserError(f"{path} cannot be read as a surface in PLY; restore it.")
    return trimesh.Trimesh(vertices, faces, process=False)


def _read_scale(data: Path) -> tuple[float | None, Float[np.ndarray, "3 3"] | None, str]:
    """Returns millimetres per unit, the rotation into the frame of millimetres, and what is missing.

    Raises:
        UserError: if the file is there but broken.
    """
    folder = data.absolute()
    subject, expression = folder.parent.name, folder.name.split("_")[0]
    path = next((up / SCALES for up in (folder, *folder.parents)[:LEVELS] if (up / SCALES).is_file()), None)
    lost = "so neither the scale nor the direction of the face is known"
    if path is None:
        return None, None, f"{SCALES} of FaceScape's toolkit is neither in {data} nor above it, {lost}."
    subjects = read_json(path)
    entry = subjects.get(subject, {}).get(expression) if isinstance(subjects.get(subject), dict) else None
    if entry is None:
        return None, None, f"{path} has no subject {subject} with expression {expression}, {lost}."
    try:
        scale, matrix = float(entry[0]), np.array(entry[1], dtype=np.float64)
        pose = np.eye(4)
        pose[:3] = matrix[:3]
    except (TypeError, ValueError, IndexError, KeyError):
        scale, pose = 0.0, np.eye(4)
    where = f"{path}: subject {subject}, expression {expression}"
    if not 0 < scale < float("inf"):
        raise UserError(f"{where} must be a scale above zero and a 3x4 matrix; restore the file.")
    return scale, rigid_pose(pose, where)[:3, :3], ""


def _unreliable(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"FaceScape calls the cameras of {', '.join(names[:NAMED])}{more} unreliable: left out."
