"""Casts rays at a mesh and finds nearest points on it.

open3d computes in single precision. Coordinates are therefore taken relative to the mesh's centre, so that a capture in
a geographic frame, whose coordinates are millions, loses no digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import open3d as o3d
import trimesh
from jaxtyping import Bool, Float, Int

from privhead_ns.capture.camera import PosedCamera


@dataclass(frozen=True)
class Hits:
    """First hits of a camera's rays on a mesh; `normals` are those of the triangles, turned towards the camera."""

    seen: Bool[np.ndarray, "rows columns"]
    points: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]
    triangles: Int[np.ndarray, " n"]
    uv: Float[np.ndarray, "n 2"]


@dataclass(frozen=True)
class NearestPoints:
    """The points of a mesh's surface that are nearest to n given points; `normals` are the triangles', as wound."""

    points: Float[np.ndarray, "n 3"]
    distances: Float[np.ndarray, " n"]
    normals: Float[np.ndarray, "n 3"]


def smooth_normals(mesh: trimesh.Trimesh, hits: Hits) -> Float[np.ndarray, "n 3"]:
    """Returns the vertex normals of a mesh, interpolated at its hits and turned towards the camera."""
    u, v = hits.uv[:, :1], hits.uv[:, 1:]
    first, second, third = mesh.vertex_normals[mesh.faces[hits.triangles]].transpose(1, 0, 2)
    normals = (1 - u - v) * first + u * second + v * third
    normals *= np.where((normals * hits.normals).sum(axis=1, keepdims=True) < 0, -1.0, 1.0)
    return normals / np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-12)


class RayScene:
    """A mesh prepared for ray casting. Triangles without area have no normal and are left out."""

    def __init__(self, mesh: trimesh.Trimesh) -> None:
        cross = np.asarray(mesh.triangles_cross)
        length = np.linalg.norm(cross, axis=1)
        self._triangles = np.flatnonzero(length > 0)
        self._normals = cross[self._triangles] / length[self._triangles, None]
        self._centre = np.asarray(mesh.bounds).mean(axis=0)
        self._scene = o3d.t.geometry.RaycastingScene()
        self._scene.add_triangles(
            o3d.core.Tensor((mesh.vertices - self._centre).astype(np.float32)),
            o3d.core.Tensor(mesh.faces[self._triangles].astype(np.uint32)),
        )

    def cast(self, camera: PosedCamera, columns: int, rows: int) -> Hits:
        """Casts rays through the centres of `rows` x `columns` equal parts of the image."""
        lens = camera.intrinsics
        x, y = np.meshgrid(
            (np.arange(columns) + 0.5) * lens.width / columns, (np.arange(rows) + 0.5) * lens.height / rows
        )
        in_camera = np.stack([(x - lens.cx) / lens.fl_x, (lens.cy - y) / lens.fl_y, -np.ones_like(x)], axis=-1)
        directions = in_camera.reshape(-1, 3) @ camera.camera_to_world[:3, :3].T
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        position = camera.camera_to_world[:3, 3]
        origins = np.broadcast_to(position - self._centre, directions.shape)
        rays = np.concatenate([origins, directions], axis=1).astype(np.float32)
        cast = {key: value.numpy() for key, value in self._scene.cast_rays(o3d.core.Tensor(rays)).items()}
        seen = np.isfinite(cast["t_hit"])
        hit = cast["primitive_ids"][seen].astype(np.int64)
        directions, normals = directions[seen], self._normals[hit]
        normals = normals * np.where((normals * directions).sum(axis=1, keepdims=True) > 0, -1.0, 1.0)
        points = position + directions * cast["t_hit"][seen, None]
        return Hits(seen.reshape(rows, columns), points, normals, self._triangles[hit], cast["primitive_uvs"][seen])

    def nearest(self, points: Float[np.ndarray, "n 3"]) -> NearestPoints:
        """Returns the nearest points of the whole surface, whether or not a camera sees them."""
        centred = points - self._centre
        found = self._scene.compute_closest_points(o3d.core.Tensor(centred.astype(np.float32)))
        nearest, triangles = found["points"].numpy(), found["primitive_ids"].numpy().astype(np.int64)
        distances = np.linalg.norm(nearest - centred, axis=1)
        return NearestPoints(nearest + self._centre, distances, self._normals[triangles])


@lru_cache(maxsize=4)
def ray_scene(mesh: trimesh.Trimesh) -> RayScene:
    """Returns the `RayScene` of a mesh, kept for the next pictures of it; a mesh that changes gets a new one."""
    return RayScene(mesh)
