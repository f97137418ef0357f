"""The privacy audit of one capture: every attack, on everything that leaves the machine."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import trimesh
from rich.console import Console

from privhead_ns.audit import adapted, deepfake, files, geometry, inversion, off_the_shelf, transfer
from privhead_ns.audit.heads import Head, load_others, load_subject
from privhead_ns.audit.painting import RESOLUTION, Trained, load, load_painted
from privhead_ns.audit.recogniser import Image, Recogniser
from privhead_ns.audit.result import AttackResult, not_measured
from privhead_ns.audit.swap import Swapper, Warp
from privhead_ns.capture.protect import protect
from privhead_ns.capture.protected import ProtectedCapture, load_protected_capture
from privhead_ns.capture.raw import load_raw_capture
from privhead_ns.capture.views import check_origin, masked_like
from privhead_ns.errors import UserError
from privhead_ns.folders import temporary_folder
from privhead_ns.mesh.export import load_model, surface, warn_of_earlier
from privhead_ns.operators import OperatorConfig


@dataclass(frozen=True)
class Inputs:
    """Inputs of an audit. An attack that lacks one is reported as not measured."""

    data: Path
    """The raw capture."""
    protected: Path | None = None
    """What `privhead protect` made of it; None to protect with the default settings, for the audit alone."""
    load_config: Path | None = None
    """config.yml of a training run on it."""
    rgb_config: Path | None = None
    """config.yml of a `privhead-rgb` run, to compare with."""
    transfer_config: tuple[Path, ...] = ()
    """config.yml of runs on other heads, whose meshes and colours are exchanged with this one's."""
    transfer_data: tuple[Path, ...] = ()
    """Raw captures of those heads, in their order, all among `others`."""
    others: tuple[Path, ...] = field(default_factory=tuple)
    """Raw captures of other people."""


def run_audit(
    inputs: Inputs, recognisers: Sequence[Recogniser], console: Console, swappers: Sequence[Swapper] = (Warp(),)
) -> list[list[AttackResult]]:
    """Runs every attack with each recogniser, and swaps faces in all ways; returns the results of each recogniser.

    Raises:
        UserError: if an input is missing or broken, captures do not belong together, or no face is found in any
            sensitive photograph.
    """
    _check_paths(inputs)
    painted = load_painted(inputs.transfer_config)
    with temporary_folder(Path(tempfile.gettempdir()) / "privhead-audit") as folder:
        protected = inputs.protected
        if protected is None:
            protected = folder / "protected"
            protect(inputs.data, protected, OperatorConfig(), console=console)
        capture = load_protected_capture(protected)
        if capture.subject == "room":
            raise UserError(f"{protected} is a room, and privhead audit attacks faces: give it a head.")
        heads = [load_subject(inputs.data, protected), *load_others(inputs.others, inputs.data, capture, console)]
        galleries = [off_the_shelf.photographs(recogniser, heads, console) for recogniser in recognisers]
        exhibits, shape = _exhibits(inputs, heads[0], capture)
        exchanged = _exchange(inputs, heads, galleries[0], shape, painted, console)
        inverted = inversion.invert(heads, capture.operator, console)
        faked = deepfake.attack(galleries, {**exhibits, **inverted}, heads, swappers, console)
        searched = [protected, *([inputs.load_config.parent] if inputs.load_config else [])]
        found = files.search(masked_like(load_raw_capture(inputs.data), capture), capture, searched, console)
        if inputs.load_config is None:
            found.sentence += " No training run was searched: give its config.yml with --load-config."
        return [
            [
                _as_it_comes(gallery, exhibits, console),
                adapted.attack(gallery, heads, console),
                inversion.attack(gallery, heads, inverted),
                geometry.attack(gallery, exhibits[off_the_shelf.MESH])
                if shape is not None
                else not_measured(geometry.TITLE, "there is no trained run; give its config.yml with --load-config"),
                transfer.attack(gallery, exchanged),
                fakes,
                found,
            ]
            for gallery, fakes in zip(galleries, faked, strict=True)
        ]


def _exhibits(
    inputs: Inputs, subject: Head, capture: ProtectedCapture
) -> tuple[dict[str, list[Image]], trimesh.Trimesh | None]:
    """Returns the pictures that are attacked, view by view, and the mesh if there is one."""
    exhibits = {off_the_shelf.RAW: subject.photographs, off_the_shelf.PROTECTED: subject.protected}
    shape = None
    if inputs.load_config is not None:
        model = load_model(inputs.load_config)
        warn_of_earlier(inputs.load_config)
        shape = surface(model, RESOLUTION)
        exhibits[off_the_shelf.MESH] = geometry.render_mesh(shape, capture, subject.frames)
        exhibits[off_the_shelf.RADIANCE] = geometry.render_radiance(model, capture, subject.frames)
    if inputs.rgb_config is not None:
        model = load_model(inputs.rgb_config)
        exhibits[off_the_shelf.FULL_RGB] = geometry.render_radiance(model, capture, subject.frames)
    return exhibits, shape


def _as_it_comes(gallery: off_the_shelf.Gallery, exhibits: dict[str, list[Image]], console: Console) -> AttackResult:
    """Measures the recogniser as it comes, and draws how far it sees a photograph from what was made of it."""
    result = off_the_shelf.attack(gallery, exhibits, console)
    result.drawings["descendants"] = off_the_shelf.descendants(gallery, exhibits)
    return result


def _exchange(
    inputs: Inputs,
    heads: Sequence[Head],
    gallery: off_the_shelf.Gallery,
    shape: trimesh.Trimesh | None,
    painted: Sequence[Trained],
    console: Console,
) -> transfer.Exchange | None:
    """Renders the meshes of all heads with a run in each other's colours; None if the subject's is the only one."""
    if shape is None or inputs.load_config is None or not painted:
        return None
    own = load(inputs.rgb_config or inputs.load_config)
    captures = [path.resolve() for path in inputs.others]
    others = {1 + captures.index(data.resolve()): run for data, run in zip(inputs.transfer_data, painted, strict=True)}
    meshes = {0: shape, **{head: run.mesh for head, run in others.items()}}
    painters = {0: own, **others} if own.has_colours else others
    return transfer.exchange(heads, gallery.places, meshes, painters, console)


def _check_paths(inputs: Inputs) -> None:
    """Checks what can be checked before any work.

    Raises:
        UserError: if a file is missing or flags do not fit together.
    """
    raw = load_raw_capture(inputs.data)
    if inputs.protected is not None:
        check_origin(raw, load_protected_capture(inputs.protected))
    elif inputs.load_config is not None:
        raise UserError("--load-config needs --protected: give the protected capture that the run was trained on.")
    flags = {"load_config": inputs.load_config, "rgb_config": inputs.rgb_config}
    runs = [(flag, path) for flag, path in flags.items() if path is not None]
    for flag, path in [*runs, *(("transfer_config", path) for path in inputs.transfer_config)]:
        if not path.is_file():
            raise UserError(f"There is no file {path}; --{flag.replace('_', '-')} needs a config.yml of ns-train.")
    if len(inputs.transfer_config) != len(inputs.transfer_data):
        raise UserError("--transfer-config and --transfer-data go together: a run and its head's raw capture for each.")
    if inputs.transfer_config and inputs.load_config is None:
        raise UserError("--transfer-config needs --load-config: the run whose geometry is to be painted.")
    given = [path.resolve() for path in inputs.transfer_data]
    if len(set(given)) < len(given):
        raise UserError("--transfer-data must name each capture once, in the order of --transfer-config.")
    others = [path.resolve() for path in inputs.others]
    for path in inputs.transfer_data:
        if path.resolve() not in others:
            raise UserError(f"--transfer-data {path} must be one of --others.")
