"""Training of many seeds at once; each seed's result is that of ``fit``, to float tolerance."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import itertools
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import torch

from s2robot.errors import DivergedError
from s2robot.policies.config import PolicyConfig
from s2robot.policies.dataset import TrajectoryData
from s2robot.training.frames import sharing_frames
from s2robot.training.seed_stack import SeedStack, SingleSeed
from s2robot.training.seed_trainer import CHECKPOINT, FitResult, TrainConfig, Trainer, scalar_log
from s2robot.training.stacked_policy import STACKABLE_KINDS
from s2robot.utils.devices import present_device
from s2robot.utils.process_state import join_one_thread_an_operation, one_thread_an_operation

OnEpoch = Callable[[int, dict[str, float]], None]
"""Function that is called with a seed and each new row of its history, one call at a time."""

# Seeds of a stack: many amortize the calls of small operations, few stay in a core's caches. glibc
# returns blocks of more than 32 MB to the system at once, so that larger batches cost page faults.
_STACK = {"cpu": 8, "cuda": 64}
_BATCH_BYTES = {"cpu": 24 << 20, "cuda": 2 << 30}


class DivergedSeedsError(DivergedError):
    """Trainings of some seeds diverged; ``results`` holds those of the others.

    Args:
        errors: of the seeds that diverged.
        results: of the other seeds.
    """

    def __init__(self, errors: Mapping[int, DivergedError], results: Mapping[int, Any]) -> None:
        super().__init__("\n".join(str(error) for error in errors.values()))
        self.errors = dict(errors)
        """Error by seed that diverged."""
        self.results = dict(results)
        """Results of the other seeds."""


def fit_many(
    data: TrajectoryData,
    policy_config: PolicyConfig,
    train_config: TrainConfig,
    seeds: Sequence[int],
    run_dirs: Mapping[int, Path] | None = None,
    resume: bool = True,
    on_epoch: OnEpoch | None = None,
    device: str | torch.device = "auto",
) -> dict[int, FitResult]:
    """Train a policy for each seed; kinds ``mlp`` and ``gmm`` train many seeds at once.

    Each seed has its own initial weights, order of frames and noise, and its own rounding: its
    result does not depend on the seeds beside it, nor on the number of threads, for each thread
    trains a stack of seeds of its own. (This was measured bit for bit on a CPU; it is sure to float
    tolerance after few steps, for rounding grows over a training.) Other kinds are trained one by
    one, with all threads.

    Args:
        data: embeddings, proprioception, actions.
        policy_config: network and readout.
        train_config: optimization; its seed is replaced.
        seeds: training seeds.
        run_dirs: folder of each seed's checkpoint and logs, as ``fit`` writes and reads them;
            None writes nothing.
        resume: continue from checkpoints in ``run_dirs``; else start again.
        on_epoch: called with a seed and each new row of its history.
        device: ``auto`` takes a GPU if there is one.

    Returns:
        The results by seed.

    Raises:
        DivergedSeedsError: the loss of some seeds became NaN or infinite; it is raised after the
            others are trained, and holds their results.
        MismatchError: a checkpoint is of another training.
        CorruptFileError: a checkpoint cannot be read.
    """
    configs = {seed: dataclasses.replace(train_config, seed=seed) for seed in seeds}
    folders = dict(run_dirs or {})
    trainers: dict[int, Trainer] = {}
    for seed, config in configs.items():
        beside = next(iter(trainers.values()), None)
        trainer = Trainer(data, policy_config, config, present_device(device), beside)
        if seed in folders and resume and (folders[seed] / CHECKPOINT).exists():
            trainer.load(folders[seed] / CHECKPOINT)
        trainers[seed] = trainer
    resumed = {seed: len(trainer.history) for seed, trainer in trainers.items()}
    found = _train(list(trainers.values()), folders, on_epoch)
    errors = {trainer.config.seed: error for trainer, error in found.items()}
    results = {
        seed: FitResult(copy.deepcopy(trainer.result()), tuple(trainer.history), resumed[seed])
        for seed, trainer in trainers.items()
        if seed not in errors
    }
    if errors:
        raise DivergedSeedsError(errors, results)
    return results


def fit_each(
    data: TrajectoryData,
    trainings: Sequence[tuple[PolicyConfig, TrainConfig]],
    device: str | torch.device = "auto",
) -> list[FitResult | DivergedError]:
    """Train policies of several settings together; those of equal settings are stacked.

    Each result is that of ``fit``, as for ``fit_many``. Nothing is written.

    Args:
        data: embeddings, proprioception, actions.
        trainings: policy and optimization of each, of one kind of policy; equal settings have
            different seeds.
        device: ``auto`` takes a GPU if there is one.

    Returns:
        The results in order; an error where the loss became NaN or infinite.
    """
    with sharing_frames():
        trainers = [Trainer(data, *each, present_device(device)) for each in trainings]
        errors = _train(trainers, {}, None)
    return [
        errors.get(trainer) or FitResult(trainer.result(), tuple(trainer.history), 0)
        for trainer in trainers
    ]


def _train(
    trainers: Sequence[Trainer], folders: Mapping[int, Path], on_epoch: OnEpoch | None
) -> dict[Trainer, DivergedError]:
    """Train to the end; return the errors of those that diverged."""
    first = trainers[0]
    if first.policy.config.kind in STACKABLE_KINDS:
        workers = torch.get_num_threads() if first.device.type == "cpu" else 1
        stacks = [SeedStack(group) for group in _groups(trainers, workers)]
        with one_thread_an_operation():
            _run(stacks, min(workers, len(stacks)), folders, on_epoch)
    else:
        stacks = [SingleSeed(trainer) for trainer in trainers]
        _run(stacks, 1, folders, on_epoch)
    return {
        trainer: stack.diverged[trainer.config.seed]
        for stack in stacks
        for trainer in stack.trainers
        if trainer.config.seed in stack.diverged
    }


def _run(
    stacks: Sequence[SeedStack] | Sequence[SingleSeed],
    workers: int,
    folders: Mapping[int, Path],
    on_epoch: OnEpoch | None,
) -> None:
    """Train stacks, so many at a time as there are workers; the first error stops all."""
    report, stopped = threading.Lock(), threading.Event()

    def train(stack: SeedStack | SingleSeed) -> None:
        with _logs(stack.trainers, folders) as logs:
            while stack.is_unfinished() and not stopped.is_set():
                for trainer, row in stack.epoch():
                    seed = trainer.config.seed
                    logs[seed](row)
                    if on_epoch is not None:
                        with report:
                            on_epoch(seed, row)
                    if seed in folders and trainer.is_checkpoint():
                        trainer.save(folders[seed] / CHECKPOINT)

    if workers == 1:
        for stack in stacks:
            train(stack)
        return
    with ThreadPoolExecutor(workers, initializer=join_one_thread_an_operation) as pool:
        tasks = [pool.submit(train, stack) for stack in stacks]
        try:
            done = wait(tasks, return_when=FIRST_EXCEPTION).done
        finally:
            stopped.set()
        for task in done:
            task.result()


@contextlib.contextmanager
def _logs(
    trainers: Sequence[Trainer], folders: Mapping[int, Path]
) -> Iterator[dict[int, Callable[[dict[str, float]], None]]]:
    """Yield a function by seed that logs a row of its history."""
    with contextlib.ExitStack() as open_logs:
        logs = {}
        for trainer in trainers:
            seed = trainer.config.seed
            log = scalar_log(folders.get(seed), len(trainer.history))
            logs[seed] = open_logs.enter_context(log)
        yield logs


def _groups(trainers: Sequence[Trainer], workers: int) -> Iterator[list[Trainer]]:
    """Yield trainers for one stack each: of equal settings and progress, few enough."""
    first = trainers[0]
    kind = first.device.type
    batch_bytes = 4 * first.config.batch_size * max(1, first.policy.embedding_dim)
    most = min(_STACK[kind], max(1, _BATCH_BYTES[kind] // batch_bytes))

    def alike(trainer: Trainer) -> tuple[int, str]:
        return len(trainer.history), trainer.settings

    for _, equal in itertools.groupby(sorted(trainers, key=alike), key=alike):
        found = list(equal)
        rounds = math.ceil(len(found) / (most * workers))
        stacks = min(len(found), rounds * workers)
        for places in np.array_split(np.arange(len(found)), stacks):
            yield [found[place] for place in places]
