"""Frames as they come from cameras: checked, and cut to what a backbone sees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from s2robot.backbones import Preprocessing


def as_frames(frames: np.ndarray | Tensor) -> Tensor:
    """Check frames and give them as a tensor ``(B, H, W, 3)`` uint8.

    Raises:
        ValueError: no array, not uint8, not three channels last, or empty.
    """
    if not isinstance(frames, (np.ndarray, Tensor)):
        raise ValueError(
            f"frames must be a NumPy array or a tensor; got {type(frames).__name__}: "
            "use np.stack for a list of frames, np.asarray for an image"
        )
    shape, dtype = tuple(frames.shape), str(frames.dtype).removeprefix("torch.")
    found = f"got {dtype} of shape {shape}"
    if dtype != "uint8":
        raise ValueError(f"frames must be uint8 in 0-255; {found}: scale and round them")
    if len(shape) not in (3, 4) or shape[-1] != 3:
        raise ValueError(
            f"frames must be RGB, (H, W, 3) or (B, H, W, 3); {found}: {_advice(shape)}"
        )
    if 0 in shape:
        raise ValueError(f"frames must hold at least one pixel; {found}")
    if isinstance(frames, np.ndarray):
        # torch takes neither negative strides (as of BGR frames reversed) nor read-only memory
        usable = frames.flags.writeable and min(frames.strides) >= 0
        frames = torch.from_numpy(frames if usable else frames.copy())
    return frames.unsqueeze(0) if frames.ndim == 3 else frames


def _advice(shape: Sequence[int]) -> str:
    if len(shape) in (3, 4) and shape[-3] == 3:
        return "move the channels last"
    if len(shape) in (3, 4) and shape[-1] == 4:
        return "drop the alpha channel, frames[..., :3]"
    return "repeat a grey channel three times"


def centre_square(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """The centre square of ``(B, C, H, W)`` that the backbone sees, as a view."""
    height, width = images.shape[-2:]
    fraction = preprocessing.crop_fraction
    if (height, width) == (preprocessing.image_size,) * 2 and not preprocessing.crop_at_base_size:
        fraction = 1.0
    side = max(1, round(fraction * min(height, width)))
    top, left = (height - side) // 2, (width - side) // 2
    return images[..., top : top + side, left : left + side]
