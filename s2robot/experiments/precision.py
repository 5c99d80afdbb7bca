"""Precision of a variant's encoder: bfloat16 where it is faster, and agrees on the user's frames.

Features and rollouts of a variant have one precision, which is in every digest. It is chosen before
the first feature is made and kept beside the features, so that a repeated command has the same.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F

from s2robot.data.datasets.frame_reader import RecordedFrames
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.errors import NonFiniteError, PrecisionWarning
from s2robot.multiscale.tiles import group_tiles
from s2robot.runtimes.precision import faster_dtype, has_bfloat16, is_fixed_to_float32
from s2robot.utils.io import digest_of, locked, read_json, write_json
from s2robot.utils.records import record_of

LARGEST_DIFFERENCE = 0.02
"""Largest difference from float32 on a frame, as a share of the embedding's length, with which
bfloat16 is taken. One rounding changes a number by 2^-8 = 0.4 % at most. int8 on its own camera's
frames is 1.3 to 2.4 % off and costs no success; where it is 3.7 % off, on another camera's, most
success is lost (docs/results/int8.md)."""
FRAMES = 8
"""Frames of the demonstrations that precisions are compared on."""
_BATCH = 16
"""Frames of a call that precisions are timed with, as many as a rollout has environments."""


class Frames(Protocol):
    """Interface of the frames that an encoder is for, as ``RenderedFrames`` has it."""

    @property
    def digest(self) -> str:
        """Digest of what determines the frames."""
        ...

    def __len__(self) -> int: ...
    def read(self, start: int, stop: int) -> np.ndarray:
        """Return frames ``(stop - start, H, W, 3)`` uint8 RGB."""
        ...


@dataclass(frozen=True)
class Agreement:
    """Agreement of a precision with float32 on some frames."""

    dtype: str
    frames: int
    cosine_least: float
    """Smallest cosine of a frame's embedding with its float32 one."""
    difference_largest: float
    """Largest length of the difference, as a share of the float32 embedding's; infinite where an
    embedding is not finite."""

    @property
    def is_close(self) -> bool:
        """Whether the difference is one of rounding."""
        return self.difference_largest <= LARGEST_DIFFERENCE

    def __str__(self) -> str:
        return (
            f"{self.dtype} against float32 on {self.frames} frames: cosine "
            f"{self.cosine_least:.6f} or more, difference {self.difference_largest:.2%} or less"
        )


def agreement(encoder: FrameEncoder, frames: Frames) -> Agreement:
    """Compare an encoder with itself in float32.

    Args:
        encoder: in the precision in question.
        frames: of the task; some, evenly spread, are encoded. Of recorded data they are first
            frames of episodes, since others are not reached without decoding those before them.
    """
    images = _sample(frames)
    expected = in_precision(encoder, "float32", "eager")(images)
    try:
        found = encoder(images)
    except NonFiniteError:
        return Agreement(encoder.spec.dtype, len(images), -1.0, float("inf"))
    lengths = expected.norm(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
    return Agreement(
        encoder.spec.dtype,
        len(images),
        float(F.cosine_similarity(found, expected).min()),
        float(((found - expected).norm(dim=1) / lengths).max()),
    )


def _sample(frames: Frames) -> np.ndarray:
    """Return frames ``(FRAMES, H, W, 3)``, or fewer where there are not so many."""
    if isinstance(frames, RecordedFrames):
        return frames.sample(FRAMES)
    chosen = np.unique(np.linspace(0, len(frames) - 1, FRAMES).round().astype(int)).tolist()
    return np.concatenate([frames.read(number, number + 1) for number in chosen])


def in_precision(encoder: FrameEncoder, dtype: str, runtime: str) -> FrameEncoder:
    """Return an encoder with the same weights in another precision.

    Args:
        encoder: any.
        dtype: "float32" or "bfloat16".
        runtime: its runtime, see ``FrameEncoder.use_runtime``.
    """
    spec = dataclasses.replace(encoder.spec, dtype=dtype)
    own = (encoder.backbone, encoder.device, encoder.max_tiles_per_batch)
    return FrameEncoder(spec, *own, runtime)


def is_faster_in_bfloat16(encoder: FrameEncoder, runtime: str) -> bool:
    """Return whether this processor has bfloat16 instructions and is faster with them.

    It is measured once on the tiles of a rollout's batch and remembered on this machine.

    Args:
        encoder: in float32, on the processor.
        runtime: that it will have.

    Raises:
        S2RobotError: ``S2ROBOT_DTYPE`` is neither unset nor float32, with which the answer is no.
    """
    if is_fixed_to_float32() or not has_bfloat16():
        return False
    base = encoder.backbone.card.preprocessing.image_size
    black = torch.zeros(_BATCH, base, base, 3, dtype=torch.uint8)
    batches = group_tiles(encoder.tiles(black, encoder.scale_layouts))
    limit = encoder.max_tiles_per_batch
    return (
        faster_dtype(runtime, encoder.token_model, [batch[:limit] for batch in batches])
        == "bfloat16"
    )


def with_precision(
    encoder: FrameEncoder, dtype: str, runtime: str, frames: Callable[[], Frames], folder: Path
) -> tuple[FrameEncoder, Agreement | None]:
    """Return the encoder in the precision that a variant has, and how it agrees with float32.

    Args:
        encoder: as ``FrameEncoder.from_name`` makes it for this precision.
        dtype: as the user gave it. "auto" takes bfloat16 on a processor that has it, where it is
            faster, and float32 where bfloat16 is not close to it. What is asked for is kept.
        runtime: as the user gave it.
        frames: returns the demonstrations' frames; called where precisions are compared.
        folder: of earlier comparisons.

    Returns:
        The encoder, and the comparison; None where the precision is float32 without one.
    """
    auto = dtype == "auto" and encoder.spec.readout != "published"
    if auto and encoder.device.type == "cpu" and is_faster_in_bfloat16(encoder, runtime):
        encoder = in_precision(encoder, "bfloat16", runtime)
    if encoder.spec.dtype == "float32":
        return encoder, None
    found = _remembered(encoder, frames(), folder)
    if found.is_close:
        return encoder, found
    limit = f"more than the {LARGEST_DIFFERENCE:.0%} that rounding explains"
    kept = "the encoder computes in float32" if auto else f"dtype={dtype} is kept, as asked for"
    warnings.warn(f"{found}, {limit}; {kept}", PrecisionWarning, stacklevel=2)
    return (in_precision(encoder, "float32", runtime) if auto else encoder), found


def _remembered(encoder: FrameEncoder, frames: Frames, folder: Path) -> Agreement:
    """Return the comparison of an earlier call with the same frames and arithmetic, or make it."""
    encoder = encoder.for_batches_of(FRAMES)  # so that the record names one runtime
    key = {
        "encoder": encoder.spec.to_dict(),
        "inference": encoder.inference,
        "frames": frames.digest,
    }
    path = folder / f"{digest_of(key)[:24]}.json"
    with locked(path):
        if path.exists():
            return record_of(Agreement, read_json(path), path, "delete it; it is made again")
        found = agreement(encoder, frames)
        write_json(path, dataclasses.asdict(found))
    return found


def other_precision(dtype: str, trained: str) -> str:
    """Return the line for rollouts in another precision than the policy's features had.

    Args:
        dtype: of the rollouts.
        trained: of the features.
    """
    told = f"encoder in {dtype}, while the policy was trained on features in {trained}"
    if (dtype, trained) != ("float32", "bfloat16"):
        return f"{told}; dtype={trained} computes as in training"
    why = "is slower in it" if has_bfloat16() else "has no bfloat16 instructions"
    return f"{told}, since this processor {why}; dtype=bfloat16 computes as in training, slowly"
