"""A policy that robomimic trained, as ``s2robot eval policy=robomimic:PATH`` rolls it out."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import robomimic.utils.file_utils as file_utils
import robomimic.utils.obs_utils as obs_utils
import torch

from s2robot.envs.tasks.action_scale import ActionScale
from s2robot.errors import MismatchError, S2RobotError
from s2robot.evaluation.agents.external import TaskDescription
from s2robot.plugins.robomimic.checkpoints import read_checkpoint, trained_bottom_up
from s2robot.plugins.robomimic.configuration import UpsideDownWarning
from s2robot.plugins.robomimic.embeddings import RECORD, EmbeddedCameras
from s2robot.plugins.robomimic.environment import is_ours
from s2robot.plugins.robomimic.modalities import kept_modalities
from s2robot.utils.devices import resolve_device
from s2robot.utils.io import sha256_bytes
from s2robot.utils.process_state import seeded_generators, without_output

_IMAGE = "_image"
Source = Callable[[Mapping[str, np.ndarray], Mapping[str, np.ndarray]], Any]
"""From frames and observations, each with B in front, to one observation of the policy."""


def load(
    checkpoint: str, task: TaskDescription, device: str = "auto", runtime: str = "auto"
) -> RobomimicPolicy:
    """Return the policy of a checkpoint of robomimic.

    Args:
        checkpoint: NAME.pth.
        task: what the evaluation gives.
        device: of the networks.
        runtime: of the encoder of a policy that was trained on embeddings.

    Raises:
        CorruptFileError: the file is damaged, or could not be read without running code.
        MismatchError: the policy reads what the evaluation does not give, or the task takes other
            actions.
        S2RobotError: there is no such file, or robomimic cannot build the policy.
    """
    path = Path(checkpoint).expanduser()
    content = read_checkpoint(path)
    algorithm, normalization = _built(content, path, resolve_device(device))
    _check_control(content, path, task)
    if content["shape_metadata"]["ac_dim"] != len(task.action_names):
        raise MismatchError(
            f"{path} returns {content['shape_metadata']['ac_dim']} numbers; the task takes "
            f"{len(task.action_names)}: {', '.join(task.action_names)}"
        )
    scale = _scale(content["env_metadata"], path, task)
    sources = _Observations(content, algorithm.global_config, task, path, device, runtime).found()
    return RobomimicPolicy(algorithm, sources, normalization, scale)


class RobomimicPolicy:
    """An algorithm of robomimic, where each of its observations comes from, and its units."""

    batched = True

    def __init__(
        self,
        algorithm: Any,
        sources: Mapping[str, Source],
        normalization: Mapping[str, Mapping[str, Any]] | None,
        scale: ActionScale | None = None,
    ) -> None:
        self.algorithm, self.sources, self.normalization = algorithm, sources, normalization
        self.scale = scale
        frames = int(algorithm.global_config.train.frame_stack)
        self._history: deque[dict[str, torch.Tensor]] = deque(maxlen=frames)
        self._steps, self._seed = 0, 0

    def reset(self) -> None:
        """Begin a batch of episodes."""
        self.algorithm.set_eval()
        self.algorithm.reset()
        self._history.clear()
        self._steps = 0

    def __call__(
        self, frames: Mapping[str, np.ndarray], proprio: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        """Return actions ``(B, A)``, of which [-1, 1] are the environment's bounds.

        Args:
            frames: ``(B, H, W, 3)`` uint8 RGB by camera.
            proprio: ``(B, d)`` float32 by name.
        """
        now = {
            key: self._tensor(key, source(frames, proprio)) for key, source in self.sources.items()
        }
        self._history.append(now)
        while len(self._history) < (self._history.maxlen or 1):
            self._history.append(now)
        if len(self._history) > 1:
            now = {key: torch.stack([each[key] for each in self._history], 1) for key in now}
        if not self._steps:  # other episodes sample others, the same ones the same again
            seen = [np.ascontiguousarray(each) for each in (*frames.values(), *proprio.values())]
            self._seed = int(sha256_bytes(b"".join(each.tobytes() for each in seen))[:12], 16)
        self._steps += 1
        with torch.no_grad(), seeded_generators(self._seed + self._steps):
            actions = self.algorithm.get_action(obs_dict=now).cpu().numpy()
        return actions if self.scale is None else self.scale.unclipped(actions)

    def _tensor(self, key: str, value: Any) -> torch.Tensor:
        tensor = torch.as_tensor(value).to(self.algorithm.device).float()
        if self.normalization is None:
            return tensor
        mean, std = (
            torch.as_tensor(self.normalization[key][name], device=tensor.device).float()
            for name in ("mean", "std")
        )
        return (tensor - mean) / std


def _built(content: dict[str, Any], path: Path, device: torch.device) -> tuple[Any, Any]:
    """Return the algorithm, and the statistics of its observations where it has some."""
    try:  # what it prints is hidden, warnings such as those of licenses are not
        with kept_modalities(), without_output(errors_too=False):
            rollout, _ = file_utils.policy_from_checkpoint(ckpt_dict=content, device=device)
    except S2RobotError:
        raise
    except Exception as error:
        raise S2RobotError(
            f"{path}: robomimic cannot build this policy: {type(error).__name__}: {error}"
        ) from error
    return rollout.policy, rollout.obs_normalization_stats


def _check_control(content: Mapping[str, Any], path: Path, task: TaskDescription) -> None:
    kwargs = _mapping(content["env_metadata"].get("env_kwargs"))
    control = kwargs.get("control")
    if isinstance(control, str) and "level" in kwargs and control != task.control:
        raise MismatchError(
            f"{path} was trained on actions {control}, and the evaluation takes {task.control}; "
            f"give external.control={control}, or a policy of the task's own actions"
        )


def _scale(meta: Mapping[str, Any], path: Path, task: TaskDescription) -> ActionScale | None:
    """Return the units of a policy's actions, which are those of its file; None for [-1, 1].

    Files of this package's tasks say which; those of others have those of their environment.
    """
    own = bool(_mapping(meta.get("env_kwargs")).get("own_actions"))
    if own and task.action_scale is None:
        raise MismatchError(
            f"{path} was trained on actions in units of {meta.get('env_name')}, and those of "
            f"{task.name} are other ones; evaluate it in its own task, or train on a file of "
            f"{task.name}"
        )
    return task.action_scale if own or not is_ours(meta) else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


class _Observations:
    """Where each observation of a policy comes from, and what the evaluation lacks."""

    def __init__(
        self,
        content: Mapping[str, Any],
        config: Any,
        task: TaskDescription,
        path: Path,
        device: str,
        runtime: str,
    ) -> None:
        self.task, self.path = task, path
        self.shapes = content["shape_metadata"]["all_shapes"]
        self.bottom_up = trained_bottom_up(content)
        self.modalities = {
            key: modality
            for modality, keys in config.observation.modalities.obs.items()
            for key in keys
        }
        record = content["env_metadata"].get(RECORD)
        self.embedded = EmbeddedCameras(record, device, runtime) if record else None

    def found(self) -> dict[str, Source]:
        """Return the sources by observation.

        Raises:
            MismatchError: the evaluation does not give some; the message says how it would.
        """
        sources, low_dim, sizes = {}, [], {}
        for key, shape in self.shapes.items():
            modality = self.modalities.get(key, "low_dim")
            if modality == "rgb":
                camera = key.removesuffix(_IMAGE)
                sizes[camera] = tuple(shape[-2:])
                sources[key] = _image_of(camera, self._turned(key))
            elif modality != "low_dim":
                raise MismatchError(
                    f"{self.path} reads {key} of modality {modality}; an evaluation gives rgb and "
                    "low_dim"
                )
            elif self.embedded is not None and key in self.embedded.cameras:
                camera = self.embedded.cameras[key]
                sizes[camera] = self.embedded.sizes.get(key) or self.task.cameras.get(camera)
                sources[key] = self.embedded.source(key)
            else:
                low_dim.append(key)
                sources[key] = _number_of(key)
        self._check(low_dim, sizes)
        return sources

    def _turned(self, key: str) -> bool:
        """Return whether frames are turned over, as those of the training; say so."""
        if self.bottom_up:
            warnings.warn(
                f"{self.path} was trained on {key} as its data have it, upside down (their "
                "macros_image_convention is opengl); frames of the task are upright, so they are "
                "turned over for it",
                UpsideDownWarning,
                stacklevel=6,
            )
        return self.bottom_up

    def _check(self, low_dim: list[str], sizes: Mapping[str, Any]) -> None:
        given, settings, lacking = self.task, [], []
        for key in low_dim:
            width = int(np.prod(self.shapes[key]))
            if key.endswith("_embedding") and key not in given.proprio:
                raise MismatchError(
                    f"{self.path} reads {key}, and does not say of which encoder; train it on a "
                    "file that this version's robomimic-cache wrote"
                )
            if given.proprio.get(key, width) != width:
                raise MismatchError(
                    f"{self.path} reads {key} of {width} numbers; the task has {given.proprio[key]}"
                )
        if not set(low_dim) <= set(given.proprio):
            lacking += [key for key in low_dim if key not in given.proprio]
            settings.append(f"'external.low_dim=[{','.join(low_dim)}]'")
        if not set(sizes) <= set(given.cameras):
            lacking += [f"camera {name}" for name in sizes if name not in given.cameras]
            names = ",".join(sizes)
            one = f"external.camera={names}"
            settings.append(one if len(sizes) == 1 else f"'external.cameras=[{names}]'")
        wrong = {
            f"{size[0]} x {size[1]} px"
            for name, size in sizes.items()
            if size is not None and given.cameras.get(name, size) != tuple(size)
        }
        edges = {size[0] for size in sizes.values() if size is not None and size[0] == size[1]}
        if wrong:
            lacking.append(f"frames of {', '.join(sorted(wrong))}")
        if (wrong or settings) and len(edges) == 1 and edges != _edges(given):
            settings.append(f"external.size={edges.pop()}")
        if lacking:
            raise MismatchError(
                f"{self.path} reads {', '.join(lacking)}, which the evaluation does not give; add "
                f"{' '.join(settings) or 'a task with such frames'}"
            )


def _edges(task: TaskDescription) -> set[int]:
    return {height for height, _ in task.cameras.values()}


def _image_of(camera: str, turned: bool) -> Source:
    """Return a source of images as robomimic's environments give them: (B, 3, H, W) in 0-1."""

    def image(frames: Mapping[str, np.ndarray], _: Mapping[str, np.ndarray]) -> Any:
        frame = np.ascontiguousarray(frames[camera][:, ::-1]) if turned else frames[camera]
        return obs_utils.process_frame(frame, channel_dim=3, scale=255.0)

    return image


def _number_of(key: str) -> Source:
    def number(_: Mapping[str, np.ndarray], proprio: Mapping[str, np.ndarray]) -> Any:
        return proprio[key]

    return number
