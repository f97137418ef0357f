"""Trains and exports many heads in parallel, each in its own folder, with a table and a sheet of all."""

from __future__ import annotations

import csv
import fcntl
import glob
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from privhead_ns.batch.board import run_jobs
from privhead_ns.batch.head import (
    PICTURE,
    RECORD,
    Head,
    Record,
    Settings,
    files,
    pack,
    read_head,
    receive,
    train_here,
    train_shipped,
)
from privhead_ns.batch.jobs import Executor, Job, Outcome
from privhead_ns.batch.ray_cluster import RayCluster
from privhead_ns.capture.protected import load_protected_capture
from privhead_ns.capture.transforms import capture_folder
from privhead_ns.errors import UserError
from privhead_ns.folders import replacing
from privhead_ns.progress import tracked
from privhead_ns.results_folder import check_same, open_results
from privhead_ns.text_files import read_json, write_json

NOTE = "settings.json"
"""Settings of a batch, in its folder."""


def run_batch(
    data: Sequence[Path], output_dir: Path, settings: Settings, executor: Executor, console: Console
) -> list[Record]:
    """Trains every head that is not finished yet.

    Args:
        data: protected captures, whose folders' names must differ.
        output_dir: folder for all results; may hold some already, of the same settings.
        settings: of all heads.
        executor: runs the trainings.
        console: where progress is shown.

    Returns:
        The record of each head, in the order of `data`.

    Raises:
        UserError: if no capture can be used, two have the same name, one lies in `output_dir`, or that holds something
            else.
    """
    for path in data:
        if path.resolve().is_relative_to(output_dir.resolve()):
            raise UserError(
                f"{path} lies in --output-dir {output_dir}, where results would replace it; choose another."
            )
    heads, records = read_heads(data, settings, console)
    claim(output_dir, settings)
    with alone(output_dir):
        for stale in output_dir.glob(".*.tmp-*"):  # of a batch that was killed
            shutil.rmtree(stale, ignore_errors=True)
        records |= {head.name: record for head in heads if (record := finished(head, output_dir))}
        waiting = [head for head in heads if head.name not in records]
        if done := len(heads) - len(waiting):
            console.print(f"{done} of {len(data)} heads were finished before.")
        try:
            for record in outcomes(waiting, output_dir, settings, executor, console):
                records[record.head] = record
                tell(record, console)
        finally:
            ordered = [records[name] for name in names_of(data) if name in records]
            write_table(ordered, output_dir)
    return ordered


def names_of(data: Sequence[Path]) -> list[str]:
    """Returns the names that heads go by: those of their folders."""
    return [capture_folder(path).resolve().name for path in data]


def read_heads(data: Sequence[Path], settings: Settings, console: Console) -> tuple[list[Head], dict[str, Record]]:
    """Reads every capture before anything is trained; returns the good ones, and records of the bad.

    Raises:
        UserError: if two have the same name, or none can be used.
    """
    names = names_of(data)
    if repeated := {name for name in names if names.count(name) > 1}:
        raise UserError(f"Two captures of --data are named {min(repeated)}: rename one, results go by that name.")
    heads: list[Head] = []
    bad: dict[str, Record] = {}
    with tracked(list(zip(names, data, strict=True)), "Checking captures", console) as items:
        for name, path in items:
            try:
                heads.append(read_head(path, settings.millimetres))
            except UserError as error:
                bad[name] = Record(name, "failed", error=str(error))
    if not heads:
        raise UserError(next(iter(bad.values())).error or "" if bad else "--data names no capture.")
    for record in bad.values():
        tell(record, console)
    return heads, bad


def claim(output_dir: Path, settings: Settings) -> None:
    """Creates the batch's folder with its settings, or checks that an existing folder has the same.

    Raises:
        UserError: if it holds something else.
    """
    noted = open_results(output_dir, NOTE, "batch")
    if noted is None:
        write_json(output_dir / NOTE, {"batch": asdict(settings)})
    elif not isinstance(noted.get("batch"), dict):
        raise UserError(f"--output-dir {output_dir} exists and is no batch; choose another folder.")
    else:
        wanted = asdict(settings)
        check_same(output_dir, dict.fromkeys(wanted) | noted["batch"], wanted)  # what is not noted differs


@contextmanager
def alone(output_dir: Path) -> Iterator[None]:
    """Locks a batch's folder inside the block.

    Raises:
        UserError: if another process holds the lock.
    """
    with (output_dir / NOTE).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"Another privhead batch works on {output_dir}; wait for it, or end it.") from None
        yield


def finished(head: Head, output_dir: Path) -> Record | None:
    """Returns the record of a head that was trained before, unless its capture has changed or its mesh is gone."""
    path = output_dir / head.name / RECORD
    if not path.exists():
        return None
    record = read_json(path)
    known = {one.name for one in fields(Record)}
    if record.keys() != known or record["digest"] != head.digest:
        return None
    there = (output_dir / str(record["mesh"])).exists() and path.with_name(PICTURE).exists()
    return Record(**record) if there else None


def outcomes(
    heads: list[Head], output_dir: Path, settings: Settings, executor: Executor, console: Console
) -> Iterator[Record]:
    """Trains heads and yields their records as they end."""
    shipped = isinstance(executor, RayCluster)

    def jobs() -> Iterator[Job]:
        for head in heads:
            if shipped:
                capture = load_protected_capture(head.capture)
                packed = pack(capture.folder, files(capture))
                yield Job(head.name, partial(train_shipped, packed, head, settings))
            else:
                yield Job(head.name, partial(train_here, head, output_dir.resolve(), settings))

    for outcome in run_jobs(jobs(), [head.name for head in heads], executor, console):
        yield recorded(outcome, output_dir, shipped)


def recorded(outcome: Outcome, output_dir: Path, shipped: bool) -> Record:
    """Returns the record of a head that ended, and removes what a killed worker left of it."""
    if outcome.error is not None:
        for stale in output_dir.glob(f".{glob.escape(outcome.name)}.tmp-*"):
            shutil.rmtree(stale, ignore_errors=True)
        return Record(outcome.name, "failed", error=outcome.error)
    return receive(outcome.result, output_dir) if shipped else outcome.result


def tell(record: Record, console: Console) -> None:
    """Prints the result of a head."""
    if record.status == "trained":
        console.print(f"{escape(record.head)}: {record.seconds:.0f} s, {record.vertices} vertices", highlight=False)
    else:
        line = f"[red]{escape(record.head)} failed:[/] {escape(record.error or '')}"
        console.print(line, highlight=False, soft_wrap=True)


def write_table(records: list[Record], output_dir: Path) -> None:
    """Writes batch.json, batch.csv and the sheets of pictures."""
    from privhead_ns.batch.sheet import save_sheets  # imports torch

    write_json(output_dir / "batch.json", {"heads": [asdict(record) for record in records]})
    with replacing(output_dir / "batch.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [one.name for one in fields(Record)])
        writer.writeheader()
        writer.writerows(asdict(record) for record in records)
    pictures = [(r.head, output_dir / r.head / PICTURE if r.status == "trained" else None) for r in records]
    save_sheets(output_dir, pictures)
