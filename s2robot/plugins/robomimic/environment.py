"""Tasks of this package as robomimic's environments, for its rollouts and its scripts."""

# pyright: reportIncompatibleMethodOverride=false
from __future__ import annotations

import copy
import functools
import json
import re
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import robomimic.utils.env_utils as env_utils
import robomimic.utils.obs_utils as obs_utils
from robomimic.envs.env_base import EnvBase, EnvType

from s2robot.data.dataset_writers.robomimic import NO_ENVIRONMENT
from s2robot.envs import ENV_ID
from s2robot.envs.tasks.action_scale import scale_of
from s2robot.envs.tasks.loading import make_env
from s2robot.envs.tasks.names import PICK_CUBE, env_name_of, is_foreign, stored_task
from s2robot.errors import MismatchError, unknown
from s2robot.plugins.robomimic.embeddings import RECORD, EmbeddedCameras

_IMAGE = "_image"
_USUAL_SIZE = (84, 84)
_CHANGED = "_s2robot_environments"


class EnvS2Robot(EnvBase):
    """A task of this package behind robomimic's interface.

    Observations are the task's low-dimensional ones, ``CAMERA_image`` of each of `camera_names`,
    and embeddings where `embeddings` says so. Success is the task's own.

    Args:
        env_name: ``s2robot/PickCube-v0``, or the name of another task.
        render: refused: there is no window.
        render_offscreen: ignored: frames are drawn when they are asked for.
        use_image_obs: whether observations have images.
        postprocess_visual_obs: images as networks take them, (3, H, W) in 0-1; else (H, W, 3)
            uint8.
        camera_names: cameras of the images.
        camera_heights: of the images [px], or of those of each camera.
        camera_widths: of the images [px], or of those of each camera.
        own_actions: actions have the units of the task's own environment; else [-1, 1].
        embeddings: record of ``robomimic-cache``.
        kwargs: arguments of the environment, ``level`` among them.

    Raises:
        ValueError: a window is asked for, an argument or camera is unknown, or images are asked
            for and `camera_names` are missing.
    """

    def __init__(  # noqa: PLR0913
        self,
        env_name: str,
        render: bool = False,
        render_offscreen: bool = False,
        use_image_obs: bool = False,
        postprocess_visual_obs: bool = True,
        camera_names: Sequence[str] = (),
        camera_heights: int | Sequence[int] = 84,
        camera_widths: int | Sequence[int] = 84,
        own_actions: bool = False,
        embeddings: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        del render_offscreen
        if render:
            raise ValueError(
                "render: this environment has no window; render_offscreen draws frames"
            )
        cameras = {"camera_names": list(camera_names)} if camera_names else {}
        own = {"own_actions": True} if own_actions else {}
        self._init_kwargs = {**kwargs, **cameras, **own}
        if camera_names:
            self._init_kwargs |= {"camera_heights": camera_heights, "camera_widths": camera_widths}
        self._env_name, self._processed = env_name, postprocess_visual_obs
        self.env = make_env(kwargs)
        """The task's environment."""
        for name in camera_names:
            if name not in self.env.cameras:
                raise unknown("camera in camera_names", name, self.env.cameras)
        if use_image_obs and not camera_names:
            raise ValueError(
                f"env_kwargs of {env_name} name no cameras, so images cannot be drawn as those of "
                "the data; give camera_names, camera_heights and camera_widths there, as "
                "s2robot export-dataset writes them"
            )
        self._images = list(camera_names) if use_image_obs else []
        self._sizes = _sizes_of(camera_names, camera_heights, camera_widths)
        self._scale = scale_of(self.env) if own_actions else None
        self._embedded = EmbeddedCameras(embeddings) if embeddings else None
        self._record = embeddings
        self._starts: deque[np.ndarray] = deque()
        self._now: dict[str, np.ndarray] = {}
        self._reward, self._done, self._success = 0.0, False, False

    def start_from(self, states: np.ndarray) -> None:
        """Let the next resets start from given states, in turn.

        Args:
            states: (n, D) float64, such as those of ``s2robot.evaluation.InitialStates``.
        """
        self._starts.extend(states)

    def reset(self) -> dict[str, Any]:
        """Start an episode: from the next state of ``start_from``, else by NumPy's generator.

        robomimic seeds that one, as ``run_trained_agent --seed`` does.
        """
        if self._starts:
            return self.reset_to({"states": self._starts.popleft()})
        self._now, info = self.env.reset(seed=int(np.random.randint(2**31 - 1)))  # noqa: NPY002
        return self._begun(info)

    def reset_to(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Start from a state, ``{"states": (D,)}``.

        Reward and success are those of the state where the task knows them, as pick-cube does;
        other tasks know them after a step.
        """
        start = {"state": np.asarray(state["states"], np.float64)}
        self._now, info = self.env.reset(options=start)
        return self._begun(info)

    def _begun(self, info: Mapping[str, Any]) -> dict[str, Any]:
        self._done, self._success = False, bool(info.get("is_success", False))
        self._reward = float(self._success)
        return self.get_observation()

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, dict[str, Any]]:
        """Carry out an action (A,); numbers out of its bounds are clipped."""
        scaled = action if self._scale is None else self._scale.unit(np.asarray(action))
        clipped = np.clip(np.asarray(scaled, np.float32), -1.0, 1.0)
        self._now, reward, terminated, truncated, info = self.env.step(clipped)
        self._reward, self._done = float(reward), bool(terminated or truncated)
        self._success = bool(info["is_success"])
        return self.get_observation(), self._reward, self._done, info

    def get_observation(self) -> dict[str, Any]:
        """Return the present observations by their names in files."""
        found: dict[str, Any] = {key: np.array(value) for key, value in self._now.items()}
        for camera in self._images:
            frame = self.env.render_frame(camera, *self._sizes[camera])
            image = obs_utils.process_obs(frame, obs_modality="rgb") if self._processed else frame
            found[f"{camera}{_IMAGE}"] = image
        if self._embedded is not None:
            for key, camera in self._embedded.cameras.items():
                size = self._embedded.sizes.get(key, self._sizes.get(camera, _USUAL_SIZE))
                frame = self.env.render_frame(camera, *size)
                vector = self._embedded.source(key)({camera: frame[None]}, {})
                found[key] = vector[0].cpu().numpy()
        return found

    def render(
        self,
        mode: str = "human",
        height: int | None = None,
        width: int | None = None,
        camera_name: str | None = None,
    ) -> np.ndarray:
        """Return a picture (height, width, 3) uint8; there is no window.

        Args:
            mode: ``rgb_array``.
            height: of the picture [px].
            width: of the picture [px].
            camera_name: None for the task's own.

        Raises:
            ValueError: another mode, or an unknown camera.
        """
        if mode != "rgb_array":
            raise ValueError(f"mode is {mode!r}; allowed: rgb_array, since there is no window")
        camera = camera_name or self.env.cameras[0]
        own = self.env.frame_shape(camera)
        return self.env.render_frame(camera, *(own or (height or 384, width or 384)))

    def get_state(self) -> dict[str, np.ndarray]:
        """Return what ``reset_to`` takes."""
        return {"states": self.env.get_state()}

    def get_reward(self) -> float:
        """Return the reward of the last step."""
        return self._reward

    def get_goal(self) -> dict[str, Any]:
        """Refuse: there are no goal observations."""
        raise NotImplementedError("tasks of s2robot have no goal observations")

    def set_goal(self, **kwargs: Any) -> None:
        """Refuse: there are no goal observations."""
        raise NotImplementedError("tasks of s2robot have no goal observations")

    def is_done(self) -> bool:
        """Return whether the episode has reached the task's horizon."""
        return self._done

    def is_success(self) -> dict[str, bool]:
        """Return the task's success after the last step."""
        return {"task": self._success}

    @property
    def action_dimension(self) -> int:
        """Number of entries of an action."""
        return int(self.env.action_space.shape[0])

    @property
    def name(self) -> str:
        """Name of the environment as a part of file names, such as robomimic's checkpoints."""
        return re.sub(r"[^A-Za-z0-9._]+", "-", self._env_name)

    @property
    def type(self) -> int:
        """The number that files of this package have."""
        return EnvType.GYM_TYPE

    def serialize(self) -> dict[str, Any]:
        """Return the metadata that build this environment again."""
        described = {"env_name": self._env_name, "type": self.type}
        record = {} if self._record is None else {RECORD: dict(self._record)}
        return {**described, "env_kwargs": copy.deepcopy(self._init_kwargs), **record}

    @classmethod
    def create_for_data_processing(
        cls,
        env_name: str,
        camera_names: Sequence[str],
        camera_height: int,
        camera_width: int,
        reward_shaping: bool,
        **kwargs: Any,
    ) -> EnvS2Robot:
        """Return an environment for ``dataset_states_to_obs.py``.

        Args:
            env_name: as for the class.
            camera_names: cameras of the images.
            camera_height: of the images [px].
            camera_width: of the images [px].
            reward_shaping: ignored: rewards are those of success.
            kwargs: arguments of the environment.
        """
        del reward_shaping
        images = [f"{name}{_IMAGE}" for name in camera_names]
        obs_utils.initialize_obs_utils_with_obs_specs({"obs": {"low_dim": [], "rgb": images}})
        cameras = {"camera_heights": camera_height, "camera_widths": camera_width}
        own = {key: value for key, value in kwargs.items() if key not in cameras}
        return cls(
            env_name,
            use_image_obs=bool(camera_names),
            postprocess_visual_obs=False,
            camera_names=camera_names,
            **cameras,
            **own,
        )

    @property
    def rollout_exceptions(self) -> tuple[type[Exception], ...]:
        """Return the errors that end a rollout alone: none."""
        return ()

    def __repr__(self) -> str:
        """Describe the environment as robomimic prints it."""
        return f"{self.name}\n{json.dumps(self._init_kwargs, sort_keys=True, indent=4)}"


def _sizes_of(
    names: Sequence[str], heights: int | Sequence[int], widths: int | Sequence[int]
) -> dict[str, tuple[int, int]]:
    """Return height and width [px] of each camera, from one size of all or one of each."""
    sides = [[side] * len(names) if isinstance(side, int) else side for side in (heights, widths)]
    for word, side in zip(("heights", "widths"), sides, strict=True):
        if len(side) != len(names):
            raise ValueError(
                f"camera_{word} are {list(side)}, and camera_names {list(names)}; give one number "
                "for all cameras, or one for each"
            )
    return dict(zip(names, zip(*sides, strict=True), strict=True))


def is_ours(env_meta: Mapping[str, Any]) -> bool:
    """Return whether a file's ``env_args`` are of a task of this package.

    Args:
        env_meta: the content of ``env_args``.
    """
    name, kwargs = str(env_meta.get("env_name")), env_meta.get("env_kwargs")
    named = name == ENV_ID or name.startswith(PICK_CUBE) or is_foreign(name)
    return isinstance(kwargs, Mapping) and "level" in kwargs and named


def _check_environment(env_meta: Mapping[str, Any]) -> None:
    """Refuse the metadata of a recording, which has no environment."""
    name = str(env_meta.get("env_name"))
    if name.startswith(NO_ENVIRONMENT):
        raise MismatchError(
            f"the data are a recording ({name.removeprefix(NO_ENVIRONMENT)}) and have no "
            "environment, so there is nothing to roll a policy out in; train without rollouts: "
            '"experiment": {"rollout": {"enabled": false}}'
        )


def install() -> None:
    """Let robomimic make these environments from the metadata of files, once."""
    if getattr(env_utils, _CHANGED, False):
        return
    make, process = env_utils.create_env_from_metadata, env_utils.create_env_for_data_processing

    @functools.wraps(make)
    def create_env_from_metadata(
        env_meta: dict[str, Any], env_name: str | None = None, **settings: Any
    ) -> Any:
        _check_environment(env_meta)
        if not is_ours(env_meta):
            return make(env_meta=env_meta, env_name=env_name, **settings)
        kwargs = dict(env_meta["env_kwargs"])
        name = str(env_name or env_meta["env_name"])
        if name != env_name_of(str(kwargs["level"])):  # train.py changes the name of env_meta too
            kwargs["level"] = stored_task(name)
        return EnvS2Robot(name, embeddings=env_meta.get(RECORD), **settings, **kwargs)

    @functools.wraps(process)
    def create_env_for_data_processing(env_meta: dict[str, Any], **settings: Any) -> Any:
        _check_environment(env_meta)
        if not is_ours(env_meta):
            return process(env_meta=env_meta, **settings)
        kwargs = dict(env_meta["env_kwargs"])
        kwargs.pop("camera_names", None)
        name = env_meta["env_name"]
        return EnvS2Robot.create_for_data_processing(name, **settings, **kwargs)

    env_utils.create_env_from_metadata = create_env_from_metadata
    env_utils.create_env_for_data_processing = create_env_for_data_processing
    setattr(env_utils, _CHANGED, True)
