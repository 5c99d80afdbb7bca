"""Probes of frozen features: predict what the simulator knows. Less noisy than success rates.

``fit_localizer`` fits a small head (a policy's readout and a small network) that predicts the
position of the cube. A fitted head can also compare embeddings of the same frames from another
computation (int8, fewer tiles). Linear probes of localization, grasp, segmentation and depth are in
``s2robot.analysis.probes.study``; their command is ``s2robot probe``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from s2robot.analysis.probes.intervals import (
        LocalizationError,
        error_summary,
        mean_difference,
        split_episodes,
    )
    from s2robot.analysis.probes.localization import FIRST_SEED, LocalizationData, localization_data
    from s2robot.analysis.probes.localizer import Localizer, ProbeConfig, fit_localizer

LINEAR_TASKS = ("localization", "segmentation", "depth", "grasp")
"""Tasks with convex fits: fast, and without seeds to average over."""
TASK_NAMES = (*LINEAR_TASKS, "localization-head", "action")
"""All tasks; the last one is of recorded data, the others of the simulator's frames."""
COUNT = 1000
"""Frames of recorded data that are probed at most."""
EPISODES, RESETS = 120, 500
"""Numbers of the expert's episodes, and of frames of random scenes."""

_HOMES = {
    "FIRST_SEED": "s2robot.analysis.probes.localization",
    "Localizer": "s2robot.analysis.probes.localizer",
    "LocalizationData": "s2robot.analysis.probes.localization",
    "LocalizationError": "s2robot.analysis.probes.intervals",
    "ProbeConfig": "s2robot.analysis.probes.localizer",
    "error_summary": "s2robot.analysis.probes.intervals",
    "fit_localizer": "s2robot.analysis.probes.localizer",
    "localization_data": "s2robot.analysis.probes.localization",
    "mean_difference": "s2robot.analysis.probes.intervals",
    "split_episodes": "s2robot.analysis.probes.intervals",
}
"""Modules of the names; imported on first use, since the command's help needs none of them."""

__all__ = [
    "FIRST_SEED",
    "LocalizationData",
    "LocalizationError",
    "Localizer",
    "ProbeConfig",
    "error_summary",
    "fit_localizer",
    "localization_data",
    "mean_difference",
    "split_episodes",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
