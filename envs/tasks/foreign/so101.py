"""Tasks of the package ``lerobot-env-so101``: an SO-101 arm picks a cube, or places it at a goal.

The scenes, the physics, success and, for placing, the expert are the package's. Frames are drawn
here, without shadows and multisampling, which take most of a frame's time in software; the goal of
placing, which the package draws nowhere, is a green square on the table.
"""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import importlib
from typing import Any

import gymnasium
import mujoco
import numpy as np

from s2robot.envs.tasks.foreign.package_versions import Package, import_package
from s2robot.envs.tasks.foreign.simulation import (
    Camera,
    add_shape,
    check_size,
    full_state,
    restore_full_state,
)
from s2robot.envs.tasks.gymnasium_env import RawExpert
from s2robot.envs.tasks.gymnasium_task import GymnasiumTask

PACKAGE = Package("lerobot-env-so101", "0.4.0", "lerobot_env_so101", "so101")
"""Release 0.4 turned the sign of the gripper."""
FRAME_PX = 128
ACTION_SCALE_M = 0.025
"""Motion of the grasp point per unit of an action [m]; the package's expert is made for it."""
_MARKER_M = (0.03, 0.03, 0.0005)
"""Half sizes of the square of the goal [m]; the cube may rest 0.03 m from its middle."""
_MARKER_RGBA = (0.1, 0.8, 0.2, 1.0)


class _Drawn(gymnasium.Wrapper):
    """The package's environment with frames of its camera ``front``, and with the goal in them."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        inner: Any = self.unwrapped
        self._camera = Camera(inner.model, FRAME_PX)

    def render(self) -> Any:
        """Return the present frame (128, 128, 3) uint8 RGB, upright."""
        inner: Any = self.unwrapped
        goal = getattr(inner, "goal_pos", None)
        draw_goal = None if goal is None else lambda scene: _draw_goal(scene, goal)
        return self._camera.frame(inner.data, "front", draw_goal)

    def close(self) -> None:
        """Free the renderer and the environment."""
        self._camera.close()
        super().close()


def _draw_goal(scene: Any, goal: np.ndarray) -> None:
    """Add a square on the table below a goal (3,) [m] to a scene."""
    place = (goal[0], goal[1], _MARKER_M[2])
    add_shape(scene, mujoco.mjtGeom.mjGEOM_BOX, _MARKER_M, place, _MARKER_RGBA)


class _SO101Task(GymnasiumTask):
    """What both tasks share; initial conditions are full states."""

    success_key = "succeed"
    proprio = ("agent_pos",)
    action_names = ("dx", "dy", "dz", "gripper")
    noise = 0.1
    id_in_package = ""

    def environment(self, horizon: int | None) -> gymnasium.Env:
        """Return the environment, with the cube (and the goal) at a random place."""
        self.check_installed()
        limit: dict[str, Any] = {} if horizon is None else {"max_episode_steps": horizon}
        env = gymnasium.make(
            f"lerobot_env_so101/{self.id_in_package}",
            random_block_position=True,
            action_scale=ACTION_SCALE_M,
            top_down_ik=True,
            jaw_pads=True,
            **limit,
        )
        return _Drawn(env)

    def check_installed(self) -> None:
        """Import the package.

        Raises:
            ValueError: it is missing, or of a release that is not known.
        """
        import_package(PACKAGE, self.name)

    def get_state(self, env: gymnasium.Env) -> np.ndarray:
        """Return the goal's x and y [m] (zeros where there is none), then MuJoCo's own state."""
        inner: Any = env.unwrapped
        goal = inner.goal_pos[:2] if hasattr(inner, "goal_pos") else np.zeros(2)
        return np.concatenate([goal, full_state(inner.model, inner.data)])

    def set_state(self, env: gymnasium.Env, state: np.ndarray) -> Any:
        """Return to the start of an episode, of an environment that was just reset."""
        inner: Any = env.unwrapped
        check_size(len(state), len(self.get_state(env)), self.name, PACKAGE.distribution)
        restore_full_state(inner.model, inner.data, state[2:])
        if hasattr(inner, "goal_pos"):
            inner._goal_pos = np.array([*state[:2], inner._block_z])
        return inner._compute_observation()


class SO101PickPlace(_SO101Task):
    """The arm carries the cube to a green square and lets go; with the package's own expert."""

    id_in_package = "SO101PickPlace-v0"
    horizon = 120  # the expert needs about 50, the package allows 300

    def expert(self, env: gymnasium.Env) -> RawExpert:
        """Return the package's scripted controller, which reads cube and goal."""
        inner: Any = env.unwrapped
        controller = _controller()
        return lambda _: controller.act(inner.ik_point_pos, _cube(inner), inner.goal_pos)


class SO101PickCube(_SO101Task):
    """The arm lifts the cube by 0.1 m.

    The package's expert for this task closes the gripper and lifts nothing, so the one for placing
    grasps, and the gripper then rises. As in placing, the gripper points down and its fingertips
    have pads; with the package's defaults, the jaws cannot stand on both sides of the cube.
    """

    id_in_package = "SO101PickCube-v0"

    def expert(self, env: gymnasium.Env) -> RawExpert:
        """Return an expert that grasps as the package's controller does, then rises."""
        inner: Any = env.unwrapped
        controller = _controller()
        scripted = importlib.import_module("lerobot_env_so101.scripted.pick_place")
        grasping = (scripted.Phase.HOVER, scripted.Phase.DESCEND, scripted.Phase.CLOSE)
        rise = np.array([0.0, 0.0, scripted.CAREFUL_SPEED, scripted.GRIPPER_CLOSED])

        def act(_: Any) -> np.ndarray:
            action = controller.act(inner.ik_point_pos, _cube(inner), _cube(inner))
            return action if controller.phase in grasping else rise

        return act


def _cube(inner: Any) -> np.ndarray:
    return inner.data.sensor("block_pos").data


def _controller() -> Any:
    scripted = importlib.import_module("lerobot_env_so101.scripted.pick_place")
    return scripted.PickPlaceController(ACTION_SCALE_M)
