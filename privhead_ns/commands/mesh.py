"""The commands on a trained head and its mesh."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console


def export(
    load_config: tuple[Path, ...],
    output_path: Path,
    resolution: int = 256,
    millimetres: bool = False,
    load_step: int | None = None,
    frame_of: Path | None = None,
) -> None:
    """Write the mesh of a trained head: geometry alone, no colour.

    Args:
        load_config: config.yml of the training run; of several, the newest counts.
        output_path: File to write: .ply, .obj, .stl or .glb.
        resolution: Voxels along the longest side of the head's box.
        millimetres: Write millimetres instead of the capture's own units; the capture must know its scale.
        load_step: Step of the checkpoint to load; by default the latest.
        frame_of: Raw capture with geographic poses (UTM, ECEF) into whose frame to put the mesh; needs .obj.
    """
    from privhead_ns.mesh.export import export_mesh, newest, warn_of_earlier

    config = newest(load_config)
    mesh = export_mesh(config, output_path, resolution, millimetres, load_step, frame_of)
    warn_of_earlier(config)
    closed = "closed" if mesh.is_watertight else "not closed"
    print(f"{output_path}: {len(mesh.vertices)} vertices, {len(mesh.faces)} faces, {closed}.")


def forget(load_config: tuple[Path, ...], load_step: int | None = None) -> None:
    """Remove from checkpoints the colours that training painted on the face; a finished run has done so by itself.

    Run it before a run that was stopped early, or that kept earlier checkpoints, leaves this machine.

    Args:
        load_config: config.yml of the training run, or of several.
        load_step: Step of the one checkpoint to rewrite; by default all are.
    """
    from privhead_ns.forget import forget as forget_run

    for path in load_config:
        print(forget_run(path, load_step))


def evaluate(
    mesh: Path,
    data: Path,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
    heat_map: Path | None = None,
    protocol: Literal["privhead", "h3ds"] = "privhead",
) -> None:
    """Compare a mesh with the ground truth of a raw capture: distances from visible points to the other surface.

    Args:
        mesh: Mesh file in the capture's frame and units, or in those of the protected capture.
        data: Folder of the raw capture, with gt_mesh.ply.
        as_json: Print JSON instead of a table.
        heat_map: Picture to write: normals of truth and mesh, and the distance between them, as they lie.
        protocol: What to measure: privhead, from visible points to the other surface and without alignment; or h3ds,
            that data set's own protocol, from all true vertices to the mesh after ICP that may rescale it.
    """
    from privhead_ns.mesh.evaluate import evaluate as compare
    from privhead_ns.mesh.evaluate import table
    from privhead_ns.mesh.files import check_target, load_mesh
    from privhead_ns.mesh.h3ds_protocol import evaluate_h3ds, h3ds_table
    from privhead_ns.mesh.pictures import save_heat_map

    if heat_map is not None:
        check_target(heat_map, (".png",))
    shape = load_mesh(mesh)
    if protocol == "h3ds":
        measured = evaluate_h3ds(shape, data)
        summary = h3ds_table(measured)
    else:
        measured = compare(shape, data)
        summary = table(measured)
    if as_json:
        print(json.dumps(measured.to_dict(), indent=1))
    else:
        Console().print(summary)
    if heat_map is not None:
        save_heat_map(heat_map, shape, data)
