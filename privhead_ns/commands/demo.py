"""The command that runs the demo."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def demo(
    output_dir: Path = Path("privhead-demo"), scene: Literal["head", "plate", "room"] = "head", size: int = 64
) -> None:
    """Show the whole path on something that the program draws itself: photograph, protect, train, export, evaluate.

    Args:
        output_dir: Folder for everything the demo makes; it must not exist yet.
        scene: A head, a model car whose licence plate must not leave, or a room seen from within whose whiteboard must
            not; of the last two the demo also says how readable the writing is in each product.
        size: Width and height of the photographs in pixels.
    """
    from privhead_ns.demo.demo import run_demo
    from privhead_ns.demo.scenes import SCENES

    run_demo(output_dir, size, SCENES[scene])
