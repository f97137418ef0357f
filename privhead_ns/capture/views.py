"""Plans the views of a capture: a camera, a gain and unknown pixels for each photograph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float
from rich.console import Console

from privhead_ns.capture.camera import Intrinsics, PosedCamera
from privhead_ns.capture.crop import Sphere, crop_camera, native_size, seen_by, view_rays
from privhead_ns.capture.exposure import view_gains
from privhead_ns.capture.hull import View, head_box, project, reach
from privhead_ns.capture.made_masks.of_capture import with_made_masks
from privhead_ns.capture.mask_files import without_masks
from privhead_ns.capture.masks import enlarged
from privhead_ns.capture.mending import Mended, mend
from privhead_ns.capture.noise import without_noise
from privhead_ns.capture.protected import ProtectedCapture
from privhead_ns.capture.raw import RawCapture, RawFrame, read_image, read_unsure
from privhead_ns.capture.refined_masks import fit_better, refine_mask
from privhead_ns.capture.silhouettes import check_silhouettes
from privhead_ns.capture.survey import BLACK, Survey, survey
from privhead_ns.capture.undistort import ViewPixels, resized
from privhead_ns.errors import UserError

DEFAULT_SIZE = 128
"""Side of the stored views in pixels."""
CUT = "its mask cuts the head where the others see it; what it cuts is stored as unknown"
LOOSE = 2.5
"""Side of a photograph over that of the head's crop up to which a square photograph is one about the head."""
OFF_CENTER = 0.15
"""Distance from a photograph's middle, over its side, up to which the head is in the middle."""


@dataclass(frozen=True)
class ViewPlan:
    """Cameras, gains and unknown pixels by which photographs become views, one at a time."""

    frames: tuple[RawFrame, ...]
    cameras: tuple[PosedCamera, ...]
    """Of the views; all of one size."""
    gains: Float[np.ndarray, "n 3"]
    """Factors of the photographs' colours that are divided out."""
    doubted: dict[int, tuple[View, Bool[np.ndarray, "height width"]]]
    """By frame: unknown pixels of its reduced view, and that view."""
    background: tuple[float, float, float]
    refined: bool
    """Whether the outlines of the masks are moved to where colours change."""

    @property
    def native_size(self) -> int:
        """Side that the views would have at the photographs' own resolution: the median over the frames."""
        pairs = zip(self.frames, (camera.intrinsics for camera in self.cameras), strict=True)
        return int(np.median([view.width * frame.intrinsics.fl_x / view.fl_x for frame, view in pairs]))

    def view(self, index: int) -> ViewPixels:
        """Reads a photograph and returns its view.

        Raises:
            UserError: if a file is missing or broken.
        """
        return self.seen_by(index, self.cameras[index])

    def seen_by(self, index: int, camera: PosedCamera) -> ViewPixels:
        """Returns the view of a frame from another camera at its place, such as a larger one."""
        frame = self.frames[index]
        rgb, coverage = read_image(frame)
        if self.refined and coverage is not None:
            coverage = enlarged(refine_mask(rgb, coverage, camera.intrinsics.width), rgb.shape[1], rgb.shape[0])
        view = seen_by(camera, rgb, coverage, frame.camera_to_world, frame.intrinsics, self.background)
        view = _evened(without_noise(view), self.gains[index], self.background)
        if (unsure := read_unsure(frame)) is not None:
            picture = np.repeat(unsure[..., None].astype(np.uint8), 3, axis=2)
            shown = seen_by(camera, picture, None, frame.camera_to_world, frame.intrinsics, BLACK)
            view = _without(view, shown.rgb[..., 0] > 0, self.background)
        if index in self.doubted:
            view = _without(view, _doubted_pixels(view, camera, *self.doubted[index]), self.background)
        return view


def plan_views(
    capture: RawCapture,
    surveyed: Survey,
    size: int,
    background: tuple[float, float, float],
    box: Float[np.ndarray, "2 3"] | None = None,
) -> tuple[ViewPlan, Float[np.ndarray, "2 3"], dict[int, str]]:
    """Finds the head and plans the views of the photographs.

    Square photographs of one size, without distortion and about the head stay as they are, or are reduced. Otherwise
    each view is cropped: a square about the sphere that holds the head.

    Args:
        capture: the photographs.
        surveyed: the first look at them.
        size: side in pixels; where most photographs have fewer pixels on the head, views are as small as they.
        background: colour in [0, 1] behind the head.
        box: holds the head; None to find it.

    Returns:
        The plan, the head's box, and by frame what is wrong with its mask or pose.

    Raises:
        UserError: if masks and poses disagree.
    """
    doubtful = check_silhouettes(surveyed.views, [frame.name for frame in capture.frames])
    mended, better = mend(surveyed.views), False
    if surveyed.refined:
        refined = mend(surveyed.refined)
        if better := fit_better(refined.views, mended.views):
            mended = refined
    doubtful |= dict.fromkeys(mended.doubted, CUT)
    sound = [view for index, view in enumerate(mended.views) if index not in doubtful or index in mended.doubted]
    if box is None:
        box = head_box(sound)
    cameras = _cameras(capture.frames, Sphere(box.mean(axis=0), reach(sound, box)), size)
    return _plan(capture, surveyed, mended, box, cameras, background, better), box, doubtful


def plan_like(capture: RawCapture, protected: ProtectedCapture) -> ViewPlan:
    """Returns the plan by which a protected capture was made, from its photographs and its cameras.

    Args:
        capture: the photographs.
        protected: what was made from them.

    Raises:
        UserError: if it was not made from them, or a photograph is broken.
    """
    check_origin(capture, protected)
    capture = masked_like(capture, protected)
    cameras = tuple(
        PosedCamera(
            frame.camera_to_world,
            Intrinsics(protected.width, protected.height, frame.fl_x, frame.fl_y, frame.cx, frame.cy),
        )
        for frame in protected.frames
    )
    surveyed = survey(capture, refine=protected.refined_masks)
    mended = mend(surveyed.refined or surveyed.views)
    return _plan(capture, surveyed, mended, protected.aabb, cameras, protected.background, bool(surveyed.refined))


def masked_like(capture: RawCapture, protected: ProtectedCapture) -> RawCapture:
    """Returns a raw capture with masks, given or made, if a protected one has masks, and without otherwise.

    Raises:
        UserError: if a photograph is broken.
    """
    if not protected.masked:
        return without_masks(capture)
    return with_made_masks(capture, protected.subject, Console(quiet=True))


def check_origin(raw: RawCapture, protected: ProtectedCapture) -> None:
    """Checks by the cameras' positions that a protected capture was made from a raw one.

    Raises:
        UserError: if not.
    """
    ours, theirs = ([frame.camera_to_world[:3, 3] for frame in side.frames] for side in (raw, protected))
    if len(ours) != len(theirs) or not np.allclose(ours, theirs):
        raise UserError(f"{protected.folder} was not made from the photographs in {raw.folder}: the cameras differ.")


def _plan(
    capture: RawCapture,
    surveyed: Survey,
    mended: Mended,
    box: Float[np.ndarray, "2 3"],
    cameras: Sequence[PosedCamera],
    background: tuple[float, float, float],
    refined: bool,
) -> ViewPlan:
    gains = view_gains(mended.views, surveyed.thumbnails, box)
    doubted = {index: (mended.views[index], pixels) for index, pixels in mended.doubted.items()}
    return ViewPlan(capture.frames, tuple(cameras), gains, doubted, background, refined)


def _cameras(frames: Sequence[RawFrame], sphere: Sphere, size: int) -> list[PosedCamera]:
    """Returns the cameras of all views.

    Raises:
        UserError: if a camera stands in the middle of the head, or sees less than a pixel of it.
    """
    native = [native_size(frame.camera_to_world, frame.intrinsics, sphere) for frame in frames]
    for frame, side in zip(frames, native, strict=True):
        if not side >= 1 or np.array_equal(frame.camera_to_world[:3, 3], sphere.center):
            raise UserError(
                f"{frame.name}: its camera sees less than a pixel of the head, or stands in its middle; correct its "
                "pose and focal length, or drop the frame."
            )
    if _about_the_head(frames, sphere, native):
        size = min(size, frames[0].intrinsics.width)
        return [PosedCamera(frame.camera_to_world, resized(frame.intrinsics, size)) for frame in frames]
    size = max(1, min(size, int(np.median(native))))
    return [crop_camera(frame.camera_to_world, frame.intrinsics, sphere, size) for frame in frames]


def _about_the_head(frames: Sequence[RawFrame], sphere: Sphere, native: Sequence[float]) -> bool:
    """Returns whether all photographs are square, of one size, without distortion, and the head fills their middle."""
    side = frames[0].intrinsics.width
    for frame, crop in zip(frames, native, strict=True):
        camera = frame.intrinsics
        if (camera.width, camera.height) != (side, side) or any(camera.distortion) or side > LOOSE * crop:
            return False
        local = frame.camera_to_world[:3, :3].T @ (sphere.center - frame.camera_to_world[:3, 3])
        seen = np.array([camera.fl_x * local[0], -camera.fl_y * local[1]]) / max(-local[2], 1e-9)
        if np.abs(seen + np.array([camera.cx, camera.cy]) - side / 2).max() > OFF_CENTER * side:
            return False
    return True


def _evened(view: ViewPixels, gain: Float[np.ndarray, " 3"], background: tuple[float, float, float]) -> ViewPixels:
    """Divides a photograph's gain out of the head's colour."""
    if (gain == 1).all() or view.coverage is None:
        return view
    behind = (1 - view.coverage[..., None]) * np.array(background, dtype=np.float32)
    rgb = np.clip((view.rgb - behind) / gain.astype(np.float32) + behind, 0, 1)
    if view.known is not None:
        rgb = np.where(view.known[..., None], rgb, view.rgb)
    return replace(view, rgb=rgb)


def _doubted_pixels(
    view: ViewPixels, camera: PosedCamera, reduced: View, doubted: Bool[np.ndarray, "height width"]
) -> Bool[np.ndarray, "height width"]:
    """Returns the pixels that lie where the reduced view is unknown."""
    rays = view_rays(view.intrinsics) @ camera.camera_to_world[:3, :3].T
    pixel, _ = project(reduced, camera.camera_to_world[:3, 3] + rays)
    return ((pixel >= 0) & doubted.ravel()[pixel]).reshape(view.rgb.shape[:2])


def _without(
    view: ViewPixels, unknown: Bool[np.ndarray, "height width"], background: tuple[float, float, float]
) -> ViewPixels:
    """Marks pixels as unknown."""
    known = ~unknown if view.known is None else view.known & ~unknown
    rgb = np.where(known[..., None], view.rgb, np.array(background, dtype=np.float32))
    return replace(view, rgb=rgb, known=None if known.all() else known)
