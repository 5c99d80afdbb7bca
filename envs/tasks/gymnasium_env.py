"""Adapter from a Gymnasium environment to the task contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces

from s2robot.envs.state_checks import checked_options
from s2robot.envs.tasks.action_scale import ActionScale
from s2robot.envs.tasks.contract import NATIVE, Start
from s2robot.envs.tasks.orientation import warn_if_upside_down
from s2robot.errors import unknown

SUCCESS_KEYS = ("is_success", "success", "succeed")
"""Entries of an info that say success, in the order in which they are looked for."""
TERMINATED = "terminated"
RENDER = "render"
"""Name of the camera of ``render()``."""
CONSTANT = "constant"
"""Observation of environments that give frames alone."""
_LEAST_PX = 16
_DEFAULT_RATE_HZ = 10.0
RawExpert = Callable[[Any], np.ndarray]


class UnfitEnvironmentError(ValueError):
    """An environment lacks what the task contract asks for."""


class Description(Protocol):
    """What the adapter asks of a task, as ``GymnasiumTask`` has it."""

    name: str
    success_key: str | None
    frames: str | None
    drawn_cameras: Sequence[str]
    proprio: Sequence[str] | None
    rate_hz: float | None
    action_names: Sequence[str]

    def draw(self, env: gymnasium.Env, camera: str) -> np.ndarray:
        """Return the frame (H, W, 3) uint8 RGB of one of ``drawn_cameras``."""
        ...

    def get_state(self, env: gymnasium.Env) -> np.ndarray | None:
        """Return the full state; None for none."""
        ...

    def set_state(self, env: gymnasium.Env, state: np.ndarray) -> Any:
        """Return to a full state."""
        ...


class GymnasiumTaskEnv:
    """A Gymnasium environment as the task contract has it.

    Actions are scaled to [-1, 1] by the bounds of the action space. After the end of an episode,
    observation, frame and success stay as they were at its last step. A state is the number of
    steps and the seed, or the number of steps and the task's own full state.

    Args:
        task: names what the environment does not say.
        env: the environment, which this one closes.
        horizon: control steps of an episode; None for the environment's time limit.

    Raises:
        ValueError: the environment does not fit; the message says what is missing.
    """

    control = NATIVE
    info_keys = ("is_success", "over")

    def __init__(self, task: Description, env: gymnasium.Env, horizon: int | None) -> None:
        self._task, self.env = task, env
        try:
            self.action_scale = _scale(env.action_space, task.name)
            self.action_space = spaces.Box(-1.0, 1.0, self.action_scale.low.shape, np.float32)
            self.action_names = _action_names(task, len(self.action_scale.low))
            self.horizon = _horizon(env, horizon, task.name)
            own_frames = task.frames is not None or task.drawn_cameras
            if not own_frames and env.render_mode != "rgb_array":
                modes = env.metadata.get("render_modes") or "none"
                raise UnfitEnvironmentError(
                    f"task {task.name}: its render mode is {env.render_mode!r}; frames need "
                    f"'rgb_array' (the environment has {modes}), or the observation that holds "
                    "them, as gym:ID?frames=KEY or by frames of your class"
                )
            fps = env.metadata.get("render_fps")
            self.rate_hz = float(task.rate_hz or fps or _DEFAULT_RATE_HZ)
            self._seed, self._steps, self._over, self._success = 0, 0, False, False
            self._named = False
            self._frames: dict[str, np.ndarray] = {}
            self._raw: Any = None
            self.reset(seed=0)
            self.start: Start = "seed" if task.get_state(env) is None else "state"
            self._picture(self.cameras[0])
            if not task.drawn_cameras:
                warn_if_upside_down(env, self.cameras[0], task.name)
        except Exception:
            env.close()
            raise

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras, the default first.

        They are those that the task draws; else observations with frames, and ``render``.
        """
        if self._task.drawn_cameras:
            return tuple(self._task.drawn_cameras)
        pictures = [key for key, value in _leaves(self._raw) if np.ndim(value) == 3]
        rendered = [RENDER] if self.env.render_mode == "rgb_array" else []
        return tuple(dict.fromkeys([self._task.frames or RENDER, *rendered, *pictures]))

    def frame_shape(self, camera: str) -> tuple[int, int]:
        """Return (height, width) [px] of the frames, which come as the environment makes them."""
        height, width = self._picture(camera).shape[:2]
        return height, width

    def proprio_keys(self) -> tuple[str, ...]:
        """Return the observations that policies get.

        Raises:
            ValueError: the task names one that the environment has not.
        """
        keys = tuple(flat_observation(self._raw))
        if self._task.proprio is None:
            return ("agent_pos",) if "agent_pos" in keys else keys
        for key in self._task.proprio:
            if key not in keys:
                raise unknown("observation in proprio", key, keys)
        return tuple(self._task.proprio)

    def env_kwargs(self) -> dict[str, Any]:
        """Return the arguments that build this environment again."""
        return {"level": self._task.name, "control": NATIVE, "horizon": self.horizon}

    # ---------------------------------------------------------------- episodes
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start an episode by a seed, or by ``{"state": vector}`` of ``get_state``."""
        state = checked_options(options, ("state",)).get("state")
        if state is not None:
            self.check_state(state)
            seed = int(state[1]) if self.start == "seed" else 0
        self._seed = int(np.random.default_rng().integers(2**31)) if seed is None else seed
        self._raw, _ = self.env.reset(seed=self._seed)
        if state is not None and self.start == "state":
            self._raw = self._task.set_state(self.env, np.array(state[1:]))
        self._steps, self._over, self._success = 0, False, False
        self._frames, self._named = {}, False
        return flat_observation(self._raw), self.info()

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Carry out an action (A,) in [-1, 1]; after the end of an episode nothing changes."""
        self.check_action(action)
        reward, terminated = 0.0, False
        if not self._over:
            own = self.action_scale.own(np.asarray(action, np.float64))
            self._raw, reward, terminated, truncated, info = self.env.step(own)
            self._steps += 1
            self._frames = {}
            self._over = bool(terminated or truncated or self._steps >= self.horizon)
            self._success = self._succeeded(info, bool(terminated))
        obs = flat_observation(self._raw)
        return obs, float(reward), bool(terminated), self._over, self.info()

    def info(self) -> dict[str, Any]:
        """Return success at the present step, and whether the episode had ended before it."""
        return {"is_success": self._success, "over": self._over}

    def _succeeded(self, info: Mapping[str, Any], terminated: bool) -> bool:
        key = self._task.success_key
        if key == TERMINATED:
            return terminated
        if key is None:
            key = next((each for each in SUCCESS_KEYS if each in info), None)
        if key is not None and key in info:
            self._named = True
            return bool(np.asarray(info[key]).all())
        if self._task.success_key is None or (self._over and not self._named):
            looked = ", ".join([key] if key else SUCCESS_KEYS)
            raise ValueError(
                f"task {self._task.name}: no info says success; looked for {looked}; the info has "
                f"{', '.join(map(str, info)) or 'nothing'}. Name the entry, as "
                f"gym:ID?success_key=NAME or by success_key of your class; {TERMINATED} where an "
                "episode that terminates has succeeded"
            )
        return False  # an entry that the info has at some steps alone

    # ------------------------------------------------------------------- states
    def get_state(self) -> np.ndarray:
        """Return the number of steps, then the seed or the task's own full state: (D,) float64."""
        own = [self._seed] if self.start == "seed" else self._task.get_state(self.env)
        return np.concatenate([[self._steps], np.asarray(own, np.float64).ravel()])

    def check_state(self, state: np.ndarray) -> None:
        """Raise a ValueError where ``reset`` would refuse a state."""
        vector = np.asarray(state)
        seeded = self.start == "seed"
        fits = vector.ndim == 1 and vector.dtype == np.float64 and np.isfinite(vector).all()
        if not fits or len(vector) < 2 or (seeded and len(vector) != 2):
            raise ValueError(
                f"state is {vector.dtype} {vector.shape}; allowed: a finite float64 vector of "
                "get_state() at the start of an episode"
            )
        if vector[0] != 0:
            raise ValueError(
                f"the state is of step {vector[0]:g}; allowed: step 0. From there, the episode's "
                "actions lead to the later ones"
            )
        if seeded and (vector[1] < 0 or vector[1] != int(vector[1])):
            raise ValueError(f"the state's seed is {vector[1]:g}; allowed: 0 or more, whole")

    def check_action(self, action: np.ndarray) -> None:
        """Raise a ValueError where ``step`` would refuse an action."""
        array, size = np.asarray(action), self.action_scale.low.shape
        if array.shape != size or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise ValueError(
                f"action is {array.dtype} {array.shape}; allowed: {size} finite numbers in [-1, 1]"
            )

    def scaled_expert(
        self, expert: RawExpert | None
    ) -> Callable[[dict[str, np.ndarray]], np.ndarray] | None:
        """Return the task's expert in the contract's units; it gets the present observation."""
        if expert is None:
            return None
        return lambda _: self.action_scale.unit(np.asarray(expert(self._raw), np.float64))

    # ------------------------------------------------------------------- frames
    def render_frame(
        self, camera: str, height: int, width: int, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the present frame, which has the size that the environment gives it.

        Raises:
            ValueError: an unknown camera, or another size.
        """
        frame = self._picture(camera)
        if frame.shape[:2] != (height, width):
            found = "x".join(map(str, frame.shape[:2]))
            raise ValueError(
                f"task {self._task.name} gives frames of {found} px, wanted are {height}x{width}: "
                "the frames of a policy keep the size that it was trained with"
            )
        if out is None:
            return frame.copy()
        out[:] = frame
        return out

    def _picture(self, camera: str) -> np.ndarray:
        """Return the present frame of a camera, which is rendered once."""
        if camera not in self._frames:
            self._frames[camera] = self._drawn(camera)
        return self._frames[camera]

    def _drawn(self, camera: str) -> np.ndarray:
        found, name = dict(_leaves(self._raw)), self._task.name
        if camera in self._task.drawn_cameras:
            return checked_frame(self._task.draw(self.env, camera), f"draw({camera!r})", name)
        if camera == RENDER and self.env.render_mode == "rgb_array":
            return checked_frame(self.env.render(), "render()", name)
        if camera not in found:
            raise _unknown(f"camera (observation with frames) of task {name}", camera, self.cameras)
        return checked_frame(found[camera], f"observation {camera!r}", name)

    def close(self) -> None:
        """Close the environment."""
        self.env.close()


def _scale(space: Any, name: str) -> ActionScale:
    found = isinstance(space, spaces.Box) and len(space.shape) == 1
    if not found or not np.isfinite([space.low, space.high]).all():
        raise UnfitEnvironmentError(
            f"task {name}: the action space is {space}; allowed: a Box of one dimension with "
            "finite bounds. Wrap the environment, for example in "
            "gymnasium.wrappers.RescaleAction or ClipAction"
        )
    return ActionScale(space.low, space.high)


def _action_names(task: Description, entries: int) -> tuple[str, ...]:
    names = tuple(task.action_names)
    if names and (len(names) != entries or len(set(names)) < entries):
        raise UnfitEnvironmentError(
            f"task {task.name}: action_names are {', '.join(names)}; allowed: {entries} different "
            "names, one for each entry of an action"
        )
    return names


def _unknown(kind: str, value: object, allowed: Sequence[str]) -> UnfitEnvironmentError:
    return UnfitEnvironmentError(str(unknown(kind, value, allowed)))


def _horizon(env: gymnasium.Env, wanted: int | None, name: str) -> int:
    limit = wanted or (None if env.spec is None else env.spec.max_episode_steps)
    if limit is None:
        raise UnfitEnvironmentError(
            f"task {name}: the environment has no time limit; give the control steps of an "
            "episode as horizon (gym:ID?horizon=200)"
        )
    return int(limit)


def flat_observation(observation: Any) -> dict[str, np.ndarray]:
    """Return the numbers of an observation, (d,) float32 by dotted name, without its pictures.

    Args:
        observation: an array, or arrays by name, nested.

    Examples:
        >>> flat_observation({"agent_pos": np.zeros(2), "pixels": {"top": np.zeros((9, 9, 3))}})
        {'agent_pos': array([0., 0.], dtype=float32)}
    """
    found = {}
    for key, value in _leaves(observation):
        array = np.asarray(value)
        if array.dtype.kind in "fiub" and array.ndim < 2:
            found[key] = array.astype(np.float32).reshape(-1)
    return found or {CONSTANT: np.zeros(1, np.float32)}


def _leaves(observation: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if not isinstance(observation, Mapping):
        return [(prefix or "observation", observation)]
    parts = [
        _leaves(value, f"{prefix}.{key}" if prefix else str(key))
        for key, value in observation.items()
    ]
    return [leaf for part in parts for leaf in part]


def checked_frame(frame: Any, where: str, name: str) -> np.ndarray:
    """Return a frame (H, W, 3) uint8 RGB.

    Args:
        frame: of the environment.
        where: it comes from, for messages.
        name: of the task, for messages.

    Raises:
        ValueError: it is no such picture.
    """
    array = frame if isinstance(frame, np.ndarray) else np.asarray(frame)
    right = array.dtype == np.uint8 and array.ndim == 3 and array.shape[-1] == 3
    if not right or min(array.shape[:2]) < _LEAST_PX:
        seen = type(frame).__name__ if array.dtype == object else f"{array.dtype} {array.shape}"
        raise UnfitEnvironmentError(
            f"task {name}: {where} gives {seen}; allowed: (H, W, 3) uint8 RGB, at least "
            f"{_LEAST_PX} px high and wide"
        )
    return array
