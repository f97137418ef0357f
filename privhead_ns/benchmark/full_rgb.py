"""Full RGB, the reference of benchmarks: the same views with the photographs' colours in all of them.

This is the only code outside the capture side that opens a photograph of a face, and only if its folder is given.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs

from privhead_ns.capture.protected import ProtectedCapture, load_protected_capture
from privhead_ns.capture.raw import load_raw_capture
from privhead_ns.capture.views import ViewPlan, check_origin, plan_like
from privhead_ns.data.datamanager import PrivheadDataManager, PrivheadDataManagerConfig
from privhead_ns.data.dataparser import PrivheadDataParser, PrivheadDataParserConfig
from privhead_ns.data.dataset import PrivheadDataset
from privhead_ns.errors import UserError


@dataclass
class FullRgbDataParserConfig(PrivheadDataParserConfig):
    """Reads a protected capture and the photographs that it was made from."""

    _target: type = field(default_factory=lambda: FullRgbDataParser)
    """Class to instantiate."""
    photographs: Path | None = None
    """Folder of the raw capture. All its colours are trained on and end up in the checkpoint: for benchmarks only."""

    def check(self, data: Path) -> ProtectedCapture:
        """Reads both captures.

        Raises:
            UserError: if one is missing or broken, or `photographs` is not given.
        """
        capture = super().check(data)
        if self.photographs is None:
            raise UserError(
                "privhead-rgb trains on photographs of the face and exists for benchmarks only; to say that this is "
                "one, pass --pipeline.datamanager.dataparser.photographs with the folder of the raw capture."
            )
        self.photographs = self.photographs.resolve()
        check_origin(load_raw_capture(self.photographs), capture)
        return capture


class FullRgbDataParser(PrivheadDataParser):
    """Nerfstudio's view of a protected capture, in which no view is protected any more."""

    config: FullRgbDataParserConfig

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: object) -> DataparserOutputs:
        """Adds the photographs to the metadata, and declares all views neutral."""
        outputs = super()._generate_dataparser_outputs(split, **kwargs)
        assert self.config.photographs is not None
        plan = plan_like(load_raw_capture(self.config.photographs), load_protected_capture(self.config.data))
        outputs.metadata |= {"photographs": plan, "protected": [False] * len(plan.frames)}
        return outputs


class FullRgbDataset(PrivheadDataset):
    """All views in colour, converted in memory as the capture side does; nothing is written."""

    def colour(self, image_idx: int) -> Float[np.ndarray, "height width 3"]:
        """Returns the photograph of any view: colour in [0, 1]."""
        plan: ViewPlan = self.metadata["photographs"]
        return plan.view(image_idx).rgb


@dataclass
class FullRgbDataManagerConfig(PrivheadDataManagerConfig):
    """Rays and pixels of photographs."""

    _target: type = field(default_factory=lambda: FullRgbDataManager)
    """Class to instantiate."""
    dataparser: FullRgbDataParserConfig = field(default_factory=FullRgbDataParserConfig)
    """Reads the capture and its photographs."""


class FullRgbDataManager(PrivheadDataManager):
    """Draws pixels from all views alike."""

    @cached_property
    def dataset_type(self) -> type[FullRgbDataset]:
        """The dataset to make."""
        return FullRgbDataset
