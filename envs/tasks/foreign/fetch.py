"""Task ``FetchPickAndPlace`` of gymnasium-robotics: a Fetch arm carries a block to a goal.

The scene, physics and success are the package's. Frames are drawn here: the package's own
``render`` brings the places of bodies up to date, from which the next action starts, so that an
episode that is looked at goes on otherwise than one that is not; in its frames the block is small.
The expert is this package's own.
"""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from typing import Any

import gymnasium
import mujoco
import numpy as np

from s2robot.envs.tasks.foreign.package_versions import Package, import_package
from s2robot.envs.tasks.foreign.picking import TopGrasp
from s2robot.envs.tasks.foreign.simulation import (
    Camera,
    add_shape,
    check_size,
    full_state,
    restore_full_state,
)
from s2robot.envs.tasks.gymnasium_env import RawExpert
from s2robot.envs.tasks.gymnasium_task import GymnasiumTask

PACKAGE = Package(
    "gymnasium-robotics", "1.4.2", "gymnasium_robotics", "fetch", mujoco_below=(3, 12)
)
ENV_ID = "FetchPickAndPlace-v4"
FRAME_PX = 128
_GRIP, _OBJECT, _FINGERS = slice(0, 3), slice(3, 6), slice(9, 11)
"""Parts of the package's observation: gripper and block [m], opening of both fingers [m]."""
_VIEW = {"distance": 1.15, "azimuth": 132.0, "elevation": -32.0, "lookat": (1.32, 0.75, 0.5)}
_GOAL_RADII_M = (0.02, 0.02, 0.02)
_GOAL_RGBA = (1.0, 0.1, 0.1, 1.0)
_STEP_M = 0.05
"""Motion of the gripper's goal per unit of an action."""


class _Split(gymnasium.Wrapper):
    """The package's environment, with what a robot knows apart from the place of the block."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        inner: Any = self.unwrapped
        self._camera = Camera(inner.model, FRAME_PX)
        self._view = _free_camera()
        site = mujoco.mj_name2id(inner.model, mujoco.mjtObj.mjOBJ_SITE, "target0")
        inner.model.site_rgba[site] = 0.0  # it is at the goal only after the package's own render

    def reset(self, **given: Any) -> Any:
        """Start an episode."""
        raw, info = self.env.reset(**given)
        return split_observation(raw), info

    def step(self, action: np.ndarray) -> Any:
        """Carry out an action (4,): motion of the gripper, opening, in [-1, 1]."""
        raw, reward, terminated, truncated, info = self.env.step(action)
        return split_observation(raw), reward, terminated, truncated, info

    def render(self) -> Any:
        """Return the present frame (128, 128, 3) uint8 RGB, upright, with the goal in it."""
        inner: Any = self.unwrapped
        goal, ball = np.array(inner.goal), mujoco.mjtGeom.mjGEOM_SPHERE

        def draw_goal(scene: Any) -> None:
            add_shape(scene, ball, _GOAL_RADII_M, goal, _GOAL_RGBA)

        return self._camera.frame(inner.data, self._view, draw_goal)

    def close(self) -> None:
        """Free the renderer and the environment."""
        self._camera.close()
        super().close()


def split_observation(raw: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the package's observation with gripper and block by name.

    Args:
        raw: ``observation`` (25,), ``achieved_goal`` (3,) and ``desired_goal`` (3,) [m].
    """
    whole = raw["observation"]
    return {
        "grip_pos": whole[_GRIP],
        "fingers": whole[_FINGERS],
        "desired_goal": raw["desired_goal"],
        "object_pos": whole[_OBJECT],
    }


class FetchPickAndPlace(GymnasiumTask):
    """The block is within 0.05 m of the goal, which lies on the table or in the air.

    The goal is in the frames and, as what the robot is told to do, among the observations of a
    policy. Initial conditions are full states.
    """

    success_key = "is_success"
    proprio = ("grip_pos", "fingers", "desired_goal")
    action_names = ("dx", "dy", "dz", "gripper")
    noise = 0.1
    drawn_cameras = ("front",)

    def environment(self, horizon: int | None) -> gymnasium.Env:
        """Return the environment."""
        self.check_installed()
        limit: dict[str, Any] = {} if horizon is None else {"max_episode_steps": horizon}
        return _Split(gymnasium.make(ENV_ID, render_mode="rgb_array", **limit))

    def check_installed(self) -> None:
        """Import the package, which registers its environments.

        Raises:
            ValueError: it is missing, or of another release, or MuJoCo is too new for it.
        """
        import_package(PACKAGE, self.name)

    def draw(self, env: Any, camera: str) -> np.ndarray:
        """Return the present frame of a camera."""
        del camera  # there is one
        return env.render()

    def get_state(self, env: gymnasium.Env) -> np.ndarray:
        """Return the goal (3,) [m], then MuJoCo's own state."""
        inner: Any = env.unwrapped
        return np.concatenate([inner.goal, full_state(inner.model, inner.data)])

    def set_state(self, env: gymnasium.Env, state: np.ndarray) -> Any:
        """Return to the start of an episode, of an environment that was just reset."""
        inner: Any = env.unwrapped
        check_size(len(state), len(self.get_state(env)), self.name, PACKAGE.distribution)
        inner.goal = np.array(state[:3])
        restore_full_state(inner.model, inner.data, state[3:])
        return split_observation(inner._get_obs())

    def expert(self, env: gymnasium.Env) -> RawExpert:
        """Return an expert that grasps the block from above and carries it to the goal."""
        grasp = TopGrasp(closing_steps=2, lowered_m=0.01)
        inner: Any = env.unwrapped

        def act(seen: Any) -> np.ndarray:
            way, closed = grasp.step(seen["grip_pos"], seen["object_pos"])
            if way is None:
                way = inner.goal - seen["object_pos"]
            return np.append(np.clip(way / _STEP_M, -1.0, 1.0), -1.0 if closed else 1.0)

        return act


def _free_camera() -> Any:
    camera = mujoco.MjvCamera()
    camera.type = mujoco.mjtCamera.mjCAMERA_FREE
    for key in ("distance", "azimuth", "elevation"):
        setattr(camera, key, _VIEW[key])
    camera.lookat[:] = _VIEW["lookat"]
    return camera
