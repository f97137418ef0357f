"""The privacy audit of one capture: every rung of the ladder of attackers, on everything that leaves the machine."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import trimesh
from rich.console import Console

from privhead_ns.audit import adapted, deepfake, files, geometry, inversion, off_the_shelf
from privhead_ns.audit.heads import Head, load_others, load_subject
from privhead_ns.audit.recogniser import Image, Recogniser
from privhead_ns.audit.rung import Rung, nothing
from privhead_ns.audit.swap import Swapper, Warp
from privhead_ns.capture.protect import protect
from privhead_ns.capture.protected import ProtectedCapture, load_protected_capture
from privhead_ns.capture.raw import load_raw_capture
from privhead_ns.capture.views import check_origin
from privhead_ns.errors import UserError
from privhead_ns.folders import temporary_folder
from privhead_ns.mesh.export import load_model, surface
from privhead_ns.operators import OperatorConfig

RESOLUTION = 192
"""Voxels along the longest side of the box in the mesh that is looked at."""


@dataclass(frozen=True)
class Inputs:
    """What an audit looks at. A rung that lacks an input says so."""

    data: Path
    """The raw capture."""
    protected: Path | None = None
    """What `privhead protect` made of it; None to protect with the default settings, for the audit alone."""
    load_config: Path | None = None
    """config.yml of a training run on it."""
    rgb_config: Path | None = None
    """config.yml of a `privhead-rgb` run, to compare with."""
    transfer_config: Path | None = None
    """config.yml of a run on another head, whose colours the mesh is painted with."""
    transfer_data: Path | None = None
    """Raw capture of that head, one of `others`."""
    others: tuple[Path, ...] = field(default_factory=tuple)
    """Raw captures of other people."""


def run_audit(
    inputs: Inputs, recognisers: Sequence[Recogniser], console: Console, swappers: Sequence[Swapper] = (Warp(),)
) -> list[list[Rung]]:
    """Climbs the ladder with each recogniser, and swaps faces in all ways; returns the rungs of each recogniser.

    Raises:
        UserError: if an input is missing or broken, captures do not belong together, or no face is found in any
            sensitive photograph.
    """
    _check_paths(inputs)
    with temporary_folder(Path(tempfile.gettempdir()) / "privhead-audit") as folder:
        protected = inputs.protected
        if protected is None:
            protected = folder / "protected"
            protect(inputs.data, protected, OperatorConfig(), console=console)
        capture = load_protected_capture(protected)
        heads = [load_subject(inputs.data, protected), *load_others(inputs.others, inputs.data, capture, console)]
        galleries = [off_the_shelf.photographs(recogniser, heads, console) for recogniser in recognisers]
        exhibits, shape = _exhibits(inputs, heads[0], capture)
        blended, other = _transfer(inputs, heads, capture, shape)
        inverted = inversion.invert(heads, capture.operator, console)
        faked = deepfake.attack(galleries, {**exhibits, **inverted}, heads, swappers, console)
        searched = [protected, *([inputs.load_config.parent] if inputs.load_config else [])]
        found = files.search(load_raw_capture(inputs.data), capture, searched, console)
        if inputs.load_config is None:
            found.sentence += " No training run was searched: give its config.yml with --load-config."
        return [
            [
                off_the_shelf.attack(gallery, exhibits, console),
                adapted.attack(gallery, heads, console),
                inversion.attack(gallery, heads, inverted),
                geometry.attack(gallery, exhibits[off_the_shelf.MESH], blended, other)
                if shape is not None
                else nothing(geometry.TITLE, "there is no trained run; give its config.yml with --load-config"),
                found,
                fakes,
            ]
            for gallery, fakes in zip(galleries, faked, strict=True)
        ]


def _exhibits(
    inputs: Inputs, subject: Head, capture: ProtectedCapture
) -> tuple[dict[str, list[Image]], trimesh.Trimesh | None]:
    """Returns everything that can be looked at, view by view, and the mesh if there is one."""
    exhibits = {off_the_shelf.RAW: subject.photographs, off_the_shelf.PROTECTED: subject.protected}
    shape = None
    if inputs.load_config is not None:
        model = load_model(inputs.load_config)
        shape = surface(model, RESOLUTION)
        exhibits[off_the_shelf.MESH] = geometry.render_mesh(shape, capture, subject.frames)
        exhibits[off_the_shelf.RADIANCE] = geometry.render_radiance(model, capture, subject.frames)
    if inputs.rgb_config is not None:
        model = load_model(inputs.rgb_config)
        exhibits[off_the_shelf.FULL_RGB] = geometry.render_radiance(model, capture, subject.frames)
    return exhibits, shape


def _transfer(
    inputs: Inputs, heads: Sequence[Head], capture: ProtectedCapture, shape: trimesh.Trimesh | None
) -> tuple[list[Image] | None, int | None]:
    """Returns renders of the mesh in another head's colours, and which head that is."""
    if shape is None or inputs.transfer_config is None or inputs.transfer_data is None:
        return None, None
    other = 1 + [path.resolve() for path in inputs.others].index(inputs.transfer_data.resolve())
    model = load_model(inputs.transfer_config)
    painted = geometry.Trained(model, surface(model, RESOLUTION))
    return geometry.render_transfer(shape, painted, capture, heads[0].frames), other


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
    for flag in ("load_config", "rgb_config", "transfer_config"):
        path: Path | None = getattr(inputs, flag)
        if path is not None and not path.is_file():
            raise UserError(f"There is no file {path}; --{flag.replace('_', '-')} wants a config.yml of ns-train.")
    if (inputs.transfer_config is None) != (inputs.transfer_data is None):
        raise UserError("--transfer-config and --transfer-data go together: a run and its head's raw capture.")
    if inputs.transfer_data is not None:
        if inputs.load_config is None:
            raise UserError("--transfer-config needs --load-config: the run whose geometry is to be painted.")
        if inputs.transfer_data.resolve() not in [path.resolve() for path in inputs.others]:
            raise UserError(f"--transfer-data {inputs.transfer_data} must be one of --others.")
