"""One thread for each process, as the tests share the cores; and how many examples the property-based tests try."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")

slow = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
settings.register_profile("few", max_examples=25, derandomize=True, deadline=None, suppress_health_check=slow)
settings.register_profile("long", max_examples=10_000, deadline=None, suppress_health_check=slow, database=None)
settings.load_profile("few")


@pytest.fixture(scope="session")
def demo_capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The raw capture of the demo's head, 32 pixels wide; to be read, or copied."""
    from privhead_ns.demo.capture import write_demo_capture

    folder = tmp_path_factory.mktemp("demo") / "raw"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("privhead_ns.demo.capture.MESH_RESOLUTION", 96)  # its vertices lie on the surface all the same
        write_demo_capture(folder, 32)
    return folder


@pytest.fixture(scope="module", autouse=True)
def no_writers_of_other_modules() -> Iterator[None]:
    """Empties Nerfstudio's global list of event writers, whose folders may be gone by the next module."""
    yield
    if (writer := sys.modules.get("nerfstudio.utils.writer")) is not None:
        writer.EVENT_WRITERS.clear()
        writer.EVENT_STORAGE.clear()


@pytest.fixture(scope="module")
def forked_training() -> Iterator[None]:
    """Trainings that this package starts are forked, see `forked`; those of a worker of `privhead batch` are not."""
    import forked

    from privhead_ns import training_run

    replacement = SimpleNamespace(Popen=forked.Popen, PIPE=subprocess.PIPE, STDOUT=subprocess.STDOUT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_run, "subprocess", replacement)
        yield
