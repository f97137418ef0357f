"""The method inside Nerfstudio: a real run through `ns-train` on CPU, and every command on what it leaves."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import forked
import numpy as np
import open3d as o3d
import pytest
import torch
import trimesh
from nerfstudio.exporter.marching_cubes import create_point_pyramid, evaluate_multiresolution_sdf, evaluate_sdf
from nerfstudio.scripts.exporter import ExportCameraPoses, ExportPointCloud, ExportPoissonMesh, ExportTSDFMesh
from nerfstudio.scripts.render import DatasetRender
from nerfstudio.utils.eval_utils import eval_setup
from PIL import Image
from raw_folder import write_raw_capture

from privhead_ns.audit.files import Search, finds
from privhead_ns.audit.secrets import gather
from privhead_ns.capture.protect import protect
from privhead_ns.capture.protected import load_protected_capture
from privhead_ns.capture.raw import load_raw_capture
from privhead_ns.mesh.evaluate import evaluate
from privhead_ns.mesh.export import export_mesh
from privhead_ns.operators import OperatorConfig
from privhead_ns.pipeline import PrivheadPipeline

PHASE1, PHASE2, FIRST_RUN = 60, 200, 40
"""Steps of the phases, and of the first run, which stops within phase 1."""
FLAGS = [
    *("--pipeline.phases.phase1-steps", str(PHASE1), "--pipeline.phases.phase2-steps", str(PHASE2)),
    *("--timestamp", "run", "--experiment-name", "x", "--steps-per-save", "1000000", "--steps-per-eval-image", "40"),
]


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return forked.run(command)


@pytest.fixture(scope="module")
def folder(demo_capture: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw capture of the demo's head, 32 pixels wide, and its protected one."""
    folder = tmp_path_factory.mktemp("nerfstudio")
    shutil.copytree(demo_capture, folder / "raw")
    protect(folder / "raw", folder / "protected", OperatorConfig())
    return folder


@pytest.fixture(scope="module")
def config(folder: Path) -> Path:
    """config.yml of a run that was stopped within phase 1, and resumed into phase 2 by a second command."""
    common = ["privhead", "--data", folder / "protected", "--output-dir", folder / "outputs", *FLAGS]
    first = run("ns-train", *common, "--vis", "tensorboard", "--max-num-iterations", FIRST_RUN)
    assert first.returncode == 0, first.stdout + first.stderr
    checkpoints = folder / "outputs" / "x" / "privhead" / "run" / "nerfstudio_models"
    assert [path.name for path in checkpoints.iterdir()] == [f"step-{FIRST_RUN - 1:09d}.ckpt"]
    second = run("ns-train", *common, "--vis", "viewer+tensorboard", "--load-dir", checkpoints)
    assert second.returncode == 0, second.stdout + second.stderr
    (folder / "train.log").write_text(first.stdout + first.stderr + second.stdout + second.stderr)
    return checkpoints.parent / "config.yml"


@pytest.fixture(scope="module")
def pipeline(config: Path) -> PrivheadPipeline:
    """The trained pipeline, loaded as Nerfstudio's own commands load it."""
    pipeline = eval_setup(config, test_mode="test")[1]
    assert isinstance(pipeline, PrivheadPipeline)
    return pipeline


@pytest.fixture(scope="module")
def sensitive(folder: Path) -> Search:
    """What must be found nowhere."""
    search = Search(gather(load_raw_capture(folder / "raw"), load_protected_capture(folder / "protected")))
    assert len(search.sought) == 20
    return search


def test_a_resumed_run_goes_through_both_phases_to_the_end(config: Path, folder: Path) -> None:
    assert [path.name for path in (config.parent / "nerfstudio_models").iterdir()] == [
        f"step-{PHASE1 + PHASE2 - 1:09d}.ckpt"
    ]
    events = b"".join(path.read_bytes() for path in config.parent.glob("events*"))
    assert b"gradient" in events and b"lipschitz" in events
    again = run("ns-train", "privhead", "--data", folder / "protected", *FLAGS, "--output-dir", folder / "outputs",
                "--load-dir", config.parent / "nerfstudio_models")  # fmt: skip
    assert again.returncode == 1
    assert "trained to the end" in again.stdout + again.stderr


def test_the_mesh_is_the_head(config: Path, folder: Path) -> None:
    mesh = export_mesh(config, folder / "head.ply", 96, millimetres=False)
    assert mesh.is_watertight
    figures = evaluate(mesh, folder / "raw")
    assert figures.head.chamfer < 5, "mm; a pixel covers 10 mm, and the ellipsoid of the start is 20 mm off"
    in_mm = export_mesh(config, folder / "head.stl", 96, millimetres=True)
    scale = load_protected_capture(folder / "protected").mm_per_unit
    assert scale is not None
    np.testing.assert_allclose(in_mm.bounds, mesh.bounds * scale, rtol=1e-5)


def test_no_colour_of_a_sensitive_view_is_left_anywhere(config: Path, folder: Path, sensitive: Search) -> None:
    outputs = folder / "outputs"
    kinds = {path.suffix for path in outputs.rglob("*") if path.is_file()}
    assert {".ckpt", ".yml", ".json"} <= kinds and any(config.parent.glob("events*"))
    assert finds(folder / "protected", sensitive) == []
    assert finds(outputs, sensitive) == []
    assert str(folder / "raw") not in (folder / "train.log").read_text()


def test_the_last_checkpoint_has_forgotten_the_colours_of_the_face(config: Path, pipeline: PrivheadPipeline) -> None:
    [checkpoint] = (config.parent / "nerfstudio_models").iterdir()
    optimizers = torch.load(checkpoint, weights_only=True)["optimizers"]
    assert optimizers and not any(optimizer["state"] for optimizer in optimizers.values())
    model, dataset = pipeline.model, pipeline.datamanager.train_dataset
    assert dataset is not None

    forgotten = torch.cat([table.flatten(0, 2).mode(dim=0).values for table in model.field.features.tables])

    def blank(view: int) -> float:
        """Returns the share of a view's places that all look alike before they are lit."""
        rays = dataset.cameras.generate_rays(view).flatten().to(model.device)
        outputs = model(rays)
        places = (rays.origins + rays.directions * outputs["depth"])[outputs["accumulation"][:, 0] > 0.5]
        features = model.field.features(model.field.normalize(places))
        return float(((features - forgotten).abs().amax(dim=1) < 1e-4).float().mean())

    shares = [blank(view) for view in range(len(dataset))]
    assert max(shares) > 0.2, "the coarse cells are an eighth of the box here, and reach from the ears into the face"
    assert all(share == 0 or hidden for share, hidden in zip(shares, dataset.protected, strict=True))


def test_a_leak_would_be_found(folder: Path, sensitive: Search, tmp_path: Path) -> None:
    frames = json.loads((folder / "raw" / "transforms.json").read_text())["frames"]
    photo = next(frame["file_path"] for frame in frames if frame["sensitive"])
    image = Image.open(folder / "raw" / photo)
    image.save(tmp_path / "a.png")
    (tmp_path / "events").write_bytes(b"header" + (tmp_path / "a.png").read_bytes() + b"trailer")
    torch.save({"cache": torch.from_numpy(np.asarray(image) / np.float32(255))}, tmp_path / "b.ckpt")
    torch.save({"cache": torch.from_numpy(np.array(image)).bfloat16()}, tmp_path / "c.ckpt")
    assert finds(tmp_path, sensitive) == ["a.png", "b.ckpt", "c.ckpt", "events"]


def test_protected_views_are_shown_as_grey_magnitudes(pipeline: PrivheadPipeline) -> None:
    dataset = pipeline.datamanager.train_dataset
    assert dataset is not None
    for index, protected in enumerate(dataset.protected):
        shown = dataset.get_numpy_image(index)  # what thumbnails, evaluation and renders of the dataset read
        grey = bool((shown == shown[..., :1]).all())
        assert grey is protected


def test_outputs_are_what_the_viewer_and_exporters_want(pipeline: PrivheadPipeline) -> None:
    camera, _ = pipeline.datamanager.next_eval_image(0)
    outputs = pipeline.model.get_outputs_for_camera(camera)
    assert next(iter(outputs)) == "normals"
    assert set(outputs) == {"normals", "rgb", "depth", "accumulation", "magnitude"}
    for name, value in outputs.items():
        assert value.shape[:2] == (32, 32) and torch.isfinite(value).all(), name
        assert value.min() >= 0 and (name == "depth" or value.max() <= 1), name


def test_phase_follows_the_step_of_the_checkpoint(pipeline: PrivheadPipeline) -> None:
    assert pipeline.progress.value.startswith("phase 2")
    assert pipeline.datamanager.phase == 2
    pipeline.set_step(PHASE1 - 1)
    assert pipeline.datamanager.phase == 1 and pipeline.model.loss_weights.gradient == 0
    pipeline.set_step(PHASE1)
    assert pipeline.datamanager.phase == 2 and pipeline.model.loss_weights.gradient > 0


def test_metrics_compare_like_with_like(pipeline: PrivheadPipeline, tmp_path: Path) -> None:
    metrics = pipeline.get_average_eval_image_metrics(output_path=tmp_path)
    assert {"neutral_psnr", "neutral_ssim", "neutral_magnitude_l1", "protected_magnitude_l1"} <= set(metrics)
    assert not {"protected_psnr", "protected_ssim"} & set(metrics)
    assert metrics["neutral_psnr"] > 18
    for path in tmp_path.glob("protected_*"):
        pixels = np.asarray(Image.open(path))
        assert "normals" in path.name or (pixels[..., :1] == pixels[..., :3]).all(), path.name


def test_tsdf(config: Path, tmp_path: Path) -> None:
    ExportTSDFMesh(config, tmp_path, resolution=[64] * 3, num_pixels_per_side=64, target_num_faces=500).main()
    head_sized(tmp_path / "tsdf_mesh.ply", 0.3)
    assert (tmp_path / "mesh.obj").stat().st_size > 0


@pytest.mark.parametrize("normals", ["model_output", "open3d"])
def test_poisson(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, normals: str) -> None:
    reconstruct = o3d.geometry.TriangleMesh.create_from_point_cloud_poisson
    coarse = staticmethod(lambda cloud, depth: reconstruct(cloud, depth=depth - 4))  # a sixteenth of the cells a side
    monkeypatch.setattr(o3d.geometry.TriangleMesh, "create_from_point_cloud_poisson", coarse)
    export = ExportPoissonMesh(config, tmp_path, num_points=5000, num_pixels_per_side=64, target_num_faces=500)
    export.normal_method = normals  # type: ignore[assignment]
    export.main()
    head_sized(tmp_path / "poisson_mesh.ply", 0.3)


def test_point_cloud_and_cameras(config: Path, tmp_path: Path) -> None:
    ExportPointCloud(config, tmp_path, num_points=5000, normal_method="model_output").main()
    head_sized(tmp_path / "point_cloud.ply", 0.3)
    ExportCameraPoses(config, tmp_path).main()
    assert len(json.loads((tmp_path / "transforms_train.json").read_text())) == 30


def head_sized(path: Path, tolerance: float) -> None:
    """Checks that a file holds geometry where the demo's head is, and about as large."""
    geometry = trimesh.load(path)
    low, high = np.percentile(geometry.vertices, [2, 98], axis=0)  # type: ignore[union-attr]
    assert np.abs(low + high).max() / 2 < tolerance
    assert 0.8 < (high - low).max() < 2.2


def test_rendering_the_dataset_writes_magnitudes_for_protected_views(
    config: Path, tmp_path: Path, sensitive: Search
) -> None:
    DatasetRender(config, tmp_path, split="train", rendered_output_names=["gt-rgb"], image_format="png").main()
    pictures = list(tmp_path.rglob("*.png"))
    assert len(pictures) == 30
    assert finds(tmp_path, sensitive) == []


@torch.no_grad()
def test_marching_cubes_contract(pipeline: PrivheadPipeline) -> None:
    """`ns-export marching-cubes` itself needs CUDA and 512³ points; this is how it looks for the surface."""
    assert pipeline.model.config.sdf_field
    side = 128
    axis = torch.linspace(-1, 1, side, device=pipeline.model.device)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"))
    values = evaluate_multiresolution_sdf(
        lambda positions: evaluate_sdf(lambda p: pipeline.model.field.forward_geonetwork(p)[:, 0], positions),
        create_point_pyramid(points),
        coarse_mask=None,
        x_max=1.0,
        x_min=-1.0,
        crop_n=side,
    )
    expected = pipeline.model.field.forward_geonetwork(points.reshape(3, -1).T)[:, 0]
    near = expected.abs() < 1 / side
    assert near.sum() > 1000
    torch.testing.assert_close(values[near], expected[near])


def test_ctrl_c_leaves_a_checkpoint_to_resume_from(folder: Path, tmp_path: Path) -> None:
    arguments = ["privhead", "--data", folder / "protected", "--output-dir", tmp_path, "--vis", "tensorboard", *FLAGS]
    arguments += ["--logging.local-writer.max-log-size", 0, "--pipeline.phases.phase2-steps", 100_000]
    process = forked.Popen(["ns-train", *map(str, arguments)])
    for line in process.stdout:
        if line.startswith(f"{PHASE1} ("):
            break
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    output = " ".join(output.split())
    assert "to resume, run the same command with --load-dir" in output
    assert "privhead forget" in output
    assert "Traceback" not in output
    [checkpoint] = tmp_path.rglob("*.ckpt")
    state = torch.load(checkpoint, weights_only=True)
    assert state["step"] >= PHASE1


def test_training_that_turns_to_nan_keeps_the_last_good_checkpoint(folder: Path, tmp_path: Path) -> None:
    arguments = ["privhead", "--data", folder / "protected", "--output-dir", tmp_path, "--vis", "tensorboard", *FLAGS]
    arguments += ["--steps-per-save", 10, "--optimizers.sdf.optimizer.lr", 1e38]
    result = run("ns-train", *arguments)
    output = " ".join((result.stdout + result.stderr).split())
    assert result.returncode == 1
    assert "Traceback" not in output
    assert "training stopped" in output
    for checkpoint in tmp_path.rglob("*.ckpt"):
        state = torch.load(checkpoint, weights_only=True)
        tensors = [value for value in state["pipeline"].values() if isinstance(value, torch.Tensor)]
        assert tensors and all(torch.isfinite(value).all() for value in tensors)


@pytest.mark.parametrize("kind", ["raw", "missing"])
def test_what_is_no_protected_capture_is_refused_before_anything_is_made(tmp_path: Path, kind: str) -> None:
    data = write_raw_capture(tmp_path / "raw") if kind == "raw" else tmp_path / "missing"
    start = time.monotonic()
    result = run("ns-train", "privhead", "--data", data, "--output-dir", tmp_path / "outputs")
    assert time.monotonic() - start < 120
    output = " ".join((result.stdout + result.stderr).split())
    assert result.returncode == 1
    assert ("privhead protect" if kind == "raw" else "There is no") in output
    assert "Traceback" not in output
    assert not (tmp_path / "outputs").exists()


def test_a_capture_without_masks_trains_against_a_background(tmp_path: Path) -> None:
    protect(write_raw_capture(tmp_path / "raw", masks=False), tmp_path / "protected", OperatorConfig(blur=1.0))
    arguments = ["--data", tmp_path / "protected", "--output-dir", tmp_path, "--vis", "tensorboard", *FLAGS]
    arguments += ["--pipeline.phases.phase1-steps", 3, "--pipeline.phases.phase2-steps", 3]
    result = run("ns-train", "privhead", *arguments, "--pipeline.model.rendering", "neus")
    assert result.returncode == 0, result.stdout + result.stderr
    [checkpoint] = tmp_path.rglob("*.ckpt")
    state = torch.load(checkpoint, weights_only=True)["pipeline"]
    room = [value for name, value in state.items() if "background.features" in name or "background.network.2" in name]
    assert len(room) == 4 and not any(value.any() for value in room), "the last checkpoint keeps nothing of the room"
