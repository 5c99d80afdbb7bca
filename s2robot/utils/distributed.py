"""Data-parallel training in one process or several, on GPUs or on the cores of a CPU.

Under ``torchrun`` the processes exist already. Otherwise ``launch`` starts them on this machine. On
a CPU each process gets its share of the cores: on small matrices, several processes of one thread
are faster than one process of several threads.
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
from s2robot.utils.workers import usable_cores as usable_cores

_MOST_ON_A_CPU = 8  # more would spend their time on exchanging gradients


@dataclass(frozen=True)
class DistributedContext:
    """Rank and number of the processes that train one model; one process by default."""

    rank: int = 0
    size: int = 1

    @property
    def is_main_process(self) -> bool:
        """Whether this process writes files and logs."""
        return self.rank == 0

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """Return the mean of a tensor over all processes; NaN in one process gives NaN in all."""
        if self.size > 1:
            value = value.clone()
            dist.all_reduce(value)
            value /= self.size
        return value

    def share(self, items: torch.Tensor) -> torch.Tensor:
        """Return this process's items: every ``size``-th, from ``rank`` on."""
        return items[self.rank :: self.size]


ALONE = DistributedContext()


def under_torchrun() -> bool:
    """Return whether ``torchrun``, or Slurm with the same variables, started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def is_main_process() -> bool:
    """Return whether this process prints: it is the only one, or the first under ``torchrun``."""
    return not under_torchrun() or os.environ["RANK"] == "0"


def count_processes(wanted: int, device: str, batch_size: int) -> int:
    """Return how many processes to start.

    Args:
        wanted: number of processes; 0 takes one a GPU, or one a core (at most 8).
        device: "cpu", "cuda" or "auto".
        batch_size: examples a step over all processes; the number of processes divides it.

    Raises:
        ValueError: ``wanted`` does not divide the batch, or there are fewer GPUs.
    """
    cuda = resolve_device(device).type == "cuda"
    most = torch.cuda.device_count() if cuda else _MOST_ON_A_CPU
    if cuda and wanted > most:
        raise ValueError(f"processes is {wanted}, but there are {most} GPUs; each takes one")
    if wanted and batch_size % wanted:
        raise ValueError(f"batch_size {batch_size} is not a multiple of processes {wanted}")
    available = most if cuda else min(most, usable_cores())
    return wanted or max(n for n in range(1, available + 1) if batch_size % n == 0)


def launch(work: Callable[..., Any], processes: int, *arguments: Any) -> None:
    """Call ``work(context, *arguments)`` in every process and wait for all of them.

    Args:
        work: a function of a module (processes that start here import it by name); its first
            argument is the ``DistributedContext``.
        processes: number to start here; ignored under ``torchrun``, which has started them.
        arguments: further arguments of ``work``.

    Raises:
        S2RobotError: a process raised it; it is raised once, and the other processes are stopped.
    """
    if under_torchrun():
        _join(work, int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), "env://", arguments)
    elif processes == 1:
        work(ALONE, *arguments)
    else:
        _spawn(work, processes, arguments)


def _spawn(work: Callable[..., Any], processes: int, arguments: tuple[Any, ...]) -> None:
    with tempfile.TemporaryDirectory(prefix="s2robot-") as folder:
        rendezvous = f"file://{Path(folder) / 'processes'}"
        errors = mp.get_context("spawn").SimpleQueue()
        try:
            mp.spawn(_started, (work, processes, rendezvous, arguments, errors), processes)
        except (mp.ProcessExitedException, mp.ProcessRaisedException):
            if errors.empty():
                raise
            raise errors.get() from None


def _started(
    rank: int, work: Callable[..., Any], size: int, rendezvous: str, arguments: Any, errors: Any
) -> None:
    torch.set_num_threads(max(1, usable_cores() // size))

    def reporting(*arguments: Any) -> None:
        try:
            work(*arguments)
        except S2RobotError as error:
            errors.put(error)  # the first counts; sent before the others notice
            raise SystemExit(2) from None

    _join(reporting, rank, size, rendezvous, arguments)


def _join(
    work: Callable[..., Any], rank: int, size: int, rendezvous: str, arguments: tuple[Any, ...]
) -> None:
    cuda = torch.cuda.is_available()
    if cuda:
        local = int(os.environ.get("LOCAL_RANK", rank))
        torch.cuda.set_device(local % torch.cuda.device_count())
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"  # device=cpu is allowed on a GPU machine
    dist.init_process_group(backend, init_method=rendezvous, rank=rank, world_size=size)
    try:
        work(DistributedContext(rank, size), *arguments)
    finally:
        dist.destroy_process_group()
