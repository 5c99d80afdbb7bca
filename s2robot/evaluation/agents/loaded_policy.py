"""A policy file with its encoder: frames and measurements in, actions out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from s2robot.data.config import cameras_of
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.spec import EncoderSpec
from s2robot.envs.tasks.action_scale import ActionScale
from s2robot.envs.tasks.contract import NATIVE
from s2robot.errors import MismatchError, S2RobotError
from s2robot.evaluation.agents.camera_encoders import CameraEncoders, encoders_of
from s2robot.evaluation.agents.policy_input import (
    camera_sizes,
    checked_frames,
    checked_proprio,
    checked_vector,
    wrong_width,
)
from s2robot.evaluation.baselines import baseline_embedding, displayed_name, is_baseline
from s2robot.policies import checkpoint
from s2robot.policies.action_space import ActionBounds
from s2robot.policies.checkpoint import PolicyHeader
from s2robot.policies.dataset import stack_proprio
from s2robot.policies.policy import Policy


class LoadedPolicy:
    """A policy with its encoder, which acts on frames and low-dimensional observations.

    ``reset`` begins an episode, and each call is one control step of it: the object keeps what
    a policy remembers. An object serves one robot, or one batch of environments, at a time.

    Args:
        policy: the trained policy.
        header: of its file.
        encoder: that its header names, as ``encoder_of`` returns it; None for a baseline.
    """

    batched = True
    """Takes batches where it is evaluated as ``policy=MODULE:CALLABLE``."""

    def __init__(
        self,
        policy: Policy,
        header: PolicyHeader,
        encoder: FrameEncoder | CameraEncoders | None,
    ) -> None:
        self.policy = policy
        self.header = header
        self.encoder = encoder
        self.cameras = {} if encoder is None else camera_sizes(header.frames)
        """Height and width of the frames [px] by camera; empty for a baseline."""
        self.proprio_keys = header.proprio_keys
        """Low-dimensional observations that the policy reads, in its order."""
        self.action_names = tuple(header.action_space["meaning"])
        """Meaning of each entry of an action."""
        self.control_hz: float | None = header.action_space["control_hz"]
        """Control steps per second for which the policy was trained; None where it was trained on
        recorded data that do not tell."""
        self.action_scale = action_scale(header)
        """Bounds in the environment's own units, in which actions are returned; None where they
        are returned as the policy computes them."""
        self._bounds = ActionBounds.of(header.action_space)
        self._batch: int | None = None

    def reset(self) -> None:
        """Begin an episode, or a batch of episodes: forget the past."""
        self._batch = None

    def __call__(self, frames: Any = None, proprio: Any = None) -> np.ndarray:
        """Return the action of one control step.

        Args:
            frames: ``(H, W, 3)`` uint8 RGB, of the size of the training; or a dictionary of such
                arrays by camera. A batch of B environments is ``(B, H, W, 3)``. A baseline takes
                none.
            proprio: low-dimensional observations by name, as the environment gives them, ``(d,)``
                or ``(B, d)``; further names are ignored. Or one array ``(P,)`` or ``(B, P)`` in
                the policy's order, as ``stack_proprio`` makes it.

        Returns:
            ``(A,)`` float32; ``(B, A)`` for a batch. Of pick-cube in [-1, 1], as its environment
            takes them; of another task in the units of its environment's own ``step``, within the
            bounds of the training; of recorded data in the recording's units and range.

        Raises:
            KeyError: a camera or an observation is missing.
            ValueError: frames or observations have another size or type, or are not finite; or
                the batch has another size than at the first step of the episode.
            S2RobotError: the action is not finite.
        """
        images = checked_frames(frames, self.cameras) if self.cameras else {}
        batch = _batch_of(images, proprio)
        vector = self._vector(proprio, batch)
        embedding = self._embedding(images, proprio, batch)
        if self._batch is None:
            self._batch = len(vector)
            self.policy.reset(self._batch)
        if len(vector) != self._batch:
            raise ValueError(
                f"this step has {len(vector)} episodes, the step before {self._batch}; call "
                "reset() where other episodes begin"
            )
        actions = self.policy.act(embedding, torch.from_numpy(vector)).float().cpu().numpy()
        if not np.isfinite(actions).all():
            raise S2RobotError(f"the policy's action is {actions.tolist()}; train it again")
        actions = self._bounds.limited(actions)
        if self.action_scale is not None:
            actions = self.action_scale.own(actions.astype(np.float64))
        return actions[0] if batch is None else actions

    def _vector(self, proprio: Any, batch: int | None) -> np.ndarray:
        """Return the proprioception ``(B, P)`` float32."""
        keys, width = self.proprio_keys, self.policy.proprio_dim
        if not width:
            return np.zeros((1 if batch is None else batch, 0), np.float32)
        if proprio is None:
            raise ValueError(f"proprio is None; the policy reads {', '.join(keys)}")
        if not isinstance(proprio, Mapping):
            return checked_vector(proprio, width, keys, batch)
        parts = checked_proprio(proprio, keys, batch)
        vector = stack_proprio(parts, keys)
        if vector.shape[1] != width:
            raise wrong_width(parts, width, keys)
        return vector

    def _embedding(
        self, images: Mapping[str, np.ndarray], proprio: Any, batch: int | None
    ) -> torch.Tensor:
        """Return the embeddings ``(B, D)``."""
        if self.encoder is not None:
            if isinstance(self.encoder, CameraEncoders):
                return self.encoder(images)
            return self.encoder(images[next(iter(self.cameras))])
        name = str(self.header.encoder["backbone"])
        yaw = self.policy.embedding_dim > 3
        keys = {"none": self.proprio_keys, "state": ("cube_pos", *["cube_quat"] * yaw)}[name]
        if not isinstance(proprio, Mapping):
            if name == "none":
                return torch.zeros(1 if batch is None else batch, 0)
            raise ValueError(
                f"{displayed_name(name)} reads {', '.join(keys)}: give proprio as a dictionary"
            )
        found = checked_proprio(proprio, keys, batch)
        return torch.from_numpy(baseline_embedding(name, found, yaw))


def action_scale(header: PolicyHeader) -> ActionScale | None:
    """Return the scale of the actions of a policy's environment; None where they need none.

    Args:
        header: of the policy file.

    Raises:
        MismatchError: the file does not hold the bounds of its environment's actions.
    """
    space = header.action_space
    if space["control"] != NATIVE:
        return None
    if "own" not in space:
        raise MismatchError(
            f"the policy of {header.level} does not hold the bounds of its environment's actions, "
            "as an earlier version wrote it, so their units are not known; train again, or roll it "
            "out with s2robot eval"
        )
    return ActionScale(np.asarray(space["own"]["low"]), np.asarray(space["own"]["high"]))


def _batch_of(images: Mapping[str, np.ndarray], proprio: Any) -> int | None:
    """Return the number of episodes; None where arrays have no axis for them."""
    for frames in images.values():
        return len(frames) if frames.ndim == 4 else None
    values = proprio.values() if isinstance(proprio, Mapping) else [proprio]
    arrays = [np.asarray(value) for value in values if value is not None]
    return next((len(array) for array in arrays if array.ndim == 2), None)


def encoder_of(
    header: PolicyHeader,
    weights: str | os.PathLike[str] | None = None,
    device: str = "auto",
    dtype: str | None = "auto",
    runtime: str = "auto",
) -> FrameEncoder | CameraEncoders | None:
    """Return the encoder that a policy file names; None for a baseline.

    That of several cameras takes frames by camera.

    Args:
        header: of the policy file.
        weights: file with the encoder's weights; None searches and downloads them.
        device: as ``FrameEncoder.from_spec`` takes it, as are the others.
        dtype: precision.
        runtime: name of the runtime.

    Raises:
        MismatchError: the weights are not those of the policy's encoder.
        S2RobotError: weights or the runtime are not available.
    """
    if is_baseline(str(header.encoder["backbone"])):
        return None
    spec = EncoderSpec.from_dict(header.encoder)
    file = None if weights is None else Path(weights)
    made = FrameEncoder.from_spec(spec, weights=file, device=device, dtype=dtype, runtime=runtime)
    return encoders_of(made, cameras_of(header.frames))


def load_policy(
    path: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str] | None = None,
    device: str = "auto",
    dtype: str = "auto",
    runtime: str = "auto",
) -> LoadedPolicy:
    """Return the policy of a file, ready to act on frames.

    It is the policy that ``s2robot eval`` rolls out. The file names its encoder, which is built
    here, with the weights that it was trained on.

    Args:
        path: of the policy file, which ``s2robot train`` writes.
        weights: file with the encoder's weights; without it they are searched among those that
            this machine has loaded before, then downloaded.
        device: of the encoder: ``auto`` takes a GPU if there is one.
        dtype: precision of the encoder; ``auto`` is that of the training, but float32 on a CPU
            that is slower in bfloat16.
        runtime: of the encoder; see ``FrameEncoder.use_runtime``.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptFileError: it is truncated, altered, or not a policy file.
        MismatchError: it has another version, or the weights are others than in training.

    Examples:
        >>> import numpy as np
        >>> import s2robot
        >>> policy = s2robot.load_policy("policy.safetensors")
        >>> policy.cameras, policy.proprio_keys
        ({'front': (384, 384)}, ('ee_pos', 'gripper_width'))
        >>> frame = np.zeros((384, 384, 3), np.uint8)
        >>> policy.reset()
        >>> policy(frame, {"ee_pos": [0.5, 0.0, 0.3], "gripper_width": [0.08]}).shape
        (4,)
        >>> frames = {"front": np.stack([frame, frame])}  # two environments, by camera
        >>> policy.reset()
        >>> policy(frames, np.zeros((2, 4))).shape
        (2, 4)
    """
    policy, header = checkpoint.load_policy(Path(path))
    return LoadedPolicy(policy, header, encoder_of(header, weights, device, dtype, runtime))
