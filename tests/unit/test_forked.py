"""Programs that tests fork: each is a process of its own, as a fresh Python would be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import forked
from support.forked import ForkedProcess

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform == "win32", reason="nothing forks on Windows"),
]


def code(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def test_output_status_folder_and_variables_are_its_own(tmp_path: Path) -> None:
    text = "import os, sys; print(os.getcwd(), os.environ['HERE']); sys.exit(sys.argv[1])"
    done = forked.run([*code(text), "no"], cwd=tmp_path, env={**os.environ, "HERE": "it is"})
    assert (done.returncode, done.stdout, done.stderr) == (1, f"{tmp_path} it is\n", "no\n")
    assert "HERE" not in os.environ
    assert Path.cwd() != tmp_path
    assert forked.run(code("import os; print(os.environ.get('HERE'))")).stdout == "None\n"


def test_a_traceback_and_what_is_done_at_exit_are_shown() -> None:
    done = forked.run(code("import atexit; atexit.register(print, 'end'); 1 / 0"))
    assert (done.returncode, done.stdout) == (1, "end\n")
    assert "ZeroDivisionError" in done.stderr


def test_modules_and_scripts_are_the_main_program(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys, beside; print(__name__, sys.argv[1:], beside.N)\n")
    (tmp_path / "beside.py").write_text("N = 3\n")
    assert forked.run([sys.executable, script, "a"]).stdout == "__main__ ['a'] 3\n"
    found = forked.run([sys.executable, "-m", "script", "b"], cwd=tmp_path)
    assert found.stdout == "__main__ ['b'] 3\n", found.stderr
    assert forked.run([sys.executable, "-m", "s2robot.cli.main", "evaluate"]).returncode == 2


def test_they_are_killed_and_interrupted_as_processes_are() -> None:
    killed = ForkedProcess(code("import time; time.sleep(60)"))
    with pytest.raises(subprocess.TimeoutExpired):
        killed.wait(0.05)
    assert killed.poll() is None
    killed.kill()
    assert killed.wait(100) == killed.poll() == -signal.SIGKILL
    text = "import time; print('ready', flush=True); time.sleep(60)"
    process = ForkedProcess(code(text), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(100) == -signal.SIGINT
    process.stdout.close()


def test_one_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    text = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    with pytest.raises(subprocess.TimeoutExpired):
        forked.run(code(text), timeout=3)
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)


def test_a_session_is_led_where_it_is_asked_for() -> None:
    text = "import os; print(os.getsid(0) == os.getpid())"
    assert forked.run(code(text)).stdout == "False\n"
    assert forked.run(code(text), start_new_session=True).stdout == "True\n"


def test_several_run_at_once_and_none_has_the_random_numbers_of_another() -> None:
    text = "import numpy, random, os; print(numpy.random.rand(), random.random(), os.getpid())"
    started = [ForkedProcess(code(text), stdout=subprocess.PIPE) for _ in range(3)]
    assert [process.wait(300) for process in started] == [0, 0, 0]
    words = [process.stdout.read().split() for process in started if process.stdout]
    assert all(len(set(column)) == 3 for column in zip(*words, strict=True))
    assert {int(each[2]) for each in words} == {process.pid for process in started}


def test_they_begin_with_pytorch_imported_and_with_one_thread() -> None:
    text = "import sys, threading; print('torch' in sys.modules, threading.active_count())"
    assert forked.run(code(text)).stdout == "True 1\n"


def test_threads_of_pytorch_are_those_of_the_environment() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    found = forked.run(code("import torch; print(torch.get_num_threads())"), env=environment)
    assert found.stdout == "2\n"


def test_programs_and_variables_that_need_a_fresh_python_are_refused() -> None:
    with pytest.raises(ValueError, match="MUJOCO_GL is read on import"):
        forked.run(code(""), env={**os.environ, "MUJOCO_GL": "other"})
    with pytest.raises(ValueError, match="git is not this Python"):
        forked.run(["git", "status"])
