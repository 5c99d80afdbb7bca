"""Rollouts: failure stages, independent environments, choice of the recorded episodes."""

from __future__ import annotations

import numpy as np
import pytest
from support.expert_policies import ENV_KWARGS, PROPRIO, ExpertPolicy

from s2robot.evaluation.episode_videos import pick_episodes
from s2robot.evaluation.initial_states import InitialStates, make_initial_states
from s2robot.evaluation.rollout import Agent, Batch, Episodes, failure_stage, roll_out
from s2robot.evaluation.vector_env import VectorEnv, make_vector_env


@pytest.fixture(scope="module")
def initial_states() -> InitialStates:
    return make_initial_states("easy", "test", 5, ENV_KWARGS)


@pytest.mark.parametrize(
    ("stage", "success", "reached", "grasped"),
    [
        ("none", [0, 1, 1], [1, 1, 1], [1, 1, 1]),
        ("drop", [0, 1, 0], [1, 1, 0], [1, 1, 0]),
        ("reach", [0, 0, 0], [0, 0, 0], [0, 0, 0]),
        ("grasp", [0, 0, 0], [1, 0, 0], [0, 0, 0]),
        ("lift", [0, 0, 0], [1, 1, 0], [0, 1, 0]),
        ("timeout", [0, 0, 0], [1, 1, 1], [0, 1, 1]),
    ],
)
def test_failure_stage(stage, success, reached, grasped):
    info = {"is_success": success, "reached": reached, "grasped": grasped}
    assert failure_stage({key: np.array(value, bool) for key, value in info.items()}) == stage


def rolled_out(agent: Agent, envs: VectorEnv, states: np.ndarray, on_step=lambda: None) -> Episodes:
    (episodes,) = roll_out([Batch(agent, states)], envs, 6, on_step)
    return episodes


def expert(*arguments) -> Agent:
    return Agent(ExpertPolicy(*arguments), PROPRIO, baseline="state")


def test_environments_do_not_disturb_each_other(initial_states):
    """An episode is the same, whatever the other environments do."""
    kwargs = {**ENV_KWARGS, "horizon": 6}
    pair = make_vector_env(kwargs, 2, None)
    quiet = rolled_out(expert((1,)), pair, initial_states.states[:2])
    busy = rolled_out(expert(), pair, initial_states.states[:2])
    assert quiet.distance_m is not None
    assert busy.distance_m is not None
    np.testing.assert_array_equal(quiet.distance_m[0], busy.distance_m[0])
    assert (quiet.distance_m[1] != busy.distance_m[1]).any()


@pytest.mark.process
def test_batches_that_run_at_the_same_time_give_what_each_gives_alone(initial_states):
    kwargs = {**ENV_KWARGS, "horizon": 6}
    parts = [initial_states.states[i : i + 2] for i in (0, 2, 3)]
    with_workers = make_vector_env(kwargs, 2, None, workers=2, groups=2)
    together = list(roll_out([Batch(expert(), part) for part in parts], with_workers, 6))
    with_workers.close()
    alone = make_vector_env(kwargs, 2, None)
    for part, found in zip(parts, together, strict=True):
        expected = rolled_out(expert(), alone, part)
        np.testing.assert_array_equal(found.actions, expected.actions)
        np.testing.assert_array_equal(found.distance_m, expected.distance_m)
        assert {k: len(v) for k, v in found.times_ms.items()} == dict.fromkeys(found.times_ms, 6)


def test_each_control_step_counts_for_the_progress(initial_states):
    steps: list[int] = []
    envs = make_vector_env({**ENV_KWARGS, "horizon": 6}, 2, None)
    rolled_out(expert(), envs, initial_states.states[:2], lambda: steps.append(1))
    assert len(steps) == 6


def test_pick_episodes_takes_the_first_of_each_kind():
    rows = [{"index": i, "success_once": i in (1, 4, 5)} for i in range(6)]
    picked = [("success", 1), ("success", 4), ("failure", 0), ("failure", 2)]
    assert pick_episodes(rows, 2) == picked
