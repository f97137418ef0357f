"""The scenes that the demo knows."""

from __future__ import annotations

from typing import Any

import numpy as np
import trimesh

from privhead_ns.demo import head, plate, room
from privhead_ns.demo.lettering import Lettering
from privhead_ns.demo.scene import Scene, arc


def _describe_head(mesh: trimesh.Trimesh) -> dict[str, Any]:
    vertices = np.asarray(mesh.vertices)
    foremost = vertices[:, 0] > vertices[:, 0].max() - 0.1 / head.MM_PER_UNIT
    return {"layout": "10 rear, 20 facing", "nose_tip": vertices[foremost].mean(axis=0).tolist()}


def _describe_plate(_: trimesh.Trimesh) -> dict[str, Any]:
    radius = float(np.linalg.norm(plate.PLATE_HALF)) * plate.MM_PER_UNIT
    return _describe_panel("plate", plate.LETTERING, radius)


def _describe_room(_: trimesh.Trimesh) -> dict[str, Any]:
    to_ceiling = (room.HALF[2] - room.BOARD.middle) * room.MM_PER_UNIT
    return _describe_panel("whiteboard", room.BOARD, to_ceiling)


def _describe_panel(name: str, panel: Lettering, radius_mm: float) -> dict[str, Any]:
    centre = [panel.front, 0.0, panel.middle]
    return {"text": panel.text, "region": {"name": name, "centre": centre, "radius_mm": radius_mm}}


HEAD = Scene(
    name="head",
    in_words="a head that does not exist",
    subject="head",
    sdf=head.sdf,
    albedo=head.albedo,
    aabb=head.AABB,
    mm_per_unit=head.MM_PER_UNIT,
    views=(
        # nose, eyes and lips are hidden between azimuths 135 and 225; at 64 pixels the face check takes hair and ear at
        # azimuth 155 for a face from 38 and from 42 degrees up; from 30 it does not
        *arc((135.0, 225.0), 10, (-12.0, 10.0, 30.0), sensitive=False),
        *arc((-120.0, 120.0), 20, (-14.0, 7.0, 30.0), sensitive=True),
    ),
    describe=_describe_head,
)
PLATE = Scene(
    name="plate",
    in_words="a model car with an invented licence plate",
    subject="object",
    sdf=plate.sdf,
    albedo=plate.albedo,
    aabb=plate.AABB,
    mm_per_unit=plate.MM_PER_UNIT,
    views=(
        # the plate is hidden from azimuth 90 on
        *arc((98.0, 262.0), 12, (-10.0, 12.0, 32.0), sensitive=False),
        *arc((-86.0, 86.0), 18, (-12.0, 8.0, 30.0), sensitive=True),
    ),
    describe=_describe_plate,
    lettering=plate.LETTERING,
)
ROOM = Scene(
    name="room",
    in_words="a room with a whiteboard",
    subject="room",
    sdf=room.sdf,
    albedo=room.albedo,
    aabb=room.AABB,
    mm_per_unit=room.MM_PER_UNIT,
    views=room.VIEWS,
    describe=_describe_room,
    focal=room.FOCAL,
    lettering=room.BOARD,
)
SCENES = {scene.name: scene for scene in (HEAD, PLATE, ROOM)}
