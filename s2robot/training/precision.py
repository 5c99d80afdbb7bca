"""Precision of a training's product of token grids with the readout head: float32 or bfloat16.

A head reads each embedding of a batch twice, forward and for the gradient of its weights, and does
little else with it. Large grids are so many numbers that this is nearly all of a training.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch

from s2robot.runtimes.precision import has_bfloat16, is_fixed_to_float32
from s2robot.training.config import TrainConfig
from s2robot.utils.devices import resolve_device

PREPARED_BYTES = 3 << 30
"""Embeddings are normalized beforehand, as float32, if they need no more memory."""

REMARK = (
    "the head's product with token grids is computed in bfloat16, with weights in float32; "
    "train.dtype=float32 computes all in float32, more slowly"
)
"""What a command says where it trains in bfloat16."""


def fits_in_float32(values: int) -> bool:
    """Return whether so many numbers are kept as normalized float32.

    Args:
        values: of the embeddings of all frames.
    """
    return 4 * values <= PREPARED_BYTES


def resolved(
    config: TrainConfig, frames: int, embedding_shape: Sequence[int], device: str | torch.device
) -> TrainConfig:
    """Return the settings of a training with the precision that its embeddings have.

    Vectors are float32, whatever was asked for: they are few numbers, read once.

    Args:
        config: settings; its ``dtype`` may be "auto", which is bfloat16 for grids that are too
            large for ``fits_in_float32`` where the device has instructions for it.
        frames: number of frames.
        embedding_shape: of one of them: a grid ``(gh, gw, C)`` or a vector ``(D,)``.
        device: of the training; "auto" takes a GPU if there is one.

    Raises:
        S2RobotError: the environment variable ``S2ROBOT_DTYPE`` has an unknown value.
    """
    is_grid = len(embedding_shape) == 3
    found = config.dtype if is_grid else "float32"
    if found == "auto":
        large = not fits_in_float32(frames * math.prod(embedding_shape))
        faster = large and _multiplies_bfloat16(resolve_device(device))
        found = "bfloat16" if faster else "float32"
    return dataclasses.replace(config, dtype=found)


def _multiplies_bfloat16(device: torch.device) -> bool:
    """Return whether a device has instructions for products of bfloat16, and may use them."""
    if device.type == "cpu":
        return not is_fixed_to_float32() and has_bfloat16()
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
