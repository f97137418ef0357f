"""Reads the cameras that Agisoft Metashape exports as XML."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from privhead_ns.capture.listed_files import refuse_missing
from privhead_ns.errors import UserError
from privhead_ns.prepare.posed import PosedCapture
from privhead_ns.prepare.readers.files import find_mask, pick_picture, pictures_by_name
from privhead_ns.prepare.readers.fit import Listed, fit_all
from privhead_ns.prepare.readers.pose import opencv_to_opengl
from privhead_ns.text_files import read_text

SENSORS = {"frame": "OPENCV", "fisheye": "OPENCV_FISHEYE"}
SKEW = 0.5
"""Pixels by which the skew b2, which is not modelled, may move the picture's edge."""


def is_metashape(path: Path) -> bool:
    """Returns whether a file looks like a document of Metashape's, broken or not."""
    try:
        text = read_text(path)
    except UserError:
        return False
    return "<document" in text and "<chunk" in text


def read_metashape(path: Path) -> PosedCapture:
    """Reads the aligned cameras of a Metashape file; those that were not aligned, or are disabled, do not count.

    Args:
        path: the XML file; photographs are sought by name in its folder and below.

    Raises:
        UserError: if none is aligned, they are in several components, a photograph is missing, or a lens is not read.
    """
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except ElementTree.ParseError as error:
        raise UserError(f"{path} is truncated or no XML ({error}); export the cameras again.") from None
    chunks = [chunk for chunk in root.iter("chunk") if _aligned(chunk)]
    if len(chunks) != 1:
        raise UserError(f"{path} has aligned cameras in {len(chunks)} chunks; export one chunk that is aligned.")
    chunk, cameras = chunks[0], _aligned(chunks[0])
    components = {camera.get("component_id") for camera in cameras}
    if len(components) > 1:
        raise UserError(
            f"{path} has cameras in {len(components)} components, which are not aligned to each other; "
            "merge them, or export one."
        )
    world = _component(chunk, components.pop(), path)
    lenses = {sensor.get("id"): sensor for sensor in chunk.iter("sensor")}
    pictures = pictures_by_name(path.parent)
    found = {camera.get("label", ""): pick_picture(pictures, camera.get("label", ""), path) for camera in cameras}
    refuse_missing([label for label, picture in found.items() if picture is None], path)
    listed = []
    for camera in cameras:
        label = camera.get("label", "")
        picture, where = found[label], f"{path}: camera {label}"
        assert picture is not None
        lens = _read_lens(lenses.get(camera.get("sensor_id")), where)
        pose = opencv_to_opengl(world @ _numbers(camera, "transform", where, 16).reshape(4, 4))
        listed.append(Listed(where, picture, pose, lens, find_mask(picture, path.parent)))
    return PosedCapture(fit_all(listed))


def _aligned(chunk: ElementTree.Element) -> list[ElementTree.Element]:
    """Returns the enabled cameras of a chunk that have a pose."""
    cameras = chunk.find("cameras")
    every = [] if cameras is None else list(cameras.iter("camera"))
    return [c for c in every if c.find("transform") is not None and c.get("enabled", "true") not in ("false", "0")]


def _component(chunk: ElementTree.Element, component_id: str | None, path: Path) -> Float[np.ndarray, "4 4"]:
    """Returns the similarity from a component to the world; the identity where it has none."""
    result, where = np.eye(4), f"{path}: component {component_id}"
    for component in chunk.iter("component"):
        transform = component.find("transform")
        if component.get("id") == component_id and transform is not None:
            if transform.find("rotation") is not None:
                result[:3, :3] = _numbers(transform, "rotation", where, 9).reshape(3, 3)
            if transform.find("scale") is not None:
                result[:3, :3] *= _numbers(transform, "scale", where)[0]
            if transform.find("translation") is not None:
                result[:3, 3] = _numbers(transform, "translation", where, 3)
    return result


def _read_lens(sensor: ElementTree.Element | None, where: str) -> dict[str, Any]:
    """Returns the intrinsics of a sensor by the keys of transforms.json.

    Metashape's p1 moves along x, which is OpenCV's p2; cx and cy count from the centre; b1 is added to the focal length
    along x (Metashape manual, appendix on camera models).
    """
    kind = "" if sensor is None else sensor.get("type", "frame")
    if sensor is None or kind not in SENSORS:
        raise UserError(f"{where} has a sensor of the type {kind or 'none'}, only frame and fisheye are supported.")
    calibrations = sorted(sensor.findall("calibration"), key=lambda one: one.get("class") != "adjusted")
    size = sensor.find("resolution") if not calibrations else calibrations[0].find("resolution")
    size = sensor.find("resolution") if size is None else size
    if not calibrations or size is None:
        raise UserError(f"{where} has a sensor without calibration; align the photographs, then export the cameras.")
    width, height = (int(text) if (text := size.get(side, "")).isdigit() else 0 for side in ("width", "height"))
    names = ("f", "cx", "cy", "b1", "b2", "k1", "k2", "k3", "k4", "p1", "p2")
    v = {
        name: _numbers(calibrations[0], name, where)[0] if calibrations[0].find(name) is not None else 0.0
        for name in names
    }
    if v["f"] <= 0 or abs(v["b2"]) * height / 2 > SKEW * v["f"]:
        raise UserError(f"{where} has no focal length or a skewed sensor (b2); optimise the cameras without b2.")
    return {
        "camera_model": SENSORS[kind],
        "w": width,
        "h": height,
        "fl_x": v["f"] + v["b1"],
        "fl_y": v["f"],
        "cx": width / 2 + v["cx"],
        "cy": height / 2 + v["cy"],
        "p1": v["p2"],
        "p2": v["p1"],
        **{key: v[key] for key in ("k1", "k2", "k3", "k4")},
    }


def _numbers(element: ElementTree.Element, name: str, where: str, count: int = 1) -> Float[np.ndarray, " n"]:
    """Returns the numbers in a child element.

    Raises:
        UserError: if there is another count of them.
    """
    try:
        values = np.array([float(word) for word in (element.findtext(name) or "").split()])
    except ValueError:
        values = np.empty(0)
    if len(values) != count:
        raise UserError(f"{where}: <{name}> must hold {count} numbers; export the cameras again.")
    return values
