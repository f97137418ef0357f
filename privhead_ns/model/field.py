"""The head as a field: signed distance, its gradient, and colour."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter
from skimage.measure import label
from torch import Tensor, nn

from privhead_ns.errors import UserError
from privhead_ns.limits import check_grid
from privhead_ns.model.geometry import Geometry
from privhead_ns.model.lipschitz import LipschitzMLP
from privhead_ns.model.voxels import FeaturePyramid, ScalarPyramid, Trilinear, pyramid

CHUNK = 200_000
"""Points of the starting shape that are evaluated at once."""
SMOOTHING = 0.5
"""Standard deviation of the Gaussian that smooths the starting shape, in points of the second finest grid."""
SDF_LEVELS = 4
"""Grids of the signed distance; the coarsest has an eighth of the finest's points a side."""

SMALL_GRID = 1_000_000
"""Points of the finest grid below which waking another thread takes longer than it saves: a head from 64 pixels takes
50 s with one thread and 61 s with two; from 128 pixels on, two are faster by 5 %.
"""


class HeadField(nn.Module):
    """Signed distance and colour inside a box, in the capture's own frame and units.

    Args:
        aabb: lower and upper corner of the box.
        voxel_size: wanted edge of the finest voxels, in capture units.
        feature_channels: features of a place per grid, for colour and magnitude alike; there are two grids, the finest
            and one of a quarter its points a side.
        hidden_units: width of the two hidden layers of the networks of colour and of magnitude.
        beta: VolSDF's β, or NeuS's scale, as a fraction of the box's longest side; training lets it shrink.
    """

    def __init__(
        self,
        aabb: Float[Tensor, "2 3"],
        voxel_size: float,
        feature_channels: int,
        hidden_units: int,
        beta: float,
    ) -> None:
        super().__init__()
        self.aabb: Tensor
        self.register_buffer("aabb", aabb.clone())
        extent = (aabb[1] - aabb[0]).tolist()
        self.longest_side = max(extent)
        x, y, z = (max(8, math.ceil(side / voxel_size) + 1) for side in extent)
        check_grid((x, y, z))
        levels = pyramid((x, y, z), SDF_LEVELS)
        self.sdf_grids = ScalarPyramid(levels)
        self.trilinear = Trilinear(levels[-1])
        self.features = FeaturePyramid([levels[-1], levels[-3]], feature_channels)
        self.color_network = LipschitzMLP((self.features.channels + 6, hidden_units, hidden_units, 3))
        self.magnitude_network = nn.Sequential(
            nn.Linear(self.features.channels + 6, hidden_units),
            nn.ReLU(),
            nn.Linear(hidden_units, hidden_units),
            nn.ReLU(),
            nn.Linear(hidden_units, 1),
            nn.Softplus(),
        )
        nn.init.constant_(cast(Tensor, self.magnitude_network[-2].bias), -3.0)  # softplus(-3) ≈ 0.05, typical of skin
        self.relative_beta: Tensor
        self.register_buffer("relative_beta", torch.tensor(beta))
        self.start_as_ellipsoid()

    def start_as_ellipsoid(self, size: float = 0.6) -> None:
        """Sets the signed distance to about that of the ellipsoid of `size` times the box's extent."""
        finest = self.sdf_grids.grids[-1]
        axes = [torch.linspace(-1, 1, n) for n in finest.shape]
        radius = torch.stack(torch.meshgrid(*axes, indexing="ij")).norm(dim=0)
        shortest_half = (self.aabb[1] - self.aabb[0]).min() / 2
        finest.data[:] = (radius - size) * shortest_half

    @torch.no_grad()
    def start_as(self, sdf: Callable[[Float[Tensor, "n 3"]], Float[Tensor, " n"]], largest_body: bool = True) -> None:
        """Sets the signed distance to a function of positions, smoothed.

        Args:
            sdf: the function.
            largest_body: whether to leave out all bodies but the largest.

        Raises:
            UserError: if the function is negative nowhere.
        """
        for grid in self.sdf_grids.grids:
            grid.zero_()
        start = self.sdf_grids.grids[-2]
        (low, high), counts = self.aabb.tolist(), start.shape
        axes = [torch.linspace(a, b, count) for a, b, count in zip(low, high, counts, strict=True)]
        parts = torch.cartesian_prod(*axes).split(CHUNK)
        values = torch.cat([sdf(part) for part in parts]).reshape(start.shape).numpy()
        bodies = np.asarray(label(values < 0))
        if not bodies.any():
            raise UserError("No point lies inside the silhouettes: protect the photographs again.")
        if largest_body:
            others = (bodies > 0) & (bodies != np.bincount(bodies[bodies > 0]).argmax())
            values = np.where(others, np.abs(values), values)
        start.copy_(torch.from_numpy(gaussian_filter(values, SMOOTHING)))

    @torch.no_grad()
    def set_sdf(self, sdf: Float[Tensor, "x y z"]) -> None:
        """Sets the signed distances on the finest grid."""
        for grid in self.sdf_grids.grids:
            grid.zero_()
        self.sdf_grids.grids[-1].copy_(sdf)

    @property
    def beta(self) -> Float[Tensor, ""]:
        """β in capture units."""
        return self.longest_side * self.relative_beta

    @property
    def short_steps(self) -> bool:
        """Whether the parts of a training step are so short that one thread of a CPU does them fastest."""
        return self.sdf_grids.grids[-1].numel() < SMALL_GRID

    def geometry(self) -> Geometry:
        """Tabulates the signed distance."""
        return Geometry(self.sdf_grids(), (self.aabb[1] - self.aabb[0]) / self.trilinear.last, self.trilinear)

    def normalize(self, positions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
        """Maps the box to [0, 1]."""
        return (positions - self.aabb[0]) / (self.aabb[1] - self.aabb[0])

    def sdf(self, positions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
        """Returns the signed distance in capture units; outside the box, that of the nearest point of its faces."""
        return self.sdf_function()(positions)

    def sdf_function(self) -> Callable[[Float[Tensor, "*batch 3"]], Float[Tensor, "*batch"]]:
        """Returns the signed distance as a function of positions, for many calls: the grids are summed once."""
        table = self.sdf_grids()[..., None]
        return lambda positions: self.trilinear(table, self.normalize(positions))[..., 0]

    def forward_geonetwork(self, positions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 1"]:
        """Returns signed distances, for Nerfstudio's marching cubes."""
        return self.sdf(positions)[..., None]

    def appearance(
        self,
        positions: Float[Tensor, "*batch 3"],
        normals: Float[Tensor, "*batch 3"],
        directions: Float[Tensor, "*batch 3"],
        visible: Bool[Tensor, "*batch"],
        with_magnitude: bool = False,
    ) -> tuple[Float[Tensor, "*batch 3"], Float[Tensor, "*batch 1"] | None]:
        """Returns colours and magnitudes of points on the surface.

        Args:
            positions: of the points, in capture units.
            normals: unit normals there.
            directions: unit viewing directions.
            visible: points to evaluate; the others get 0.
            with_magnitude: whether magnitudes are wanted.

        Returns:
            Colours in [0, 1], functions of the features of the point, the normal, and the viewing direction mirrored
            by it, on which highlights depend. The mirrored direction passes no gradient to the normal, so that
            highlights do not bend the surface.
            Features enter the networks through tanh: if they could grow, the bound of Eq. 8 would not limit colours.
            The magnitudes that the places carry, in colour units per pixel: they need not be those of the colours'
            gradients, and depend on the viewing direction, too, for a slanted surface crowds its colours together.
        """
        evaluate = evaluate_everywhere if positions.is_cuda else evaluate_where
        values = evaluate(partial(self.look, with_magnitude), visible, positions, normals, directions)
        return values[..., :3], values[..., 3:] if with_magnitude else None

    def look(
        self,
        with_magnitude: bool,
        positions: Float[Tensor, "*batch 3"],
        normals: Float[Tensor, "*batch 3"],
        directions: Float[Tensor, "*batch 3"],
    ) -> Float[Tensor, "*batch channels"]:
        """Returns `appearance` of visible places: colours, and behind them magnitudes if wanted."""
        features, fixed = torch.tanh(self.features(self.normalize(positions))), normals.detach()
        reflected = mirrored(directions, fixed)
        colors = torch.sigmoid(self.color_network(torch.cat([features, normals, reflected], dim=-1)))
        if not with_magnitude:
            return colors
        magnitudes = self.magnitude_network(torch.cat([features, fixed, directions], dim=-1))
        return torch.cat([colors, magnitudes], dim=-1)


def mirrored(directions: Float[Tensor, "*batch 3"], normals: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Returns the directions of rays reflected at surfaces with the given normals."""
    return directions - 2 * (directions * normals).sum(dim=-1, keepdim=True) * normals


def evaluate_where(
    function: Callable[..., Tensor], mask: Bool[Tensor, "*batch"], *inputs: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch channels"]:
    """Evaluates a function of points where the mask is set, 0 elsewhere; this saves half the work of a step."""
    chosen = mask.flatten().nonzero()[:, 0]
    values = function(*(points.flatten(0, -2).index_select(0, chosen) for points in inputs))
    result = values.new_zeros(mask.numel(), values.shape[-1]).index_copy(0, chosen, values)
    return result.unflatten(0, mask.shape)


def evaluate_everywhere(
    function: Callable[..., Tensor], mask: Bool[Tensor, "*batch"], *inputs: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch channels"]:
    """`evaluate_where` without a selection by the mask, for which a GPU would have to synchronise."""
    return torch.where(mask[..., None], function(*inputs), 0)
