"""Breaks transforms.json at random, for the property-based tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

WEIRD: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 3, 31, 33, 0.5, -0.0, 1e-320, 1e-30, 1e-9, 1e9, 1e30, 1e200, 1.7e308, 10**400),
    *(float("nan"), float("inf"), float("-inf"), [], {}, [[]], [1], [None], {"a": 1}, [[1e308] * 4] * 4, [[0] * 4] * 4),
    *(
        "",
        "0",
        "a",
        "é" * 300,
        "\0",
        "a\0b",
        "\ud800",
        "line\nbreak\x1b[2J",
        "..",
        "../raw/images/view_2.png",
        "/",
        "~",
    ),
    *("/etc/passwd", "images", "images/view_0.png", "masks/view_0.png", "transforms.json", "neutral/000.png"),
    *("protected/002.png", "protected", "PINHOLE", "OPENCV", "neutral", "sobel", np.eye(4).tolist()),
]
"""What may stand in JSON where something else belongs."""


def nodes(content: Any) -> Iterator[tuple[Any, Any]]:
    """All containers of a JSON value with a key of each."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in pairs:
        yield content, key
        yield from nodes(value)


def change_json(folder: Path, random: Random) -> None:
    """Replaces, removes, repeats, exchanges or multiplies values of transforms.json."""
    path = folder / "transforms.json"
    try:
        content = json.loads(path.read_text("utf8"))
        places = list(nodes(content))
        (holder, key), (other, there) = random.choice(places), random.choice(places)
    except (ValueError, OSError, RecursionError, IndexError):  # broken before
        return
    kind = random.choice(["weird", "weird", "remove", "repeat", "exchange", "multiply", "add"])
    if kind == "remove":
        del holder[key]
    elif kind == "repeat" and isinstance(holder, list):
        holder.extend([holder[key]] * random.choice([1, 2, 50]))
    elif kind == "exchange":
        try:
            holder[key], other[there] = json.loads(json.dumps(other[there])), json.loads(json.dumps(holder[key]))
        except (KeyError, IndexError):
            return
    elif kind == "multiply" and isinstance(holder[key], int | float):
        holder[key] = holder[key] * random.choice([-1, 0.999, 1.001, 2, 1e-3, 1e3, 1e-9, 1e9, 1e-160, 1e160])
    elif kind == "add":
        target = random.choice([content, *(one for one, _ in places if isinstance(one, dict))])
        name = random.choice(
            [
                "k1",
                "k4",
                "p2",
                "distortion_params",
                "camera_model",
                "is_fisheye",
                "mm_per_unit",
                "w",
                "fl_x",
                "privhead",
                "sensitive",
                "known_path",
                "mask_path",
                "kind",
                "\ud800",
            ]
        )
        if isinstance(target, dict):
            target[name] = random.choice(WEIRD)
    else:
        holder[key] = random.choice(WEIRD)
    path.write_text(json.dumps(content))


FACTORS = [-1, 0, 0.5, 0.9, 1.01, 2, 10, 1e-3, 1e3, 1e-9, 1e9, 1e-25, 1e25, 1e-160, 1e160]


def change_cameras(folder: Path, random: Random) -> None:
    """Moves, turns or scales poses, or changes intrinsics, of one frame or of all."""
    path = folder / "transforms.json"
    try:
        content = json.loads(path.read_text("utf8"))
        frames = random.choice([content["frames"], [random.choice(content["frames"])]])
        kind, factor = (
            random.choice(["move", "scale", "turn", "same", "focal", "centre", "distort"]),
            random.choice(FACTORS),
        )
        angle, axis = random.choice([0.01, 0.1, 1, 3.14159, random.random()]), random.randrange(3)
        for frame in frames:
            pose = np.array(frame["transform_matrix"], dtype=float)
            if kind == "move":
                pose[axis, 3] += factor
            elif kind == "scale":
                pose[:3, 3] *= factor
            elif kind == "turn":
                turn = np.roll(
                    [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]], axis, (0, 1)
                )
                pose[:3, :3] = pose[:3, :3] @ turn
            elif kind == "same":
                pose = np.array(frames[0]["transform_matrix"], dtype=float)
            elif kind == "focal":
                for key in random.choice([["fl_x"], ["fl_y"], ["fl_x", "fl_y"]]):
                    frame[key] = frame.get(key, content.get(key)) * factor
            elif kind == "centre":
                frame[random.choice(["cx", "cy"])] = 16 * factor
            else:
                frame[random.choice(["k1", "k2", "k3", "p1", "p2"])] = 0.1 * factor
            frame["transform_matrix"] = pose.tolist()
    except (
        ValueError,
        OSError,
        RecursionError,
        LookupError,
        TypeError,
        OverflowError,
        AttributeError,
    ):  # broken before
        return
    path.write_text(json.dumps(content))


def change_json_text(folder: Path, random: Random) -> None:
    """Cuts transforms.json, writes something into it, or encodes it otherwise."""
    path = folder / "transforms.json"
    data = path.read_bytes()
    position = random.randint(0, len(data))
    text = data.decode("utf8", "replace")
    inserted = random.choice(
        [b"\0", b"\xff", b"9" * 5000, b"[" * 100_000, b'{"a":' * 50_000, b"1e999", b"}", b'"', b"//"]
    )
    path.write_bytes(
        random.choice([
            data[:position],
            data[:position] + inserted + data[position:],
            inserted + data,
            text.encode("utf-16"),
            text.encode("utf-8-sig"),
            json.dumps(json.loads(json.dumps(text))).encode(),
            text.replace("32", "9" * 400).encode(),
            text.replace('"frames"', '"frames": 3, "frames"').encode(),
            b"",
        ])
    )  # fmt: skip
