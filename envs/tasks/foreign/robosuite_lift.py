"""Task ``Lift`` of robosuite: a Panda arm lifts a cube from a table.

The scene, the controller, physics and success are robosuite's. Frames are drawn here, upright. The
expert is this package's own.
"""

from __future__ import annotations

import importlib
import logging
from typing import Any

import gymnasium
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

PACKAGE = Package("robosuite", "1.5.2", "robosuite", "robosuite", mujoco_below=(3, 9))
FRAME_PX = 128
RATE_HZ = 20
HORIZON = 100
CAMERAS = {"agentview": "agentview", "wrist": "robot0_eye_in_hand"}
"""Names of the cameras here, and in robosuite's scene."""
_COLLISION_SHAPES = 0
_STEP_M, _STEP_RAD = 0.05, 0.5
"""Motion of the controller's goal per unit of an action."""


class LiftEnv(gymnasium.Env):
    """robosuite's Lift with Gymnasium's interface, seeds that count, and frames of two cameras.

    robosuite's own wrapper for Gymnasium passes no seed on to the scene. The scene is built once,
    with the cube of seed 0; robosuite draws the cube's edges anew, in 40-44 mm, at each reset.

    Args:
        horizon: control steps of an episode.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": RATE_HZ}

    def __init__(self, horizon: int) -> None:
        self.suite = _suite(horizon)
        low, high = self.suite.action_spec
        self.action_space = spaces.Box(low.astype(np.float32), high.astype(np.float32))
        self.observation_space = spaces.Dict({})
        self.render_mode = "rgb_array"
        self._camera = Camera(self.model, FRAME_PX, hidden_groups=(_COLLISION_SHAPES,))

    @property
    def model(self) -> Any:
        """MuJoCo's model."""
        return self.suite.sim.model._model

    @property
    def data(self) -> Any:
        """MuJoCo's data."""
        return self.suite.sim.data._data

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Start an episode; cube and joints depend on the seed alone."""
        super().reset(seed=seed, options=options)
        self.suite.rng = self.suite.placement_initializer.rng = self.np_random
        self.suite.reset()
        return self.restore(full_state(self.model, self.data)), {}

    def restore(self, state: np.ndarray) -> dict[str, np.ndarray]:
        """Return to a state of MuJoCo, of an environment that was just reset.

        Controllers keep what they saw when they were made, such as the posture that they return
        to. robosuite makes them before it opens the gripper; here they are made after it.
        """
        restore_full_state(self.model, self.data, state)
        robot = self.suite.robots[0]
        robot._load_controller()
        robot.composite_controller.update_state()
        robot.composite_controller.reset()
        restore_full_state(self.model, self.data, state)
        for observable in self.suite._observables.values():
            observable.reset()  # its clock, which says when in a control step it is read
        return _observation(self.suite._get_observations(force_update=True))

    def step(self, action: np.ndarray) -> Any:
        """Carry out an action (7,): motion of the gripper, its turn, closing, in [-1, 1]."""
        raw, reward, _, _ = self.suite.step(np.asarray(action, np.float64))
        info = {"is_success": bool(self.suite._check_success())}
        return _observation(raw), float(reward), False, self.suite.done, info

    def render(self) -> Any:
        """Return the frame of the first camera."""
        return self.picture(next(iter(CAMERAS)))

    def picture(self, camera: str) -> np.ndarray:
        """Return the present frame (128, 128, 3) uint8 RGB of a camera, upright."""
        return self._camera.frame(self.data, CAMERAS[camera])

    def close(self) -> None:
        """Free the renderer and the simulation."""
        self._camera.close()
        self.suite.close()


class RobosuiteLift(GymnasiumTask):
    """The arm lifts the cube by 0.04 m above the table top; initial conditions are full states."""

    success_key = "is_success"
    proprio = ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos")
    action_names = ("dx", "dy", "dz", "drx", "dry", "drz", "gripper")
    horizon = HORIZON
    noise = 0.1
    drawn_cameras = tuple(CAMERAS)

    def environment(self, horizon: int | None) -> gymnasium.Env:
        """Return the environment."""
        self.check_installed()
        return LiftEnv(horizon or HORIZON)

    def check_installed(self) -> None:
        """Import robosuite.

        Raises:
            ValueError: it is missing, or of another release, or MuJoCo is too new for it.
        """
        _silence()
        import_package(PACKAGE, self.name)

    def draw(self, env: Any, camera: str) -> np.ndarray:
        """Return the present frame of a camera."""
        return env.picture(camera)

    def get_state(self, env: Any) -> np.ndarray:
        """Return MuJoCo's state; at the start of an episode, the controllers follow from it."""
        return full_state(env.model, env.data)

    def set_state(self, env: Any, state: np.ndarray) -> Any:
        """Return to the start of an episode, of an environment that was just reset."""
        check_size(len(state), len(self.get_state(env)), self.name, PACKAGE.distribution)
        return env.restore(state)

    def expert(self, env: Any) -> RawExpert:
        """Return an expert that grasps the cube along its edges, from above, and rises."""
        grasp, suite = TopGrasp(), env.suite
        robot = suite.robots[0]
        site = robot.eef_site_id["right"]

        def act(_: Any) -> np.ndarray:
            tool = np.array(suite.sim.data.site_xpos[site])
            cube = np.array(suite.sim.data.body_xpos[suite.cube_body_id])
            rotation = suite.sim.data.body_xmat[suite.cube_body_id]
            turn = _turn(suite.sim.data.site_xmat[site], rotation)
            way, closed = grasp.step(tool, cube, turned=float(np.abs(turn).max()) < 0.1)
            if way is None:
                way = np.array([0.0, 0.0, _STEP_M])
            motion = np.clip(np.concatenate([way / _STEP_M, turn / _STEP_RAD]), -1.0, 1.0)
            return np.append(motion, 1.0 if closed else -1.0)

        return act


def _turn(tool: np.ndarray, cube: np.ndarray) -> np.ndarray:
    """Return the rotation (3,) [rad] in the world that points the gripper down, along the cube.

    Args:
        tool: rotation matrix (9,) of the gripper, whose z axis is its direction.
        cube: rotation matrix (9,) of the cube.
    """
    now = tool.reshape(3, 3)
    yaw = np.arctan2(now[1, 0], now[0, 0])
    edge = cube.reshape(3, 3)[:, 0]
    quarter = np.pi / 2
    away = (np.arctan2(edge[1], edge[0]) - yaw + quarter / 2) % quarter - quarter / 2
    x = np.array([np.cos(yaw + away), np.sin(yaw + away), 0.0])
    z = np.array([0.0, 0.0, -1.0])
    wanted = np.stack([x, np.cross(z, x), z], axis=1)
    return Rotation.from_matrix(wanted @ now.T).as_rotvec()


def _observation(raw: Any) -> dict[str, np.ndarray]:
    """Return robosuite's observations without the concatenated ones."""
    return {key: value for key, value in raw.items() if not key.endswith("-state")}


def _silence() -> None:
    """Keep robosuite from printing hints about its settings on each import and each scene."""
    logging.getLogger("robosuite_logs").addFilter(_only_errors)


def _only_errors(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


def _suite(horizon: int) -> Any:
    lift = importlib.import_module("robosuite").make
    return lift(
        "Lift",
        robots="Panda",
        has_renderer=False,
        has_offscreen_renderer=False,
        use_camera_obs=False,
        use_object_obs=True,
        control_freq=RATE_HZ,
        horizon=horizon,
        hard_reset=False,
        seed=0,
    )
