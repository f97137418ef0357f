"""The zero level of a signed distance field as a triangle mesh, by marching cubes.

The field is evaluated block by block, and only in blocks that the surface can cross, into one grid on which marching
cubes runs once. So there are no seams to mend: neighbouring cells share their corner values, whichever block they are
in and however a network rounds on batches of different sizes. The grid takes 0.5 GB for 512³ voxels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import trimesh
from jaxtyping import Float
from rich.console import Console
from rich.progress import track
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from skimage.measure import label, marching_cubes
from torch import Tensor

from privhead_ns.errors import UserError

SdfFunction = Callable[[Float[Tensor, "n 3"]], Float[Tensor, " n"]]

MAXIMUM_SLOPE = 2.0
"""Steepest gradient that a learned field is trusted to have when blocks are skipped; a true distance has 1."""
BAND = 2.0
"""Distances are clipped to this many voxels: farther ones do not move the surface."""
FURNITURE = 0.005
"""Area of a part of a room's surface over that of the largest from which on the part is kept."""
NUDGE = 1e-3
"""Distances are kept this many voxels away from 0, so that no vertex falls on a grid point and no triangle vanishes."""


def check_resolution(resolution: int) -> None:
    """Checks the number of voxels along the longest side of the box.

    Raises:
        UserError: if it is out of range.
    """
    if not 8 <= resolution <= 1024:
        raise UserError(f"--resolution must lie between 8 and 1024 voxels, not {resolution}.")


@torch.no_grad()
def extract_mesh(
    sdf: SdfFunction,
    aabb: Float[Tensor, "2 3"],
    resolution: int,
    device: torch.device | str,
    block: int = 16,
    inside_out: bool = False,
) -> trimesh.Trimesh:
    """Extracts the largest connected surface of a signed distance field within a box.

    Outside the box counts as outside the head: where the box cuts the solid, a flat cap on the face of the box closes
    the mesh. `mesh.is_watertight` of the result says whether it is closed.

    Inside out, the surface is that of the largest free space, and outside the box counts as solid: no other surface of
    the walls. What stands free in it is part of the surface if it has `FURNITURE` of its area.

    Args:
        sdf: signed distance in units of the box, negative inside, of points on `device`.
        aabb: lower and upper corner of the box.
        resolution: number of cubic voxels along the longest side of the box, 8 to 1024.
        device: where to evaluate `sdf`.
        block: grid points along the side of a block that is evaluated at once; the mesh does not depend on it.
        inside_out: whether it is a room seen from within.

    Returns:
        A mesh in the frame of the box whose faces look to where the distance is positive: outwards, or into the room.

    Raises:
        UserError: if the resolution is out of range, or the field is not finite, or has no zero level in the box.
    """
    check_resolution(resolution)
    lower, upper = aabb.detach().cpu().double().numpy()
    voxel = float((upper - lower).max()) / resolution
    # the faces of the box then lie 1/4 to 3/4 of a voxel from the outermost grid points, never on a grid point
    shape = np.rint((upper - lower) / voxel).astype(int) + 2
    origin = (lower + upper) / 2 - (shape - 1) / 2 * voxel
    grid = _sample(sdf, origin, voxel, shape, block, torch.device(device))
    if inside_out:
        np.negative(grid, out=grid)
    if grid.min() > 0 or (grid.max() < 0 and not inside_out):
        raise UserError(
            "The signed distance field has no zero level in its box, so there is no surface to export:"
            " train longer, or check the masks and poses of the capture."
        )
    _intersect_with_box(grid, (upper - lower) / voxel)
    if inside_out:
        _keep_largest_body(grid)
    vertices, faces, _, _ = marching_cubes(grid, level=0.0, gradient_direction="ascent" if inside_out else "descent")
    del grid
    return _components(origin + vertices.astype(np.float64) * voxel, faces, FURNITURE if inside_out else 1.0)


def _keep_largest_body(grid: Float[np.ndarray, "nx ny nz"]) -> None:
    """Makes all bodies of a sampled solid but the largest empty, in place."""
    bodies = np.asarray(label(grid < 0, connectivity=1))
    others = (bodies > 0) & (bodies != np.bincount(bodies[bodies > 0]).argmax())
    grid[others] = -grid[others]


def _sample(
    sdf: SdfFunction,
    origin: Float[np.ndarray, " 3"],
    voxel: float,
    shape: np.ndarray,
    block: int,
    device: torch.device,
) -> Float[np.ndarray, "nx ny nz"]:
    """Samples the field in voxels, clipped to ±`BAND`; blocks far from the surface get the sign of their centre."""

    def distance(indices: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        points = torch.as_tensor(origin, device=device) + indices * voxel
        return sdf(points.to(torch.float32)).reshape(-1) / voxel

    starts = np.stack(np.meshgrid(*(np.arange(0, count, block) for count in shape), indexing="ij"), -1).reshape(-1, 3)
    stops = np.minimum(starts + block, shape)
    at_centre = distance(torch.as_tensor((starts + stops - 1) / 2, device=device)).cpu().numpy()
    broken = UserError("The signed distance field is not finite, so training broke down: load an earlier checkpoint.")
    if not np.isfinite(at_centre).all():
        raise broken
    # no point of a block is farther than this from its centre; one voxel more covers the cells between blocks
    reach = 3**0.5 / 2 * (block + 1)
    grid = np.empty(tuple(shape), dtype=np.float32)
    blocks = list(zip(starts, stops, at_centre, strict=True))
    for start, stop, centre in track(blocks, "Extracting the surface", console=Console(stderr=True)):
        window = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        if abs(centre) > MAXIMUM_SLOPE * reach:
            grid[window] = np.copysign(BAND, centre)
            continue
        ranges = [torch.arange(int(a), int(b), device=device) for a, b in zip(start, stop, strict=True)]
        values = distance(torch.cartesian_prod(*ranges).double()).clamp(-BAND, BAND)
        values = torch.where(values.abs() < NUDGE, torch.where(values < 0, -NUDGE, NUDGE), values)
        grid[window] = values.float().cpu().numpy().reshape(tuple(stop - start))
    if np.isnan(grid).any():
        raise broken
    return grid


def _intersect_with_box(grid: Float[np.ndarray, "nx ny nz"], extent: Float[np.ndarray, " 3"]) -> None:
    """Intersects the sampled solid with a centred box of `extent` voxels, in place: the larger distance counts."""
    for axis, side in enumerate(extent):
        index = np.arange(grid.shape[axis])
        outside = np.abs(index - (grid.shape[axis] - 1) / 2) - side / 2
        np.maximum(grid, outside.astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)]), out=grid)


def _components(vertices: Float[np.ndarray, "n 3"], faces: np.ndarray, least: float) -> trimesh.Trimesh:
    """Returns the connected surfaces with at least a share of the largest one's area, without floaters and voids."""
    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    graph = coo_matrix((np.ones(len(edges), dtype=bool), (edges[:, 0], edges[:, 1])), shape=(len(vertices),) * 2)
    component = connected_components(graph, directed=False)[1]
    corners = vertices[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    areas = np.bincount(component[faces[:, 0]], weights=area)
    kept = (areas >= least * areas.max())[component]
    renumbered = np.cumsum(kept) - 1
    return trimesh.Trimesh(vertices[kept], renumbered[faces[kept[faces[:, 0]]]], process=False)
