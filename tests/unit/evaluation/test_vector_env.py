"""Vector environments: workers answer like one process, are replaced, and end with their parent."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.expert_policies import ENV_KWARGS, SIZE

from s2robot.errors import S2RobotError
from s2robot.evaluation import env_worker
from s2robot.evaluation.initial_states import InitialStates, make_initial_states
from s2robot.evaluation.vector_env import (
    CameraView,
    SubprocessVectorEnv,
    VectorEnv,
    VectorStep,
    make_vector_env,
)
from s2robot.utils import workers as worker_processes


@pytest.fixture(scope="module")
def initial_states() -> InitialStates:
    return make_initial_states("easy", "test", 5, ENV_KWARGS)


VIEW = CameraView("front", SIZE, SIZE)


@pytest.fixture
def shown(monkeypatch) -> list[str]:
    """Messages about workers."""
    messages: list[str] = []
    monkeypatch.setattr(env_worker.MESSAGES, "print", messages.append)
    return messages


def steps_of(envs: VectorEnv, states: np.ndarray, disturb=lambda _: None) -> list[VectorStep]:
    """Run two groups at the same time for four steps, with a disturbance before each step."""
    actions = np.random.default_rng(0).uniform(-1, 1, (4, len(states), 4))
    found: list[VectorStep] = []
    for group in range(envs.groups):
        envs.reset_async(states[::-1] if group else states, group)
    for number, action in enumerate(actions):
        disturb(number)
        for group in range(envs.groups):
            found.append(copied(envs.wait(group)))
            envs.step_async(action, group)
    return [*found, *(copied(envs.wait(group)) for group in range(envs.groups))]


def copied(step: VectorStep) -> VectorStep:
    assert step.frames is not None
    return dataclasses.replace(step, frames=step.frames.copy())


def assert_same(first: list[VectorStep], second: list[VectorStep]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.frames, other.frames)  # pyright: ignore[reportArgumentType]
        assert_same_steps(one, other)
        for key, value in one.info.items():
            np.testing.assert_array_equal(value, other.info[key])


@pytest.mark.process
@pytest.mark.render
@pytest.mark.parametrize(
    ("how", "losses"),
    [(signal.SIGKILL, (0, 2)), (signal.SIGSTOP, (2,))],  # 0: before the first answer
    ids=["killed", "hung"],
)
def test_a_lost_worker_is_replaced_and_the_episodes_go_on_exactly(
    initial_states, shown, how, losses
):
    states = initial_states.states[:3]

    def run(disturb: Callable[[SubprocessVectorEnv, int], None]) -> list[VectorStep]:
        envs = SubprocessVectorEnv(ENV_KWARGS, 3, VIEW, workers=2, groups=2, watchdog_s=3.0)
        try:
            return steps_of(envs, states, lambda number: disturb(envs, number))
        finally:
            envs.close()

    def lose(envs: SubprocessVectorEnv, number: int) -> None:
        if number in losses:
            os.kill(envs.pids[0], how)

    assert_same(run(lose), run(lambda *_: None))
    assert len(shown) == len(losses)
    assert "another one takes over its environments where they are" in shown[-1]


@pytest.mark.process
def test_a_worker_that_dies_again_and_again_is_an_error(initial_states, shown, monkeypatch):
    monkeypatch.setattr(worker_processes, "_PROGRAM", "raise SystemExit(7)")
    envs = SubprocessVectorEnv(ENV_KWARGS, 2, None, workers=1)
    with pytest.raises(S2RobotError, match=r"status 7\), 4 times.*rollout.workers=0"):
        envs.reset(initial_states.states[:2])
    envs.close()
    assert len(shown) == env_worker.MAX_RESTARTS


@pytest.mark.process
def test_an_error_in_a_worker_is_raised_here_and_the_next_step_is_right(initial_states):
    envs = SubprocessVectorEnv(ENV_KWARGS, 2, CameraView("frnt", SIZE, SIZE), workers=2)
    with pytest.raises(ValueError, match="unknown camera 'frnt'"):
        envs.reset(initial_states.states[:2])
    envs.step_async(np.zeros((2, 4)), render=False)
    step = envs.wait()
    envs.close()
    local = make_vector_env(ENV_KWARGS, 2, None)
    local.reset(initial_states.states[:2])
    assert_same_steps(step, local.step(np.zeros((2, 4))))


@pytest.mark.process
def test_workers_end_when_their_parent_is_killed():
    script = (
        "import time; from s2robot.evaluation.vector_env import SubprocessVectorEnv\n"
        "envs = SubprocessVectorEnv({'level': 'easy'}, 1, None, workers=1)\n"
        "print(*envs.pids, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while _alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(worker)


def _alive(pid: int) -> bool:
    """Return whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.render
@pytest.mark.slow
def test_workers_give_the_steps_of_one_process(initial_states):
    states = initial_states.states[:3]
    found = []
    for workers, groups in ((0, 1), (2, 1), (3, 1)):
        envs = make_vector_env(ENV_KWARGS, 3, VIEW, workers, groups)
        found.append(steps_of(envs, states))
        envs.close()
    assert_same(found[0], found[1])
    assert_same(found[0], found[2])


@pytest.mark.render
def test_a_step_that_is_not_drawn_moves_the_environments_the_same(initial_states):
    states, action = initial_states.states[:2], np.full((2, 4), 0.5)
    seen = []
    for render in (True, False):
        envs = make_vector_env(ENV_KWARGS, 2, VIEW)
        envs.reset(states)
        envs.step_async(action, render=render)
        seen.append(envs.wait())
    assert seen[0].frames is not None
    assert seen[1].frames is None
    assert_same_steps(*seen)


@pytest.fixture(scope="module", params=[0, 2], ids=["in process", "two workers"])
def envs(request, initial_states):
    found = make_vector_env(ENV_KWARGS, 3, None, workers=request.param)
    yield found
    found.close()


def assert_same_steps(first: VectorStep, second: VectorStep) -> None:
    for key, value in first.obs.items():
        np.testing.assert_array_equal(value, second.obs[key])


def spoiled(rows: np.ndarray, entry: int, value: float) -> np.ndarray:
    rows = rows.copy()
    rows[-1, entry] = value  # the last environment's: the others would have moved by then
    return rows


@pytest.mark.process
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda a: spoiled(a, 1, np.nan), "environment 2: action holds NaN"),
        (lambda a: a[:2], r"actions have shape \(2, 4\); .* each of the 3 environments, \(3, "),
        (lambda a: a[:, :3], r"environment 0: action has shape \(3,\)"),
        (lambda a: a[0], r"actions have shape \(4,\)"),
    ],
)
def test_refused_actions_move_no_environment(envs, initial_states, spoil, message):
    actions = np.full((3, 4), 0.4)
    envs.reset(initial_states.states[:3])
    expected = envs.step(actions)
    envs.reset(initial_states.states[:3])
    with pytest.raises(ValueError, match=message):
        envs.step(spoil(actions))
    assert_same_steps(envs.step(actions), expected)


@pytest.mark.process
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: spoiled(s, -1, 99.0), "environment 2: state has stage 99"),
        (lambda s: s[:2], r"states have shape \(2, 151\); allowed: one state for each of the 3"),
        (lambda s: s[:, :-1], r"environment 0: state has shape \(150,\)"),
        (lambda s: s.astype(np.float32), "environment 0: state has dtype float32"),
    ],
)
def test_refused_states_start_no_environment(envs, initial_states, spoil, message):
    actions = np.full((3, 4), 0.4)
    envs.reset(initial_states.states[:3])
    expected = envs.step(actions)
    envs.reset(initial_states.states[:3])
    with pytest.raises(ValueError, match=message):
        envs.reset(spoil(initial_states.states[1:4]))
    assert_same_steps(envs.step(actions), expected)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("kwargs", "count", "message"),
    [
        ({"level": "esy"}, 2, "unknown level 'esy'.*did you mean"),
        ({"level": "easy"}, 0, "count is 0; allowed: an integer of 1 or more"),
        ({"level": "easy"}, 2.5, r"count is 2\.5"),
    ],
)
def test_bad_arguments_are_named_before_a_process_starts(kwargs, count, message, workers):
    with pytest.raises(ValueError, match=message):
        make_vector_env(kwargs, count, None, workers)


@pytest.mark.parametrize("workers", [-1, 1.5])
def test_the_number_of_workers_is_an_integer(workers):
    with pytest.raises(ValueError, match="workers is .*; allowed: an integer of 0 or more"):
        make_vector_env(ENV_KWARGS, 2, None, workers)
