"""Errors of predicted actions, in percent of the standard deviations of their entries."""

from __future__ import annotations

import numpy as np

_SMALLEST_STD = 1e-6  # an entry that does not vary tells nothing; rounding makes its std not 0


def varying_entries(actions: np.ndarray, source: str = "the data") -> np.ndarray:
    """Return which entries ``(A,)`` of actions vary.

    Args:
        actions: ``(N, A)``.
        source: of the data, for the message.

    Raises:
        ValueError: none varies.
    """
    varies = actions.std(axis=0) > _SMALLEST_STD
    if not varies.any():
        raise ValueError(
            f"all actions of {source} are equal, so there is nothing to predict; give other data"
        )
    return varies


def action_errors(
    predicted: np.ndarray, actions: np.ndarray, frames: np.ndarray | slice = slice(None)
) -> np.ndarray:
    """Return the errors ``(n,)`` of predicted actions, a mean over the entries that vary [%].

    Args:
        predicted: ``(n, A)`` or ``(A,)``.
        actions: ``(N, A)`` of all frames, whose standard deviations are the unit.
        frames: numbers ``(n,)`` of the frames that were predicted; all without it.

    Raises:
        ValueError: no entry of the actions varies.
    """
    varies, std = varying_entries(actions), actions.std(axis=0)
    return 100 * (np.abs(predicted - actions[frames])[:, varies] / std[varies]).mean(axis=1)
