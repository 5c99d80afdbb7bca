"""Phases of a scripted grasp from above, for tasks whose packages have no expert."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class TopGrasp:
    """Brings a gripper over an object, lowers it, closes it, and says when the object is held.

    Args:
        hover_m: height above the object at which the gripper opens and aligns.
        aligned_m: horizontal distance below which the gripper is lowered.
        lowered_m: vertical distance to the point of the grasp below which the gripper closes.
        closing_steps: control steps that closing takes.
        lost_m: distance above which a held object counts as lost, and the grasp starts again.
        offset_m: height of the point of the grasp above the object's middle.
    """

    hover_m: float = 0.08
    aligned_m: float = 0.01
    lowered_m: float = 0.008
    closing_steps: int = 6
    lost_m: float = 0.04
    offset_m: float = 0.0
    _lowering: bool = field(default=False, init=False)
    _closed: int = field(default=0, init=False)

    def step(
        self, tool: np.ndarray, thing: np.ndarray, turned: bool = True
    ) -> tuple[np.ndarray | None, bool]:
        """Return where the gripper has to go, and whether it has to be closed.

        Args:
            tool: (3,) [m], the point between the fingertips.
            thing: (3,) [m], the middle of the object.
            turned: whether the gripper has the orientation of the grasp.

        Returns:
            The way to go (3,) [m], None once the object is held; and whether to close.
        """
        way = thing + np.array([0.0, 0.0, self.offset_m]) - tool
        if self._closed and np.linalg.norm(way) > self.lost_m:
            self._closed, self._lowering = 0, False
        aside = float(np.linalg.norm(way[:2]))
        self._lowering = turned and aside < self.aligned_m * (3.0 if self._lowering else 1.0)
        if self._closed or (self._lowering and abs(way[2]) < self.lowered_m):
            self._closed += 1
            return (None, True) if self._closed > self.closing_steps else (np.zeros(3), True)
        if not self._lowering:
            way[2] += self.hover_m
        return way, False
