"""Pick-cube with the observations, info and attributes that LeRobot's commands read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from s2robot.data.task_facts import PICK_CUBE_TASK
from s2robot.envs.levels import CAMERAS
from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.envs.pick_cube_sim import LOW_DIM
from s2robot.errors import unknown

GYM_ID = "lerobot_env_s2robot/PickCube-v0"
STATE_KEYS = ("joint_pos", "joint_vel", "gripper_width", "ee_pos", "ee_quat")
"""Measurements of ``observation.state`` by default, in the order of `s2robot export-dataset`."""


class LeRobotPickCubeEnv(gym.Env):
    """``PickCubeEnv`` behind LeRobot's names.

    | key | shape | LeRobot calls it |
    |---|---|---|
    | pixels: camera | (H, W, 3) uint8 RGB | observation.images.CAMERA |
    | agent_pos | (P,) float32, the state keys in order | observation.state |
    | each state key | its own | observation.KEY |

    Seeds, starts, actions, ends and ``info["is_success"]``, in the info of each step, are those of
    ``PickCubeEnv``. Episodes last ``horizon`` steps, so environments of one batch end together.

    Args:
        level: as ``PickCubeEnv`` takes it.
        control: ``ee_delta`` or ``joint_delta``.
        cameras: names, at least one.
        image_size: side of the pictures [px].
        state_keys: measurements of ``agent_pos``.
        horizon: steps of an episode; None for the level's own.
        render_mode: ``rgb_array``.
        quality: of the pictures, as ``PickCubeEnv`` takes it.

    Raises:
        ValueError: an unknown level, control, camera or measurement.
    """

    metadata = PickCubeEnv.metadata
    task = "pick-cube"
    task_description = PICK_CUBE_TASK

    def __init__(
        self,
        level: str = "easy",
        control: str = "ee_delta",
        cameras: Sequence[str] = ("front",),
        image_size: int = 384,
        state_keys: Sequence[str] = STATE_KEYS,
        horizon: int | None = None,
        render_mode: str | None = "rgb_array",
        quality: Mapping[str, int] | None = None,
    ) -> None:
        self.cameras, self.state_keys = tuple(cameras), tuple(state_keys)
        self.render_mode = render_mode
        if not self.cameras:
            raise ValueError("cameras is empty; allowed: one or more of front, far, wrist")
        for camera in self.cameras:
            if camera not in CAMERAS:
                raise unknown("camera", camera, CAMERAS)
        for key in self.state_keys:
            if key not in LOW_DIM:
                raise unknown("measurement in state_keys", key, LOW_DIM)
        first = self.cameras[0]
        self._env = PickCubeEnv(level, control, first, image_size, horizon=horizon, quality=quality)
        self._size = self._env.image_shape
        self._shown: np.ndarray | None = None
        self.action_space = self._env.action_space
        self.observation_space = self._space()

    @property
    def action_size(self) -> int:
        """Entries of an action."""
        return int(self.action_space.shape[0])  # pyright: ignore[reportOptionalSubscript]

    @property
    def _max_episode_steps(self) -> int:
        return self._env.level.horizon

    def _space(self) -> spaces.Dict:
        pixels: dict[str, spaces.Space] = {
            name: spaces.Box(0, 255, (*self._size, 3), np.uint8) for name in self.cameras
        }
        sizes = {key: LOW_DIM[key] for key in self.state_keys}
        low = {"agent_pos": sum(sizes.values()), **sizes}
        return spaces.Dict(
            {
                "pixels": spaces.Dict(pixels),
                **{k: spaces.Box(-np.inf, np.inf, (n,), np.float32) for k, n in low.items()},
            }
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode.

        Args:
            seed: of the random stream; None continues it.
            options: those of LeRobot's rollouts, which change nothing here.
        """
        del options
        super().reset(seed=seed)
        observation, info = self._env.reset(seed=seed)
        return self._seen(observation), info

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Carry an action out for 0.2 s."""
        observation, reward, terminated, truncated, info = self._env.step(action)
        return self._seen(observation), reward, terminated, truncated, info

    def _seen(self, observation: Mapping[str, np.ndarray]) -> dict[str, Any]:
        pixels = {name: self._env.render_frame(name, *self._size) for name in self.cameras[1:]}
        self._shown = observation["image"]
        low = {key: observation[key] for key in self.state_keys}
        state = np.concatenate([*low.values(), np.zeros(0, np.float32)])
        return {"pixels": {self.cameras[0]: self._shown, **pixels}, "agent_pos": state, **low}

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """Return the last picture of the first camera."""
        return None if self._shown is None else self._shown.copy()

    def close(self) -> None:
        """Release the simulator."""
        self._env.close()


gym.register(id=GYM_ID, entry_point=f"{__name__}:LeRobotPickCubeEnv")
