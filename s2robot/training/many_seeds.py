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
from torch.distributions import Distribution

from s2robot.errors import DivergedError
from s2robot.policies.config import PolicyConfig
from s2robot.policies.dataset import TrajectoryData
from s2robot.training.stacked_policy import STACKABLE_KINDS, StackedPolicy
from s2robot.training.trainer import CHECKPOINT, FitResult, TrainConfig, Trainer, fit, scalar_log
from s2robot.utils.devices import resolve_device
from s2robot.utils.optim import seeded, set_learning_rate

OnEpoch = Callable[[int, dict[str, float]], None]
"""Function that is called with a seed and each new row of its history, one call at a time."""

# Seeds of a stack: many amortize the calls of small operations, few stay in a core's caches.
_STACK = {"cpu": 8, "cuda": 64}
_BATCH_BYTES = {"cpu": 48 << 20, "cuda": 2 << 30}

_generator = threading.Lock()  # torch's global generator, from which all seeds draw in turn


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

    Each seed has its own initial weights, order of frames and noise, those of ``fit``, and so the
    same result to float tolerance whatever is trained beside it. On a CPU every thread of torch
    trains a stack of seeds of its own. The other kinds are trained one by one.

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
    if policy_config.kind not in STACKABLE_KINDS:
        return _one_by_one(data, policy_config, configs, folders, resume, on_epoch, device)
    trainers: dict[int, Trainer] = {}
    for seed, config in configs.items():
        beside = next(iter(trainers.values()), None)
        trainer = Trainer(data, policy_config, config, resolve_device(device), beside)
        if seed in folders and resume and (folders[seed] / CHECKPOINT).exists():
            trainer.load(folders[seed] / CHECKPOINT)
        trainers[seed] = trainer
    resumed = {seed: len(trainer.history) for seed, trainer in trainers.items()}
    errors = _train_stacks(list(trainers.values()), folders, on_epoch)
    results = {
        seed: FitResult(copy.deepcopy(trainer.result()), tuple(trainer.history), resumed[seed])
        for seed, trainer in trainers.items()
        if seed not in errors
    }
    if errors:
        raise DivergedSeedsError(errors, results)
    return results


def _one_by_one(
    data: TrajectoryData,
    policy_config: PolicyConfig,
    configs: Mapping[int, TrainConfig],
    folders: Mapping[int, Path],
    resume: bool,
    on_epoch: OnEpoch | None,
    device: str | torch.device,
) -> dict[int, FitResult]:
    results: dict[int, FitResult] = {}
    errors: dict[int, DivergedError] = {}
    for seed, config in configs.items():

        def show(row: dict[str, float], seed: int = seed) -> None:
            if on_epoch is not None:
                on_epoch(seed, row)

        try:
            results[seed] = fit(
                data, policy_config, config, folders.get(seed), resume, show, device
            )
        except DivergedError as error:
            errors[seed] = error
    if errors:
        raise DivergedSeedsError(errors, results)
    return results


def _train_stacks(
    trainers: Sequence[Trainer], folders: Mapping[int, Path], on_epoch: OnEpoch | None
) -> dict[int, DivergedError]:
    """Train all seeds to the end, a stack of them in each thread."""
    threads = torch.get_num_threads() if trainers[0].device.type == "cpu" else 1
    stacks = [_Stack(group) for group in _groups(trainers, threads)]
    workers = min(threads, len(stacks))
    report, stopped = threading.Lock(), threading.Event()

    def train(stack: _Stack) -> None:
        with stack.logs(folders) as logs:
            while stack.is_unfinished() and not stopped.is_set():
                for trainer, row in stack.epoch():
                    seed = trainer.config.seed
                    logs[seed](row)
                    if on_epoch is not None:
                        with report:
                            on_epoch(seed, row)
                    if seed in folders and trainer.is_checkpoint():
                        trainer.save(folders[seed] / CHECKPOINT)

    with _shared_threads(workers), ThreadPoolExecutor(workers) as pool:
        tasks = [pool.submit(train, stack) for stack in stacks]
        try:
            done = wait(tasks, return_when=FIRST_EXCEPTION).done
        finally:
            stopped.set()
        for task in done:
            task.result()
    return dict(itertools.chain.from_iterable(stack.diverged.items() for stack in stacks))


@contextlib.contextmanager
def _shared_threads(workers: int) -> Iterator[None]:
    """Share torch's threads among workers, and disable checks of distributions, both global."""
    threads, checks = torch.get_num_threads(), Distribution._validate_args
    torch.set_num_threads(max(1, threads // workers))
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        Distribution.set_default_validate_args(checks)


def _groups(trainers: Sequence[Trainer], workers: int) -> Iterator[list[Trainer]]:
    """Yield trainers for one stack each: of equal progress, few enough, alike for all workers."""
    first = trainers[0]
    kind = first.device.type
    batch_bytes = 4 * first.config.batch_size * max(1, first.policy.embedding_dim)
    most = min(_STACK[kind], max(1, _BATCH_BYTES[kind] // batch_bytes))
    ordered = sorted(trainers, key=lambda trainer: len(trainer.history))
    for _, alike in itertools.groupby(ordered, key=lambda trainer: len(trainer.history)):
        found = list(alike)
        rounds = math.ceil(len(found) / (most * workers))
        stacks = min(len(found), rounds * workers)
        for places in np.array_split(np.arange(len(found)), stacks):
            yield [found[place] for place in places]


class _Stack:
    """Seeds that take their steps together; each seed's trainer holds views of its part.

    Args:
        trainers: of equal progress.
    """

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        self.trainers = trainers
        self.config = trainers[0].config
        self.diverged: dict[int, DivergedError] = {}
        self.done = len(trainers[0].history)
        self.policy = StackedPolicy([trainer.policy for trainer in trainers])
        self.average = list(StackedPolicy([t.average for t in trainers]).weights.values())
        self.weights = [weight.requires_grad_() for weight in self.policy.weights.values()]
        groups = [
            {"params": [w for w in self.weights if w.ndim > 2]},
            {"params": [w for w in self.weights if w.ndim <= 2], "weight_decay": 0.0},
        ]
        decay = self.config.weight_decay
        self.optimizer = torch.optim.AdamW(
            groups, lr=self.config.lr, weight_decay=decay, fused=True
        )
        for name, weight in self.policy.weights.items():
            self._stack_state(name, weight)

    def _stack_state(self, name: str, weight: torch.Tensor) -> None:
        """Stack the optimizers' moments of one parameter; the trainers' become views."""
        own = [(t.optimizer.state, t.policy.get_parameter(name)) for t in self.trainers]
        stacked = {}
        for key in ("exp_avg", "exp_avg_sq"):
            moments = [state[p][key] if p in state else torch.zeros_like(p) for state, p in own]
            stacked[key] = torch.stack([moment.detach() for moment in moments])
        state, parameter = own[0]
        step = state[parameter]["step"].clone() if parameter in state else torch.zeros(())
        step = step.to(weight.device)
        self.optimizer.state[weight] = {"step": step, **stacked}
        for place, (state, parameter) in enumerate(own):
            views = {key: moment[place] for key, moment in stacked.items()}
            state[parameter] = {"step": step, **views}

    @contextlib.contextmanager
    def logs(
        self, folders: Mapping[int, Path]
    ) -> Iterator[dict[int, Callable[[dict[str, float]], None]]]:
        """Yield a function by seed that logs a row of its history."""
        seeds = [trainer.config.seed for trainer in self.trainers]
        with contextlib.ExitStack() as open_logs:
            yield {
                seed: open_logs.enter_context(scalar_log(folders.get(seed), self.done))
                for seed in seeds
            }

    def is_unfinished(self) -> bool:
        """Return whether epochs are left for a seed that has not diverged."""
        return self.done < self.config.epochs and len(self.diverged) < len(self.trainers)

    def epoch(self) -> Iterator[tuple[Trainer, dict[str, float]]]:
        """Train all seeds for one epoch; yield the trainer and the row of each that is healthy."""
        batches, noise = self._draw()
        first = self.done * len(batches)
        steps = enumerate(zip(batches, noise, strict=True), first)
        losses = [self._step(step, *drawn) for step, drawn in steps]
        self.done += 1
        lr = self.optimizer.param_groups[0]["lr"]
        for trainer, own in zip(self.trainers, torch.stack(losses, dim=1), strict=True):
            seed = trainer.config.seed
            if seed in self.diverged:
                continue
            try:
                row = trainer.finish_epoch(lr, list(own))
            except DivergedError as error:
                self.diverged[seed] = error
            else:
                yield trainer, row

    def _draw(self) -> tuple[list[torch.Tensor], list[torch.Tensor | None]]:
        """Draw all steps' windows ``(G, B)`` and noise ``(G, B, P)``, as ``Trainer.epoch`` does."""
        batches, noise = [], []
        device = self.trainers[0].device
        for trainer in self.trainers:
            with _generator, seeded(trainer.config.seed, self.done + 1):
                own = trainer.batches()
                batches.append(own)
                if self.config.proprio_noise:
                    width = trainer.policy.proprio_dim
                    noise.append([torch.randn(len(b), width, device=device) for b in own])
        steps = [torch.stack(rows) for rows in zip(*batches, strict=True)]
        if not noise:
            return steps, [None] * len(steps)
        return steps, [torch.stack(draws) for draws in zip(*noise, strict=True)]

    def _step(self, step: int, batch: torch.Tensor, noise: torch.Tensor | None) -> torch.Tensor:
        trainer = self.trainers[0]
        set_learning_rate(self.optimizer, trainer.learning_rate(step))
        embedding, proprio, actions, _ = trainer.frames.gather(trainer.windows, batch)
        if noise is not None:
            proprio = proprio + self.config.proprio_noise * noise
        losses = self.policy.losses(embedding, proprio, actions)
        self.optimizer.zero_grad()
        losses.sum().backward()
        if self.config.grad_clip:
            self._clip()
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.weights, 1 - trainer.average_decay(step))
        return losses.detach()

    @torch.no_grad()
    def _clip(self) -> None:
        """Limit the norm of each seed's gradient, as ``torch.nn.utils.clip_grad_norm_`` does."""
        grads = [weight.grad for weight in self.weights if weight.grad is not None]
        norms = [torch.linalg.vector_norm(grad.reshape(len(grad), -1), dim=1) for grad in grads]
        norm = torch.linalg.vector_norm(torch.stack(norms), dim=0)  # (G,)
        factor = (self.config.grad_clip / (norm + 1e-6)).clamp(max=1.0)
        for grad in grads:
            grad.mul_(factor.reshape(-1, *[1] * (grad.ndim - 1)))
