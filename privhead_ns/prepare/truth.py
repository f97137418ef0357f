"""Writes ground truth and axes of a data set into a raw capture, where `privhead evaluate` looks for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from privhead_ns.prepare.posed import KnownHead
from privhead_ns.text_files import write_json

TRUTH, ABOUT, REGIONS = "gt_mesh.ply", "capture.json", "regions"


def write_truth(folder: Path, head: KnownHead) -> None:
    """Writes gt_mesh.ply, with vertices in the data set's order; capture.json; and a file of vertices a region.

    Nothing is written that is not known.
    """
    about = {"nose_tip": head.nose_tip, "face_axis": head.face_direction, "up_axis": head.up}
    known = {key: np.asarray(vector).tolist() for key, vector in about.items() if vector is not None}
    if known:
        write_json(folder / ABOUT, known)
    if head.mesh is None:
        return
    head.mesh.export(folder / TRUTH)
    for name, indices in head.regions.items():
        (folder / REGIONS).mkdir(exist_ok=True)
        (folder / REGIONS / f"{name}.txt").write_text("\n".join(map(str, indices)) + "\n", encoding="utf-8")
