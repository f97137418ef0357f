"""The command on many heads."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rich.console import Console


def batch(
    data: tuple[Path, ...],
    output_dir: Path,
    address: str | None = None,
    workers: int = 1,
    threads: int | None = None,
    gpus: float | None = None,
    resolution: int = 256,
    millimetres: bool = False,
    ending: Literal["ply", "obj", "stl", "glb"] = "ply",
    seed: int = 42,
    max_num_iterations: int | None = None,
    keep_runs: bool = False,
) -> None:
    """Train and export many protected captures, several at a time; the same command again goes on where it was stopped.

    Each head gets a folder of its name with its mesh; batch.json, batch.csv and sheet.png show all. A head that fails
    is named and holds nobody up; exit status 1 if any did. On a cluster (--address, needs Ray) the captures are sent to
    its machines, over Ray's own connections, which are not encrypted by default.

    Args:
        data: Folders of protected captures; results go by their names.
        output_dir: Folder for all results.
        address: Ray cluster to train on: HOST:PORT, auto, or local; by default this machine alone, without Ray.
        workers: Heads at a time on this machine; on a cluster its CPUs and GPUs decide.
        threads: CPU threads of each head; by default OMP_NUM_THREADS or this machine's cores over its workers, and 2 on
            a cluster.
        gpus: GPUs of each head, also less than one; by default 1 where the cluster has any. On this machine each worker
            gets one in turn.
        resolution: Voxels along the longest side of the head's box.
        millimetres: Write millimetres instead of the captures' own units; all must know their scale.
        ending: Format of the meshes.
        seed: Seed of every training.
        max_num_iterations: Most steps of each training; 1 gives the silhouettes' shape alone.
        keep_runs: Keep config.yml and the last checkpoint of each head too, for export, ns-viewer and so on.
    """
    from privhead_ns.batch.batch import run_batch
    from privhead_ns.batch.executors import chosen_executor
    from privhead_ns.batch.head import Settings
    from privhead_ns.mesh.extract import check_resolution

    console = Console()
    check_resolution(resolution)
    executor = chosen_executor(address, workers, threads, gpus)
    settings = Settings(seed, max_num_iterations, resolution, millimetres, ending, keep_runs)
    records = run_batch(data, output_dir, settings, executor, console)
    failed = sum(record.status == "failed" for record in records)
    console.print(
        f"{len(records) - failed} heads trained, {failed} failed. Table: {output_dir / 'batch.csv'}, batch.json; "
        "pictures: sheet.png.",
        highlight=False,
        soft_wrap=True,
    )
    if failed:
        raise SystemExit(1)
