"""Colors and markers that all plots share."""

from __future__ import annotations

PALETTE = ("#2f7fd0", "#dd6b1f", "#2a9d6a", "#b455c6", "#c9445a", "#a08a1a", "#3aa6b9")
"""Colors of plots."""
GRAY = "#8a8f98"
"""Color of random weights."""
MARKERS = ("o", "s", "^", "D", "v")
"""Markers of plots."""
DODGE = 1.035
"""Factor between variants of equal cost, so that their intervals do not overlap."""
