"""The search for what betrays a sensitive photograph: it finds every kind of leak, and nothing else."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from raw_folder import FOCAL, SIZE, disc, edit, write_raw_capture
from rich.console import Console
from torch.utils.tensorboard.writer import SummaryWriter

from privhead_ns.audit import files
from privhead_ns.audit.files import Search, finds
from privhead_ns.audit.result import AttackResult
from privhead_ns.audit.secrets import LUMINANCE, View, gather, sobel
from privhead_ns.audit.sheet import EXACT, partial_correlation
from privhead_ns.capture.protect import protect
from privhead_ns.capture.protected import load_protected_capture
from privhead_ns.capture.raw import load_raw_capture
from privhead_ns.operators import OperatorConfig

QUIET = Console(file=io.StringIO())
WIDTH = 64
"""Width of the photographs, of a head that is as large in them as in those of `write_raw_capture`."""
SENSITIVE = 3


def skin(index: int, width: int = WIDTH) -> np.ndarray:
    """Returns a photograph with the smooth, nearly grey detail of skin."""
    rng = np.random.default_rng(index)
    detail = cv2.GaussianBlur(rng.normal(size=(width, width, 1)).astype(np.float32), (0, 0), width / 45)[..., None]
    tint = cv2.GaussianBlur(rng.normal(size=(width, width, 3)).astype(np.float32), (0, 0), width / 30)
    shade = np.linspace(-0.15, 0.15, width)[:, None, None]
    values = np.array([0.65, 0.5, 0.45]) + shade + 0.3 * detail + 0.15 * tint
    return (np.clip(values, 0, 1) * 255).round().astype(np.uint8)


def write_head(folder: Path, width: int = WIDTH, **top: Any) -> Path:
    """Writes a raw capture of such photographs."""
    write_raw_capture(folder, stem="person0")
    for index, path in enumerate(sorted((folder / "images").iterdir())):
        Image.fromarray(skin(index, width)).save(path)
        Image.fromarray(disc(width)).save(folder / "masks" / path.name)
    camera = {"w": width, "h": width, "cx": width / 2, "cy": width / 2}
    focal = FOCAL * width / SIZE
    edit(folder, lambda content: content.update({**camera, "fl_x": focal, "fl_y": focal, **top}))
    return folder


def searched(raw: Path, protected: Path, *folders: Path) -> AttackResult:
    return files.search(load_raw_capture(raw), load_protected_capture(protected), [protected, *folders], QUIET)


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw capture."""
    return write_head(tmp_path_factory.mktemp("files") / "head")


@pytest.fixture(scope="module")
def protected(head: Path) -> Path:
    protect(head, head.parent / "protected", OperatorConfig())
    return head.parent / "protected"


@pytest.fixture(scope="module")
def search(head: Path, protected: Path) -> Search:
    return Search(gather(load_raw_capture(head), load_protected_capture(protected)))


@pytest.fixture(scope="module")
def view(head: Path, protected: Path) -> View:
    """A sensitive view as σ saw it."""
    return gather(load_raw_capture(head), load_protected_capture(protected)).views[SENSITIVE]


Writer = Callable[[Path, View], Any]


def unit(view: View) -> torch.Tensor:
    return torch.from_numpy(view.rgb.copy())


def eight_bits(view: View) -> np.ndarray:
    return (view.rgb * 255).round().astype(np.uint8)


def luminance(view: View) -> np.ndarray:
    return (view.rgb @ LUMINANCE).astype(np.float32)


def picture(view: View) -> Image.Image:
    return Image.fromarray(eight_bits(view))


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format=form, **options)
    return stream.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return stream.getvalue()


def in_tar(path: Path, view: View) -> None:
    (path.parent / "a.png").write_bytes(encoded(picture(view)))
    with tarfile.open(path, "w:xz") as archive:
        archive.add(path.parent / "a.png", "a.png")
    (path.parent / "a.png").unlink()


def event(path: Path, view: View) -> None:
    """Writes a training view and its render side by side, as evaluation does."""
    with SummaryWriter(str(path.parent)) as writer:
        both = np.concatenate([eight_bits(view), np.zeros_like(eight_bits(view))], axis=1)
        writer.add_image("eval", both, dataformats="HWC")


def thumbnail(path: Path, view: View) -> None:
    """Hides a photograph in the EXIF data of a picture of nothing."""
    inner = encoded(picture(view), "JPEG", quality=95)
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">HHHII", 1, 0x927C, 7, len(inner), 26) + b"\0" * 4 + inner
    Image.new("RGB", (8, 8)).save(path, format="JPEG", exif=exif)


def photograph_as_mask(path: Path, view: View) -> None:
    grey = np.where(disc(WIDTH) == 255, eight_bits(view)[..., 1], 0).astype(np.uint8)
    Image.fromarray(grey).save(path, format="PNG")


def optimizer_state(path: Path, view: View) -> None:
    parameter = torch.nn.Parameter(unit(view).permute(2, 0, 1)[None])
    optimizer = torch.optim.Adam([parameter])
    (parameter * unit(view).permute(2, 0, 1)).sum().backward()
    optimizer.step()
    torch.save({"pipeline": {}, "optimizers": {"fields": optimizer.state_dict()}}, path)


def behind_a_slice(path: Path, view: View) -> None:
    """Saves one row, and with it the storage of the photograph that it is a view of."""
    torch.save({"row": unit(view)[:1]}, path)


def transparent(path: Path, view: View) -> None:
    pixels = np.dstack([np.zeros((WIDTH, WIDTH, 3), np.uint8), eight_bits(view)[..., 1]])
    Image.fromarray(pixels).save(path, format="PNG")


def sixteen_bits(path: Path, view: View) -> None:
    Image.fromarray((luminance(view) * 65535).astype(np.uint16)).save(path, format="PNG")


def signed(view: View, axis: int = 1) -> np.ndarray:
    return sobel(luminance(view), axis)


LEAKS: dict[str, Writer] = {
    # pictures
    "developed.png": lambda path, view: picture(view).save(path),
    "no_suffix": lambda path, view: path.write_bytes(encoded(picture(view))),
    "quality_95.jpg": lambda path, view: picture(view).save(path, quality=95),
    "quality_90.webp": lambda path, view: picture(view).save(path, quality=90),
    "a.tiff": lambda path, view: picture(view).save(path, compression="tiff_lzw"),
    "floats.tif": lambda path, view: Image.fromarray(luminance(view)).save(path),
    "a.bmp": lambda path, view: picture(view).save(path),
    "a.gif": lambda path, view: picture(view).save(path),
    "palette.png": lambda path, view: picture(view).quantize(128).save(path),
    "luminance.png": lambda path, view: picture(view).convert("L").save(path),
    "one_channel.png": lambda path, view: picture(view).getchannel("B").save(path),
    "16_bits.png": sixteen_bits,
    "16_bits_rgb.png": lambda path, view: cv2.imwrite(str(path), (view.rgb * 65535).astype(np.uint16)),
    "alpha_channel.png": transparent,
    "mask.png": photograph_as_mask,
    "mirrored.png": lambda path, view: Image.fromarray(np.ascontiguousarray(eight_bits(view)[:, ::-1])).save(path),
    "turned.png": lambda path, view: Image.fromarray(np.ascontiguousarray(np.rot90(eight_bits(view)))).save(path),
    "transposed.png": lambda path, view: Image.fromarray(eight_bits(view).transpose(1, 0, 2).copy()).save(path),
    "bgr.png": lambda path, view: Image.fromarray(eight_bits(view)[..., ::-1].copy()).save(path),
    "negative.png": lambda path, view: Image.fromarray(255 - eight_bits(view)).save(path),
    "gamma.png": lambda path, view: Image.fromarray((view.rgb**2.2 * 255).astype(np.uint8)).save(path),
    "half.png": lambda path, view: picture(view).resize((32, 32), Image.Resampling.LANCZOS).save(path),
    "quarter.jpg": lambda path, view: picture(view).resize((16, 16), Image.Resampling.BICUBIC).save(path, quality=95),
    "odd_size.png": lambda path, view: picture(view).resize((45, 45)).save(path),
    "enlarged.png": lambda path, view: picture(view).resize((160, 160), Image.Resampling.NEAREST).save(path),
    "cropped.png": lambda path, view: picture(view).crop((16, 16, 48, 48)).save(path),
    "contact_sheet.png": lambda path, view: Image.fromarray(np.hstack([skin(77), skin(78), eight_bits(view)])).save(
        path
    ),
    "dx_offset_128.png": lambda path, view: Image.fromarray((signed(view) * 254 + 128).astype(np.uint8)).save(path),
    "dy.tif": lambda path, view: Image.fromarray(signed(view, 0)).save(path),
    "exif_thumbnail.jpg": thumbnail,
    # arrays and raw bytes
    "developed.ckpt": lambda path, view: torch.save({"state": [{"cache": unit(view)}]}, path),
    "float16.ckpt": lambda path, view: torch.save(unit(view).half(), path),
    "bfloat16.ckpt": lambda path, view: torch.save((unit(view) * 255).round().bfloat16(), path),
    "bfloat16_of_unit.pt": lambda path, view: torch.save(unit(view).bfloat16(), path),
    "float64.pt": lambda path, view: torch.save(unit(view).double() * 2 - 1, path),
    "batch.pt": lambda path, view: torch.save(torch.stack([torch.rand(3, 64, 64), unit(view).permute(2, 0, 1)]), path),
    "flat.pt": lambda path, view: torch.save(torch.cat([torch.rand(12345), unit(view).flatten(), torch.rand(9)]), path),
    "old_format.pt": lambda path, view: torch.save(unit(view), path, _use_new_zipfile_serialization=False),
    "with_objects.ckpt": lambda path, view: torch.save({"path": Path("x"), "cache": unit(view).half()}, path),
    "optimizer.ckpt": optimizer_state,
    "slice.ckpt": behind_a_slice,
    "signed.ckpt": lambda path, view: torch.save(torch.from_numpy(np.diff(view.rgb, axis=1)), path),
    "signed_flat.bin": lambda path, view: path.write_bytes(np.diff(view.rgb, axis=0).astype(np.float16).tobytes()),
    "planar_uint8.bin": lambda path, view: path.write_bytes(eight_bits(view).transpose(2, 0, 1).tobytes()),
    "interleaved_uint8.bin": lambda path, view: path.write_bytes(b"header" + eight_bits(view).tobytes() + b"\0" * 99),
    "rgba.bin": lambda path, view: path.write_bytes(np.asarray(picture(view).convert("RGBA")).tobytes()),
    "floats_to_255.bin": lambda path, view: path.write_bytes(b"abc" + (view.rgb * 255).astype(np.float32).tobytes()),
    "one_channel_of_floats.bin": lambda path, view: path.write_bytes(view.rgb[..., 1].astype(np.float32).tobytes()),
    "doubles.bin": lambda path, view: path.write_bytes(view.rgb.astype(np.float64).tobytes()),
    "upside_down.bin": lambda path, view: path.write_bytes(eight_bits(view)[::-1].tobytes()),
    "a.npy": lambda path, view: np.save(path, view.rgb),
    "a.npz": lambda path, view: np.savez_compressed(path, luminance(view)),
    "a.pkl": lambda path, view: path.write_bytes(pickle.dumps({"image": view.rgb})),
    # in other files
    "raw.gz": lambda path, view: path.write_bytes(gzip.compress(eight_bits(view).tobytes())),
    "raw.bz2": lambda path, view: path.write_bytes(bz2.compress(eight_bits(view).tobytes())),
    "raw.xz": lambda path, view: path.write_bytes(lzma.compress(eight_bits(view).tobytes())),
    "png.zip.gz": lambda path, view: path.write_bytes(gzip.compress(zipped("x", encoded(picture(view))))),
    "a.tar.xz": in_tar,
    "base64.json": lambda path, view: path.write_text(
        json.dumps({"thumbnail": base64.b64encode(encoded(picture(view), "JPEG", quality=95)).decode()})
    ),
    "page.html": lambda path, view: path.write_text(
        f'<img src="data:image/png;base64,{base64.b64encode(encoded(picture(view))).decode()}">'
    ),
    "numbers.json": lambda path, view: path.write_text(json.dumps(view.rgb.round(4).tolist())),
    "numbers.csv": lambda path, view: np.savetxt(path, eight_bits(view)[..., 0], fmt="%d", delimiter=","),
    "events": event,
    "after_a_png": lambda path, view: path.write_bytes(encoded(Image.new("L", (9, 9))) + view.rgb.tobytes()),
}


@pytest.mark.parametrize("name", LEAKS)
def test_every_kind_of_leak_is_found(name: str, view: View, search: Search, tmp_path: Path) -> None:
    LEAKS[name](tmp_path / name, view)
    [found] = finds(tmp_path, search)
    assert found.startswith(name)


def test_a_spike_in_other_numbers_is_no_find_and_a_copy_beside_a_spike_is() -> None:
    theirs = np.random.default_rng(0).normal(0, 0.01, (12, 12)).astype(np.float32)
    theirs[5, 6] = 0.8
    spike = np.random.default_rng(1).normal(0, 0.01, (12, 12)).astype(np.float32)
    spike[5, 6] = 1.0
    magnitude, chosen = np.abs(np.random.default_rng(2).normal(size=(12, 12))), np.ones((12, 12), dtype=bool)
    assert np.corrcoef(spike.ravel(), theirs.ravel())[0, 1] > EXACT
    assert partial_correlation(spike, theirs, magnitude, chosen) == 0
    without = chosen.copy()
    without[5, 6] = False
    assert partial_correlation(3 * theirs + 1, theirs, magnitude, without) == pytest.approx(1, abs=1e-4)
    assert partial_correlation(spike, theirs, magnitude, without) < 0.5
