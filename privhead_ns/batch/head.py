"""One head of a batch: trained, exported and pictured in a folder, on this machine or on another."""

from __future__ import annotations

import hashlib
import shutil
import time
import zipfile
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path
from tempfile import gettempdir

from rich.console import Console

from privhead_ns.capture.protected import ProtectedCapture, load_protected_capture
from privhead_ns.errors import UserError
from privhead_ns.folders import temporary_folder
from privhead_ns.phases import PhaseSchedule
from privhead_ns.text_files import write_json

RECORD, PICTURE, LOG = "head.json", "head.png", "train.log"
"""Files in a finished head's folder, beside its mesh."""


@dataclass(frozen=True)
class Settings:
    """Settings that all heads of a batch share."""

    seed: int
    max_num_iterations: int | None
    """Most steps; None for both phases."""
    resolution: int
    """Voxels along the longest side of the head's box in the mesh."""
    millimetres: bool
    ending: str
    """Of the mesh files, without a dot."""
    keep_runs: bool
    """Whether to keep config.yml and the last checkpoint, too."""


@dataclass(frozen=True)
class Head:
    """A protected capture of a batch."""

    name: str
    """Of its folder, and of that of its results."""
    capture: Path
    digest: str
    """SHA-256 of everything that training reads."""


@dataclass(frozen=True)
class Record:
    """Result of a head; a row of the batch's table."""

    head: str
    status: str
    """trained or failed."""
    seconds: float | None = None
    """From start to mesh."""
    vertices: int | None = None
    mesh: str | None = None
    """The mesh file, relative to the batch's folder."""
    error: str | None = None
    """Why it failed."""
    digest: str | None = None
    """See `Head`."""


def read_head(folder: Path, millimetres: bool) -> Head:
    """Reads a protected capture and its digest.

    Raises:
        UserError: if it is no protected capture, or does not know the scale that millimetres need.
    """
    capture = load_protected_capture(folder)
    if millimetres and capture.mm_per_unit is None:
        raise UserError(f"{folder} does not say mm_per_unit, which --millimetres needs; leave one of them out.")
    digest = hashlib.sha256()
    for path in files(capture):
        digest.update(f"{path.relative_to(capture.folder)} {path.stat().st_size} ".encode())
        digest.update(path.read_bytes())
    return Head(capture.folder.resolve().name, capture.folder, digest.hexdigest())


def files(capture: ProtectedCapture) -> list[Path]:
    """Returns transforms.json and the files that it lists, and no other that lies beside them."""
    listed = [capture.template_path, *(path for f in capture.frames for path in (f.path, f.mask_path, f.known_path))]
    return [capture.folder / "transforms.json", *dict.fromkeys(path for path in listed if path is not None)]


def train_head(head: Head, folder: Path, settings: Settings, console: Console) -> Record:
    """Trains on a capture and leaves mesh, picture, log and record in a folder; one that fails leaves its log.

    Args:
        head: the capture may lie elsewhere than when it was read.
        folder: an empty one.
        settings: of the batch.
        console: where progress is shown.
    """
    start = time.monotonic()
    from privhead_ns.batch.sheet import save_picture  # these import torch, which takes seconds
    from privhead_ns.mesh.export import export_mesh
    from privhead_ns.training_run import EXPERIMENT, train

    capture = load_protected_capture(head.capture)
    steps = PhaseSchedule().for_size(max(capture.width, capture.height)).total_steps
    flags: dict[str, object] = {
        "--machine.seed": settings.seed,
        "--steps-per-eval-image": 0,
        "--save-only-latest-checkpoint": True,
    }
    if settings.max_num_iterations is not None:
        steps = flags["--max-num-iterations"] = min(steps, settings.max_num_iterations)
    try:
        run = train("privhead", head.capture, folder, steps, console, flags)
        path = folder / f"head.{settings.ending}"
        mesh = export_mesh(run.config, path, settings.resolution, settings.millimetres)
        scale = (capture.mm_per_unit or 1.0) if settings.millimetres else 1.0
        save_picture(folder / PICTURE, mesh, capture, scale)
    except UserError as error:
        return Record(head.name, "failed", error=str(error).replace(str(folder / LOG), f"{head.name}.log"))
    if not settings.keep_runs:
        shutil.rmtree(folder / EXPERIMENT)
    seconds, vertices = round(time.monotonic() - start, 1), len(mesh.vertices)
    record = Record(head.name, "trained", seconds, vertices, f"{head.name}/{path.name}", digest=head.digest)
    write_json(folder / RECORD, asdict(record))
    return record


def train_here(head: Head, output_dir: Path, settings: Settings, console: Console) -> Record:
    """Trains a head into `output_dir`/NAME, which appears whole; of one that failed the log is left beside it."""
    with temporary_folder(output_dir / head.name) as folder:
        record = train_head(head, folder, settings, console)
        keep(record, folder, output_dir)
    return record


def keep(record: Record, folder: Path, output_dir: Path) -> None:
    """Moves a head's results to their final place."""
    target, log = output_dir / record.head, output_dir / f"{record.head}.log"
    if record.status == "trained":
        shutil.rmtree(target, ignore_errors=True)  # of a capture that has changed since
        log.unlink(missing_ok=True)
        folder.rename(target)
    elif (folder / LOG).exists():
        (folder / LOG).replace(log)


def train_shipped(capture: bytes, head: Head, settings: Settings, console: Console) -> tuple[Record, bytes]:
    """Trains a head on a machine that does not see the batch's folders.

    Args:
        capture: see `pack`.
        head: the capture; its folder is not looked at.
        settings: of the batch.
        console: where progress is shown.

    Returns:
        The record, and the packed folder of results.
    """
    with temporary_folder(Path(gettempdir()) / "privhead-batch") as temporary:
        here, folder = temporary / head.name, temporary / "results"
        unpack(capture, here)
        folder.mkdir()
        record = train_head(replace(head, capture=here), folder, settings, console)
        return record, pack(folder, [path for path in folder.rglob("*") if path.is_file()])


def receive(shipped: tuple[Record, bytes], output_dir: Path) -> Record:
    """Puts the results of `train_shipped` into the batch's folder."""
    record, results = shipped
    with temporary_folder(output_dir / record.head) as folder:
        unpack(results, folder)
        keep(record, folder, output_dir)
    return record


def pack(folder: Path, paths: list[Path]) -> bytes:
    """Returns files of a folder as one archive, uncompressed, for pictures and weights hardly shrink."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", strict_timestamps=False) as archive:
        for path in paths:
            archive.write(path, path.relative_to(folder))
    return buffer.getvalue()


def unpack(archive: bytes, folder: Path) -> None:
    """Writes the files of an archive below a folder; names that lead out of it are changed by `zipfile`."""
    with zipfile.ZipFile(BytesIO(archive)) as packed:
        packed.extractall(folder)
