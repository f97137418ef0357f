"""Views as tensors: the only source of pixels for training, evaluation and viewer."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from nerfstudio.data.datasets.base_dataset import InputDataset
from torch import Tensor

from privhead_ns.capture.protected import read_magnitude, read_mask, read_neutral
from privhead_ns.operators import Operator


class PrivheadDataset(InputDataset):
    """Neutral views as colour, protected views as magnitudes.

    Whatever Nerfstudio shows of a protected view (thumbnails, evaluation pictures) is its `image`: the magnitude in
    grey. Nothing else of it exists here.
    """

    @property
    def protected(self) -> list[bool]:
        """Whether each view is protected."""
        return self.metadata["protected"]

    def get_data(self, image_idx: int, image_type: str = "float32") -> dict[str, int | Tensor]:
        """Returns one view.

        Returns:
            image: (H, W, 3), colour of a neutral view, grey magnitude of a protected one.
            magnitude: (H, W, 1), σ of the view's colours, 0 in the operator's margin.
            known: (H, W, 1), whether anything is known of the pixel.
            sigma_known: (H, W, 1), whether all pixels that σ needs there are known.
            interior: (H, W, 1), 1 where σ saw nothing but the head, or there are no masks, and 0 elsewhere.
            mask: (H, W, 1), share of each pixel that the head covers; only where the capture has masks.
            protected: whether the view is protected.
        """
        if image_type == "uint8":
            image = torch.from_numpy(self.get_numpy_image(image_idx))
        else:
            image = self.get_image_float32(image_idx)
        magnitude = self.magnitude(image_idx)
        known = self.known(image_idx)
        mask = self.mask(image_idx)
        data: dict[str, int | Tensor] = {
            "image_idx": image_idx,
            "image": image,
            "magnitude": magnitude[..., None],
            "known": known[..., None],
            "sigma_known": erode(known, self.operator.margin)[..., None],
            "protected": torch.tensor(self.protected[image_idx]),
        }
        if mask is not None:
            data["mask"] = mask[..., None]
        data["interior"] = erode(known if mask is None else mask * known, self.operator.margin)[..., None]
        return data

    def mask(self, image_idx: int) -> Float[Tensor, "height width"] | None:
        """Returns the share of each pixel of a view that the head covers; None where the capture has no masks."""
        paths = self._dataparser_outputs.mask_filenames
        return None if paths is None else torch.from_numpy(read_mask(paths[image_idx]))

    def known(self, image_idx: int) -> Float[Tensor, "height width"]:
        """Returns 1 where something is known of a view, 0 elsewhere."""
        path = self.metadata["known"][image_idx]
        if path is None:
            return torch.ones(int(self.cameras.height[image_idx]), int(self.cameras.width[image_idx]))
        return (torch.from_numpy(read_mask(path)) == 1).float()

    @cached_property
    def operator(self) -> Operator:
        """The capture's σ."""
        return self.metadata["operator"].setup()

    def magnitude(self, image_idx: int) -> Float[Tensor, "height width"]:
        """Returns σ of a view: as stored where it is protected, computed where it is neutral."""
        if self.protected[image_idx]:
            path = self.image_filenames[image_idx]
            return torch.from_numpy(read_magnitude(path, self.metadata["magnitude_maximum"]))
        colour = torch.from_numpy(self.colour(image_idx)).permute(2, 0, 1)[None]
        return F.pad(self.operator(colour), [self.operator.margin] * 4)[0]

    def get_image_float32(self, image_idx: int) -> Float[Tensor, "height width 3"]:
        """Returns the displayed image of a view: colour if neutral, else the magnitude in grey."""
        if self.protected[image_idx]:
            return magnitude_picture(self.magnitude(image_idx), self.metadata["magnitude_maximum"])
        return torch.from_numpy(self.colour(image_idx))

    def colour(self, image_idx: int) -> Float[np.ndarray, "height width 3"]:
        """Returns a neutral view: colour in [0, 1]."""
        return read_neutral(self.image_filenames[image_idx])

    def get_numpy_image(self, image_idx: int) -> UInt8[np.ndarray, "height width 3"]:
        """Returns the displayed image of a view in 8 bits."""
        return (self.get_image_float32(image_idx) * 255).round().byte().numpy()


def erode(mask: Float[Tensor, "height width"], margin: int) -> Float[Tensor, "height width"]:
    """Returns 1 where all pixels up to `margin` away lie in the image and wholly in the mask, 0 elsewhere."""
    outside = F.pad((mask < 1).float(), [margin] * 4, value=1.0)[None, None]
    return 1 - F.max_pool2d(outside, 2 * margin + 1, stride=1)[0, 0]


def magnitude_picture(magnitude: Float[Tensor, "*batch"], maximum: float) -> Float[Tensor, "*batch 3"]:
    """Returns magnitudes as grey in [0, 1]; the square root brightens the small ones of skin."""
    return (magnitude / maximum).clamp(0, 1).sqrt()[..., None].expand(*magnitude.shape, 3)
