"""Programs that tests start, forked from one process that has imported PyTorch and the package.

A Python that trains or encodes spends seconds on its imports alone. What is forked here begins at
once. Otherwise it is a process like any other: arguments, folder, environment, standard streams,
session and signals of its own; it exits with a status, and it can be killed. Start a fresh Python
(``subprocess``) where start-up, imports or variables that are read on import are what is tested.
"""

from __future__ import annotations

import atexit
import functools
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from support.paths import ROOT, TESTS

AT_START = dict(os.environ)
"""Before any test changes a variable."""
READ_ON_IMPORT = (
    *("MUJOCO_GL", "PYTHONHASHSEED", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES"),
    *("HF_HUB_OFFLINE", "HF_HOME", "HF_ENDPOINT"),
)
SERVER = Path(__file__).with_name("fork_server.py")


class ForkedProcess:
    """A started program, with the part of ``subprocess.Popen`` that tests use.

    Args:
        words: ``[sys.executable, "-m", MODULE, ...]``, ``[sys.executable, "-c", CODE, ...]`` or
            ``[sys.executable, SCRIPT, ...]``.
        cwd: its folder; None for that of this process.
        env: its whole environment; None for that of this process.
        stdin: an open file or ``subprocess.DEVNULL``; None for that of this process.
        stdout: likewise, or ``subprocess.PIPE``.
        stderr: likewise, or ``subprocess.STDOUT``.
        start_new_session: lead a session of its own.

    Raises:
        ValueError: another program than this Python, or a variable that is read on import has
            another value than when the tests began; start a fresh Python for these.
    """

    def __init__(
        self,
        words: Sequence[object],
        *,
        cwd: str | Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        start_new_session: bool = False,
    ) -> None:
        environment = dict(os.environ if env is None else env)
        argv = list(map(str, words))
        _check(argv, environment)
        sys.audit("subprocess.Popen", argv[0], argv, cwd, env)  # tests/support/guards.py
        self.returncode: int | None = None
        self.stdout: IO[str] | None = None
        given: list[int] = []
        fds = [_fd(stdin, 0, given), _fd(stdout, 1, given)]
        if stdout == subprocess.PIPE:
            reading, fds[1] = os.pipe()
            given.append(fds[1])
            self.stdout = open(reading, encoding="utf-8")
        fds.append(fds[1] if stderr == subprocess.STDOUT else _fd(stderr, 2, given))
        job = {
            "words": argv[1:],
            "cwd": str(cwd or Path.cwd()),
            "environment": environment,
            "start_new_session": start_new_session,
        }
        self._status, theirs = socket.socketpair()
        _start(job, [*fds, theirs.fileno()])
        theirs.close()
        for fd in given:
            os.close(fd)
        self._lines = self._status.makefile("r")
        self.pid: int = json.loads(self._lines.readline())["pid"]

    def poll(self) -> int | None:
        """Return the exit status, or None while the program runs."""
        try:
            return self.wait(timeout=0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status when the program has ended; minus the number of a signal.

        Raises:
            subprocess.TimeoutExpired: it still runs after `timeout` seconds.
        """
        if self.returncode is None:
            self._await(timeout)
            line = self._lines.readline()
            assert line, f"the process that forked {self.pid} is gone"
            self.returncode = json.loads(line)["returncode"]
            self._lines.close()
            self._status.close()
        assert self.returncode is not None
        return self.returncode

    def _await(self, timeout: float | None) -> None:
        poll = select.poll()
        poll.register(self._status, select.POLLIN)
        if not poll.poll(None if timeout is None else 1000 * timeout):
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the program has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)


def run(
    words: Sequence[object], *, timeout: float | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; return its status and what it printed, as text.

    Args:
        words: as of ``ForkedProcess``.
        timeout: seconds after which it is killed; None for any time.
        options: `cwd`, `env` and `stdin` of ``ForkedProcess``.

    Raises:
        subprocess.TimeoutExpired: it ran longer.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = ForkedProcess(words, stdout=out, stderr=err, **options)
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        texts = [_text(file) for file in (out, err)]
    return subprocess.CompletedProcess(list(map(str, words)), status, *texts)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return io.TextIOWrapper(io.BytesIO(file.read()), encoding="utf-8", errors="replace").read()


def _check(argv: Sequence[str], environment: Mapping[str, str]) -> None:
    if argv[0] != sys.executable:
        raise ValueError(f"{argv[0]} is not this Python, {sys.executable}: use subprocess")
    for name in READ_ON_IMPORT:
        if environment.get(name) != AT_START.get(name):
            raise ValueError(f"{name} is read on import: use subprocess")


def _fd(file: Any, inherited: int, given: list[int]) -> int:
    """Return the number of an open file; numbers that are opened here are added to `given`."""
    if file is None:
        return inherited
    if file == subprocess.DEVNULL:
        given.append(os.open(os.devnull, os.O_RDWR))
        return given[-1]
    return inherited if file == subprocess.PIPE else file.fileno()


@functools.cache
def _server() -> socket.socket:
    """Start the process that forks, once in this one; it ends with this one."""
    ours, theirs = socket.socketpair()
    path = os.pathsep.join([str(ROOT), str(TESTS), AT_START.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, str(SERVER), str(theirs.fileno())],
        env={**AT_START, "PYTHONPATH": path.rstrip(os.pathsep)},
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait(timeout=60)

    atexit.register(end)
    return ours


def _start(job: dict[str, Any], fds: Sequence[int]) -> None:
    """Send a job with the files that its process gets."""
    content = json.dumps(job).encode()
    server = _server()
    socket.send_fds(server, [len(content).to_bytes(8, "little")], list(fds))
    server.sendall(content)
