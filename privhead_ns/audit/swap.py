"""Swaps a face onto another person's picture: DeepFake without trained weights.

The face is carried over triangle by triangle of a Delaunay triangulation of the landmarks, and blended by Poisson image
editing (Pérez et al., SIGGRAPH 2003): gradients of the new face, colours of the picture along the face's outline.
OpenCV's `seamlessClone` solves over the bounding box instead, and so changes the picture around the face too.
"""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np
from jaxtyping import Bool, Float
from scipy import sparse
from scipy.interpolate import LinearNDInterpolator
from scipy.sparse.linalg import factorized
from scipy.spatial import Delaunay

from privhead_ns.audit.recogniser import Image, Landmarks, enlarged

NEIGHBOURS = ((0, 1), (0, -1), (1, 0), (-1, 0))
CROSS = np.array([(0, 1, 0), (1, 0, 1), (0, 1, 0)], dtype=np.uint8)


class Target:
    """A picture whose face is to be replaced.

    Args:
        picture: enlarged as recognisers do.
        landmarks: of its face.
    """

    def __init__(self, picture: Image, landmarks: Landmarks) -> None:
        self.picture = enlarged(picture)
        self.points = in_pixels(landmarks, self.picture)
        self.triangles = Delaunay(self.points)
        height, width = self.picture.shape[:2]
        pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
        self.hull: Bool[np.ndarray, "height width"] = self.triangles.find_simplex(pixels) >= 0
        """The convex hull of the landmarks, which is all that changes."""
        self.inside: Bool[np.ndarray, "height width"] = (
            cv2.erode(self.hull.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=(0,)) > 0
        )
        """The hull without its outline."""
        self._solve = factorized(laplacian(self.inside)) if self.inside.any() else None

    def blend(self, layer: Image) -> Image:
        """Returns the picture with the face of another one of its size, which only counts within the hull.

        What is added to the layer is harmonic, and equals picture - layer along the outline: Poisson's equation.
        """
        if self._solve is None:
            return self.picture.copy()
        layer, result = layer.astype(np.float64), self.picture.copy()
        outline = (self.hull & ~self.inside)[..., None]
        known = cv2.filter2D(np.where(outline, self.picture - layer, 0.0), -1, CROSS.astype(np.float64))[self.inside]
        added = np.stack([self._solve(channel) for channel in known.T], axis=1)
        result[self.inside] = (layer[self.inside] + added).round().clip(0, 255).astype(np.uint8)
        return result


class Swapper(Protocol):
    """Makes a face that can be blended into a picture."""

    name: str

    def face(self, source: Image, landmarks: Landmarks, target: Target) -> Image:
        """Returns a picture of the target's size with the source's face where the target's is."""
        ...


class Warp:
    """Moves the source's landmarks to the target's, and what lies between them affinely."""

    name = "warped"

    def face(self, source: Image, landmarks: Landmarks, target: Target) -> Image:
        """Returns the warped source; black outside the target's hull."""
        source = enlarged(source)
        here = LinearNDInterpolator(target.triangles, in_pixels(landmarks, source))
        y, x = np.nonzero(target.hull)
        places = here(np.stack([x, y], axis=1)).astype(np.float32)
        warped = np.zeros_like(target.picture)
        columns = cv2.remap(source, places[:, :1], places[:, 1:], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        warped[target.hull] = columns[:, 0]
        return warped


def swapped(swapper: Swapper, source: Image, landmarks: Landmarks, target: Target) -> Image:
    """Returns the target's picture with the source's face."""
    return target.blend(swapper.face(source, landmarks, target))


def in_pixels(landmarks: Landmarks, picture: Image) -> Float[np.ndarray, "68 2"]:
    """Returns x and y of landmarks in pixels."""
    return landmarks * (picture.shape[1], picture.shape[0])


def laplacian(inside: Bool[np.ndarray, "height width"]) -> sparse.csc_matrix:
    """Returns 4 c_p - Σ c_q over each pixel's four neighbours q, of pixels that do not touch the picture's edge."""
    count = int(inside.sum())
    index = np.full(inside.shape, -1)
    index[inside] = np.arange(count)
    y, x = np.nonzero(inside)
    around = np.stack([index[y + dy, x + dx] for dy, dx in NEIGHBOURS])
    rows = np.broadcast_to(np.arange(count), around.shape)[around >= 0]
    links = sparse.coo_matrix((np.ones(len(rows)), (rows, around[around >= 0])), shape=(count, count))
    return (4 * sparse.identity(count) - links).tocsc()
