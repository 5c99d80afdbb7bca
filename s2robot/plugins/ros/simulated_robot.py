"""A robot to try a node on: pick-cube that moves on by itself, as real ones do. No ROS in here."""

from __future__ import annotations

import dataclasses
import math
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
from s2robot.policies.checkpoint import read_header
from s2robot.utils.config import from_config

JOINT_NAMES = tuple(f"panda_{name}" for name in (*ARM_JOINTS, *FINGER_JOINTS))
PAUSE_S = 0.6
"""Without frames between two episodes: a policy's history ends, and so does what it held."""


@dataclass(frozen=True)
class RobotConfig:
    """Parameters of a simulated robot; "" and 0 stand for "not given".

    Raises:
        ValueError: a value is out of its range.
    """

    policy: str = ""
    """Policy file whose task, camera and frames are taken."""
    level: str = "easy"
    """Without a policy: see ``s2robot.envs.levels``."""
    control: str = "ee_delta"
    """Without a policy: what actions mean, ee_delta or joint_delta."""
    camera: str = ""
    """"" is the policy's, or the level's own."""
    height: int = 0
    """Of frames [px]; 0 is the policy's, or 480."""
    width: int = 0
    """0 is the policy's, or 640."""
    camera_hz: float = 30.0
    joint_hz: float = 100.0
    speed: float = 1.0
    """Simulated seconds a second; below 1 where rendering is slow, with simulated time."""
    seed: int = FIRST_SEEDS["test"]
    """Of the first episode; the default's are those of `s2robot eval`, in order."""
    episodes: int = 0
    """How many; 0 for no end."""
    seconds: float = 0.0
    """Longest time of an episode, from its first frame; 0 is what `s2robot eval` gives it."""

    def __post_init__(self) -> None:
        for name in ("camera_hz", "joint_hz", "speed"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}; allowed: a finite number above 0")
        for name in ("height", "width", "episodes", "seed", "seconds"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 0 or more")

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> RobotConfig:
        """Of a node's parameters by name.

        Raises:
            ValueError: an unknown parameter, or a bad value.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        for name in parameters:
            if name not in names:
                raise unknown("parameter", name, names)
        return from_config(cls, parameters)


@dataclass(frozen=True)
class Episode:
    """How an episode went."""

    seed: int
    success: bool
    stage: str
    """The furthest: none, reach, grasp, lift, success."""
    seconds: float
    """From its first frame to success, or to its end [simulated s]."""
    actions: int


class SimulatedRobot:
    """One arm, one camera, one cube. One thread at a time may use it.

    Args:
        config: see there.

    Raises:
        ValueError: there is no such level, control or camera.
        FileNotFoundError, CorruptFileError: of the policy's file.
    """

    def __init__(self, config: RobotConfig) -> None:
        self.config = config
        self.env, self.camera, self.shape = _build(config)
        self.limit_s = config.seconds or self.env.level.horizon * CONTROL_DT_S
        self._seed = config.seed
        self._clock_s = 0.0
        self._began_s = 0.0
        self._actions = 0
        self.reset()

    @property
    def time_s(self) -> float:
        """Simulated seconds, over all episodes."""
        return self._clock_s

    @property
    def seed(self) -> int:
        """Of this episode."""
        return self._seed

    def reset(self, seed: int | None = None) -> None:
        """Begin an episode; the clock goes on."""
        self._seed = self.config.seed if seed is None else seed
        self.env.reset(seed=self._seed)
        self._began_s, self._actions = self._clock_s, 0

    def act(self, values: np.ndarray) -> None:
        """Set out on an action (A,) in [-1, 1]; without a next one the arm rests after 0.2 s.

        Raises:
            ValueError: not finite, or of another length.
        """
        self.env.begin(values)
        self._actions += 1

    def pass_until(self, time_s: float) -> None:
        """Let simulated time pass, in whole steps of the physics."""
        timestep = float(self.env.model.opt.timestep)
        substeps = int((time_s - self._clock_s) / timestep + 1e-6)
        if substeps > 0:
            self.env.advance(substeps)
            self._clock_s += substeps * timestep

    def frame(self) -> np.ndarray:
        """What the camera sees: (H, W, 3) uint8 RGB."""
        return self.env.render_frame(self.camera, *self.shape)

    def joints(self) -> tuple[list[float], list[float]]:
        """Positions [rad, m] and velocities [rad/s, m/s] in the order of ``JOINT_NAMES``."""
        position, velocity = self.env.joints()
        return position.tolist(), velocity.tolist()

    def ended(self) -> Episode | None:
        """How the episode went, once the cube is up or its time is over."""
        info = self.env.info()
        seconds = self._clock_s - self._began_s
        if not info["is_success"] and seconds < self.limit_s:
            return None
        success = info["stage"] == STAGES[-1]
        return Episode(self._seed, success, info["stage"], round(seconds, 3), self._actions)


def _build(config: RobotConfig) -> tuple[PickCubeEnv, str, tuple[int, int]]:
    """The environment, the camera's name and the frames' height and width."""
    if not config.policy:
        env = PickCubeEnv(config.level, config.control)
        camera = config.camera or get_level(config.level).camera
        return env, camera, (config.height or 480, config.width or 640)
    header = read_header(config.policy)
    kwargs = {**header.env_kwargs, "image_camera": None, "render_mode": None}
    env = PickCubeEnv(**kwargs)
    seen = header.frames.get("camera", {})
    side = seen.get("size", 480)
    camera = config.camera or seen.get("name") or env.level.camera
    return env, camera, (config.height or side, config.width or side)
