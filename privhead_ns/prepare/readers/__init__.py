"""Readers of captures with poses that other programs wrote; `detect.read_posed` finds the one that fits."""

from typing import Literal

DataFormat = Literal["auto", "facescape", "h3ds"]
"""What a person may say of a capture; `auto` finds out."""
