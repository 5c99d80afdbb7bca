"""Data-parallel training: one process or several, on GPUs or on the cores of a CPU.

Under ``torchrun`` the processes are there already. Otherwise ``launch`` starts them on this
machine. On a CPU each gets its share of the cores, since small matrices keep several one-thread
processes busier than one process of several threads.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from s2robot.errors import S2RobotError
from s2robot.utils.devices import resolve_device

_MOST_ON_A_CPU = 8  # more would spend their time on exchanging gradients


@dataclass(frozen=True)
class DistributedContext:
    """The processes that train one model together; alone by default."""

    rank: int = 0
    size: int = 1

    @property
    def is_main_process(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """Mean of a tensor over the processes; NaN anywhere is NaN everywhere."""
        if self.size > 1:
            value = value.clone()
            dist.all_reduce(value)
            value /= self.size
        return value

    def share(self, items: torch.Tensor) -> torch.Tensor:
        """This process's part of what all of them train on: every ``size``-th."""
        return items[self.rank :: self.size]


ALONE = DistributedContext()


def under_torchrun() -> bool:
    """Whether ``torchrun`` (or Slurm in its manner) started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def is_main_process() -> bool:
    """Whether this process is the one to print: the only one, or the first under ``torchrun``."""
    return not under_torchrun() or os.environ["RANK"] == "0"


def count_processes(wanted: int, device: str, batch_size: int) -> int:
    """How many processes to start: ``wanted``, or one a GPU, or one a core.

    Raises:
        ValueError: the batch cannot be shared out evenly, or there are fewer GPUs.
    """
    cuda = resolve_device(device).type == "cuda"
    most = torch.cuda.device_count() if cuda else _MOST_ON_A_CPU
    if cuda and wanted > most:
        raise ValueError(f"processes is {wanted}, but there are {most} GPUs; each takes one")
    if wanted and batch_size % wanted:
        raise ValueError(f"batch_size {batch_size} is not a multiple of processes {wanted}")
    available = most if cuda else min(most, usable_cores())
    return wanted or max(n for n in range(1, available + 1) if batch_size % n == 0)


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def launch(work: Callable[..., Any], processes: int, *arguments: Any) -> None:
    """Call ``work(team, *arguments)`` in every process of the team, and wait for all.

    Args:
        work: a function of a module (it is pickled by name to processes started here).
        processes: to start here; ignored under ``torchrun``, which has started them.
        arguments: of ``work``.

    Raises:
        S2RobotError: what a process raised of it, once; the others are stopped.
    """
    if under_torchrun():
        _join(work, int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), "env://", arguments)
    elif processes == 1:
        work(ALONE, *arguments)
    else:
        _spawn(work, processes, arguments)


def _spawn(work: Callable[..., Any], processes: int, arguments: tuple[Any, ...]) -> None:
    with tempfile.TemporaryDirectory(prefix="s2robot-") as folder:
        meeting = f"file://{Path(folder) / 'processes'}"
        errors = mp.get_context("spawn").SimpleQueue()
        try:
            mp.spawn(_started, (work, processes, meeting, arguments, errors), processes)
        except (mp.ProcessExitedException, mp.ProcessRaisedException):
            if errors.empty():
                raise
            raise errors.get() from None


def _started(
    rank: int, work: Callable[..., Any], size: int, meeting: str, arguments: Any, errors: Any
) -> None:
    torch.set_num_threads(max(1, usable_cores() // size))

    def telling(*words: Any) -> None:
        try:
            work(*words)
        except S2RobotError as error:
            errors.put(error)  # the first one counts; told before others miss this process
            raise SystemExit(2) from None

    _join(telling, rank, size, meeting, arguments)


def _join(
    work: Callable[..., Any], rank: int, size: int, meeting: str, arguments: tuple[Any, ...]
) -> None:
    cuda = torch.cuda.is_available()
    if cuda:
        local = int(os.environ.get("LOCAL_RANK", rank))
        torch.cuda.set_device(local % torch.cuda.device_count())
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"  # device=cpu is allowed on a GPU machine
    dist.init_process_group(backend, init_method=meeting, rank=rank, world_size=size)
    try:
        work(DistributedContext(rank, size), *arguments)
    finally:
        dist.destroy_process_group()
