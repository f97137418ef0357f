"""The dataparser that Nerfstudio lists; apart from the methods, for Nerfstudio loads it before its own trainer."""

from __future__ import annotations

from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from privhead_ns.data.dataparser import PrivheadDataParserConfig

privhead = DataParserSpecification(
    config=PrivheadDataParserConfig(), description="A protected capture written by `privhead protect`."
)
