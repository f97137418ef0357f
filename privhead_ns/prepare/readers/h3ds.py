"""Reads a scene of the data set H3DS (Ramon et al., H3D-Net, ICCV 2021), of either version.

A scene is a folder with `cameras.npz`, `image/img_0000.jpg` and on, `mask/mask_0000.png` and on, `full_head.obj`,
`landmarks.txt` and `regions/`. Lengths are in millimetres.
"""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import trimesh
from jaxtyping import Float, Int

from privhead_ns.capture.listed_files import refuse_missing
from privhead_ns.capture.picture_files import picture_size
from privhead_ns.errors import UserError
from privhead_ns.prepare.posed import KnownHead, PosedCapture
from privhead_ns.prepare.readers.fit import Listed, fit_all
from privhead_ns.prepare.readers.pose import opencv_to_opengl
from privhead_ns.text_files import read_text

CAMERAS, MESH = "cameras.npz", "full_head.obj"
MATRIX = re.compile(r"world_mat_(\d+)")
EYES, LIPS, NOSE = ("right_eye", "left_eye"), ("right_lips", "left_lips"), "nose_tip"
"""Landmarks, of the subject's own right and left."""
REGIONS = ("face", "face_sphere", "nose")


def is_h3ds(data: Path) -> bool:
    """Returns whether a folder is a scene of H3DS."""
    return (data / CAMERAS).is_file() and (data / MESH).is_file()


def read_h3ds(data: Path) -> PosedCapture:
    """Reads a scene.

    Raises:
        UserError: if the folder is no scene, or a file of it is missing or broken.
    """
    if not is_h3ds(data):
        scene = next((path.parent for path in sorted(data.glob(f"*/{CAMERAS}"))), None)
        how = f"one of its scenes, such as {scene}" if scene else "the folder of one scene"
        raise UserError(f"{data} has no {CAMERAS} and {MESH} of H3DS: give --data {how}.")
    matrices = _read_matrices(data / CAMERAS)
    pictures = {index: data / f"image/img_{index:04d}.jpg" for index in matrices}
    masks = {index: data / f"mask/mask_{index:04d}.png" for index in matrices}
    masked = (data / "mask").is_dir()
    wanted = [*pictures.values(), *(masks.values() if masked else ())]
    refuse_missing([str(path) for path in wanted if not path.is_file()], data / CAMERAS)
    listed = [
        _list_view(data, index, matrix, pictures[index], masks[index] if masked else None)
        for index, matrix in matrices.items()
    ]
    return PosedCapture(fit_all(listed), mm_per_unit=1.0, head=_read_head(data))


def _read_matrices(path: Path) -> dict[int, Float[np.ndarray, "3 4"]]:
    """Returns the projections K [R | t] from millimetres to pixels, by the number of the view."""
    try:
        with np.load(path) as content:
            found = {int(m[1]): content[key] for key in content.files if (m := MATRIX.fullmatch(key))}
    except Exception:  # numpy fails in many ways
        raise UserError(f"{path} cannot be read as arrays of numpy; restore it.") from None
    if not found:
        raise UserError(f"{path} holds no world_mat_0, world_mat_1 and on; restore it.")
    for index, matrix in found.items():
        if matrix.ndim != 2 or matrix.shape[0] < 3 or matrix.shape[1] != 4 or not np.isfinite(matrix[:3]).all():
            raise UserError(f"{path}: world_mat_{index} must be 4x4 finite numbers; restore the file.")
    return {index: found[index][:3].astype(np.float64) for index in sorted(found)}


def _list_view(data: Path, index: int, matrix: Float[np.ndarray, "3 4"], picture: Path, mask: Path | None) -> Listed:
    """Returns a view; its projection counts pixels from the picture's corner, as H3DS's own example draws them."""
    where = f"{data / CAMERAS}: world_mat_{index}"
    if np.linalg.det(matrix[:, :3]) == 0:
        raise UserError(f"{where} is no projection of a camera; restore the file.")
    intrinsics, rotation, centre = cv2.decomposeProjectionMatrix(matrix)[:3]
    intrinsics = intrinsics / intrinsics[2, 2]
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation.T, centre[:3, 0] / centre[3, 0]
    width, height = picture_size(picture)
    lens = {"w": width, "h": height, "fl_x": float(intrinsics[0, 0]), "fl_y": float(intrinsics[1, 1])}
    lens |= {"cx": float(intrinsics[0, 2]), "cy": float(intrinsics[1, 2])}
    return Listed(where, picture, opencv_to_opengl(pose), lens, mask)


def _read_head(data: Path) -> KnownHead:
    mesh = read_obj(data / MESH)
    remarks = [] if (data / "mask").is_dir() else [f"{data / 'mask'} is missing, so there are no masks."]
    regions = {}
    for name in REGIONS:
        if (path := data / f"regions/{name}.txt").is_file():
            regions[name] = _read_region(path, len(mesh.vertices))
    if not regions:
        remarks.append(
            f"{data / 'regions'} is missing: evaluate takes the points within 95 mm of the nose tip instead."
        )
    path = data / "landmarks.txt"
    if not path.is_file():
        remarks.append(f"{path} is missing, so neither the nose tip nor the direction of the face is known.")
        return KnownHead(mesh, regions=regions, remarks=tuple(remarks))
    landmarks = _read_landmarks(path, np.asarray(mesh.vertices))
    return KnownHead(
        mesh,
        face_direction=_face_direction(landmarks, path),
        nose_tip=landmarks[NOSE],
        regions=regions,
        remarks=tuple(remarks),
    )


def _face_direction(landmarks: dict[str, Float[np.ndarray, " 3"]], path: Path) -> Float[np.ndarray, " 3"]:
    """Returns the normal of the plane of eyes and corners of the mouth, to the front."""
    right, left = (landmarks[name] for name in EYES)
    lips = (landmarks[LIPS[0]] + landmarks[LIPS[1]]) / 2
    direction = np.cross(left - right, (left + right) / 2 - lips)
    if not np.linalg.norm(direction) > 0:
        raise UserError(f"{path}: eyes and lips lie on one line; restore the file.")
    return direction / np.linalg.norm(direction)


def _read_landmarks(path: Path, vertices: Float[np.ndarray, "n 3"]) -> dict[str, Float[np.ndarray, " 3"]]:
    """Returns the positions of the landmarks, each of which is a line of name and number of a vertex, from 0."""
    try:
        rows = [line.split() for line in read_text(path).splitlines() if line.strip()]
        numbers = {row[0]: int(row[1]) for row in rows}
    except (ValueError, IndexError):
        raise UserError(f"{path} must hold a name and the number of a vertex a line; restore it.") from None
    for name in (*EYES, *LIPS, NOSE):
        if not 0 <= numbers.get(name, -1) < len(vertices):
            raise UserError(f"{path} must name a vertex of {MESH} as {name}; restore both files.")
    return {name: vertices[numbers[name]] for name in (*EYES, *LIPS, NOSE)}


def _read_region(path: Path, count: int) -> Int[np.ndarray, " n"]:
    try:
        indices = np.array([int(line) for line in read_text(path).split()])
    except ValueError:
        indices = np.empty(0, dtype=int)
    if len(indices) == 0 or indices.min() < 0 or indices.max() >= count:
        raise UserError(f"{path} must hold the number of a vertex of {MESH} a line; restore both files.")
    return indices


def read_obj(path: Path) -> trimesh.Trimesh:
    """Reads vertices and triangles of an OBJ file, vertices in the file's order.

    Landmarks and regions go by that order, which trimesh and open3d change where triangles have textures.

    Raises:
        UserError: if the file is broken.
    """
    vertices, faces = [], []
    try:
        for line in read_text(path).splitlines():
            if line.startswith("v "):
                vertices.append([float(word) for word in line.split()[1:4]])
            elif line.startswith("f "):
                corners = [int(word.split("/")[0]) - 1 for word in line.split()[1:]]
                faces += [[corners[0], *corners[i : i + 2]] for i in range(1, len(corners) - 1)]
        points, triangles = np.array(vertices, dtype=np.float64), np.array(faces, dtype=np.int64)
        if not (np.isfinite(points).all() and triangles.min() >= 0 and triangles.max() < len(points)):
            raise ValueError
    except ValueError:
        raise UserError(f"{path} is no OBJ file of a surface; restore it.") from None
    return trimesh.Trimesh(points, triangles, process=False)
