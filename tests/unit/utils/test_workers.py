"""Tasks in worker processes: order, errors, workers that die, hang or lose their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from s2robot.errors import S2RobotError
from s2robot.utils import workers
from s2robot.utils.workers import in_order, is_silent, worthwhile_workers


def sleeper(unit_s: float) -> Callable[[int], tuple[int, int]]:
    """Return a function that sleeps so many units; it returns the number and its process."""

    def sleep(number: int) -> tuple[int, int]:
        time.sleep(unit_s * number)
        return number, os.getpid()

    return sleep


def speaker(unit_s: float) -> Callable[[int], bool]:
    """Return a function that returns, after a while, whether its process is a silent one."""

    def speak(_: int) -> bool:
        time.sleep(unit_s)  # so that each worker gets a task
        return is_silent()

    return speak


def refuser(where: str) -> Callable[[int], int]:
    """Return a function that refuses 3; for `where` "start", raise at once."""
    if where == "start":
        raise ValueError("nothing can be done here")

    def refuse(number: int) -> int:
        if number == 3:
            raise KeyError("three")
        return number

    return refuse


def victim(folder: str, how: str) -> Callable[[int], int]:
    """Return a function that ends or hangs its process at number 2; "once" only the first time."""

    def work(number: int) -> int:
        seen = Path(folder) / "seen"
        if number == 2 and not ("once" in how and seen.exists()):
            seen.touch()
            if "dies" in how:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
        return 10 * number

    return work


@pytest.mark.process
def test_one_of_several_workers_warns_of_the_machine() -> None:
    assert not is_silent()
    assert list(in_order(speaker, [0.3], [0, 1, 2], workers=3)) == [False, True, True]


def test_without_workers_everything_is_done_here_and_only_when_it_is_asked_for() -> None:
    results = in_order(sleeper, [0.0], [1, 2], workers=0)
    assert next(results) == (1, os.getpid())
    assert list(in_order(refuser, ["start"], [], workers=0)) == []


def test_small_work_gets_no_workers_and_no_work_gets_more_than_the_cores(monkeypatch) -> None:
    monkeypatch.setattr(workers, "usable_cores", lambda: 4)
    assert [worthwhile_workers(work, 10) for work in (0, 19, 20, 39, 400)] == [0, 0, 2, 3, 4]
    monkeypatch.setattr(workers, "usable_cores", lambda: 1)
    assert worthwhile_workers(400, 10) == 0


@pytest.mark.process
def test_results_come_in_the_order_of_the_tasks_whoever_finishes_first() -> None:
    results = list(in_order(sleeper, [0.05], [8, 1, 0, 2], workers=2))
    assert [number for number, _ in results] == [8, 1, 0, 2]
    assert len({process for _, process in results} - {os.getpid()}) == 2


@pytest.mark.process
def test_what_a_task_raises_is_raised_here_after_the_results_before_it() -> None:
    results = in_order(refuser, ["task"], [1, 2, 3, 4], workers=2)
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(KeyError, match="three"):
        next(results)
    with pytest.raises(ValueError, match="nothing can be done here"):
        next(in_order(refuser, ["start"], [1], workers=1))


@pytest.mark.process
@pytest.mark.parametrize(("how", "seen"), [("dies once", "status -9"), ("hangs once", "for 4 s")])
def test_the_task_of_a_worker_that_dies_or_hangs_is_done_by_another(tmp_path, capfd, how, seen):
    results = in_order(victim, [str(tmp_path), how], [1, 2, 3, 4], workers=2, watchdog_s=4)
    assert list(results) == [10, 20, 30, 40]
    printed = " ".join(capfd.readouterr().err.split())
    assert seen in printed
    assert "another one takes over its task" in printed


@pytest.mark.process
def test_a_task_that_ends_every_worker_is_an_error_that_names_a_remedy(tmp_path) -> None:
    results = in_order(victim, [str(tmp_path), "dies"], [1, 2], workers=1)
    assert next(results) == 10
    with pytest.raises(S2RobotError, match=r"-9\), 3 times in the same task.*MUJOCO_GL"):
        next(results)


@pytest.mark.process
def test_workers_end_where_the_results_are_not_taken_any_more() -> None:
    results = in_order(sleeper, [0.01], [0, 1, 2, 3], workers=2)
    _, process = next(results)
    results.close()
    assert is_gone(process)


@pytest.mark.process
def test_workers_end_with_a_parent_that_is_killed(tmp_path) -> None:
    program = (
        "from unit.utils.test_workers import sleeper\n"  # no guard of __main__ is needed
        "from s2robot.utils.workers import in_order\n"
        "results = in_order(sleeper, [0.01], [0, 1, 30000], workers=2)\n"
        "print(next(results)[1], next(results)[1], flush=True)\n"
        "next(results)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(program)
    places = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": places},
    )
    assert parent.stdout is not None
    processes = [int(word) for word in parent.stdout.readline().split()]
    parent.kill()
    parent.wait()
    assert processes
    assert all(is_gone(process) for process in processes)


def is_gone(process: int, within_s: float = 20.0) -> bool:
    """Return whether a process ends in time; one that nobody waits for counts as ended."""
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        status = Path(f"/proc/{process}/stat")
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False
