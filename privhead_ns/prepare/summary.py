"""Summary of a prepared capture for the user."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from privhead_ns.prepare.landmarks import INSTALL, is_installed
from privhead_ns.prepare.posed import PosedCapture

NAMED = 8
"""Photographs that are named; the others are counted."""


@dataclass(frozen=True)
class PrepareSummary:
    """Facts about the capture that `prepare` wrote."""

    output_dir: Path
    photographs: int
    left_out: dict[str, str]
    """By name, why."""
    masks: str
    """given, made or none."""
    neutral: tuple[str, ...]
    face_views: int
    """Photographs in which the face's landmarks agree; 0 where its direction is unknown."""
    mm_per_unit: float | None
    captured: PosedCapture | None = None
    """What another program or a data set said; None for photographs alone."""

    def in_plain_words(self) -> str:
        """Returns what the command prints at its end."""
        lines = [f"{self.output_dir}: {self.photographs} photographs with cameras."]
        for name, reason in list(self.left_out.items())[:NAMED]:
            lines.append(f"Left out: {name}, for {reason}.")
        if len(self.left_out) > NAMED:
            lines.append(f"Left out: {len(self.left_out) - NAMED} more.")
        lines += [self._masks(), self._sensitive()]
        lines += [] if self.captured is None else self.captured.head.remarks
        if self.mm_per_unit is None:
            lines.append("The scale is unknown; --marker-mm or --pupils-mm would give it.")
        sheet = self.output_dir / "sheet.png"
        lines.append(f"Look at {sheet} before you go on: at the outlines, and at which photographs are sensitive.")
        lines.append(f"Then: privhead protect --data {shlex.quote(str(self.output_dir))} --output-dir protected")
        return "\n".join(lines)

    def _masks(self) -> str:
        if self.masks == "given":
            return "Masks: as given."
        if self.masks == "made":
            return "Masks: made from colours and cameras; correct them in masks/ where sheet.png shows a wrong outline."
        where = "with --masks" if self.captured is None else "in a folder masks/ beside the photographs"
        return f"No masks could be made: training works without, and less well; give some {where}."

    def _sensitive(self) -> str:
        names = ", ".join(self.neutral[:NAMED]) + (" …" if len(self.neutral) > NAMED else "")
        counts = f"{self.photographs - len(self.neutral)} of {self.photographs} are sensitive"
        counts += f", neutral are {names}." if names else "."
        if self.captured is not None and self.captured.head.face_direction is not None:
            return f"The data set says where the face looks: {counts}"
        if self.face_views > 0:
            return f"The face was found in {self.face_views} photographs: {counts}"
        how = "" if is_installed() else f" (mediapipe finds it: {INSTALL})"
        advice = "" if names else " Declare those that show no face with --neutral GLOB."
        return f"The direction of the face is unknown{how}: {counts}{advice}"
