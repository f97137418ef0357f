"""Initial camera of Nerfstudio's viewer: in front of the face, since its own default lies inside the head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from nerfstudio.viewer.viewer_elements import ViewerControl
from torch import Tensor
from viser import ClientHandle

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer


class OpeningView(ViewerControl):
    """Sets the pose of one of the capture's cameras in every browser that connects.

    Args:
        camera_to_world: pose of that camera, in the capture's frame.
        center: what it looks at, in capture units.
    """

    def __init__(self, camera_to_world: Float[Tensor, "3 4"], center: Float[Tensor, "3"]) -> None:
        self.camera_to_world = camera_to_world.cpu()
        self.center = center.cpu()

    def _setup(self, viewer: Viewer) -> None:
        super()._setup(viewer)
        viewer.viser_server.on_client_connect(self.place)

    def place(self, client: ClientHandle) -> None:
        """Moves one browser's camera."""
        from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO as SCALE  # at the top, a circle of imports

        client.camera.up_direction = self.camera_to_world[:, 1].numpy()
        closer = torch.lerp(self.center, self.camera_to_world[:, 3], 0.7)  # not behind that camera's own thumbnail
        client.camera.position = (closer * SCALE).numpy()
        client.camera.look_at = (self.center * SCALE).numpy()
