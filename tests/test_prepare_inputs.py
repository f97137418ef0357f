"""What `privhead prepare` is given: photographs, videos and masks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from privhead_ns.errors import UserError
from privhead_ns.prepare.given_masks import find_masks, orientation_is_open, read_mask
from privhead_ns.prepare.photographs import list_photographs, unique_names
from privhead_ns.prepare.video import write_sharpest_frames


def test_photographs_are_turned_upright_and_grouped_by_camera(tmp_path: Path) -> None:
    stored = np.zeros((80, 120, 3), np.uint8)
    stored[:, 60:] = 255  # right half of the stored picture
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0110] = 6, "Maker", "Model"
    Image.fromarray(stored).save(tmp_path / "a.jpg", exif=exif, quality=95)
    Image.fromarray(stored).save(tmp_path / "b.png")
    (tmp_path / "notes.txt").write_text("no picture")
    (one, other), rest = list_photographs(tmp_path)
    assert (one.size, other.size) == ((80, 120), (120, 80))
    assert one.camera != other.camera
    assert one.rgb()[90].mean() > 250 > 5 > one.rgb()[30].mean()  # 6: right becomes bottom
    assert [path.name for path in rest] == ["notes.txt"]


def test_heic_is_read(tmp_path: Path) -> None:
    import pillow_heif

    pixels = np.full((96, 128, 3), (200, 40, 90), np.uint8)
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(tmp_path / "phone.heic", quality=95)
    (photograph,), _ = list_photographs(tmp_path)
    assert photograph.size == (128, 96)
    assert np.abs(photograph.rgb().astype(int) - pixels).max() < 8


def test_a_folder_without_photographs_is_named(tmp_path: Path) -> None:
    (tmp_path / "scan.pdf").write_bytes(b"%PDF-1.7")
    with pytest.raises(UserError, match=r"holds no photographs.*PDF"):
        list_photographs(tmp_path)


def test_photographs_in_several_folders_are_read_and_masks_are_not(tmp_path: Path) -> None:
    for name in ("round1/a.jpg", "round2/b.jpg", "round2/._b.jpg", "masks/a.png", ".cache/c.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((80, 80, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / "._images.jpg").write_bytes(b"AppleDouble")
    assert [photograph.path.name for photograph in list_photographs(tmp_path)[0]] == ["a.jpg", "b.jpg"]


def test_small_pictures_and_floating_point_values_are_named(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "a.jpg")
    with pytest.raises(UserError, match="only files that are JPEG, and broken or smaller than 64 pixels"):
        list_photographs(tmp_path)
    Image.fromarray(np.zeros((80, 80), np.float32)).save(tmp_path / "b.tif")
    with pytest.raises(UserError, match=r"b\.tif holds floating-point values"):
        list_photographs(tmp_path)


def test_two_photographs_of_one_stem_keep_apart(tmp_path: Path) -> None:
    for name in ("x.jpg", "x.png"):
        Image.fromarray(np.zeros((80, 80, 3), np.uint8)).save(tmp_path / name)
    assert [photograph.name for photograph in list_photographs(tmp_path)[0]] == ["x_jpg", "x_png"]


def test_names_that_could_meet_are_kept_apart() -> None:
    names = unique_names([Path(name) for name in ("a.jpg", "a.png", "a_jpg.png", "B.jpg", "b.JPG")])
    assert len({name.lower() for name in names}) == 5


def test_camera_raw_files_are_no_photographs(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((80, 80, 3), np.uint8)).save(tmp_path / "a.nef", format="TIFF")
    Image.fromarray(np.zeros((80, 80, 3), np.uint8)).save(tmp_path / "a.jpg")
    photographs, rest = list_photographs(tmp_path)
    assert [photograph.path.name for photograph in photographs] == ["a.jpg"]
    assert [path.name for path in rest] == ["a.nef"]


def test_the_sharpest_frame_of_each_stretch_is_taken(tmp_path: Path) -> None:
    import av

    random = np.random.default_rng(0)
    sharp = cv2.resize(
        random.integers(0, 256, (24, 32, 3), dtype=np.uint8), (160, 120), interpolation=cv2.INTER_NEAREST
    )
    with av.open(str(tmp_path / "head.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 160, 120, "yuv420p", 4_000_000
        for index in range(12):
            level = np.uint8(index * 20)  # the sharp frames, 2 and 9, are told apart by a grey corner
            picture = sharp.copy() if index in (2, 9) else cv2.GaussianBlur(sharp, (0, 0), 6)
            picture[:40, :40] = level
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    write_sharpest_frames(tmp_path / "head.mp4", tmp_path, 2, Console(quiet=True))
    corners = [cv2.imread(str(path))[:30, :30].mean() for path in sorted(tmp_path.glob("frame_*.png"))]
    assert corners == pytest.approx([40, 180], abs=10)


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "head.mp4").write_bytes(b"not a film" * 100)
    with pytest.raises(UserError, match=r"head\.mp4 cannot be read as a video"):
        write_sharpest_frames(tmp_path / "head.mp4", tmp_path, 2, Console(quiet=True))


def test_masks_follow_their_photographs_orientation(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(np.zeros((80, 120, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    shape = np.zeros((80, 120), np.uint8)
    shape[10:40, 20:50] = 255
    Image.fromarray(shape).save(tmp_path / "masks/a.jpg.png")
    photographs, _ = list_photographs(tmp_path)
    paths = find_masks(photographs, tmp_path / "masks")
    assert paths is not None
    assert not orientation_is_open(photographs, paths)
    turned = read_mask(photographs[0], paths[0], False, photographs[0].size)
    assert np.array_equal(turned, np.rot90(shape))
    Image.fromarray(np.rot90(shape)).save(tmp_path / "masks/a.jpg.png")  # the same mask, stored upright
    assert np.array_equal(read_mask(photographs[0], paths[0], False, photographs[0].size), np.rot90(shape))


def test_a_photograph_without_a_mask_is_named(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    for name in ("a", "b"):
        Image.fromarray(np.zeros((80, 80, 3), np.uint8)).save(tmp_path / f"{name}.png")
    Image.fromarray(np.full((80, 80), 255, np.uint8)).save(tmp_path / "masks/a.png")
    photographs, _ = list_photographs(tmp_path)
    assert find_masks(photographs, None) is None
    with pytest.raises(UserError, match=r"no mask for b\.png"):
        find_masks(photographs, tmp_path / "masks")


def test_a_cut_out_photograph_is_its_own_mask(tmp_path: Path) -> None:
    pixels = np.zeros((80, 100, 4), np.uint8)
    pixels[20:60, 30:70] = (200, 150, 120, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    photographs, _ = list_photographs(tmp_path)
    paths = find_masks(photographs, None)
    assert paths is not None
    assert np.array_equal(read_mask(photographs[0], paths[0], False, (100, 80)), pixels[..., 3])
