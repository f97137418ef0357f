"""The command that shows the whole path."""

from __future__ import annotations

from pathlib import Path


def demo(output_dir: Path = Path("privhead-demo"), size: int = 64) -> None:
    """Show the whole path on a head that the program draws itself: photograph, protect, train, export, evaluate.

    Args:
        output_dir: Folder for everything the demo makes; it must not exist yet.
        size: Width and height of the photographs in pixels.
    """
    from privhead_ns.demo.demo import run_demo

    run_demo(output_dir, size)
