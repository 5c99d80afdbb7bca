"""Vector environments: worker processes answer like one process, and end with their parent."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.expert_policies import ENV_KWARGS, SIZE

from s2robot.errors import S2RobotError
from s2robot.evaluation.initial_states import InitialStates, make_initial_states
from s2robot.evaluation.vector_env import (
    CameraView,
    SubprocessVectorEnv,
    VectorStep,
    make_vector_env,
)


@pytest.fixture(scope="module")
def initial_states() -> InitialStates:
    return make_initial_states("easy", "test", 5, ENV_KWARGS)


def test_a_hung_worker_is_reported_and_killed(initial_states, monkeypatch):
    envs = SubprocessVectorEnv(ENV_KWARGS, 2, CameraView("front", SIZE, SIZE), workers=1)
    envs._watchdog_s = 0.0
    with pytest.raises(S2RobotError, match="hung in its renderer.*rollout.workers=0"):
        envs.reset(initial_states.states[:2])
    envs.close()  # returns, as the process is gone


@pytest.mark.process
def test_workers_end_when_their_parent_is_killed():
    script = (
        "import time; from s2robot.evaluation.vector_env import SubprocessVectorEnv\n"
        "if __name__ == '__main__':\n"
        "    envs = SubprocessVectorEnv({'level': 'easy'}, 1, None, workers=1)\n"
        "    print(*envs._pids, flush=True); time.sleep(60)\n"
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
    view = CameraView("front", SIZE, SIZE)
    steps: list[VectorStep] = []
    for workers in (0, 2):
        envs = make_vector_env(ENV_KWARGS, 3, view, workers)
        steps.append(envs.reset(initial_states.states[:3]))
        envs.close()
    local, remote = steps
    np.testing.assert_array_equal(local.frames, remote.frames)  # pyright: ignore[reportArgumentType]
    for key in local.obs:
        np.testing.assert_array_equal(local.obs[key], remote.obs[key])


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
