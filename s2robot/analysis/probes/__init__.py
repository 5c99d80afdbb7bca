"""Probes of frozen features: predict what the simulator knows. Less noisy than success rates.

``fit_localizer`` fits a small head (a policy's readout and a small network) that predicts the
position of the cube. A fitted head can also compare embeddings of the same frames from another
computation (int8, fewer tiles). Linear probes of localization, grasp, segmentation and depth are in
``s2robot.analysis.probes.study``; their command is ``s2robot probe``.
"""

from s2robot.analysis.probes.intervals import (
    LocalizationError,
    error_summary,
    mean_difference,
    split_episodes,
)
from s2robot.analysis.probes.localization import FIRST_SEED, LocalizationData, localization_data
from s2robot.analysis.probes.localizer import Localizer, ProbeConfig, fit_localizer

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
