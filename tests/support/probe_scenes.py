"""Labeled scenes and planted features for tests of probes."""

from __future__ import annotations

import numpy as np
import torch

from s2robot.analysis.probes.grids import TokenGrids
from s2robot.analysis.probes.scenes import SceneConfig

SMALL = SceneConfig("precise", size=48, label_size=24, episodes=8, resets=8)


def planted(count: int = 60, noise: float = 0.0) -> tuple[TokenGrids, np.ndarray, np.ndarray]:
    """Random 3 x 3 grids of 4 channels, two linear functions of all numbers, the grids flat."""
    rng = np.random.default_rng(0)
    flat = rng.normal(2, 3, (count, 36))
    targets = flat @ rng.normal(0, 1, (36, 2)) + [5, -7] + rng.normal(0, noise, (count, 2))
    grids = TokenGrids(torch.from_numpy(flat).float(), (3, 3, 4), np.arange(count))
    return grids, targets, flat
