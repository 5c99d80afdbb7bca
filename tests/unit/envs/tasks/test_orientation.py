"""Environments whose package makes frames upside down."""

from __future__ import annotations

import sys
import types
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from support.own_tasks import ReachEnv

from s2robot.envs.tasks.gymnasium_task import GymnasiumTask
from s2robot.envs.tasks.orientation import UpsideDownWarning


class _WithImage(ReachEnv):
    """Frames under the name that robosuite gives them."""

    camera_name = "corner2"

    def observation(self) -> dict[str, Any]:
        """Return the observation."""
        return {"agent_pos": self.tool.astype(np.float32), "agentview_image": self.render()}


def _made(package: str, frames: str | None, wrapper: Any = None) -> None:
    """Make a task of an environment of a package."""
    env_class = type("Environment", (_WithImage,), {"__module__": f"{package}.environments"})

    class Own(GymnasiumTask):
        horizon = 5

        def environment(self, horizon: int | None) -> gymnasium.Env:
            made = env_class()
            return made if wrapper is None else wrapper(made)

    task = Own()
    task.frames = frames
    task.make({}).close()


@pytest.mark.parametrize(
    ("package", "frames", "said"),
    [
        (
            "robosuite",
            "agentview_image",
            r"robosuite.macros.IMAGE_CONVENTION.*, or return frame\[",
        ),
        (
            "metaworld",
            None,
            r"corner2 hangs upside down. Return frame\[",
        ),
    ],
)
def test_known_packages_are_named_with_what_helps(
    package: str, frames: str | None, said: str
) -> None:
    with pytest.warns(UpsideDownWarning, match=said):
        _made(package, frames)
    with pytest.warns(UpsideDownWarning, match=said):
        _made(package, frames, lambda env: gymnasium.wrappers.TimeLimit(env, 5))


class _Turned(gymnasium.Wrapper):
    """A wrapper of the user's own, which may turn frames."""


@pytest.mark.parametrize(
    ("package", "frames", "wrapper"),
    [
        ("own", "agentview_image", None),
        ("robosuite", None, None),  # it draws, by render()
        ("robosuite", "agentview_image", _Turned),
        ("metaworld", "agentview_image", None),
    ],
)
def test_others_are_left_alone(package: str, frames: str | None, wrapper: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UpsideDownWarning)
        _made(package, frames, wrapper)


def test_robosuite_that_stores_images_upright_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    macros = types.ModuleType("robosuite.macros")
    macros.IMAGE_CONVENTION = "opencv"  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "robosuite.macros", macros)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UpsideDownWarning)
        _made("robosuite", "agentview_image")
