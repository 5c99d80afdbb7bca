"""Configuration of a pre-training run."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2robot.utils.devices import check_device
from s2robot.utils.optim import cosine_schedule
from s2robot.utils.validation import (
    require_at_least,
    require_below_one,
    require_fractions,
    require_one_of,
    require_positive,
)

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer

RENDERED = "rendered"
"""The source that needs no files: randomized scenes of the task family."""
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class CropConfig:
    """Settings of random crops.

    Examples:
        >>> CropConfig(scales=(1.0,), weights=(1.0,)).jitter
        0.2
    """

    scales: tuple[float, ...] = (1.0, 2.0, 3.0)
    """A crop at scale s spans 1/s of the frame's shorter side, like a tile of scale s."""
    weights: tuple[float, ...] = (0.4, 0.35, 0.25)
    """Relative frequency of each scale."""
    jitter: float = 0.2
    """The side of a crop is multiplied by a random factor in [1 - jitter, 1]."""
    flip: float = 0.5
    """Probability of a left-right flip."""

    def __post_init__(self) -> None:
        if len(self.scales) != len(self.weights) or not self.scales:
            raise ValueError(
                f"scales {self.scales} and weights {self.weights} must have the same length"
            )
        if min(self.scales) < 1:
            raise ValueError(f"scales must be at least 1; got {self.scales}")
        if min(self.weights) < 0 or sum(self.weights) <= 0:
            raise ValueError(f"weights {self.weights} must not be negative, nor all zero")
        if not 0 <= self.jitter < 1:
            raise ValueError(f"jitter must lie in [0, 1); got {self.jitter}")
        if not 0 <= self.flip <= 1:
            raise ValueError(f"flip must lie in [0, 1]; got {self.flip}")


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the vision transformer and of its decoder."""

    img_size: int = 128
    patch_size: int = 16
    embed_dim: int = 192
    depth: int = 12
    num_heads: int = 3
    decoder_dim: int = 128
    decoder_depth: int = 2
    decoder_heads: int = 4

    def __post_init__(self) -> None:
        require_at_least(self, 1, *(field.name for field in dataclasses.fields(self)))
        if self.img_size % self.patch_size:
            raise ValueError(
                f"img_size {self.img_size} must be a multiple of patch_size {self.patch_size}"
            )
        if self.embed_dim % self.num_heads or self.embed_dim % 4:
            raise ValueError(
                f"embed_dim {self.embed_dim} must divide by 4 and by num_heads {self.num_heads}"
            )

    def build(self) -> VisionTransformer:
        """Return the timm encoder: class token, final norm, no output projection."""
        from timm.models.vision_transformer import VisionTransformer

        return VisionTransformer(
            img_size=self.img_size,
            patch_size=self.patch_size,
            embed_dim=self.embed_dim,
            depth=self.depth,
            num_heads=self.num_heads,
            class_token=True,
            num_classes=0,
            global_pool="token",
        )


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of a pre-training run; a run resumes only with the same ``recipe``.

    Examples:
        >>> config = PretrainConfig(views=12_800, batch_size=128)
        >>> config.steps
        100
        >>> config.model.build().embed_dim
        192
    """

    name: str = "s2r-vitt16-128"
    """Name in the model card."""
    out: Path = Path("runs/pretrain")
    """Folder of checkpoint, loss curve, page, encoder.safetensors and encoder.json."""
    source: tuple[str, ...] = (RENDERED,)
    """"rendered", folders of images, videos, bags, demonstrations (.hdf5); all are combined."""
    frames: int = 20480
    """Number of frames to render for the source "rendered"."""
    frame_size: int = 384
    """Shorter side of a stored frame [px]; a multiple of the base size keeps tiles native."""
    every: int = 1
    """Use every Nth frame of a video, a bag or demonstrations."""
    skip_unreadable: bool = False
    """Skip images that cannot be read and print their number; otherwise raise an error."""
    cache: Path = Path("data/pretrain")
    """Folder of the prepared frames; runs with the same sources share them."""
    views: int = 1_024_000
    """Total number of crops to train on; may grow when resuming (this stretches the schedule)."""
    batch_size: int = 128
    """Number of crops in a step, over all processes."""
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.03
    """Share of the steps with a rising learning rate; then half a cosine to zero."""
    mask_ratio: float = 0.75
    segments_weight: float = 0.0
    """Weight of the segmentation loss at all places (MultiMAE); only for rendered frames."""
    ema: float = 0.999
    """Decay of the weights' exponential moving average in a step; the average is exported."""
    clip_norm: float = 1.0
    checkpoint_every: int = 200
    """Number of steps between checkpoints."""
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    """"auto" is bfloat16 if the processor or GPU is faster with it, else float32."""
    compile: str = "auto"
    """"on", "off", or "auto": compile the model on a GPU only."""
    processes: int = 0
    """Data-parallel processes on this machine; 0: one for each GPU, or for each core (up to 8)."""
    workers: int = 0
    """Data processes for each training process; 0: a thread on a CPU, several processes on GPUs."""
    model: ModelConfig = field(default_factory=ModelConfig)
    sampling: CropConfig = field(default_factory=CropConfig)

    def __post_init__(self) -> None:
        least_one = ("frames", "frame_size", "every", "views", "batch_size", "checkpoint_every")
        require_at_least(self, 1, *least_one)
        least_zero = ("processes", "workers", "segments_weight", "weight_decay", "seed")
        require_at_least(self, 0, *least_zero)
        require_positive(self, "lr", "clip_norm")
        require_below_one(self, "warmup", "ema")
        require_fractions(self, "mask_ratio")
        check_device(self.device)
        require_one_of(self, {"precision": PRECISIONS, "compile": ("auto", "on", "off")})
        if not self.source:
            raise ValueError(f"source is empty; give {RENDERED!r}, folders, videos or .hdf5 files")
        if self.segments_weight and set(self.source) != {RENDERED}:
            raise ValueError(
                f"segments_weight is {self.segments_weight}, but only {RENDERED!r} frames have "
                f"known segments; source is {list(self.source)}: give segments_weight=0"
            )
        if self.frame_size < self.model.img_size:
            raise ValueError(
                f"frame_size {self.frame_size} is below the model's img_size {self.model.img_size}"
            )

    @property
    def steps(self) -> int:
        """Total number of optimizer steps."""
        return math.ceil(self.views / self.batch_size)

    def recipe(self) -> dict[str, Any]:
        """Return the settings that a resumed run must have in common with its checkpoint.

        Folders, the number of crops and the hardware may differ.
        """
        free = {"out", "cache", "views", "device", "precision", "compile", "checkpoint_every"}
        free |= {"processes", "workers", "skip_unreadable"}
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in free}


def learning_rate(step: int, config: PretrainConfig) -> float:
    """Return the learning rate of a step: linear warm-up, then half a cosine to zero.

    Args:
        step: index of the optimizer step.
        config: settings of the run.
    """
    warmup = max(1, round(config.warmup * config.steps))
    return config.lr * cosine_schedule(step, config.steps, warmup)
