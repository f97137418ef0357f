"""The initial shape of training: the visual hull of the silhouettes, the template, or both; of a room, its walls."""

from __future__ import annotations

from collections.abc import Callable

import torch
import trimesh
from jaxtyping import Float
from torch import Tensor

from privhead_ns.data.dataset import PrivheadDataset
from privhead_ns.data.frame import TrainingFrame
from privhead_ns.model.template import template_sdf
from privhead_ns.model.visual_hull import Silhouette, hull_sdf
from privhead_ns.template.files import read_template

SLACK = 0.04
"""How much larger the template is than it is drawn where there are silhouettes, in longest sides of the head's box: it
cuts off what no view carves behind the head, and no part of the head."""

Sdf = Callable[[Float[Tensor, "n 3"]], Float[Tensor, " n"]]


def start_sdf(dataset: PrivheadDataset) -> Sdf | None:
    """Returns the initial signed distance in the frame of training; None of a head without silhouettes and template.

    That of a room is positive in its free space. With silhouettes and a template it is that of the intersection of the hull and the template enlarged by `SLACK`.
    """
    bounds: list[Sdf] = []
    if silhouettes := _silhouettes(dataset):
        bounds.append(lambda points: hull_sdf(points, silhouettes))
    if (path := dataset.metadata["template"]) is not None:
        frame: TrainingFrame = dataset.metadata["frame"]
        mesh = read_template(path)
        shape = template_sdf(trimesh.Trimesh(frame.to_training(mesh.vertices), mesh.faces, process=False))
        slack = SLACK if bounds else 0.0
        bounds.append(lambda points: shape(points) - slack)
    if not bounds:
        return None
    return lambda points: torch.stack([bound(points) for bound in bounds]).amax(dim=0)


def _silhouettes(dataset: PrivheadDataset) -> list[Silhouette]:
    cameras = dataset.cameras.to("cpu")
    lenses = torch.cat([cameras.fx, cameras.fy, cameras.cx, cameras.cy], dim=-1)
    return [
        Silhouette(mask, dataset.known(index), pose, *lens.tolist())
        for index, (pose, lens) in enumerate(zip(cameras.camera_to_worlds, lenses, strict=True))
        if (mask := dataset.mask(index)) is not None
    ]
