"""Settings of a training and of the search for its hyperparameters; imports no PyTorch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from s2robot.utils.validation import (
    require_at_least,
    require_below_one,
    require_integers,
    require_one_of,
    require_positive,
)


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training; its result is the last weights, not the best of several evaluations.

    Raises:
        ValueError: a field is out of range; the message states what is allowed.

    Examples:
        >>> TrainConfig(epochs=30).batch_size
        128
        >>> TrainConfig(lr=0.0)
        Traceback (most recent call last):
        ValueError: lr is 0.0; it must be positive
    """

    epochs: int = 60
    """Passes over the training frames."""
    batch_size: int = 128
    """Frames per step; sequence policies take as many windows as contain about these."""
    lr: float = 3e-3
    """Peak learning rate; it decays to zero along a cosine."""
    warmup: float = 0.05
    """Share of all steps in which the learning rate rises linearly."""
    weight_decay: float = 1e-2
    """Weight decay (AdamW) of matrices."""
    grad_clip: float = 1.0
    """Largest norm of the gradient; 0 disables clipping."""
    ema_decay: float = 0.99
    """Decay per step of the moving average of the weights, which is the result; 0 for none."""
    proprio_noise: float = 0.0
    """Noise on proprioception in training, as a share of its standard deviation."""
    checkpoint_every: int = 10
    """Epochs between checkpoints."""
    dtype: str = "auto"
    """Precision in which a head's product with token grids is computed, forward and for its
    gradient; weights and all that follows are float32. ``float32``, ``bfloat16``, or ``auto``:
    bfloat16 for embeddings of more than 3 GiB as float32, where the processor or the GPU has
    instructions for it, and float32 in trainings on demonstrations of a task, whose variants are
    compared. Vectors are always float32."""
    seed: int = 0
    """Seed of initial weights, order of frames, noise and dropout."""

    def __post_init__(self) -> None:
        require_integers(self, 1, "epochs", "batch_size", "checkpoint_every")
        require_integers(self, 0, "seed")
        require_at_least(self, 0, "weight_decay", "grad_clip", "proprio_noise")
        require_positive(self, "lr")
        require_below_one(self, "ema_decay", "warmup")
        require_one_of(self, {"dtype": ("auto", "float32", "bfloat16")})

    def recipe(self) -> dict[str, Any]:
        """Return the settings that can change a policy, by name.

        How often checkpoints are written changes none, so it has its default here. float32 is left
        out, as in trainings from before there was another precision.
        """
        values = {**dataclasses.asdict(self), "checkpoint_every": TrainConfig.checkpoint_every}
        if self.dtype == "float32":
            del values["dtype"]
        return values


@dataclass(frozen=True)
class SearchConfig:
    """Budget and range of the search; the same for every variant.

    Raises:
        ValueError: a number is too small, or a range is empty.
    """

    trials: int = 8
    """Number of settings to try."""
    order: str = "balanced"
    """Order of the grid of settings, from which the first ``trials`` are tried: "random", or
    "balanced", which is random but tries each learning rate once before any of them twice."""
    epochs: int = 20
    """Epochs of each trial."""
    seeds: int = 1
    """Number of training seeds of each trial, whose scores are averaged."""
    lrs: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    """Peak learning rates."""
    softmax_scales: tuple[float, ...] = (1.0, 3.0, 10.0)
    """Grid embeddings: initial factors on the logits of the spatial softmax."""
    keypoints: tuple[int, ...] = (16, 32)
    """Grid embeddings: numbers of keypoints."""
    vector_widths: tuple[int, ...] = (0, 64, 256)
    """Vector embeddings: widths of the layer before the network; 0 for none."""
    hidden: tuple[int, ...] = (128, 256)
    """Vector embeddings and blind policies: widths of the network's hidden layers; not of kinds
    without, the transformers."""

    def __post_init__(self) -> None:
        require_integers(self, 1, "trials", "epochs", "seeds")
        for field in ("lrs", "softmax_scales", "keypoints", "vector_widths", "hidden"):
            if not getattr(self, field):
                raise ValueError(f"{field} is empty; give at least one value to try")
        require_one_of(self, {"order": ("random", "balanced")})

    def recipe(self) -> dict[str, Any]:
        """Return the settings that can change a policy, by name; a random order is left out."""
        values = dataclasses.asdict(self)
        if self.order == "random":  # as in runs that were made before there was another
            del values["order"]
        return values
