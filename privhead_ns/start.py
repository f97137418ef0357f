"""The initial shape of training: the visual hull of the silhouettes, the template, or both; or a room's free space."""

from __future__ import annotations

from collections.abc import Callable

import torch
import trimesh
from jaxtyping import Float
from torch import Tensor

from privhead_ns.data.dataset import PrivheadDataset
from privhead_ns.data.frame import TrainingFrame
from privhead_ns.model.agreement import Agreement
from privhead_ns.model.room import free_space_sdf
from privhead_ns.model.template import template_sdf
from privhead_ns.model.visual_hull import Silhouette, hull_sdf
from privhead_ns.template.files import read_template

SLACK = 0.04
"""How much larger the template is than it is drawn where there are silhouettes, in longest sides of the head's box: it
cuts off what no view carves behind the head, and no part of the head."""

Sdf = Callable[[Float[Tensor, "n 3"]], Float[Tensor, " n"]]


def compare_views(dataset: PrivheadDataset) -> Agreement:
    """Returns what compares the magnitudes of all views."""
    cameras, wanted = dataset.cameras.to("cpu"), ("magnitude", "interior")
    views = [{key: view[key] for key in wanted} for view in (dataset[index] for index in range(len(dataset)))]
    lenses = torch.cat([cameras.fx, cameras.fy, cameras.cx, cameras.cy], dim=-1)
    magnitudes, interior = (torch.stack([view[key][..., 0] for view in views]) for key in wanted)
    room = dataset.metadata["subject"] == "room"
    return Agreement(magnitudes, interior, cameras.camera_to_worlds, lenses, inside_out=room)


def start_sdf(dataset: PrivheadDataset, agreement: Agreement) -> Sdf | None:
    """Returns the initial signed distance in the frame of training; None of a head without silhouettes and template.

    With silhouettes and a template it is that of the intersection of the hull and the template enlarged by `SLACK`.
    That of a room is positive in its free space.
    """
    if dataset.metadata["subject"] == "room":
        return free_space_sdf(agreement, dataset.scene_box.aabb)
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
