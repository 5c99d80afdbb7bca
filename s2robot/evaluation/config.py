"""Settings of an evaluation; imports neither a simulator nor PyTorch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from s2robot.errors import unknown
from s2robot.utils.validation import require_integers

FIRST_SEEDS = {"selection": 1_000_000, "test": 2_000_000}
"""Environment seed of the first initial state by split; demonstrations use lower seeds."""
TILE_CHOICES = ("motion", "attention", "random")


@dataclass(frozen=True)
class EvalConfig:
    """Settings of the rollouts; `workers` and `videos` cannot change a row.

    Raises:
        ValueError: a field is out of range, or `reuse` and `tile_budget` are both set.

    Examples:
        >>> EvalConfig(num_envs=8, tile_budget=4).tile_choice
        'motion'
        >>> EvalConfig(num_envs=0)
        Traceback (most recent call last):
        ValueError: num_envs is 0; allowed: an integer of 1 or more
    """

    num_envs: int = 16
    """Environments of a batch: one encoder call and one policy call serve all of them."""
    workers: int | None = None
    """Processes for physics and rendering, which work while frames are encoded; 0 simulates in this
    process. None takes a share of the cores: most where the encoder is on a GPU, a quarter
    otherwise, and none without an encoder."""
    videos: int = 2
    """Number of first successes, and of first failures, to record as videos."""
    video_size: int = 384
    """Edge of the videos' square frames [px]."""
    horizon: int | None = None
    """Control steps of an episode; None takes the level's own."""
    reuse: bool = False
    """Encode only the tiles that changed since an environment's last frame. This is exact; on a
    GPU and in bfloat16 the last digits of an embedding may differ, so there it counts as another
    run."""
    tile_budget: int | None = None
    """Largest number of tiles above the smallest scale to encode per frame; None encodes all."""
    tile_choice: str = "motion"
    """How a tile budget chooses tiles: "motion", "attention" (the policy's), "random"."""
    realtime: bool = False
    """The simulation moves on, under the last action, while encoder and policy compute."""
    latency_ms: float | None = None
    """How long one action takes to compute in real time [ms]; None measures each one."""

    def __post_init__(self) -> None:
        require_integers(self, 1, "num_envs")
        require_integers(self, 0, "videos")
        if self.workers is not None:
            require_integers(self, 0, "workers")
        require_integers(self, 16, "video_size")
        if self.video_size % 2:
            raise ValueError(f"video_size is {self.video_size}; H.264 needs an even number")
        if self.horizon is not None:
            require_integers(self, 1, "horizon")
        if self.tile_choice not in TILE_CHOICES:
            raise unknown("tile_choice", self.tile_choice, TILE_CHOICES)
        if self.reuse and self.tile_budget is not None:
            raise ValueError("a tile_budget reuses tiles by itself: leave rollout.reuse=false")
        self._check_realtime()

    def _check_realtime(self) -> None:
        latency_ms = self.latency_ms
        if latency_ms is not None and not 0 <= latency_ms < math.inf:
            raise ValueError(f"latency_ms is {latency_ms}; allowed: milliseconds, 0 or more")
        if latency_ms is not None and not self.realtime:
            raise ValueError(
                f"latency_ms is {latency_ms:g}, but realtime is false, so nothing waits; set "
                "rollout.realtime=true as well, or leave latency_ms out"
            )
        if self.measures_latency and self.num_envs != 1:
            raise ValueError(
                f"realtime measures how long one robot waits, but num_envs is {self.num_envs}, and "
                "a batch takes longer; set rollout.num_envs=1, or give rollout.latency_ms"
            )

    @property
    def measures_latency(self) -> bool:
        """True if the simulation moves on by the measured duration of each action."""
        return self.realtime and self.latency_ms is None

    def realtime_record(self) -> dict[str, Any]:
        """Return the settings of real time, JSON-able; empty where the simulation waits."""
        if not self.realtime:
            return {}
        return {"realtime": True, "latency_ms": self.latency_ms}
