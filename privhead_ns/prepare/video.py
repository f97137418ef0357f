"""Extracts the sharpest frames of a video."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from jaxtyping import UInt8
from rich.console import Console

from privhead_ns.errors import UserError
from privhead_ns.progress import tracked

SHARPNESS_SIDE = 480
"""Longer side in pixels of what sharpness is measured on."""


def write_sharpest_frames(video: Path, folder: Path, frames: int, console: Console) -> None:
    """Cuts a video into stretches of equal length and writes the sharpest frame of each as `frame_NNNN.png`.

    Args:
        video: any file that FFmpeg reads.
        folder: where to write.
        frames: number of stretches; short videos have one for each frame.
        console: where progress is shown.

    Raises:
        UserError: if it is no video, or broken.
    """
    try:
        with av.open(str(video)) as container:
            count = _count_frames(container)
        if count == 0:
            raise IndexError
        with av.open(str(video)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            length = max(1.0, count / frames)
            best: tuple[float, av.VideoFrame] | None = None
            stretch = 0
            with tracked(range(count), "Choosing sharp frames", console) as remaining:
                for index, frame in zip(remaining, container.decode(stream), strict=False):
                    if int(index / length) != stretch and best is not None:
                        _write(folder, stretch, best[1])
                        stretch, best = int(index / length), None
                    sharpness = _sharpness(frame)
                    if best is None or sharpness > best[0]:
                        best = sharpness, frame
                if best is not None:
                    _write(folder, stretch, best[1])
    except (FFmpegError, IndexError):
        raise UserError(
            f"{video} cannot be read as a video: give --data a video, a folder of photographs, or a capture."
        ) from None


def _count_frames(container: InputContainer) -> int:
    """Returns the number of frames; packets are counted where the header does not say."""
    stream = container.streams.video[0]
    return stream.frames or sum(packet.size > 0 for packet in container.demux(stream))


def _sharpness(frame: av.VideoFrame) -> float:
    """Returns the variance of the Laplacian of the brightness (Pertuz et al. 2013)."""
    scale = min(1.0, SHARPNESS_SIDE / max(frame.width, frame.height))
    small = frame.reformat(width=round(frame.width * scale), height=round(frame.height * scale), format="gray")
    return float(cv2.Laplacian(small.to_ndarray(), cv2.CV_64F).var())


def _write(folder: Path, stretch: int, frame: av.VideoFrame) -> None:
    cv2.imwrite(str(folder / f"frame_{stretch:04}.png"), cv2.cvtColor(_upright(frame), cv2.COLOR_RGB2BGR))


def _upright(frame: av.VideoFrame) -> UInt8[np.ndarray, "height width 3"]:
    """Turns a frame by the rotation that phones write beside the pixels; counterclockwise, a multiple of 90 degrees."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))
