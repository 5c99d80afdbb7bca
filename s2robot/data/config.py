"""Settings of a collection, of a camera, and names of drawn frames; imports no simulator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from s2robot.envs.levels import CONTROLLERS
from s2robot.envs.tasks.contract import NATIVE
from s2robot.envs.tasks.loading import named_by_user
from s2robot.envs.tasks.names import check_stored, file_name, is_foreign, stored_task
from s2robot.utils.io import digest_of
from s2robot.utils.validation import (
    checked_integer,
    require_fractions,
    require_integers,
    require_one_of,
)

GENERATED = ("pick-cube", "noise")
"""Sources of frames that need no file."""
SEEDS_PER_COLLECTION = 10_000
"""Environment seeds of collection ``seed`` are ``seed * 10_000 + attempt``."""
LEAST_CAMERA_SIZE = 16
"""Smallest side of a camera's frames [px]."""


def frame_size(camera: Mapping[str, Any]) -> tuple[int, int]:
    """Return height and width [px] of a camera in files, which has them or one ``size``.

    Examples:
        >>> frame_size({"name": "far", "size": 384})
        (384, 384)
    """
    size = camera.get("size", 0)
    return camera.get("height", size), camera.get("width", size)


def cameras_of(frames: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the cameras of a policy's frames, in the policy's order.

    Args:
        frames: source of the frames in the policy's header, with one ``camera`` or ``cameras``.

    Returns:
        Of each its name, its size [px], and ``scales`` where it has some of its own.

    Examples:
        >>> cameras_of({"camera": {"name": "far", "size": 384}})
        [{'name': 'far', 'size': 384}]
    """
    if "cameras" in frames:
        return list(frames["cameras"])
    return [frames["camera"]] if "camera" in frames else []


def short_camera(name: str) -> str:
    """Return the name of a camera without what formats put around it.

    Examples:
        >>> short_camera("observation.images.front"), short_camera("front_image")
        ('front', 'front')
        >>> short_camera("/front/image_raw"), short_camera("pixels.front")
        ('front/image_raw', 'front')
    """
    for prefix in ("observation.images.", "observation.image.", "pixels.", "/"):
        name = name.removeprefix(prefix)
    return name.removesuffix("_image")


def short_observation(name: str) -> str:
    """Return the name of an observation without what formats put before it.

    Examples:
        >>> short_observation("observation.state"), short_observation("/joint_states")
        ('state', 'joint_states')
    """
    return name.removeprefix("observation.").removeprefix("/")


@dataclass(frozen=True)
class CameraConfig:
    """Camera of the policy and the size of its frames."""

    name: str = "front"
    size: int = 384
    """Side of the square frames that the camera delivers [px], whatever the scales are. Tasks other
    than pick-cube have frames of their own size."""

    def __post_init__(self) -> None:
        if self.size < LEAST_CAMERA_SIZE:
            raise ValueError(
                f"camera size is {self.size} px; it must be at least {LEAST_CAMERA_SIZE} px"
            )


class _WithTask(Protocol):
    @property
    def level(self) -> str: ...
    @property
    def control(self) -> str: ...
    @property
    def task(self) -> str | None: ...


def take_task(config: _WithTask, default: str = "precise") -> None:
    """Give frozen settings the level and the control of their task, and check both.

    Args:
        config: settings with `task`, `level` and `control`; without a task, its level decides.
        default: the level where none was given.

    Raises:
        ValueError: the task or the level is unknown, or the control does not belong to it.
    """
    if config.task is not None:
        if config.level not in (default, stored_task(config.task)):
            raise ValueError(
                f"task is {config.task!r} and level {config.level!r}; give one of them"
            )
        object.__setattr__(config, "level", named_by_user(config.task))
    check_stored(config.level)
    if not is_foreign(config.level):
        require_one_of(config, {"control": CONTROLLERS})
    elif config.control in (CONTROLLERS[0], NATIVE):  # the default, and what it stands for
        object.__setattr__(config, "control", NATIVE)
    else:
        raise ValueError(
            f"control is {config.control!r}; {config.level} has its environment's own actions: "
            "leave control= out"
        )


@dataclass(frozen=True)
class CollectConfig:
    """Settings of one collection of demonstrations."""

    level: str = "precise"
    control: str = "ee_delta"
    episodes: int = 120
    seed: int = 0
    valid_share: float = 0.1
    """Share of the episodes held out for validation."""
    hold_steps: int = 4
    """Steps recorded after the cube is lifted, so that a policy learns to hold it."""
    out: Path | None = None
    data_dir: Path = Path("data")
    env: dict[str, Any] = field(default_factory=dict)
    """Further arguments of ``PickCubeEnv``."""
    workers: int | None = None
    """Processes that simulate; 0 for none beside this one, None for as many as shorten the work.
    The file does not depend on it."""
    task: str | None = None
    """Task by name, in place of `level`: ``pick-cube/LEVEL``, ``gym:ID``,
    ``module:path.to.Task``."""

    def __post_init__(self) -> None:
        take_task(self)
        if is_foreign(self.level) and self.env:
            raise ValueError(
                f"env.* are arguments of PickCubeEnv; those of {self.level} stand in its name, as "
                "in gym:ID?width=128"
            )
        require_integers(self, 1, "hold_steps")
        if not 2 <= self.episodes <= SEEDS_PER_COLLECTION // 2:
            raise ValueError(
                f"episodes is {self.episodes}; allowed: 2 to {SEEDS_PER_COLLECTION // 2}"
            )
        if not 0 <= self.seed < 100:
            raise ValueError(f"seed is {self.seed}; allowed: 0 to 99 (others seed evaluations)")
        require_fractions(self, "valid_share")
        if self.workers is not None:
            checked_integer("workers", self.workers, 0)

    @property
    def path(self) -> Path:
        """Path of the data set: ``out``, or a name made of the settings."""
        if self.out is not None:
            return self.out
        extra = f"-{digest_of(self.env)[:8]}" if self.env else ""
        name = f"{file_name(self.level)}-{self.control}-{self.episodes}-seed{self.seed}{extra}.hdf5"
        return self.data_dir / "demos" / name

    def recipe(self) -> dict[str, Any]:
        """Return the settings that determine the content of the file, as the file records them."""
        return {
            name: getattr(self, name)
            for name in ("level", "control", "episodes", "seed", "valid_share", "hold_steps", "env")
        }
