"""CPU kernels for rays, compiled by numba: where to sample them, and where their segments cross the surface.

As in `privhead_ns.model.kernels`, each does the part [start, stop) of its work, here of the rays. `sampler.py` and
`segments.py` call them, and have the same in torch.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from privhead_ns.model.kernels import ONE, ZERO, Array, inlined, kernel, locate

LEAK, MIN_NORM, MIN_WEIGHT = np.float32(1e-7), np.float32(1e-12), np.float32(1e-6)
"""What Nerfstudio lets through an opaque segment; the least length and weight that anything is divided by."""


@kernel
def sdf_along_rays(
    start: int,
    stop: int,
    sdf: Float[Array, "x y z"],
    aabb: Float[Array, "2 3"],
    origins: Float[Array, "rays 3"],
    directions: Float[Array, "rays 3"],
    distances: Float[Array, "rays edges"],
    values: Float[Array, "rays edges"],
) -> None:
    """Writes the sdf at distances along rays, trilinearly interpolated."""
    nx, ny, nz = sdf.shape
    per_x, per_y, per_z = (
        ONE / (aabb[1, 0] - aabb[0, 0]),
        ONE / (aabb[1, 1] - aabb[0, 1]),
        ONE / (aabb[1, 2] - aabb[0, 2]),
    )
    for ray in range(start, stop):
        x0, y0, z0 = origins[ray, 0] - aabb[0, 0], origins[ray, 1] - aabb[0, 1], origins[ray, 2] - aabb[0, 2]
        for edge in range(distances.shape[1]):
            distance = distances[ray, edge]
            x, u = locate((x0 + distance * directions[ray, 0]) * per_x, nx)
            y, v = locate((y0 + distance * directions[ray, 1]) * per_y, ny)
            z, w = locate((z0 + distance * directions[ray, 2]) * per_z, nz)
            value = ZERO
            for a in range(2):
                for b in range(2):
                    row = (ONE - w) * sdf[x + a, y + b, z] + w * sdf[x + a, y + b, z + 1]
                    value += (u if a else ONE - u) * (v if b else ONE - v) * row
            values[ray, edge] = value


@kernel
def resample(
    start: int,
    stop: int,
    settings: Float[Array, "2"],
    alphas: Float[Array, "rays coarse"],
    sdf: Float[Array, "rays coarse_edges"],
    coarse: Float[Array, "rays coarse_edges"],
    distances: Float[Array, "rays edges"],
) -> None:
    """Writes the quantiles of a density that is constant in each coarse segment: what `SurfaceSampler` says.

    Settings are the density of a hidden surface, and what is added to all densities.
    """
    hidden_surface, padding = settings
    segments, edges = alphas.shape[1], distances.shape[1]
    density = np.empty(segments, np.float32)
    for ray in range(start, stop):
        transmittance = unoccluded = ONE
        total = ZERO
        for k in range(segments):
            weight = alphas[ray, k] * transmittance
            density[k] = weight + padding
            a, b = sdf[ray, k], sdf[ray, k + 1]
            if a > ZERO and b > ZERO and a + b < coarse[ray, k + 1] - coarse[ray, k]:
                density[k] += hidden_surface * unoccluded
            transmittance *= ONE - alphas[ray, k] + LEAK
            unoccluded -= weight
            total += density[k]
        k, below = 0, ZERO
        for edge in range(edges):
            wanted = total * (np.float32(edge) + np.float32(0.5)) / np.float32(edges)
            while k < segments - 1 and below + density[k] <= wanted:
                below += density[k]
                k += 1
            t = min((wanted - below) / density[k], ONE)
            distances[ray, edge] = coarse[ray, k] + t * (coarse[ray, k + 1] - coarse[ray, k])


@inlined
def enters(sdf: Float[Array, " edges"], k: int) -> bool:
    """Returns whether segment k of a ray enters the head."""
    return sdf[k] > ZERO and sdf[k + 1] <= ZERO


@inlined
def crossing(sdf: Float[Array, " edges"], k: int) -> np.float32:
    """Returns at which share of its way segment k of a ray enters the head; 1/2 where it does not."""
    return sdf[k] / (sdf[k] - sdf[k + 1]) if enters(sdf, k) else np.float32(0.5)


@inlined
def unit(vector: Float[Array, "3"]) -> np.float32:
    """Divides a vector by its length, and returns the length."""
    square = ZERO
    for axis in range(3):
        square += vector[axis] * vector[axis]
    norm = max(np.sqrt(square), MIN_NORM)
    for axis in range(3):
        vector[axis] /= norm
    return norm


@inlined
def unit_backward(vector: Float[Array, "3"], norm: np.float32, upstream: Float[Array, "3"]) -> None:
    """Turns the gradient by a vector that `unit` returned into that by the vector it was given."""
    along = ZERO
    for axis in range(3):
        along += vector[axis] * upstream[axis]
    for axis in range(3):
        upstream[axis] = (upstream[axis] - along * vector[axis]) / norm


@inlined
def normal_at(gradient: Float[Array, "edges 3"], k: int, t: np.float32, normal: Float[Array, "3"]) -> np.float32:
    """Writes the unit normal at a share of the way through segment k; returns the length of the gradient there."""
    for axis in range(3):
        normal[axis] = gradient[k, axis] + t * (gradient[k + 1, axis] - gradient[k, axis])
    return unit(normal)


@inlined
def fill_transmittance(alphas: Float[Array, " segments"], transmittance: Float[Array, " segments"]) -> None:
    """Writes the transmittance in front of each segment of a ray."""
    passed = ONE
    for k in range(len(alphas)):
        transmittance[k] = passed
        passed *= ONE - alphas[k] + LEAK


@kernel
def crossings(
    start: int,
    stop: int,
    alphas: Float[Array, "rays segments"],
    sdf: Float[Array, "rays edges"],
    gradient: Float[Array, "rays edges 3"],
    distances: Float[Array, "rays edges"],
    weights: Float[Array, "rays samples"],
    depths: Float[Array, "rays samples"],
    normals: Float[Array, "rays samples 3"],
    accumulation: Float[Array, "rays 1"],
    depth: Float[Array, "rays 1"],
    normal: Float[Array, "rays 3"],
) -> None:
    """Writes the fields of `segments.Crossings`."""
    transmittance, at_crossing = np.empty(alphas.shape[1], np.float32), np.empty(3, np.float32)
    for ray in range(start, stop):
        fill_transmittance(alphas[ray], transmittance)
        weights[ray], depths[ray], normals[ray] = ZERO, ZERO, ZERO
        accumulation[ray], depth[ray], normal[ray] = ZERO, ZERO, ZERO
        for k in range(alphas.shape[1]):
            weight, sample = alphas[ray, k] * transmittance[k], k // 2
            t = crossing(sdf[ray], k)
            distance = distances[ray, k] + t * (distances[ray, k + 1] - distances[ray, k])
            normal_at(gradient[ray], k, t, at_crossing)
            weights[ray, sample] += weight
            depths[ray, sample] += weight * distance
            for axis in range(3):
                normals[ray, sample, axis] += weight * at_crossing[axis]
        for sample in range(weights.shape[1]):
            accumulation[ray, 0] += weights[ray, sample]
            depth[ray, 0] += depths[ray, sample]
            for axis in range(3):
                normal[ray, axis] += normals[ray, sample, axis]
            total = max(weights[ray, sample], MIN_WEIGHT)
            depths[ray, sample] /= total
            for axis in range(3):
                normals[ray, sample, axis] /= total
            unit(normals[ray, sample])


@kernel
def crossings_backward(
    start: int,
    stop: int,
    settings: Float[Array, "2"],
    alphas: Float[Array, "rays segments"],
    sdf: Float[Array, "rays edges"],
    gradient: Float[Array, "rays edges 3"],
    distances: Float[Array, "rays edges"],
    weights: Float[Array, "rays samples"],
    depths: Float[Array, "rays samples"],
    normals: Float[Array, "rays samples 3"],
    accumulation: Float[Array, "rays 1"],
    depth: Float[Array, "rays 1"],
    normal: Float[Array, "rays 3"],
    to_alphas: Float[Array, "rays segments"],
    to_sdf: Float[Array, "rays edges"],
    to_gradient: Float[Array, "rays edges 3"],
) -> None:
    """Writes the gradient by alphas, and adds those by sdf and its gradient, given those by the results.

    Settings are the least slope of `segments.surface_fraction`, and the least length that it is multiplied by.
    """
    min_slope, min_length = settings
    segments = alphas.shape[1]
    transmittance, to_weights = np.empty(segments, np.float32), np.empty(segments, np.float32)
    at_crossing, mean = np.empty((2, 3), np.float32), np.empty(3, np.float32)
    to_mean, to_slope, pair = np.empty(3, np.float32), np.empty(3, np.float32), np.empty(2, np.float32)
    for ray in range(start, stop):
        fill_transmittance(alphas[ray], transmittance)
        for first in range(0, segments, 2):
            sample = first // 2
            pair[0] = alphas[ray, first] * transmittance[first]
            pair[1] = alphas[ray, first + 1] * transmittance[first + 1]
            total = max(pair[0] + pair[1], MIN_WEIGHT)
            mean[:] = ZERO
            for j in range(2):
                t = crossing(sdf[ray], first + j)
                normal_at(gradient[ray], first + j, t, at_crossing[j])
                for axis in range(3):
                    mean[axis] += pair[j] / total * at_crossing[j, axis]
            to_mean[:] = normals[ray, sample]
            unit_backward(mean, unit(mean), to_mean)
            for j in range(2):
                k = first + j
                t = crossing(sdf[ray], k)
                length = distances[ray, k + 1] - distances[ray, k]
                to_weights[k] = weights[ray, sample] + accumulation[ray, 0]
                to_weights[k] += depth[ray, 0] * (distances[ray, k] + t * length)
                for axis in range(3):
                    to_weights[k] += normal[ray, axis] * at_crossing[j, axis]
                    to_slope[axis] = pair[j] * (to_mean[axis] / total + normal[ray, axis])
                unit_backward(at_crossing[j], normal_at(gradient[ray], k, t, at_crossing[j]), to_slope)
                to_t = pair[j] * (depths[ray, sample] / total + depth[ray, 0]) * length
                for axis in range(3):
                    to_gradient[ray, k, axis] += (ONE - t) * to_slope[axis]
                    to_gradient[ray, k + 1, axis] += t * to_slope[axis]
                    to_t += to_slope[axis] * (gradient[ray, k + 1, axis] - gradient[ray, k, axis])
                if enters(sdf[ray], k):
                    change = max(sdf[ray, k] - sdf[ray, k + 1], min_slope * max(length, min_length))
                    to_sdf[ray, k] += (ONE - t) * to_t / change
                    to_sdf[ray, k + 1] += t * to_t / change
        behind = ZERO  # the derivative by the transmittance behind a segment
        for k in range(segments - 1, -1, -1):
            to_alphas[ray, k] = transmittance[k] * (to_weights[k] - behind)
            behind = to_weights[k] * alphas[ray, k] + behind * (ONE - alphas[ray, k] + LEAK)
