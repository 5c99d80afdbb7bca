"""A policy of this package in robomimic's rollouts."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from robomimic.algo import RolloutPolicy

from s2robot.envs.tasks.names import env_name_of
from s2robot.errors import S2RobotError
from s2robot.evaluation.agents.loaded_policy import LoadedPolicy, load_policy
from s2robot.plugins.robomimic.environment import EnvS2Robot

_IMAGE = "_image"


class S2RolloutPolicy(RolloutPolicy):
    """A policy file of ours as robomimic's rollout loops take policies.

    Args:
        policy: as ``s2robot.load_policy`` returns it, or the path of a policy file.
        own_actions: actions are in the units of the task's own environment, as robomimic's
            environments of files with ``own_actions`` take them; else in [-1, 1].
        settings: as ``s2robot.load_policy`` takes them: device, dtype, runtime, weights.

    Raises:
        CorruptFileError: the file is damaged.
        S2RobotError: it was trained on recorded data, which have no environment.
    """

    def __init__(
        self, policy: str | Path | LoadedPolicy, own_actions: bool = False, **settings: Any
    ) -> None:
        made = policy if isinstance(policy, LoadedPolicy) else load_policy(policy, **settings)
        if made.header.level is None:
            raise S2RobotError(
                "the policy was trained on recorded data, so it has no environment of its own"
            )
        self.policy = copy.copy(made)  # the caller's keeps its units
        self.own_actions = own_actions
        if not own_actions:
            self.policy.action_scale = None
        self.obs_normalization_stats = None

    def environment(self) -> EnvS2Robot:
        """Return the environment of the training, with the policy's cameras."""
        header = self.policy.header
        sizes = {size for size in self.policy.cameras.values() if size is not None}
        if len(sizes) > 1:
            raise S2RobotError(
                f"the policy's cameras have several sizes ({self.policy.cameras}), and robomimic's "
                "environments have one"
            )
        height, width = min(sizes, default=(84, 84))
        kwargs = dict(header.env_kwargs)
        return EnvS2Robot(
            env_name_of(str(header.level)),
            use_image_obs=bool(sizes),
            camera_names=tuple(self.policy.cameras),
            camera_heights=height,
            camera_widths=width,
            own_actions=self.own_actions,
            **kwargs,
        )

    def start_episode(self) -> None:
        """Forget the past."""
        self.policy.reset()

    def __call__(self, ob: Mapping[str, Any], goal: Any = None) -> np.ndarray:
        """Return the action (A,) of one observation, in the units of ``own_actions``.

        Args:
            ob: of the environment, images (3, H, W) in 0-1.
            goal: None.
        """
        del goal
        frames = {}
        for camera in self.policy.cameras:
            image = np.asarray(ob[f"{camera}{_IMAGE}"])
            frames[camera] = np.rint(255.0 * image.transpose(1, 2, 0)).astype(np.uint8)
        return self.policy(frames or None, ob)

    def __repr__(self) -> str:
        """Describe the policy in one line."""
        return f"S2RolloutPolicy({self.policy.header.encoder['backbone']})"
