"""Signs of life: each run that goes on has a small file, by which other machines know of it.

The file lies on the disk that all share, and its time is renewed as long as the process lives. So
a killed run, or one whose machine is gone, is told from one that works.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from s2robot.errors import CorruptFileError
from s2robot.utils.io import read_json, write_json

FOLDER = "running"
RENEWED_EVERY_S = 15.0
SILENT_AFTER_S = 90.0
"""Age of a sign after which its process counts as dead; clocks of machines may differ a little."""


@dataclass(frozen=True)
class Sign:
    """What a running process tells of its run."""

    digest: str
    """Of the run's settings."""
    name: str
    """Of the run, for people."""
    host: str
    pid: int
    job: str
    """Number of the job on a cluster; empty elsewhere."""
    since: float
    """Start of the run [s since 1970]."""
    stage: str = "starting"
    stage_since: float = 0.0
    """Start of the stage [s since 1970]."""
    folder: str = ""
    """Folder of the policy, once it is known."""
    episodes_before: int = 0
    """Number of episodes that were there when the stage began."""


def job_number() -> str:
    """Return the number of this process's Slurm job, with the index in its array; else nothing."""
    array, index = (os.environ.get(f"SLURM_ARRAY_{word}") for word in ("JOB_ID", "TASK_ID"))
    return f"{array}_{index}" if array and index else os.environ.get("SLURM_JOB_ID", "")


@contextlib.contextmanager
def sign_of_life(
    progress: Path, digest: str, name: str
) -> Iterator[Callable[[str, str, int], None]]:
    """Show that a run goes on, until the context ends.

    Args:
        progress: folder of the progress.
        digest: of the run's settings.
        name: of the run.

    Yields:
        A function that is told each stage: its name, the folder of the policy, and the number of
        episodes that are there.
    """
    own = Sign(digest, name, socket.gethostname(), os.getpid(), job_number(), time.time())
    path = progress / FOLDER / f"{digest}.{own.host}-{own.pid}.json"
    _drop_dead(progress, digest)
    write_json(path, asdict(own))
    over = threading.Event()

    def renew() -> None:
        while not over.wait(RENEWED_EVERY_S):
            with contextlib.suppress(OSError):
                os.utime(path)

    def enter(stage: str, folder: str, episodes: int) -> None:
        known = replace(own, stage=stage, stage_since=time.time(), folder=folder)
        write_json(path, asdict(replace(known, episodes_before=episodes)))

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield enter
    finally:
        over.set()
        thread.join()
        path.unlink(missing_ok=True)


def signs(progress: Path) -> list[tuple[Sign, bool]]:
    """Return the signs of all runs, and whether the process of each one lives.

    Args:
        progress: folder of the progress.
    """
    found = []
    for path in sorted((progress / FOLDER).glob("*.json")):
        with contextlib.suppress(OSError, CorruptFileError, TypeError):
            sign = Sign(**read_json(path))
            found.append((sign, _lives(sign, time.time() - path.stat().st_mtime)))
    return found


def _lives(sign: Sign, age_s: float) -> bool:
    if age_s > SILENT_AFTER_S:
        return False
    return sign.host != socket.gethostname() or _is_process(sign.pid)


def _is_process(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True


def _drop_dead(progress: Path, digest: str) -> None:
    """Delete the signs that killed processes of the same run left."""
    for sign, lives in signs(progress):
        if sign.digest == digest and not lives:
            name = f"{digest}.{sign.host}-{sign.pid}.json"
            (progress / FOLDER / name).unlink(missing_ok=True)
