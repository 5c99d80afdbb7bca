"""Pieces of an optimisation: learning-rate schedule, weight-decay groups, local seeding."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn


def cosine_schedule(step: int, steps: int, warmup: int) -> float:
    """Factor on the learning rate: linear over ``warmup`` steps, then half a cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices; none for biases, norms and temperatures."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


@contextlib.contextmanager
def seeded(seed: int, stage: int) -> Iterator[None]:
    """Seed torch's generators inside the block only: networks and dropout draw from them."""
    state = np.random.SeedSequence((seed, stage)).generate_state(1, np.uint64)
    with torch.random.fork_rng():
        torch.manual_seed(int(state[0]))
        yield
