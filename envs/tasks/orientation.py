"""Environments of packages whose own frames are known to come upside down."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any


class UpsideDownWarning(UserWarning):
    """Frames are upside down, as far as the package that makes them tells."""


def _of_robosuite(env: Any, camera: str) -> str | None:
    del env
    macros = sys.modules.get("robosuite.macros")
    convention = getattr(macros, "IMAGE_CONVENTION", "opengl")
    if not camera.endswith("_image") or convention != "opengl":
        return None
    return (
        "robosuite stores its images bottom-up. Set robosuite.macros.IMAGE_CONVENTION, which is "
        "'opengl', to 'opencv' before the environment is made, or return"
    )


def _of_metaworld(env: Any, camera: str) -> str | None:
    name = getattr(env.unwrapped, "camera_name", None)
    if camera != "render" or name != "corner2":
        return None
    return "Meta-World's camera corner2 hangs upside down. Return"


_KNOWN: dict[str, Callable[[Any, str], str | None]] = {
    "robosuite": _of_robosuite,
    "metaworld": _of_metaworld,
}
"""Packages, and what they do to the frames of a camera, with the remedy up to what is returned."""


def warn_if_upside_down(env: Any, camera: str, task: str) -> None:
    """Warn where the package that makes the frames is known to make them upside down.

    Environments with a wrapper of another package but Gymnasium's are left alone, since it may turn
    the frames.

    Args:
        env: the Gymnasium environment.
        camera: name of the camera; an observation, or ``render``.
        task: its name, for the message.
    """
    packages = {type(each).__module__.partition(".")[0] for each in _chain(env)}
    for package in packages & set(_KNOWN):
        reason = _KNOWN[package](env, camera)
        if reason is not None and packages <= {package, "gymnasium"}:
            warnings.warn(
                f"frames of task {task}, camera {camera}, are upside down: {reason} frame[::-1] "
                "from draw() of a task of your own. Policies that were trained on upright frames, "
                "as all of this package's readers give them, fail on them",
                UpsideDownWarning,
                stacklevel=4,
            )


def _chain(env: Any) -> Iterator[Any]:
    """Yield an environment and those that it wraps."""
    seen: list[Any] = []
    while env is not None and not any(env is each for each in seen):
        seen.append(env)
        yield env
        env = getattr(env, "env", None)
