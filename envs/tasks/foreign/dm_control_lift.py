"""Task ``lift_brick`` of dm_control: a Jaco arm lifts a brick.

The scene and physics are dm_control's. Frames and the observations of a policy are made here from
its physics, since its own observations have the place of the brick among them. The expert is this
package's own.
"""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import importlib
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium import spaces
from scipy.spatial.transform import Rotation

from s2robot.envs.tasks.foreign.package_versions import Package, import_package
from s2robot.envs.tasks.foreign.picking import TopGrasp
from s2robot.envs.tasks.foreign.simulation import (
    Camera,
    check_size,
    full_state,
    restore_full_state,
)
from s2robot.envs.tasks.gymnasium_env import RawExpert
from s2robot.envs.tasks.gymnasium_task import GymnasiumTask

PACKAGE = Package("dm_control", "1.0.50", "dm_control.manipulation", "dm-control")
FRAME_PX = 128
RATE_HZ = 25
HORIZON = 250
CAMERA = "front_close"
_GAIN_HZ, _FASTEST_M_S, _DAMPING = 4.0, 0.25, 0.05
"""Of the expert: velocity per distance, largest velocity, damping of the inverse Jacobian."""
_FINGERS_RAD_S = 5.0


class LiftBrickEnv(gymnasium.Env):
    """dm_control's task with Gymnasium's interface; seeds count, and states can be restored.

    Actions are velocities of the six joints of the arm [rad/s] and of the three fingers.

    Args:
        horizon: control steps of an episode.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": RATE_HZ}

    def __init__(self, horizon: int) -> None:
        composer = importlib.import_module("dm_control.composer")
        lift = importlib.import_module("dm_control.manipulation.lift")
        self.task = lift.lift_brick_features()
        self.suite = composer.Environment(
            self.task, time_limit=float("inf"), recompile_mjcf_every_episode=False
        )
        bounds = self.suite.action_spec()
        low, high = bounds.minimum.astype(np.float32), bounds.maximum.astype(np.float32)
        self.action_space = spaces.Box(low, high)
        self.observation_space = spaces.Dict({})
        self.render_mode = "rgb_array"
        self._horizon, self._steps = horizon, 0
        self._camera = Camera(self.model, FRAME_PX)

    @property
    def model(self) -> Any:
        """MuJoCo's model."""
        return self.suite.physics.model.ptr

    @property
    def data(self) -> Any:
        """MuJoCo's data."""
        return self.suite.physics.data.ptr

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Start an episode; brick, arm and fingers depend on the seed alone."""
        super().reset(seed=seed, options=options)
        if seed is not None:
            self.suite.random_state.seed(seed)
        self.suite.reset()
        self.restore(self.state())
        return self.observation(), {}

    def state(self) -> np.ndarray:
        """Return the height to lift to [m], then MuJoCo's own state."""
        return np.append(self.task._target_height, full_state(self.model, self.data))

    def restore(self, state: np.ndarray) -> None:
        """Return to the start of an episode, of an environment that was just reset."""
        self.task._target_height = float(state[0])
        restore_full_state(self.model, self.data, state[1:])
        self._steps = 0

    def observation(self) -> dict[str, np.ndarray]:
        """Return what the robot knows: joints as sines and cosines, fingers [rad], tool [m]."""
        bind = self.suite.physics.bind
        joints = np.array(bind(self.task.arm.joints).qpos)
        tool = bind(self.task.hand.tool_center_point)
        return {
            "joints": np.concatenate([np.sin(joints), np.cos(joints)]),
            "fingers": np.array(bind(self.task.hand.joints).qpos),
            "tool_pos": np.array(tool.xpos),
            "tool_rotation": np.array(tool.xmat).reshape(3, 3)[:, :2].ravel(),
        }

    def step(self, action: np.ndarray) -> Any:
        """Carry out an action (9,); success is the reward of 1, at the height to lift to."""
        moment = self.suite.step(np.asarray(action, np.float64))
        self._steps += 1
        reward = float(moment.reward or 0.0)
        over = self._steps >= self._horizon or moment.last()
        return self.observation(), reward, False, over, {"is_success": reward >= 1.0}

    def render(self) -> Any:
        """Return the present frame (128, 128, 3) uint8 RGB, upright."""
        return self._camera.frame(self.data, CAMERA)

    def close(self) -> None:
        """Free the renderer and the simulation."""
        self._camera.close()
        self.suite.close()


class LiftBrick(GymnasiumTask):
    """The arm lifts the brick by 0.3 m; initial conditions are full states."""

    success_key = "is_success"
    horizon = HORIZON
    noise = 0.1
    drawn_cameras = (CAMERA,)

    def environment(self, horizon: int | None) -> gymnasium.Env:
        """Return the environment."""
        self.check_installed()
        return LiftBrickEnv(horizon or HORIZON)

    def check_installed(self) -> None:
        """Import dm_control.

        Raises:
            ValueError: it is missing, or of another release.
        """
        import_package(PACKAGE, self.name)

    def draw(self, env: Any, camera: str) -> np.ndarray:
        """Return the present frame."""
        del camera  # there is one
        return env.render()

    def get_state(self, env: Any) -> np.ndarray:
        """Return the height to lift to [m], then MuJoCo's own state."""
        return env.state()

    def set_state(self, env: Any, state: np.ndarray) -> Any:
        """Return to the start of an episode, of an environment that was just reset."""
        check_size(len(state), len(env.state()), self.name, PACKAGE.distribution)
        env.restore(state)
        return env.observation()

    def expert(self, env: Any) -> RawExpert:
        """Return an expert that grasps the brick across its short side, from above, and rises."""
        grasp = TopGrasp(hover_m=0.12, aligned_m=0.008, closing_steps=32, lost_m=0.06)
        bind, task = env.suite.physics.bind, env.task
        brick = task._prop.mjcf_model.find("site", "bounding_box")
        joints = bind(task.arm.joints).dofadr
        site = bind(task.hand.tool_center_point).element_id

        def act(_: Any) -> np.ndarray:
            tool, thing = bind(task.hand.tool_center_point), bind(brick)
            turn = _turn(np.array(tool.xmat), np.array(thing.xmat))
            turned = float(np.abs(turn).max()) < 0.15
            way, closed = grasp.step(np.array(tool.xpos), np.array(thing.xpos), turned)
            if way is None:
                way, turn = np.array([0.0, 0.0, 0.05]), 0.3 * turn
            speed = way * _GAIN_HZ
            speed *= min(1.0, _FASTEST_M_S / max(float(np.linalg.norm(speed)), 1e-9))
            twist = np.concatenate([speed, turn * _GAIN_HZ / 2])
            arm = _joint_speeds(env.model, env.data, site, joints, twist)
            fast = float(np.abs(arm / env.action_space.high[:6]).max())
            return np.append(arm / max(fast, 1.0), [_FINGERS_RAD_S * (1 if closed else -1)] * 3)

        return act


def _turn(tool: np.ndarray, brick: np.ndarray) -> np.ndarray:
    """Return the rotation (3,) [rad] in the world that points the hand down, across the brick.

    Args:
        tool: rotation matrix (9,) of the hand, whose z axis is its direction, and along whose x
            axis the fingers close.
        brick: rotation matrix (9,) of the brick, whose short side is x.
    """
    now, side = tool.reshape(3, 3), brick.reshape(3, 3)[:, 0]
    yaw = np.arctan2(now[1, 0], now[0, 0])
    away = (np.arctan2(side[1], side[0]) - yaw + np.pi / 2) % np.pi - np.pi / 2
    x = np.array([np.cos(yaw + away), np.sin(yaw + away), 0.0])
    z = np.array([0.0, 0.0, -1.0])
    return Rotation.from_matrix(np.stack([x, np.cross(z, x), z], axis=1) @ now.T).as_rotvec()


def _joint_speeds(model: Any, data: Any, site: int, joints: Any, twist: np.ndarray) -> np.ndarray:
    """Return speeds of joints [rad/s] that move a site by a twist (6,) [m/s, rad/s]."""
    position, rotation = np.zeros((3, model.nv)), np.zeros((3, model.nv))
    mujoco.mj_jacSite(model, data, position, rotation, site)
    jacobian = np.concatenate([position, rotation])[:, joints]
    damped = jacobian @ jacobian.T + _DAMPING**2 * np.eye(6)
    return jacobian.T @ np.linalg.solve(damped, twist)
