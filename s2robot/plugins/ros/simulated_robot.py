"""Simulated robot for trials of a node: pick-cube in continuous time, without ROS."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from s2robot.envs.controllers import CONTROL_DT_S
from s2robot.envs.levels import get_level
from s2robot.envs.panda import ARM_JOINTS, FINGER_JOINTS
from s2robot.envs.pick_cube import STAGES, PickCubeEnv
from s2robot.errors import unknown
from s2robot.evaluation.initial_states import FIRST_SEEDS
from s2robot.policies.checkpoint import read_header, require_known_actions
from s2robot.utils.config import from_config
from s2robot.utils.validation import require_finite, require_positive

JOINT_NAMES = tuple(f"panda_{name}" for name in (*ARM_JOINTS, *FINGER_JOINTS))
PAUSE_S = 0.6
"""Time without frames between two episodes [s], after which a policy forgets its history."""


@dataclass(frozen=True)
class RobotConfig:
    """Parameters of a simulated robot; "" and 0 stand for "not given".

    Raises:
        ValueError: a value is out of its range.
    """

    policy: str = ""
    """Policy file that defines the task, the camera and the frames."""
    level: str = "easy"
    """Level of the task without a policy; see ``s2robot.envs.levels``."""
    control: str = "ee_delta"
    """Action space without a policy, ee_delta or joint_delta."""
    camera: str = ""
    """Name of the camera; "" is the policy's, or the level's own."""
    height: int = 0
    """Height of frames [px]; 0 is the policy's, or 480."""
    width: int = 0
    """Width of frames [px]; 0 is the policy's, or 640."""
    camera_hz: float = 30.0
    joint_hz: float = 100.0
    speed: float = 1.0
    """Simulated seconds per second; below 1 if rendering is slow, with simulated time."""
    seed: int = FIRST_SEEDS["test"]
    """Seed of the first episode; by default the seeds are those of `s2robot eval`, in order."""
    episodes: int = 0
    """Number of episodes; 0 is no limit."""
    seconds: float = 0.0
    """Longest time of an episode from its first frame [s]; 0 is that of `s2robot eval`."""
    synchronous: bool = False
    """Whether the world stands still until the action on its last frame is here, which needs
    simulated time. There is one frame each control period then, and ``camera_hz``, ``joint_hz`` and
    ``speed`` are not used."""
    wait_s: float = 10.0
    """Longest wait for such an action by the wall clock [s]; then the arm rests for a period. The
    node's ``stale_s`` should be as long."""

    def __post_init__(self) -> None:
        rates = ("camera_hz", "joint_hz", "speed", "wait_s")
        require_positive(self, *rates)
        require_finite(self, 0, *rates, "height", "width", "episodes", "seed", "seconds")

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> RobotConfig:
        """Build a configuration from a node's parameters by name.

        Raises:
            ValueError: a parameter is unknown or has a bad value.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        for name in parameters:
            if name not in names:
                raise unknown("parameter", name, names)
        return from_config(cls, parameters)


@dataclass(frozen=True)
class Episode:
    """Outcome of an episode."""

    seed: int
    success: bool
    stage: str
    """Furthest stage: none, reach, grasp, lift or success."""
    seconds: float
    """Simulated time from its first frame to success, or to its end [s]."""
    actions: int
    missed: int = 0
    """Frames on which no action came in time, where the world waits for actions."""


class SimulatedRobot:
    """Simulated robot with one arm, one camera and one cube. One thread at a time may use it.

    Args:
        config: parameters of the robot.

    Raises:
        ValueError: the level, the control or the camera is unknown.
        FileNotFoundError: there is no such policy file.
        CorruptFileError: the policy file is damaged.
        MismatchError: the policy is one of recorded data, of which no robot is simulated.
    """

    def __init__(self, config: RobotConfig) -> None:
        self.config = config
        self.env, self.camera, self.shape = _build(config)
        self.limit_s = config.seconds or self.env.level.horizon * CONTROL_DT_S
        self._seed = config.seed
        self._clock_s = 0.0
        self._start_s = 0.0
        self._actions = 0
        self.reset()

    @property
    def time_s(self) -> float:
        """Simulated time over all episodes [s]."""
        return self._clock_s

    @property
    def seed(self) -> int:
        """Seed of the current episode."""
        return self._seed

    def reset(self, seed: int | None = None) -> None:
        """Start an episode with the given seed, or the configured one; the clock continues."""
        self._seed = self.config.seed if seed is None else seed
        self.env.reset(seed=self._seed)
        self._start_s, self._actions = self._clock_s, 0

    def act(self, values: np.ndarray) -> None:
        """Start an action (A,) in [-1, 1]; without a next action the arm stops after 0.2 s.

        Raises:
            ValueError: the action is not finite or has another length.
        """
        self.env.begin(values)
        self._actions += 1

    def pass_until(self, time_s: float) -> None:
        """Simulate in whole steps of the physics until a time on the robot's clock [s]."""
        timestep = float(self.env.model.opt.timestep)
        substeps = int((time_s - self._clock_s) / timestep + 1e-6)
        if substeps > 0:
            self.env.advance(substeps)
            self._clock_s += substeps * timestep

    def frame(self) -> np.ndarray:
        """Return a frame of the camera: (H, W, 3) uint8 RGB."""
        return self.env.render_frame(self.camera, *self.shape)

    def joints(self) -> tuple[list[float], list[float]]:
        """Return positions [rad, m] and velocities [rad/s, m/s] in the order of ``JOINT_NAMES``."""
        position, velocity = self.env.joints()
        return position.tolist(), velocity.tolist()

    def ended(self) -> Episode | None:
        """Return the outcome once the cube is lifted or the time is over, else None."""
        info = self.env.info()
        seconds = self._clock_s - self._start_s
        if not info["is_success"] and seconds < self.limit_s:
            return None
        success = info["stage"] == STAGES[-1]
        return Episode(self._seed, success, info["stage"], round(seconds, 3), self._actions)


def _build(config: RobotConfig) -> tuple[PickCubeEnv, str, tuple[int, int]]:
    """Return the environment, the camera's name and the frames' height and width."""
    if not config.policy:
        env = PickCubeEnv(config.level, config.control)
        camera = config.camera or get_level(config.level).camera
        return env, camera, (config.height or 480, config.width or 640)
    header = read_header(config.policy)
    require_known_actions(header)
    kwargs = {**header.env_kwargs, "image_camera": None, "render_mode": None}
    env = PickCubeEnv(**kwargs)
    seen = header.frames.get("camera", {})
    side = seen.get("size", 480)
    camera = config.camera or seen.get("name") or env.level.camera
    return env, camera, (config.height or side, config.width or side)
