"""The paper's recognisers by name, with a stand-in for the package deepface."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from toy_recogniser import LANDMARKS, Toy

from privhead_ns.audit import systems
from privhead_ns.audit.recogniser import DlibRecogniser
from privhead_ns.audit.systems import SYSTEMS, DeepfaceRecogniser, load_recognisers, upright_face
from privhead_ns.errors import UserError

STAND_IN = {
    "__init__.py": "",
    "modules/__init__.py": "",
    "modules/verification.py": """
THRESHOLDS = {"SFace": {"cosine": 0.593, "euclidean": 10.734}, "Facenet": {"cosine": 0.40, "euclidean": 10}}

def find_threshold(model_name, distance_metric="cosine"):
    return THRESHOLDS[model_name][distance_metric]
""",
    "DeepFace.py": """
import os
from pathlib import Path
import numpy as np

def build_model(model_name, task="facial_recognition"):
    target = Path(os.environ["DEEPFACE_HOME"]) / ".deepface" / "weights" / f"{model_name}.pth"
    if not target.is_file():
        raise ValueError(
            f"⛓️‍💥 An exception occurred while downloading {target.name} from https://example.com/{target.name}. "
            f"Consider downloading it manually to {target}."
        ) from ConnectionError("no network")

def represent(img_path, model_name="VGG-Face", enforce_detection=True, detector_backend="opencv", align=True,
              expand_percentage=0, normalization="base", anti_spoofing=False, max_faces=None):
    assert detector_backend == "skip" and img_path.dtype == np.uint8 and img_path.ndim == 3
    embedding = img_path.reshape(-1, 3).mean(axis=0).tolist()  # blue, green, red
    return [{"embedding": embedding, "facial_area": {"x": 0, "y": 0, "w": 1, "h": 1}, "face_confidence": 0}]
""",
}
"""The part of deepface 0.0.103's interface that is used, file by file."""


@pytest.fixture
def deepface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts the stand-in in deepface's place, without weights; returns the folder that weights belong into."""
    for name, text in STAND_IN.items():
        path = tmp_path / "packages" / "deepface" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for name in [name for name in sys.modules if name.split(".")[0] == "deepface"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.setenv("DEEPFACE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DEEPFACE_BACKEND_ENGINE", "onnx")
    monkeypatch.setattr(systems, "DlibRecogniser", Toy)
    weights = tmp_path / "home" / ".deepface" / "weights"
    weights.mkdir(parents=True)
    yield weights
    for name in [name for name in sys.modules if name.split(".")[0] == "deepface"]:
        del sys.modules[name]


def test_a_system_embeds_by_deepface_and_has_its_own_threshold(deepface: Path) -> None:
    for name in ("SFace", "Facenet"):
        (deepface / f"{name}.pth").touch()
    found = load_recognisers((), 0.5, 112, ("SFace", "Dlib", "Facenet", "SFace"))
    assert [one.name for one in found] == ["SFace", "toy", "Facenet"], "each once, in the order asked for"
    assert [one.threshold for one in found] == [0.593, 0.1, 0.40]
    red, blue = (np.full((300, 300, 3), colour, dtype=np.uint8) for colour in ((200, 0, 0), (0, 0, 100)))
    sface = found[0]
    embeddings = np.stack([sface.embed(image, LANDMARKS) for image in (red, blue)])
    np.testing.assert_allclose(embeddings, [(0, 0, 200), (100, 0, 0)], err_msg="deepface wants blue first")
    np.testing.assert_allclose(sface.distance(embeddings, embeddings), [(0, 1), (1, 0)], atol=1e-9)
    assert sface.faces(red) == [LANDMARKS], "as its finder sees it"


def test_missing_weights_are_told_in_one_sentence(deepface: Path) -> None:
    with pytest.raises(UserError) as caught:
        DeepfaceRecogniser("SFace", Toy())
    message = str(caught.value)
    assert message == (
        "deepface cannot load SFace (An exception occurred while downloading SFace.pth from https://example.com/"
        f"SFace.pth): run this once with a network, or put the file into {deepface}."
    )


def test_unknown_names_and_a_missing_package_are_told_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systems, "DlibRecogniser", Toy)
    with pytest.raises(UserError, match=r"knows no VGG, dlib; choose among VGG-Face, Facenet, .*, GhostFaceNet\."):
        load_recognisers((), 0.5, 112, ("VGG", "dlib", "Dlib"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install \"\.\[deepface\]\""):
        load_recognisers((), 0.5, 112, SYSTEMS)


def test_dlib_is_the_default_and_needs_no_deepface(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systems, "DlibRecogniser", Toy)
    monkeypatch.setattr(systems, "DeepfaceRecogniser", None)
    assert [one.name for one in load_recognisers((), 0.5, 112)] == ["toy"]


def test_a_tilted_face_is_cut_out_upright_from_the_forehead_to_the_chin() -> None:
    face = np.full((68, 2), 100.0)
    face[36:42], face[42:48] = (80.0, 80.0), (120.0, 80.0)  # level eyes
    face[17], face[8], face[0], face[16] = (100.0, 70.0), (100.0, 150.0), (60.0, 90.0), (140.0, 90.0)
    angle = np.radians(30)
    turn = np.array([(np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))])
    tilted = (face - 100) @ turn.T + 100
    image = np.zeros((200, 200, 3), dtype=np.uint8)
    x, y = tilted[36].round().astype(int)
    image[y - 2 : y + 3, x - 2 : x + 3] = 255
    chip = upright_face(image, tilted / 200)
    assert chip.shape == (100, 80, 3), "80 wide; 80 high from brow to chin, and a quarter of it above"
    eye = np.argwhere(chip[..., 0] > 100).mean(axis=0)[::-1]
    assert eye == pytest.approx((20, 30), abs=1), "20 right of the jaw, 10 below the brow, which is 20 below the top"


def test_dlib_looks_for_the_faces_of_an_image_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    monkeypatch.setattr(DlibRecogniser, "__init__", lambda self: setattr(self, "_known", {}))
    monkeypatch.setattr(DlibRecogniser, "_find", lambda self, image: looked.append(1) or [LANDMARKS])
    dlib, image = DlibRecogniser(), np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert dlib.faces(image) is dlib.faces(image.copy()) and len(looked) == 1
    dlib.faces(image[::-1])
    dlib.faces(image.reshape(2, 8, 3))
    assert len(looked) == 3, "other pixels, and the same bytes in another shape"
