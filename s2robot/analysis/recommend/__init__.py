"""Recommendation of an encoder and its scales: latency here, probes on the user's data, a deadline.

``recommend`` runs it; ``s2robot recommend`` is its command. Errors of candidates are measured on
held-out episodes, without rollouts.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from s2robot.analysis.recommend.config import RecommendConfig
    from s2robot.analysis.recommend.episodes import EpisodeData
    from s2robot.analysis.recommend.results import Recommendation
    from s2robot.analysis.recommend.study import recommend

_HOMES = {
    "EpisodeData": "s2robot.analysis.recommend.episodes",
    "RecommendConfig": "s2robot.analysis.recommend.config",
    "Recommendation": "s2robot.analysis.recommend.results",
    "recommend": "s2robot.analysis.recommend.study",
}
"""Modules of the names; imported on first use, since the command's help needs none of them."""

__all__ = ["EpisodeData", "RecommendConfig", "Recommendation", "recommend"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
