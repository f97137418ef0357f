"""Distances in an image to a silhouette and to its outline, in pixels."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import distance_transform_edt

FAR = 10.0
"""Distance to the outline where there is none, in longer sides of the image: finite, and longer than any other."""


def distance_to(pixels: Bool[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """Returns the distance of each pixel to the nearest one that is set, infinite where none is."""
    if not pixels.any():
        return np.full(pixels.shape, np.inf, np.float32)
    return cv2.distanceTransform((~pixels).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def signed_distance(coverage: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """Returns the signed distance of pixel centres to the outline, negative inside.

    Within a pixel of the outline, the covered share of the pixel gives the position of the outline. The border of the
    image is no outline. OpenCV's distances, which are faster, differ in the last bit from run to run, and so would the
    mesh.

    Args:
        coverage: share of each pixel that the head covers, in [0, 1].
    """
    head = coverage > 0.5
    if head.all() or not head.any():
        return np.full(head.shape, -FAR if head.all() else FAR, dtype=np.float32) * max(head.shape)
    inside, outside = (np.asarray(distance_transform_edt(part)) for part in (head, ~head))
    distance = np.where(head, 0.5 - inside, outside - 0.5)
    return np.where(np.abs(distance) < 1, 0.5 - coverage, distance).astype(np.float32)
