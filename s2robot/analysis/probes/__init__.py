"""What do frozen features tell of a scene? Less noisy than rates of success.

Cube localisation by a small head (the policies' own readout and a small network), in millimetres; a
fitted head can judge embeddings of the same frames that were made in another way (int8, fewer
tiles). Linear probes of localisation, grasp, segmentation and depth are in
``s2robot.analysis.probes.study`` and its command, ``s2robot probe``.
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
