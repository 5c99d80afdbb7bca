"""A policy that LeRobot trained, as a policy file; LeRobot itself is not needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from s2robot.envs.levels import CAMERAS, CONTROLLERS
from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.envs.pick_cube_sim import LOW_DIM
from s2robot.errors import MismatchError, unknown
from s2robot.policies.action_units import ActionUnits
from s2robot.policies.checkpoint import (
    PolicyHeader,
    action_space_record,
    recorded_action_space,
    save_policy,
)
from s2robot.policies.policy import Policy
from s2robot.utils.provenance import provenance

ACTION = "action"
"""LeRobot's key of actions."""
_IMAGES = "observation.images."
_LEAST_STD = 1e-8
"""What LeRobot's normalizer adds to a standard deviation."""


@dataclass(frozen=True, eq=False)
class TrainedPolicy:
    """A policy whose measurements and actions LeRobot's processors normalize.

    Args:
        policy: the network; its own normalization is replaced when it is written.
        encoder: record of the encoder, as ``EncoderSpec.to_dict`` gives it.
        cameras: height and width of the frames [px] by LeRobot's key.
        stats: of the processors by key: ``min`` and ``max`` of ``action``, ``mean`` and ``std`` of
            the measurements.
        state_key: LeRobot's key of the measurements.
        train: what is known of the training.
    """

    policy: Policy
    encoder: Mapping[str, Any]
    cameras: Mapping[str, tuple[int, int]]
    stats: Mapping[str, Mapping[str, Tensor]]
    state_key: str = "observation.state"
    train: Mapping[str, Any] = field(default_factory=dict)

    def write(
        self, out: Path, level: str | None = None, proprio: Sequence[str] = ()
    ) -> PolicyHeader:
        """Write the policy file.

        Args:
            out: the file.
            level: of pick-cube, whose environment the policy acts in; None for recorded actions.
            proprio: with a level, the measurements of ``observation.state``, in order.

        Returns:
            The header of the file.

        Raises:
            MismatchError: statistics are missing, or measurements, cameras or actions do not fit.
            ValueError: a level, a measurement or a camera is unknown.
        """
        needed = [ACTION, *([self.state_key] if self.policy.proprio_dim else [])]
        missing = [key for key in needed if key not in self.stats]
        if missing:
            raise MismatchError(
                f"the processors have no statistics of {', '.join(missing)}; convert what "
                "lerobot-train saved"
            )
        header = self._header(level, tuple(proprio))
        self._take_normalization()
        return save_policy(out, self.policy, header)

    def _take_normalization(self) -> None:
        """Put the normalization of LeRobot's processors into the policy itself."""
        policy = self.policy
        if policy.proprio_dim:
            own = self.stats[self.state_key]
            policy.proprio_normalizer.mean.copy_(own["mean"])
            policy.proprio_normalizer.std.copy_(own["std"] + _LEAST_STD)
        low, high = self.stats[ACTION]["min"], self.stats[ACTION]["max"]
        policy.action_units = ActionUnits.of_range(low, high)
        policy.action_units.half_range[low == high] = 0.0  # a constant action is -1 for LeRobot

    def _header(self, level: str | None, proprio: tuple[str, ...]) -> PolicyHeader:
        if level is None:
            space, env_kwargs = self._recorded_actions(), {}
            keys = (self.state_key,) if self.policy.proprio_dim else ()
        else:
            env = _environment(level, self.policy.action_dim)
            keys, env_kwargs = checked_keys(proprio, self.policy.proprio_dim), env.env_kwargs()
            space = action_space_record(env.action_space, env.control, env.metadata["render_fps"])  # pyright: ignore[reportArgumentType]
            env.close()
        return PolicyHeader(
            policy_config=self.policy.config,
            encoder=dict(self.encoder),
            embedding_shape=tuple(self.policy.embedding_shape),
            proprio_keys=keys,
            action_space=space,
            env_kwargs=env_kwargs,
            frames=_frames(self.cameras, level is not None),
            demos_digest="",  # not known here; ``train`` names the data set
            train={"by": "lerobot-train", **self.train},
            seed=int(self.train.get("seed") or 0),
            head={},
            provenance={"converted": provenance()},
        )

    def _recorded_actions(self) -> dict[str, Any]:
        low, high = (self.stats[ACTION][name].cpu().numpy() for name in ("min", "max"))
        names = [f"a{entry}" for entry in range(self.policy.action_dim)]
        return recorded_action_space(low, high, names, None)


def checked_keys(proprio: tuple[str, ...], width: int) -> tuple[str, ...]:
    """Return measurements that together have a width.

    Args:
        proprio: names of measurements of pick-cube, in order.
        width: entries of LeRobot's ``observation.state``.

    Raises:
        MismatchError: they have another width, or one is a quaternion.
        ValueError: a measurement is unknown.
    """
    for key in proprio:
        if key not in LOW_DIM:
            raise unknown("measurement", key, LOW_DIM)
    sizes = {key: LOW_DIM[key] for key in proprio}
    if sum(sizes.values()) != width:
        raise MismatchError(
            f"observation.state has {width} entries; the measurements {sizes} have "
            f"{sum(sizes.values())}. Name those of the training data, in order, after --proprio"
        )
    turned = [key for key in proprio if key.endswith("_quat")]
    if turned:
        raise MismatchError(
            f"{', '.join(turned)} is a quaternion, which a policy file turns into six numbers, and "
            "LeRobot's policies read as four; export the data without it (--low-dim), train again"
        )
    return proprio


def _environment(level: str, entries: int) -> PickCubeEnv:
    """Return pick-cube with the control whose actions have so many entries."""
    for control in CONTROLLERS:
        env = PickCubeEnv(level, control=control)
        if env.action_space.shape == (entries,):
            return env
        env.close()
    raise MismatchError(
        f"the policy's actions have {entries} entries, which no control of level {level} has "
        f"({', '.join(CONTROLLERS)}); name the level of its training"
    )


def _frames(cameras: Mapping[str, tuple[int, int]], of_pick_cube: bool) -> dict[str, Any]:
    found = []
    for key, (height, width) in cameras.items():
        name = key.removeprefix(_IMAGES) if of_pick_cube else key
        if of_pick_cube and name not in CAMERAS:
            raise unknown("camera of pick-cube", name, CAMERAS)
        if of_pick_cube and height != width:
            raise MismatchError(
                f"{key} has frames of {height}x{width} px; those of pick-cube are square"
            )
        size = {"size": height} if of_pick_cube else {"height": height, "width": width}
        found.append({"name": name, **size})
    if of_pick_cube and len(found) == 1:
        return {"camera": found[0]}
    return {"kind": "recorded", "cameras": found} if not of_pick_cube else {"cameras": found}
