"""Parts of an optimization: learning-rate schedule, weight-decay groups, local seeding."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from s2robot.utils.process_state import seeded_generators

if TYPE_CHECKING:
    import torch
    from torch import nn


def cosine_schedule(step: int, steps: int, warmup: int) -> float:
    """Return the factor on the learning rate at a step.

    Args:
        step: the current step, from 0.
        steps: steps in all.
        warmup: steps in which the factor rises linearly to 1; then it falls to 0 along half a
            cosine.

    Examples:
        >>> [round(cosine_schedule(step, steps=10, warmup=2), 2) for step in (0, 1, 6, 10)]
        [0.5, 1.0, 0.5, 0.0]
    """
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return an optimizer's parameter groups: weight decay for matrices only.

    Args:
        module: its trainable parameters are grouped.
        weight_decay: of parameters with two dimensions or more; biases, norms and temperatures get
            0.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = lr


@contextlib.contextmanager
def seeded(seed: int, stage: int) -> Iterator[None]:
    """Seed torch's generators inside the block only: networks and dropout draw from them.

    Args:
        seed: the user's seed.
        stage: number of the stage of training, so that stages draw different numbers.
    """
    state = np.random.SeedSequence((seed, stage)).generate_state(1, np.uint64)
    with seeded_generators(int(state[0])):
        yield
