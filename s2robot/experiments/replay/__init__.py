"""Showing an episode of a run again from its exact start, and comparing it with its stored row."""

from __future__ import annotations

VIEWS = ("scene", "policy", "both")
"""What a video shows: a camera near the cube, the frames that the encoder got, or both."""
