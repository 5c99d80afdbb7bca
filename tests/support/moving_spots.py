"""Episodes in which a bright spot moves, and what a policy would do: go towards it."""

from __future__ import annotations

import numpy as np

from s2robot.analysis.recommend.episodes import EpisodeArrays, EpisodeData


def spot_episodes(episodes: int = 12, steps: int = 6, size: int = 32) -> list[EpisodeArrays]:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(episodes):
        places = rng.integers(4, size - 4, (steps, 2))
        frames = rng.integers(0, 40, (steps, size, size, 3), dtype=np.uint8)
        for frame, (x, y) in zip(frames, places, strict=True):
            frame[y - 3 : y + 4, x - 3 : x + 4] = 255
        where = places / size - 0.5
        proprio = rng.uniform(-0.1, 0.1, (steps, 2))
        found.append(EpisodeArrays(frames, np.clip(where - proprio, -1, 1), proprio, where / 10))
    return found


def spots(**options: int) -> EpisodeData:
    return EpisodeData.from_episodes("spots", spot_episodes(**options))
