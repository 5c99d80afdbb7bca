"""Pick-cube as a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from s2robot.envs.controllers import CONTROL_DT_S
from s2robot.envs.expert import (
    EXECUTION_NOISE,
    JointSpaceExpert,
    ScriptedExpert,
    noisy_execution,
)
from s2robot.envs.levels import CAMERAS
from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.envs.tasks.contract import Expert, Start

INFO_KEYS = ("is_success", "reached", "grasped", "cube_height_m")


class PickCubeTaskEnv(PickCubeEnv):
    """``PickCubeEnv`` with what the task contract asks for besides."""

    info_keys = INFO_KEYS
    start: Start = "state"
    begins_within_steps = True
    rate_hz = 1 / CONTROL_DT_S

    @property
    def horizon(self) -> int:
        """Control steps of an episode."""
        return self.level.horizon

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras, the level's own first."""
        own = self.level.camera
        return own, *(name for name in CAMERAS if name != own)

    def frame_shape(self, camera: str) -> None:
        """Return None, since every size can be drawn."""
        del camera

    def proprio_keys(self) -> tuple[str, ...]:
        """Return position and width of the gripper, and joints or orientation where needed."""
        joints = ("joint_pos",) if self.control == "joint_delta" else ()
        orientation = ("ee_quat",) if self.level.yaw_range_rad > 0 else ()
        return ("ee_pos", "gripper_width", *joints, *orientation)


class PickCubeTask:
    """All levels of pick-cube; the level is one of the environment's arguments."""

    def make(self, env_kwargs: Mapping[str, Any]) -> PickCubeTaskEnv:
        """Return an environment from arguments of ``PickCubeEnv``."""
        return PickCubeTaskEnv(**env_kwargs)

    def expert_of(self, env: Any) -> Expert:
        """Return the scripted expert."""
        if env.control == "joint_delta":
            return JointSpaceExpert(env.level, env.kinematics).action
        return ScriptedExpert(env.level).action

    def noise_of(self, env: Any, seed: int) -> Callable[[np.ndarray], np.ndarray]:
        """Return the execution noise of one demonstration."""
        return noisy_execution(np.random.default_rng([seed, 1]), EXECUTION_NOISE[env.control])
