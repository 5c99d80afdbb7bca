"""Rollouts in real time: which action begins in each control step, and how late in it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_ROUNDING = 1e-9


@dataclass(frozen=True)
class RealTime:
    """How the simulation moves on while an action is computed.

    An observation is taken at the beginning of a control step. Its action begins as soon as it is
    ready; until then the last one goes on, and is repeated where it has ended. The first action of
    an episode has none before it: the episode begins with it. The next observation is taken at the
    first control step that begins when an action is ready.
    """

    period_ms: float
    """Duration of a control step [ms]."""
    latency_ms: float | None = None
    """Time that an action takes [ms]; None takes the measured time of each."""
    within_steps: bool = False
    """Whether the environment can begin an action within a control step; if not, it begins with
    the first step that begins when it is ready."""

    def delay(self, measured_ms: float) -> tuple[int, float]:
        """Return how many control steps pass until an action begins, and how late in its step [s].

        Args:
            measured_ms: how long it took [ms].

        Examples:
            >>> RealTime(50.0, 120.0).delay(3.0), RealTime(50.0, 50.0).delay(3.0)
            ((3, 0.0), (1, 0.0))
            >>> RealTime(50.0).delay(3.0), RealTime(50.0, 0.0).delay(3.0)
            ((1, 0.0), (0, 0.0))
            >>> RealTime(50.0, 120.0, within_steps=True).delay(3.0)
            (2, 0.02)
        """
        latency_ms = measured_ms if self.latency_ms is None else self.latency_ms
        steps = latency_ms / self.period_ms
        if not self.within_steps:
            return math.ceil(steps - _ROUNDING), 0.0
        whole = math.floor(steps + _ROUNDING)
        return whole, max(0.0, round((latency_ms - whole * self.period_ms) / 1000, 9))


@dataclass
class _Coming:
    """An action that is not ready yet."""

    actions: np.ndarray
    steps: int
    """Control steps until the one in which it begins."""
    delay_s: float
    """How late in that step it begins [s]."""


class ActionsInTime:
    """Actions (B, A) of the steps of one batch of episodes, in real time.

    Args:
        timing: of the rollouts.
    """

    def __init__(self, timing: RealTime) -> None:
        self._timing = timing
        self._present: np.ndarray | None = None
        self._delay_s = 0.0
        self._coming: _Coming | None = None

    def next(
        self, is_there: bool, compute: Callable[[], tuple[np.ndarray, float]]
    ) -> tuple[np.ndarray, float, bool]:
        """Return the action that begins in this step, how late in it [s], and whether it is new.

        Args:
            is_there: whether the policy has the next action already, as in a chunk.
            compute: returns the actions from the present observation and how long they took [ms].
        """
        arrived = self._coming if self._coming is not None and self._coming.steps == 0 else None
        if arrived is not None:
            self._begin(arrived.actions, arrived.delay_s)
            self._coming = None
        is_new = arrived is not None
        busy = self._coming is not None or (arrived is not None and (is_there or self._delay_s > 0))
        if not busy:
            is_new = self._compute(is_there, compute) or is_new
        if self._coming is not None:
            self._coming.steps -= 1
        assert self._present is not None
        return self._present, self._delay_s, is_new

    def _compute(self, is_there: bool, compute: Callable[[], tuple[np.ndarray, float]]) -> bool:
        """Compute an action from this step's observation; return whether it begins in it."""
        actions, measured_ms = compute()
        steps, delay_s = (0, self._delay_s) if is_there else self._timing.delay(measured_ms)
        if self._present is None:
            steps, delay_s = 0, 0.0
        if steps == 0:
            self._begin(actions, delay_s)
            return True
        self._coming = _Coming(actions, steps, delay_s)
        return False

    def _begin(self, actions: np.ndarray, delay_s: float) -> None:
        self._present, self._delay_s = actions, delay_s
