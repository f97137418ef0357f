"""Workers: jobs run beside one another, and whatever becomes of one, the others get done."""

from __future__ import annotations

import os
import pickle
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import batch_jobs
import pytest
from rich.console import Console

from privhead_ns.audit.recogniser import OnnxRecogniser
from privhead_ns.batch import board as module
from privhead_ns.batch import ray_cluster
from privhead_ns.batch.board import Board, clock, run_all
from privhead_ns.batch.executors import chosen_executor, local_environments, local_executor
from privhead_ns.batch.jobs import Job, Outcome, Step
from privhead_ns.batch.processes import Processes
from privhead_ns.batch.ray_cluster import RayCluster
from privhead_ns.errors import UserError

QUIET = Console(quiet=True)


def runs(process: int) -> bool:
    """Says whether a process runs, other than as a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ends(process: int, seconds: float = 10) -> bool:
    until = time.monotonic() + seconds
    while runs(process) and time.monotonic() < until:
        time.sleep(0.02)
    return not runs(process)


def test_two_workers_run_at_a_time_and_a_job_that_fails_or_is_killed_holds_nobody_up(tmp_path: Path) -> None:
    one, other, note = tmp_path / "1", tmp_path / "2", tmp_path / "pid"
    jobs = [
        Job("killed", partial(batch_jobs.with_killed_parent, note)),
        Job("refuses", batch_jobs.refuse),
        Job("defect", batch_jobs.divide),
        Job("meets", partial(batch_jobs.meet, one, other)),
        Job("met", partial(batch_jobs.meet, other, one)),
    ]
    events = list(Processes([{}, {}]).run(jobs))
    outcomes = {event.name: event for event in events if isinstance(event, Outcome)}
    assert len(outcomes) == 5
    assert outcomes["meets"].result and outcomes["met"].result
    assert outcomes["refuses"].error == "This capture has no head."
    assert outcomes["killed"].error == "Its worker was killed by SIGKILL; run the same command again to do it anew."
    assert (outcomes["defect"].error or "").startswith("ZeroDivisionError: division by zero (batch_jobs.py, line ")
    assert ends(int(note.read_text())), "what a killed worker had started runs on"


def test_a_worker_has_its_own_threads_and_gpu_and_reports_steps() -> None:
    names = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    given = {"OMP_NUM_THREADS": "3", "CUDA_VISIBLE_DEVICES": "1"}
    jobs = [Job("look", partial(batch_jobs.environment, names)), Job("count", batch_jobs.count_to_three)]
    first, found, second, *steps, last = Processes([given]).run(jobs)
    assert found == Outcome("look", given)
    assert (first, second) == (Step("look", "Starting", 0, 0), Step("count", "Starting", 0, 0))
    assert steps == [Step("count", "counting", 0, 3), *(Step("count", f"at {n}", n, 3) for n in (1, 2, 3))]
    assert last == Outcome("count", 3)


def test_nothing_runs_on_after_the_caller_stops(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    events = Processes([{}]).run([Job("sleep", partial(batch_jobs.sleep_in_a_child, note))])
    next(events)
    until = time.monotonic() + 20
    while not note.exists() and time.monotonic() < until:
        time.sleep(0.02)
    child = int(note.read_text())
    assert runs(child)
    events.close()  # type: ignore[attr-defined]
    assert ends(child)


@pytest.mark.parametrize("workers", [1, 2])
def test_all_are_done_before_those_that_failed_are_named(workers: int) -> None:
    executor = local_executor(workers)
    count = Job("count", batch_jobs.count_to_three)
    with pytest.raises(UserError, match=r"^bad failed: This capture has no head\.$"):
        run_all([Job("bad", batch_jobs.refuse), count], executor, QUIET)
    assert run_all([count, replace(count, name="again")], executor, QUIET) == [3, 3]


def test_time_left_is_that_of_the_mean_job_over_those_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    now = SimpleNamespace(monotonic=lambda: 100.0)
    monkeypatch.setattr(module, "time", now)
    board = Board(["a", "b", "c", "d", "e"])
    assert board.seconds_left() is None
    board.note(Step("a", "Starting", 0, 0))
    board.note(Step("b", "Starting", 0, 0))
    assert board.seconds_left() is None
    now.monotonic = lambda: 110.0
    board.note(Step("a", "step", 1, 4))  # 40 s in all; a and b have 30 left each, and three wait
    assert board.seconds_left() == pytest.approx((3 * 40 + 30 + 30) / 2)
    now.monotonic = lambda: 120.0
    board.note(Outcome("a", 1))  # 20 s in all
    board.note(Step("c", "Starting", 0, 0))
    board.note(Outcome("b", error="no"))
    assert board.seconds_left() == pytest.approx(2 * 20 + 20)
    assert "1 done, 1 failed, 1 running, 2 waiting; 0:01:00 left" in str(board.table().title)
    assert clock(3723) == "1:02:03"


def test_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [one["OMP_NUM_THREADS"] for one in local_environments(3)] == ["2", "2", "2"]
    assert local_environments(1, 5)[0]["OMP_NUM_THREADS"] == "5"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert local_environments(1)[0]["OMP_NUM_THREADS"] == "1"


def test_workers_share_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert [one["CUDA_VISIBLE_DEVICES"] for one in local_environments(3, 1)] == ["4", "6", "4"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert [one["CUDA_VISIBLE_DEVICES"] for one in local_environments(3, 1)] == ["0", "1", "0"]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ((None, 0, None, None), "--workers must be"),
        ((None, 1, 0, None), "--threads must be"),
        ((None, 1, None, 0.5), "--gpus needs --address"),
        (("auto", 2, None, None), "--workers is for this machine"),
        (("auto", 1, None, -1.0), "--gpus must not be negative"),
    ],
)
def test_refuses_flags_that_make_no_sense(flags: tuple, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        chosen_executor(*flags)


def test_a_cluster_needs_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match="needs Ray"):
        chosen_executor("auto", 1, None, None)


def test_a_recogniser_can_be_sent_to_a_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(OnnxRecogniser, "__init__", lambda self, *arguments: vars(self).update(given=arguments))
    recogniser = OnnxRecogniser(tmp_path, 0.5, None, 96)  # type: ignore[arg-type]
    vars(recogniser).update(_path=tmp_path, threshold=0.5, _finder=None, size=96)
    assert pickle.loads(pickle.dumps(recogniser)).given == (tmp_path, 0.5, None, 96)


def test_ray_does_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    path = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))  # for Ray's workers to find batch_jobs
    monkeypatch.setattr(ray_cluster, "RETRIES", 0)
    cluster = RayCluster.join("local", 1, None)
    with monkeypatch.context() as joined, pytest.raises(UserError, match="each head is to get 4096 and 0"):
        joined.setattr(ray, "init", lambda **_: None)
        RayCluster.join("local", 4096, None)
    jobs = [
        Job("killed", batch_jobs.be_killed),
        Job("refuses", batch_jobs.refuse),
        Job("look", partial(batch_jobs.environment, ("OMP_NUM_THREADS",))),
        Job("count", batch_jobs.count_to_three),
    ]
    outcomes = {event.name: event for event in cluster.run(jobs) if isinstance(event, Outcome)}
    assert outcomes["look"].result == {"OMP_NUM_THREADS": "1"} and outcomes["count"].result == 3
    assert outcomes["refuses"].error == "This capture has no head."
    assert "worker is gone (WorkerCrashedError)" in (outcomes["killed"].error or "")
