"""``s2robot/PickCube-v0``: a Panda picks a cube off a table, seen through a camera."""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from numbers import Real
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium import spaces

from s2robot.envs.controllers import CONTROL_DT_S
from s2robot.envs.kinematics import ArmKinematics
from s2robot.envs.levels import CAMERAS, CONTROLLERS, Level, get_level
from s2robot.envs.pick_cube_sim import LOW_DIM, STAGES, PickCubeSimulation
from s2robot.envs.rendering import PixelLabels, RenderQuality, renderer
from s2robot.envs.scene import build_scene, compiled_scene
from s2robot.envs.state_checks import checked_options
from s2robot.envs.visual_perturbations import NOMINAL, Appearance, draw_appearance, perturbed_scene
from s2robot.errors import MismatchError, unknown
from s2robot.utils.deprecation import moved_names
from s2robot.utils.provenance import simulation_change
from s2robot.utils.validation import checked_integer

__all__ = ["CONTROLLERS", "CONTROL_DT_S", "STAGES", "PickCubeEnv"]

_RESET_OPTIONS = ("state",)
_REBUILT = ("model", "_sim")  # attributes that a copy builds again
_EPISODE = "_episode"  # key of the simulator's state in a pickle


class PickCubeEnv(gym.Env):
    """Pick a cube off a table and hold it up.

    Observation (dict, float32 unless said; frames are the robot's base frame):

    | key | shape | unit | meaning |
    |---|---|---|---|
    | joint_pos | (7,) | rad | arm joint angles |
    | joint_vel | (7,) | rad/s | arm joint velocities |
    | gripper_width | (1,) | m | distance between the finger pads, 0 to 0.08 |
    | ee_pos | (3,) | m | tool center point (TCP), between the pads |
    | ee_quat | (4,) | - | its orientation, wxyz |
    | cube_pos | (3,) | m | cube center; privileged, for experts and baselines only |
    | cube_quat | (4,) | - | cube orientation, wxyz; privileged |
    | image | (H, W, 3) | uint8 | RGB of ``image_camera``; absent where that is None |

    Action ``Box(-1, 1)``, held for 0.2 s (5 Hz); larger numbers are clipped:

    | control | entries | an entry of 1 means |
    |---|---|---|
    | ee_delta | Δx, Δy, Δz, [Δyaw,] gripper | 0.04 m, [0.2 rad,] open |
    | joint_delta | Δ of joints 1 to 7, gripper | 0.15 rad, open |

    The gripper opens where its entry is above 0 and closes otherwise. Δyaw exists where the
    level's ``yaw_range_rad`` is above 0.

    Episodes start with the TCP within 3 cm of its home along each axis and the cube anywhere in
    the level's ranges, both drawn uniformly by ``np_random``. The reward is 1.0 on each step that
    ends with the cube lifted by ``lift_height_m``. Success does not end an episode: it is truncated
    after ``horizon`` steps.

    Info of each step:

    | key | type | meaning |
    |---|---|---|
    | is_success | bool | the cube is lifted by ``lift_height_m`` or more |
    | reached | bool | the TCP is inside the cube |
    | grasped | bool | both fingers press on the cube sideways |
    | cube_height_m | float | how far the cube has risen above rest [m] |
    | stage | str | furthest stage so far: none, reach, grasp, lift, success |

    Looking at an environment (rendering, ``get_state``, ``info``, copying) does not change its
    episode. A copy (pickle, ``copy.copy``, ``copy.deepcopy``) goes on exactly as the original does,
    with a random stream of its own; it holds no GL context.

    Args:
        level: ``easy`` or ``precise``; with visual perturbations in all episodes ``easy-hard`` or
            ``hard``, in a quarter of them ``easy-mixed`` or ``mixed`` (``s2robot.envs.levels``).
            A seed gives the same start on levels that differ in their appearance alone.
        control: ``ee_delta`` or ``joint_delta``.
        image_camera: ``front``, ``far`` or ``wrist`` adds pictures to the observations.
        image_size: edge of square pictures, or (height, width) [px].
        render_mode: ``rgb_array`` lets ``render()`` draw the same camera (or the level's).
        quality: a ``RenderQuality``, or a mapping of its fields.
        arm_path: MJCF file of another arm with the parts of Menagerie's ``panda.xml``.
        yaw_range_rad: replaces the level's own.
        horizon: replaces the level's own.

    Raises:
        ValueError: an unknown level, control or camera, or a value out of range.

    Examples:
        >>> env = PickCubeEnv("precise")
        >>> observation, info = env.reset(seed=0)
        >>> observation["ee_pos"].shape, env.action_space.shape, info["stage"]
        ((3,), (4,), 'none')
        >>> up = np.array([0.0, 0.0, 1.0, 1.0])  # 0.04 m up, gripper open
        >>> after, reward, terminated, truncated, info = env.step(up)
        >>> rise_m = after["ee_pos"][2] - observation["ee_pos"][2]
        >>> f"{rise_m:.2f}", reward, terminated, truncated
        ('0.04', 0.0, False, False)
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": round(1 / CONTROL_DT_S)}

    def __init__(  # noqa: PLR0913
        self,
        level: str = "easy",
        control: str = "ee_delta",
        image_camera: str | None = None,
        image_size: int | tuple[int, int] = 384,
        render_mode: str | None = None,
        quality: RenderQuality | Mapping[str, int] | None = None,
        arm_path: str | None = None,
        yaw_range_rad: float | None = None,
        horizon: int | None = None,
    ) -> None:
        _check_choice("control", control, CONTROLLERS)
        if image_camera is not None:
            _check_choice("camera", image_camera, CAMERAS)
        if render_mode is not None:
            _check_choice("render_mode", render_mode, self.metadata["render_modes"])
        self.level = _adjusted(get_level(level), yaw_range_rad=yaw_range_rad, horizon=horizon)
        self.control = control
        self.image_camera = image_camera
        self.image_shape = _image_shape(image_size)
        self.render_mode = render_mode
        self.quality = RenderQuality.of(quality)
        self.arm_path = None if arm_path is None else str(arm_path)
        self._build()
        self.action_space = spaces.Box(-1.0, 1.0, (self._sim.action_size,), np.float32)
        self.observation_space = self._make_observation_space()

    def _build(self) -> None:
        self.model = compiled_scene(self.level, self.quality, self.arm_path)
        self._sim = PickCubeSimulation(self.model, self.level, self.control)

    # -------------------------------------------------------------- Gymnasium
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start an episode.

        Args:
            seed: of the random stream; None continues it.
            options: ``{"state": vector}`` starts from a vector of ``get_state``.

        Returns:
            The observation and the info, as the class describes them.

        Raises:
            ValueError: an unknown option, or a state that ``set_state`` refuses; nothing was
                changed.
        """
        state = checked_options(options, _RESET_OPTIONS).get("state")
        if state is not None:
            self.check_state(state)
        super().reset(seed=seed)
        if state is None:
            self._sim.start(self.np_random)
        else:
            self.set_state(state)
        return self.observe(), self.info()

    def step(
        self, action: np.ndarray, delay_s: float = 0.0
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Simulate 0.2 s: the last action goes on for `delay_s`, then this one begins."""
        self._sim.step(action, delay_s)
        info = self.info()
        truncated = self._sim.steps >= self.level.horizon
        return self.observe(), float(info["is_success"]), False, truncated, info

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """Return the picture of ``image_camera`` (or the level's camera) at the image size."""
        if self.render_mode is None:
            return None
        return self.render_frame(self.image_camera or self.level.camera, *self.image_shape)

    # ------------------------------------------------------------------ state
    def get_state(self) -> np.ndarray:
        """Return all that decides the rest of the episode: (D,) float64.

        An action that ``advance`` has not carried out is not in it. Where the level's
        ``rare_share`` is above 0, the last entry is the number of the appearance.
        """
        return self._sim.get_state()

    def set_state(self, state: np.ndarray) -> None:
        """Return to a state of ``get_state``; from there, equal actions give equal bits.

        A vector does not contain its level: one of ``easy`` is accepted on ``precise``.

        Raises:
            ValueError: the vector has another type or size, holds numbers that are not finite or
                no state can have, or names no stage or no appearance. Nothing was changed.
        """
        self._sim.set_state(state)

    def check_state(self, state: np.ndarray) -> None:
        """Raise the ValueError with which ``set_state`` would refuse a state."""
        self._sim.checked_state(state)

    def check_action(self, action: np.ndarray) -> None:
        """Raise the ValueError with which ``step`` would refuse an action."""
        self._sim.checked_action(action)

    @property
    def appearance(self) -> Appearance | None:
        """Visual perturbation of this episode; None for the nominal appearance."""
        number = self._sim.appearance_number
        return None if number == NOMINAL else draw_appearance(number)

    def model_xml(self) -> str:
        """Return the scene as MJCF text."""
        spec = build_scene(self.level, self.quality, self.arm_path)
        spec.compile()
        return spec.to_xml()

    def env_kwargs(self) -> dict[str, Any]:
        """Return JSON-able arguments that build this environment again."""
        return {
            "level": self.level.name,
            "control": self.control,
            "image_camera": self.image_camera,
            "image_size": list(self.image_shape),
            "render_mode": self.render_mode,
            "quality": dataclasses.asdict(self.quality),
            "arm_path": self.arm_path,
            "yaw_range_rad": self.level.yaw_range_rad,
            "horizon": self.level.horizon,
        }

    def render_frame(
        self, camera: str, height: int, width: int, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Draw the present state.

        Args:
            camera: ``front``, ``far`` or ``wrist``.
            height: of the picture [px].
            width: of the picture [px].
            out: (height, width, 3) uint8 in C order to draw into; None returns a new array.

        Returns:
            (height, width, 3) uint8 RGB: ``out``, where it is given.

        Raises:
            ValueError: an unknown camera, an impossible size or an unfit ``out``.
            RenderingError: this machine cannot draw.
        """
        with self._model_to_draw() as model:
            return renderer().render(model, self.data, camera, height, width, out)

    def render_labels(self, camera: str, height: int, width: int) -> PixelLabels:
        """Return the geom and the distance of each pixel of ``render_frame``'s picture.

        Args:
            camera: ``front``, ``far`` or ``wrist``.
            height: of the picture [px].
            width: of the picture [px].

        Raises:
            ValueError: an unknown camera or an impossible size.
            RenderingError: this machine cannot draw.
        """
        with self._model_to_draw() as model:
            return renderer().render_labels(model, self.data, camera, height, width)

    @contextmanager
    def _model_to_draw(self) -> Iterator[mujoco.MjModel]:
        """Yield the model in the episode's appearance, and move cameras and lights back after."""
        if not self.level.appearance_varies:
            yield self.model
            return
        scene = perturbed_scene(self.level, self.quality, self.arm_path)
        try:
            yield scene.apply(self._sim.appearance_number, self.data)
        finally:
            mujoco.mj_camlight(self.model, self.data)

    # ----------------------------------------------------------------- copies
    def __getstate__(self) -> dict[str, Any]:
        episode = {"state": self.get_state(), "motion": self._sim.motion}
        episode["mujoco"] = mujoco.__version__
        kept = {name: value for name, value in vars(self).items() if name not in _REBUILT}
        return {**kept, _EPISODE: episode}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        episode = saved[_EPISODE]
        change = simulation_change(episode["mujoco"], mujoco.__version__)
        if change is not None:
            raise MismatchError(f"this copy of an environment could not go on as it did: {change}")
        vars(self).update({name: value for name, value in saved.items() if name != _EPISODE})
        self._build()
        self.set_state(episode["state"])
        self._sim.motion = episode["motion"]

    def __copy__(self) -> PickCubeEnv:
        return copy.deepcopy(self)  # a shallow copy would share the random stream

    # ---------------------------------------------------------------- physics
    @property
    def data(self) -> mujoco.MjData:
        """MuJoCo's state."""
        return self._sim.data

    @property
    def kinematics(self) -> ArmKinematics:
        """Kinematics of the arm."""
        return self._sim.kinematics

    def begin(self, action: np.ndarray) -> None:
        """Begin an action, which ``advance`` then carries out; the previous one is dropped.

        ``step`` is ``begin`` and 0.2 s of ``advance``. A robot that moves in real time, such as one
        behind ROS, calls both itself; the horizon does not count its steps.

        Raises:
            ValueError: the action has the wrong shape or is not finite.
        """
        self._sim.begin(action)

    def advance(self, substeps: int) -> None:
        """Simulate ``substeps`` physics steps (``model.opt.timestep`` s each).

        The arm moves for 0.2 s after ``begin``; then it rests at the targets of the action.
        """
        self._sim.advance(substeps)

    # ------------------------------------------------------------ observation
    def _make_observation_space(self) -> spaces.Dict:
        parts: dict[str, spaces.Space] = {
            key: spaces.Box(-np.inf, np.inf, (size,), np.float32) for key, size in LOW_DIM.items()
        }
        if self.image_camera is not None:
            parts["image"] = spaces.Box(0, 255, (*self.image_shape, 3), np.uint8)
        return spaces.Dict(parts)

    def observe(self) -> dict[str, np.ndarray]:
        """Return the observation of the present state, as ``step`` returns it."""
        observation = self._sim.observe()
        if self.image_camera is not None:
            observation["image"] = self.render_frame(self.image_camera, *self.image_shape)
        return observation

    def joints(self) -> tuple[np.ndarray, np.ndarray]:
        """Return positions (9,) [rad, m] and velocities (9,) of arm joints and both fingers."""
        return self._sim.joints()

    def info(self) -> dict[str, Any]:
        """Return the ``info`` of the present state, as ``step`` returns it."""
        return self._sim.info()


def _check_choice(kind: str, value: object, allowed: tuple[str, ...] | list[str]) -> None:
    if value not in allowed:
        raise unknown(kind, value, allowed)


def _adjusted(level: Level, yaw_range_rad: float | None, horizon: int | None) -> Level:
    if yaw_range_rad is not None:
        if not isinstance(yaw_range_rad, Real) or isinstance(yaw_range_rad, bool):
            raise ValueError(f"yaw_range_rad is {yaw_range_rad!r}; allowed: a number [rad]")
        level = dataclasses.replace(level, yaw_range_rad=yaw_range_rad)
    if horizon is not None:
        level = dataclasses.replace(level, horizon=checked_integer("horizon", horizon, 1))
    return level


def _image_shape(size: int | tuple[int, int] | list[int]) -> tuple[int, int]:
    edges = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    try:
        height, width = (checked_integer("edge", edge, 1) for edge in edges)
    except ValueError:
        raise ValueError(
            f"image_size is {size!r}; allowed: one edge or (height, width), 1 px or more"
        ) from None
    return height, width


__getattr__ = moved_names(
    __name__,
    {
        "CONTROLS": "s2robot.envs.pick_cube:CONTROLLERS",
        "joint_body": "s2robot.envs.kinematics",
    },
)
