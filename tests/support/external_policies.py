"""Policies that are not ours, as users write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

import s2robot


class Stretched:
    """One robot's policy: goes in one direction; counts its calls and episodes."""

    made: list[Stretched] = []
    task: Any = None

    def __init__(self, step: float = 0.5, chunk: int = 0, size: int = 2, seed: int = 0) -> None:
        self.step, self.chunk, self.size, self.seed = step, chunk, size, seed
        self.calls, self.resets, self.seen = 0, 0, []
        Stretched.made.append(self)

    def reset(self) -> None:
        self.resets += 1
        self.moment = 0

    def __call__(self, frames: dict[str, np.ndarray], proprio: dict[str, np.ndarray]) -> Any:
        self.calls += 1
        self.seen.append((frames, proprio))
        count = max(self.chunk, 1)
        values = self.step + np.arange(self.moment, self.moment + count) / 100
        self.moment += count
        actions = np.repeat(values[:, None], self.size, axis=1)
        return actions if self.chunk else actions[0].tolist()


class Steered(Stretched):
    """Goes to the goal that it sees among its observations, in the units of ``Reach``."""

    def __call__(self, frames: dict[str, np.ndarray], proprio: dict[str, np.ndarray]) -> Any:
        own = np.clip(proprio["goal"] - proprio["agent_pos"], -0.2, 0.1)
        return (own + 0.2) / 0.15 - 1


class Batched(Stretched):
    """All robots' policy."""

    batched = True

    def __call__(self, frames: dict[str, np.ndarray], proprio: dict[str, np.ndarray]) -> Any:
        self.calls += 1
        return np.full((len(proprio["agent_pos"]), 3, 2), self.calls / 100)


def ours(checkpoint: str) -> Any:
    """Our own policy file, as if it were another's, with actions in [-1, 1]."""
    policy = s2robot.load_policy(checkpoint, device="cpu", runtime="eager")
    policy.action_scale = None
    return policy


def told(task: Any) -> Any:
    """A policy that is made for its task."""
    policy = Stretched(size=len(task.action_names))
    policy.task = task
    return policy


def broken(kind: str = "nan") -> Any:
    """A policy that fails in one of the ways that happen."""
    policy = Stretched()
    wrong = {
        "nan": lambda: [float("nan"), 0.0],
        "size": lambda: [0.0, 0.0, 0.0],
        "text": lambda: "left",
        "raises": lambda: {}["camera"],
        "large": lambda: [3.0, 0.0],
        "gradient": lambda: [torch.ones(1, requires_grad=True)] * 2,
        "empty": lambda: np.zeros((0, 2)),
    }[kind]
    made = type("Broken", (), {"reset": policy.reset, "__call__": lambda self, f, p: wrong()})
    return made()


def loaded(checkpoint: str) -> Any:
    """A policy of a file."""
    return Stretched(step=len(Path(checkpoint).read_bytes()) / 100)


class Seedless(Stretched):
    """Takes no seed."""

    def __init__(self, step: float) -> None:
        super().__init__(step)


class Uneven(Stretched):
    """The second robot's chunks are longer."""

    def __init__(self) -> None:
        super().__init__(chunk=2 + (len(Stretched.made) + 1) % 2)


def without_reset() -> Any:
    return lambda frames, proprio: [0.0, 0.0]


def fails_to_load() -> Any:
    raise OSError("weights.pt is missing")


one = Stretched()
number = 3
