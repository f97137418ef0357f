"""Readers of captures with poses that other programs wrote; `detect.read_posed` finds the one that fits."""

from typing import Literal

DataFormat = Literal["auto", "facescape", "h3ds"]
"""Values of --format; `auto` recognises the format."""
