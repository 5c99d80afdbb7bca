"""The levels of the pick-cube task: what changes between an easy pick and a precise one."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from s2robot.errors import unknown

CAMERAS = ("front", "far", "wrist")
MAX_OPENING_M = 0.08  # the Panda hand's stroke, both fingers together


@dataclass(frozen=True)
class Level:
    """One level; lengths in metres, angles in radians, all in the robot's base frame."""

    name: str
    cube_half_size_m: float
    """Half of the cube's edge."""
    camera: str
    """Camera that policies of this level look through."""
    gripper_opening_m: float = MAX_OPENING_M
    """Distance between the open finger pads."""
    cube_x_range_m: tuple[float, float] = (0.40, 0.65)
    cube_y_range_m: tuple[float, float] = (-0.15, 0.15)
    yaw_range_rad: float = 0.0
    """The cube's yaw is drawn from ± this; above 0 the Cartesian action gains Δyaw."""
    lift_height_m: float = 0.05
    """The cube counts as lifted when it has risen this far above where it rests."""
    horizon: int = 32
    """Steps of an episode (5 Hz)."""
    rare_share: float = 0.0
    """Probability that an episode has a rare appearance of its own, not the ordinary one."""

    def __post_init__(self) -> None:
        if self.camera not in CAMERAS:
            raise unknown("camera", self.camera, CAMERAS)
        if not 0 < self.gripper_opening_m <= MAX_OPENING_M:
            raise ValueError(
                f"gripper_opening_m is {self.gripper_opening_m}; allowed (0, {MAX_OPENING_M}]"
            )
        if not 0 < 2 * self.cube_half_size_m < self.gripper_opening_m:
            raise ValueError(
                f"a cube of {2 * self.cube_half_size_m} m does not fit the opening of "
                f"{self.gripper_opening_m} m; make cube_half_size_m smaller"
            )
        if not 0 <= self.yaw_range_rad <= math.pi / 4:
            raise ValueError(
                f"yaw_range_rad is {self.yaw_range_rad}; allowed [0, π/4], as a cube repeats by π/2"
            )
        if self.horizon < 1:
            raise ValueError(f"horizon is {self.horizon}; allowed: 1 step or more")
        if not 0 <= self.rare_share <= 1:
            raise ValueError(f"rare_share is {self.rare_share}; allowed: a probability, [0, 1]")

    @property
    def clearance_m(self) -> float:
        """Free space on each side of a centred cube between the open jaws."""
        return self.gripper_opening_m / 2 - self.cube_half_size_m

    @property
    def appearance_varies(self) -> bool:
        """Whether episodes differ in appearance, which is then part of their state."""
        return self.rare_share > 0

    def same_task(self, other: Level) -> bool:
        """Whether the two differ in their appearance at most, so that policies can do both."""
        return dataclasses.replace(self, name=other.name, rare_share=other.rare_share) == other


MIXED_SHARE = 0.25
"""Share of rare appearances where demonstrations are to show a few."""
_EASY = Level("easy", cube_half_size_m=0.02, camera="front")
_PRECISE = Level("precise", cube_half_size_m=0.03, camera="far")

LEVELS: dict[str, Level] = {
    level.name: level
    for level in (
        _EASY,
        _PRECISE,
        dataclasses.replace(_EASY, name="easy-mixed", rare_share=MIXED_SHARE),
        dataclasses.replace(_PRECISE, name="mixed", rare_share=MIXED_SHARE),
        dataclasses.replace(_EASY, name="easy-hard", rare_share=1.0),
        dataclasses.replace(_PRECISE, name="hard", rare_share=1.0),
    )
}


def get_level(name: str) -> Level:
    """Look a level up by name; an unknown name is a ValueError that lists the levels."""
    if name not in LEVELS:
        raise unknown("level", name, LEVELS)
    return LEVELS[name]


def levels_of_task(name: str) -> list[str]:
    """Names of the levels that share a level's task, itself among them."""
    level = get_level(name)
    return [other.name for other in LEVELS.values() if level.same_task(other)]
