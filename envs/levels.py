"""Levels of the pick-cube task: sizes, start ranges, camera, and visual perturbations."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

from s2robot.envs.rendering import RenderQuality
from s2robot.errors import unknown

CAMERAS = ("front", "far", "wrist")
CONTROLLERS = ("ee_delta", "joint_delta")
MAX_OPENING_M = 0.08  # the Panda hand's stroke, both fingers together


@dataclass(frozen=True)
class Level:
    """One level; lengths in meters, angles in radians, all in the robot's base frame.

    Raises:
        ValueError: a field is out of range; the message states what is allowed.
    """

    name: str
    cube_half_size_m: float
    """Half of the cube's edge."""
    camera: str
    """Camera of this level's policies."""
    gripper_opening_m: float = MAX_OPENING_M
    """Distance between the open finger pads."""
    cube_x_range_m: tuple[float, float] = (0.40, 0.65)
    """Range of the cube's start along x."""
    cube_y_range_m: tuple[float, float] = (-0.15, 0.15)
    """Range of the cube's start along y."""
    yaw_range_rad: float = 0.0
    """Largest yaw of the cube at the start, to either side; above 0, ``ee_delta`` has Δyaw."""
    lift_height_m: float = 0.05
    """Rise above rest from which the cube counts as lifted."""
    horizon: int = 32
    """Control steps of an episode (5 Hz)."""
    rare_share: float = 0.0
    """Probability that an episode has a visual perturbation instead of the nominal appearance."""

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
        """Free space on each side of a centered cube between the open jaws [m]."""
        return self.gripper_opening_m / 2 - self.cube_half_size_m

    @property
    def appearance_varies(self) -> bool:
        """Whether episodes differ in appearance, which is then part of their state."""
        return self.rare_share > 0

    def same_task(self, other: Level) -> bool:
        """Return whether two levels differ in their appearance at most, and so share policies."""
        return dataclasses.replace(self, name=other.name, rare_share=other.rare_share) == other


MIXED_SHARE = 0.25
"""Share of visually perturbed episodes on the levels ``mixed`` and ``easy-mixed``."""
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
    """Return a level by name.

    Raises:
        ValueError: the name is unknown; the message lists the levels.

    Examples:
        >>> level = get_level("precise")
        >>> level.camera, level.horizon, f"{level.clearance_m:.2f}"
        ('far', 32, '0.01')
    """
    if name not in LEVELS:
        raise unknown("level", name, LEVELS)
    return LEVELS[name]


def levels_of_task(name: str) -> list[str]:
    """Return the names of the levels that differ from a level in their appearance at most.

    Raises:
        ValueError: the name is unknown.

    Examples:
        >>> levels_of_task("precise")
        ['precise', 'mixed', 'hard']
    """
    level = get_level(name)
    return [other.name for other in LEVELS.values() if level.same_task(other)]


@dataclass(frozen=True)
class EnvironmentArguments:
    """Arguments of ``PickCubeEnv`` besides level, control and render mode, with their defaults.

    The command line takes them as settings ``env.NAME``, known before MuJoCo is imported. A test
    compares them with the environment's own.
    """

    image_camera: str | None = None
    image_size: int | tuple[int, int] = 384
    quality: RenderQuality | Mapping[str, int] | None = None
    arm_path: str | None = None
    yaw_range_rad: float | None = None
    horizon: int | None = None
