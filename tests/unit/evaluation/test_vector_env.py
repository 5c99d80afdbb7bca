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
    with pytest.raises(S2RobotError, match="hung in its renderer.*workers=0"):
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
