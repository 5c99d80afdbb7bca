"""Facts that a data set of a task takes from its environment: names, sizes, units and rate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from s2robot.data.config import CameraConfig
from s2robot.data.datasets.contract import choose
from s2robot.envs.tasks.action_scale import ActionScale, scale_of
from s2robot.envs.tasks.contract import TaskEnv
from s2robot.envs.tasks.names import is_foreign
from s2robot.policies.action_space import action_space_record

PICK_CUBE_TASK = "Pick up the cube."


@dataclass(frozen=True)
class TaskFacts:
    """Names, sizes, units and rate of a task's data."""

    level: str
    """Name of the task in files."""
    rate_hz: float
    """Control steps per second."""
    frame_shapes: Mapping[str, tuple[int, int] | None]
    """Height and width of the frames [px] by camera, the default first; None for any size."""
    proprio: tuple[str, ...]
    """Observations that a robot has; others are of the simulator."""
    action_names: tuple[str, ...]
    """Names of the A entries of an action."""
    scale: ActionScale | None
    """Units of the environment's own actions; None where they are those of the contract."""
    full_states: bool
    """Whether a state restores a moment by itself; else it is the seed of an episode."""

    @property
    def task(self) -> str | None:
        """What the task is, in a sentence; None where it is not known."""
        return None if is_foreign(self.level) else PICK_CUBE_TASK

    @property
    def own_actions(self) -> bool:
        """Whether actions in the environment's units differ from those in [-1, 1]."""
        if self.scale is None:
            return False
        return bool((self.scale.low != -1).any() or (self.scale.high != 1).any())

    def in_own_units(self, actions: np.ndarray) -> np.ndarray:
        """Return actions (..., A) of [-1, 1] in the environment's units, float32."""
        return actions.astype(np.float32) if self.scale is None else self.scale.own(actions)

    def sizes(
        self,
        names: Sequence[str] | None,
        size: int | None,
        source: str,
        trained: Mapping[str, tuple[int, int]] | None = None,
    ) -> dict[str, tuple[int, int]]:
        """Return height and width [px] of each camera that is asked for.

        Args:
            names: of the cameras; None for those of the policy, else the task's first.
            size: side of the frames [px], of a task that draws any.
            source: of the data, for messages.
            trained: sizes of the policy's cameras, which are taken where no size is given.

        Raises:
            ValueError: there is no such camera, or its frames have a size of their own.
        """
        trained = trained or {}
        wanted = names or list(trained) or [next(iter(self.frame_shapes))]
        usual = next(iter(trained.values()), (CameraConfig().size,) * 2)
        found = {}
        for name in choose("camera", wanted, self.frame_shapes, source):
            fixed = self.frame_shapes[name]
            if fixed is not None and size is not None:
                raise ValueError(
                    f"size is {size} px, but frames of {self.level} have the size that its "
                    f"environment gives them, {fixed[0]}x{fixed[1]} px; leave --size out"
                )
            asked = trained.get(name, usual) if size is None else (size, size)
            found[name] = fixed or asked
        return found

    def keys(
        self, low_dim: Sequence[str] | None, there: Iterable[str], source: str
    ) -> tuple[str, ...]:
        """Return the observations that are asked for.

        Args:
            low_dim: their keys; None for the robot's own, of pick-cube for all.
            there: those that the episodes have.
            source: of the data, for messages.

        Raises:
            ValueError: there is no such observation.
        """
        if low_dim is None and is_foreign(self.level):
            low_dim = self.proprio
        return choose("observation", low_dim, there, source)

    def privileged(self, keys: Iterable[str]) -> tuple[str, ...]:
        """Return those observations of another task than pick-cube that a robot does not have."""
        foreign = is_foreign(self.level)
        return tuple(key for key in keys if foreign and key not in self.proprio)


def facts_of(env: TaskEnv) -> TaskFacts:
    """Return the facts of an environment, which is reset.

    Names of the entries of an action are its ``action_names``, where it has them.

    Args:
        env: of the task.
    """
    env.reset(seed=0)
    space = action_space_record(env.action_space, env.control, env.rate_hz)
    names = getattr(env, "action_names", None) or space["meaning"]
    return TaskFacts(
        level=str(env.env_kwargs()["level"]),
        rate_hz=env.rate_hz,
        frame_shapes={name: env.frame_shape(name) for name in env.cameras},
        proprio=tuple(env.proprio_keys()),
        action_names=tuple(names),
        scale=scale_of(env),
        full_states=env.start == "state",
    )
