"""Commands are spared the garbage collector's walks through the libraries that they import."""

from __future__ import annotations

import subprocess
import sys

import pytest

COUNT = """
import atexit, gc
atexit.register(lambda: print(gc.get_freeze_count()))  # called after those that are registered later
{setup}
collections = []
gc.callbacks.append(lambda phase, _: collections.append(phase))
kept = [[] for _ in range(200_000)]
print(len(collections) // 2)
"""


@pytest.mark.parametrize(
    "setup",
    ["from privhead_ns.quick_start import quicken; quicken()", "import privhead_method_configs"],
    ids=["privhead", "Nerfstudio's commands"],
)
def test_collections_are_few_and_none_walks_through_everything_at_the_end(setup: str) -> None:
    code = COUNT.format(setup=setup)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    collections, frozen = map(int, done.stdout.split())
    assert collections <= 4 and frozen > 200_000
