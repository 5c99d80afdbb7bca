"""Import what programs of tests import, then fork a process for each job from a socket.

``support.forked`` starts this file as a program. It has no threads, so that forks are safe.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import traceback
import types
from typing import Any

IMPORTED = (
    "torch",
    "torch.utils.tensorboard",
    "timm",
    "mujoco",
    "h5py",
    "hydra",
    "scipy.stats",
    "s2robot.cli.hydra_commands",
    "s2robot.cli.settings.front",
    "s2robot.data.collection",
    "s2robot.data.feature_store",
    "s2robot.encoder.frame_encoder",
    "s2robot.envs.pick_cube",
    "s2robot.experiments.pipeline",
    "s2robot.pretraining.run",
    "s2robot.reporting.html_report",
    "s2robot.training.trainer",
)
JOB_FDS = 4
"""Standard input, output and errors, and the socket for process number and exit status."""


class Server:
    """Jobs, and the processes that do them.

    Args:
        jobs: where jobs come from; the server ends when it is closed.
    """

    def __init__(self, jobs: socket.socket) -> None:
        self.jobs = jobs
        self.running: dict[int, socket.socket] = {}
        self.woken, self.waking = os.pipe()
        os.set_blocking(self.waking, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.waking)

    def next_job(self) -> dict[str, Any] | None:
        """Fork for every job; return a job in the process that does it, None at the end."""
        while True:
            ready, _, _ = select.select([self.jobs, self.woken], [], [])
            if self.woken in ready:
                os.read(self.woken, 4096)
                self._report_ended()
            if self.jobs in ready:
                header, fds, _, _ = socket.recv_fds(self.jobs, 8, JOB_FDS)
                if not header:
                    return None
                job = json.loads(self._receive(int.from_bytes(header, "little")))
                if self._forked(fds):
                    return job

    def _receive(self, size: int) -> bytes:
        content = b""
        while len(content) < size:
            content += self.jobs.recv(size - len(content))
        return content

    def _forked(self, fds: list[int]) -> bool:
        """Fork; return True in the child, whose standard streams are those of the job."""
        status = socket.socket(fileno=fds[-1])
        pid = os.fork()
        if pid:
            for fd in fds[:-1]:
                os.close(fd)
            self.running[pid] = status
            _send(status, pid=pid)
            return False
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, fd in enumerate(fds[:-1]):
            os.dup2(fd, number)
            os.close(fd)
        for other in (self.jobs, status, *self.running.values()):
            other.close()
        os.close(self.woken)
        os.close(self.waking)
        return True

    def _report_ended(self) -> None:
        while self.running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            asker = self.running.pop(pid)
            _send(asker, returncode=os.waitstatus_to_exitcode(status))
            asker.close()


def _send(asker: socket.socket, **content: int) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # nobody waits for it
        asker.sendall(json.dumps(content).encode() + b"\n")


def prepare(job: dict[str, Any]) -> None:
    """Make this process the one of a job: session, folder, environment, random numbers."""
    import numpy as np
    import torch

    if job["start_new_session"]:
        os.setsid()
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["environment"])
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads and int(threads) != torch.get_num_threads():
        torch.set_num_threads(int(threads))
    np.random.seed()  # noqa: NPY002  (a fork has the numbers of the others)
    places = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [place for place in places if place and place not in sys.path]


def execute(words: list[str]) -> None:
    """Run ``-m MODULE``, ``-c CODE`` or a script as the program, with its arguments."""
    first, *rest = words
    if first == "-m":
        sys.argv, sys.path[0] = rest, os.getcwd()
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv, sys.path[0] = ["-c", *rest[1:]], ""
        main = types.ModuleType("__main__")
        sys.modules["__main__"] = main
        exec(compile(rest[0], "<string>", "exec"), main.__dict__)
    else:
        sys.argv, sys.path[0] = words, os.path.dirname(os.path.abspath(first))
        runpy.run_path(first, run_name="__main__")


def end_by_interrupt() -> None:
    """End as Python does that is interrupted: by the signal, for the shell to see."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)


def serve() -> dict[str, Any] | None:
    """Import, then fork for each job; return the job in a process that does one."""
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # what is never collected is never copied
    return Server(socket.socket(fileno=int(sys.argv[1]))).next_job()


if __name__ == "__main__":
    mine = serve()
    if mine is not None:
        prepare(mine)
        try:
            execute(mine["words"])
        except KeyboardInterrupt:
            traceback.print_exc()
            end_by_interrupt()
