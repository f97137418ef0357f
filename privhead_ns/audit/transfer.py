"""Exchanges colours between meshes and identifies the renders (the paper's Fig. 9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import trimesh
from jaxtyping import Float
from rich.console import Console
from rich.progress import track

from privhead_ns.audit.drawings import NOT_MEASURED, draw_matrix
from privhead_ns.audit.faces import Faces, describe, distances, mean
from privhead_ns.audit.heads import Head
from privhead_ns.audit.off_the_shelf import Gallery, most_frontal
from privhead_ns.audit.painting import Trained, align, face_points, render_painted
from privhead_ns.audit.recogniser import Image, Landmarks
from privhead_ns.audit.result import AttackResult, not_measured, percent, subsample

TITLE = "5. Geometry of one head, colours of another"
VIEWS = 8
"""Views of each head in which its mesh is painted, of those in which its face is found."""


@dataclass(frozen=True)
class Exchange:
    """Renders of the meshes of some heads in the colours of some, all by index in the gallery."""

    names: dict[int, str]
    """Of the heads whose meshes are painted, the subject first."""
    colours: list[int]
    """Heads whose colours are known."""
    views: dict[int, list[int]]
    """By geometry: the views that were rendered."""
    front: dict[int, int]
    """By geometry, if there is a view: which of them is the most frontal."""
    pictures: dict[tuple[int, int], list[Image]]
    """By geometry and colours: a picture for each view; none where a face was never seen."""


def exchange(
    heads: Sequence[Head],
    places: Sequence[Sequence[Landmarks | None]],
    meshes: dict[int, trimesh.Trimesh],
    painters: dict[int, Trained],
    console: Console,
) -> Exchange:
    """Renders each mesh in the colours of each head, seen by the cameras of the mesh's own capture.

    Surfaces are aligned by the features of their faces; of a head without a view of its face nothing is rendered.

    Args:
        heads: all heads of the gallery.
        places: by head and view, where its photograph shows a face.
        meshes: by head, the subject first.
        painters: by head, where its colours are known.
        console: where progress is shown.
    """
    seen = {head: [view for view, place in enumerate(places[head]) if place is not None] for head in meshes}
    views = {head: [found[i] for i in spread(len(found))] for head, found in seen.items()}
    front = {head: most_frontal([places[head][view] for view in found])[0] for head, found in views.items() if found}

    def anchors(head: int, mesh: trimesh.Trimesh) -> Float[np.ndarray, "51 3"]:
        view, place = most_frontal(places[head])
        return face_points(mesh, heads[head].cameras[view], place)

    pictures: dict[tuple[int, int], list[Image]] = {}
    pairs = [(shape, colour) for shape in meshes for colour in painters]
    for shape, colour in track(pairs, TITLE, console=console):
        pictures[shape, colour] = []
        if shape in front and colour in front:
            painter, cameras = painters[colour], [heads[shape].cameras[view] for view in views[shape]]
            alignment = np.eye(4)
            if shape != colour:
                alignment = align(anchors(shape, meshes[shape]), anchors(colour, painter.mesh))
            pictures[shape, colour] = render_painted(meshes[shape], painter, cameras, alignment)
    return Exchange({head: heads[head].name for head in meshes}, list(painters), views, front, pictures)


def attack(gallery: Gallery, exchanged: Exchange | None) -> AttackResult:
    """Identifies each mesh in each head's colours among all heads."""
    if exchanged is None:
        return not_measured(
            TITLE, "there are no runs of other heads; give them with --transfer-config and --transfer-data"
        )
    result = AttackResult(TITLE)
    names, people = exchanged.names, len(gallery.faces)
    cells = {pair: _nearest(gallery, exchanged, pair) for pair in exchanged.pictures}
    for shape in names:
        for label, whom in (("that head", 0), ("the head of the colours", 1)):
            result.rows[f"geometry of {names[shape]}, taken for {label}"] = {
                f"rank-1, colours of {names[colour]}": share(cells[shape, colour], (shape, colour)[whom])
                for colour in exchanged.colours
            }
    mixed = [(pair, cell) for pair, cell in cells.items() if pair[0] != pair[1]]
    to_shape, to_colour = (
        mean(np.concatenate([cell.argmin(axis=1) == pair[whom] for pair, cell in mixed if len(cell)] or [np.empty(0)]))
        for whom in (0, 1)
    )
    closer = [cell[:, colour] < cell[:, shape] for (shape, colour), cell in mixed if len(cell)]
    follows = mean(np.concatenate(closer)) if closer else None
    result.rows["all meshes in another's colours"] = {
        "faces": float(sum(len(cell) for _, cell in mixed)),
        "rank-1, head of the geometry": to_shape,
        "rank-1, head of the colours": to_colour,
        "follows the colours": follows,
    }
    result.sentence = (
        f"Of {len(names)} meshes painted with another head's colours, {percent(to_colour)} of pictures are taken for "
        f"the head of the colours and {percent(to_shape)} for that of the mesh, out of {people} people (guessing: "
        f"{percent(1 / people)}); {percent(follows)} look more like the former than the latter."
    )
    if missing := [name for head, name in names.items() if head not in exchanged.colours]:
        result.sentence += (
            f" The colours of {', '.join(missing)} were not measured: the run has forgotten them; give one of "
            "privhead-rgb with --rgb-config."
        )
    strange = next((pictures for pair, pictures in exchanged.pictures.items() if pair[0] != pair[1]), [])
    result.pictures["a mesh in another's colours"] = subsample(strange)
    result.drawings["transfer"] = draw(gallery, exchanged, cells)
    return result


Cell = Float[np.ndarray, "pictures heads"]
"""Distance of each picture to the nearest photograph of each head from another camera."""


def share(cell: Cell, head: int) -> float | None:
    """Returns the share of pictures that are nearest to a head; None of no pictures."""
    return mean(cell.argmin(axis=1) == head)


def draw(gallery: Gallery, exchanged: Exchange, cells: dict[tuple[int, int], Cell]) -> Image:
    """Draws one view of every mesh in every head's colours, and whom all its views are taken for."""
    names, rows, captions = exchanged.names, [], []
    for shape in names:
        shown = [exchanged.pictures[shape, colour] for colour in exchanged.colours]
        rows.append([pictures[exchanged.front[shape]] if pictures else None for pictures in shown])
        captions.append([_caption(cells[shape, colour], shape, colour, names) for colour in exchanged.colours])
    title = f"{gallery.recogniser.name}: whom the pictures are taken for, out of {len(gallery.faces)} people"
    return draw_matrix(rows, captions, list(names.values()), [names[c] for c in exchanged.colours], title)


def _caption(cell: Cell, shape: int, colour: int, names: dict[int, str]) -> str:
    if not len(cell):
        return NOT_MEASURED
    whom = {names[head]: share(cell, head) for head in (shape, colour)}
    return "\n".join(f"{name} {percent(rate)}" for name, rate in whom.items())


def _nearest(gallery: Gallery, exchanged: Exchange, pair: tuple[int, int]) -> Cell:
    """Compares the pictures of a mesh in some colours, cropped by hand, with all heads."""
    pictures = exchanged.pictures[pair]
    views = exchanged.views[pair[0]][: len(pictures)]  # none where there are no pictures
    faces = describe(gallery.recogniser, pictures, [gallery.places[pair[0]][view] for view in views])
    probes = Faces(np.array(views, dtype=int)[faces.views], faces.embeddings)
    tables = [distances(gallery.recogniser.distance, probes, other) for other in gallery.faces]
    nearest = [table.min(axis=1) if table.shape[1] else np.full(len(table), np.inf) for table in tables]
    return np.stack(nearest, axis=1)


def spread(count: int) -> list[int]:
    """Returns `VIEWS` indices below a count, evenly spread; all of fewer."""
    return np.unique(np.linspace(0, count - 1, min(count, VIEWS)).round().astype(int)).tolist() if count else []
