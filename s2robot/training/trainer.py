"""Train a policy from stored embeddings: a tensor-gather loop that survives a kill."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn

from s2robot.errors import CorruptFileError, DivergedError, MismatchError
from s2robot.policies.config import PolicyConfig
from s2robot.policies.dataset import (
    TrajectoryData,
    Windows,
    acting_windows,
    stack_proprio,
    training_windows,
)
from s2robot.policies.policy import Policy
from s2robot.utils.io import atomic_path, digest_of
from s2robot.utils.optim import cosine_schedule, parameter_groups, seeded
from s2robot.utils.validation import require_at_least, require_below_one, require_positive

CHECKPOINT = "checkpoint.pt"

# Embeddings are standardised once, as float32, if that needs no more memory; else batch by batch.
_PREPARED_BYTES = 3 << 30
# Windows of a sequence policy overlap: an epoch draws as many as show each frame about twice.
_WINDOW_COVERAGE = 2
_VALIDATION_ROWS = 256
_UNREADABLE = (RuntimeError, OSError, EOFError, KeyError, TypeError, pickle.UnpicklingError)


@dataclass(frozen=True)
class TrainConfig:
    """How a policy is trained; the last weights are used, never the best of several evaluations."""

    epochs: int = 60
    """Passes over the training frames."""
    batch_size: int = 128
    """Frames a step; sequence policies take as many windows as hold about these."""
    lr: float = 3e-3
    """Peak learning rate; it falls to zero along a cosine."""
    warmup: float = 0.05
    """Share of all steps in which the learning rate rises linearly."""
    weight_decay: float = 1e-2
    """Decoupled weight decay (AdamW) of matrices."""
    grad_clip: float = 1.0
    """Largest norm of the gradient; 0 does not clip."""
    ema_decay: float = 0.99
    """Decay a step of the moving average of the weights, which is the result; 0 for none."""
    proprio_noise: float = 0.0
    """Standard deviation of noise on proprioception while training, in its standard deviations."""
    checkpoint_every: int = 10
    """Epochs between checkpoints."""
    seed: int = 0
    """Seed of initial weights, order of frames, noise and dropout."""

    def __post_init__(self) -> None:
        require_at_least(self, 1, "epochs", "batch_size", "checkpoint_every")
        require_at_least(self, 0, "weight_decay", "grad_clip", "proprio_noise", "seed")
        require_positive(self, "lr")
        require_below_one(self, "ema_decay", "warmup")


@dataclass(frozen=True, eq=False)
class FitResult:
    """A trained policy in evaluation mode, and how it got there."""

    policy: Policy
    history: tuple[dict[str, float], ...]
    """One row an epoch: epoch, lr, train_loss, and what ``validate`` gives."""
    resumed_from: int
    """Epochs that an earlier, interrupted run had done."""


class DemonstrationTensors(Protocol):
    """What training needs of ``s2robot.data.demonstrations.Demonstrations``."""

    @property
    def actions(self) -> np.ndarray: ...
    @property
    def episode_ends(self) -> np.ndarray: ...

    train_episodes: np.ndarray
    valid_episodes: np.ndarray

    @property
    def motion_dims(self) -> int: ...
    @property
    def motion_unit(self) -> float: ...

    def low_dim(self, key: str) -> np.ndarray: ...


def assemble(
    demos: DemonstrationTensors,
    embedding: torch.Tensor,
    embedding_shape: Sequence[int],
    proprio_keys: Sequence[str],
) -> TrajectoryData:
    """Training data from demonstrations and the embeddings ``(N, D)`` of their frames."""
    low_dim = {key: demos.low_dim(key) for key in proprio_keys}
    return TrajectoryData(
        embedding=embedding,
        embedding_shape=tuple(embedding_shape),
        proprio=torch.from_numpy(stack_proprio(low_dim, proprio_keys)),
        actions=torch.as_tensor(demos.actions, dtype=torch.float32),
        episode_ends=torch.as_tensor(demos.episode_ends, dtype=torch.int64),
        train_episodes=torch.as_tensor(demos.train_episodes, dtype=torch.int64),
        valid_episodes=torch.as_tensor(demos.valid_episodes, dtype=torch.int64),
        motion_dims=demos.motion_dims,
        motion_unit=demos.motion_unit,
    )


def fit(
    data: TrajectoryData,
    policy_config: PolicyConfig,
    train_config: TrainConfig,
    run_dir: str | Path | None = None,
    resume: bool = True,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
    device: str | torch.device = "auto",
) -> FitResult:
    """Train a policy; a run killed at any moment goes on from its last checkpoint.

    On the same machine with the same number of threads, a resumed run ends with the same weights,
    bit for bit, as an uninterrupted one.

    Args:
        data: embeddings, proprioception, actions.
        policy_config: network and readout.
        train_config: optimisation.
        run_dir: where the checkpoint and TensorBoard's logs (``tb/``) go; None keeps nothing.
        resume: go on from ``run_dir``'s checkpoint, if there is one; else begin again.
        on_epoch: called with each new row of the history.
        device: ``auto`` takes a GPU if there is one.

    Raises:
        DivergedError: the loss became NaN or infinite.
        MismatchError: the checkpoint in ``run_dir`` is of another run.
        CorruptFileError: the checkpoint cannot be read.
    """
    trainer = _Trainer(data, policy_config, train_config, _device(device))
    folder = Path(run_dir) if run_dir is not None else None
    if folder is not None and resume and (folder / CHECKPOINT).exists():
        trainer.load(folder / CHECKPOINT)
    resumed_from = len(trainer.history)
    with _scalars(folder, resumed_from) as log:
        for epoch in range(resumed_from, train_config.epochs):
            row = trainer.epoch(epoch)
            log(row)
            if on_epoch is not None:
                on_epoch(row)
            if folder is not None and trainer.is_checkpoint():
                trainer.save(folder / CHECKPOINT)
    return FitResult(trainer.result(), tuple(trainer.history), resumed_from)


def _device(name: str | torch.device) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


class _Trainer:
    """State of a run between epochs."""

    def __init__(
        self,
        data: TrajectoryData,
        policy_config: PolicyConfig,
        config: TrainConfig,
        device: torch.device,
    ) -> None:
        self.config = config
        self.key = digest_of(
            [data.digest, dataclasses.asdict(policy_config), dataclasses.asdict(config)]
        )
        with seeded(config.seed, 0):
            self.policy = Policy.for_data(policy_config, data).to(device)
        self.average = copy.deepcopy(self.policy)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.policy, config.weight_decay), lr=config.lr
        )
        self.frames = _Frames(data, self.policy, device)
        self.windows = training_windows(policy_config, data, data.train_episodes)
        self.held_out = acting_windows(policy_config, data, data.valid_episodes)
        self.history: list[dict[str, float]] = []
        self._plan()

    def _plan(self) -> None:
        """Windows and steps of an epoch."""
        length = self.windows.index[0].numel()
        coverage = 1.0 if length == 1 else _WINDOW_COVERAGE / length
        self.windows_per_epoch = math.ceil(len(self.windows) * coverage)
        self.steps_per_epoch = math.ceil(self.windows_per_epoch * length / self.config.batch_size)

    def epoch(self, epoch: int) -> dict[str, float]:
        """Train for one epoch; its randomness depends on the seed and its number alone."""
        self.policy.train()
        with seeded(self.config.seed, epoch + 1):
            order = torch.randperm(len(self.windows))[: self.windows_per_epoch]
            batches = order.tensor_split(self.steps_per_epoch)
            first = epoch * self.steps_per_epoch
            losses = [self._step(first + i, batch) for i, batch in enumerate(batches)]
        train_loss = float(torch.stack(losses).mean())
        if not math.isfinite(train_loss):
            raise DivergedError(
                f"the loss became {train_loss} in epoch {epoch + 1} at a peak learning rate of "
                f"{self.config.lr}; lower lr, or set grad_clip (now {self.config.grad_clip})"
            )
        row = {"epoch": epoch + 1, "lr": self.optimizer.param_groups[0]["lr"]}
        row |= {"train_loss": train_loss, **validate(self.average, self.frames, self.held_out)}
        self.history.append(row)
        return row

    def _step(self, step: int, batch: torch.Tensor) -> torch.Tensor:
        self._set_lr(step)
        embedding, proprio, actions, mask = self.frames.gather(self.windows, batch)
        if self.config.proprio_noise:
            proprio = proprio + self.config.proprio_noise * torch.randn_like(proprio)
        loss = self.policy.loss(embedding, proprio, actions, mask)
        self.optimizer.zero_grad()
        loss.backward()
        if self.config.grad_clip:
            nn.utils.clip_grad_norm_(self.policy.parameters(), self.config.grad_clip)
        self.optimizer.step()
        self._update_average(step)
        return loss.detach()

    def _set_lr(self, step: int) -> None:
        steps = self.config.epochs * self.steps_per_epoch
        factor = cosine_schedule(step, steps, round(self.config.warmup * steps))
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * factor

    @torch.no_grad()
    def _update_average(self, step: int) -> None:
        """Move the average to the weights: at first fast, so that it forgets the start."""
        decay = min(self.config.ema_decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(
            list(self.average.parameters()), list(self.policy.parameters()), 1 - decay
        )

    def is_checkpoint(self) -> bool:
        """Whether the last epoch is one after which the run is saved."""
        done = len(self.history)
        return done == self.config.epochs or done % self.config.checkpoint_every == 0

    def result(self) -> Policy:
        """The averaged policy, in evaluation mode, on its device."""
        return self.average.eval()

    def save(self, path: Path) -> None:
        """Write all that resuming needs, atomically: tensors and plain numbers."""
        state = {
            "key": self.key,
            "policy": self.policy.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
        }
        with atomic_path(path) as temporary:
            torch.save(state, temporary)

    def load(self, path: Path) -> None:
        """Take up a checkpoint; raises as ``fit`` does."""
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            key = state["key"]
        except _UNREADABLE as error:
            raise CorruptFileError(
                f"{path} is not a whole checkpoint ({error}); delete it to train from the start"
            ) from None
        if key != self.key:
            raise MismatchError(
                f"{path} belongs to a run with other data, policy or training settings; "
                "give another run folder, or resume=false to overwrite it"
            )
        self.policy.load_state_dict(state["policy"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = state["history"]


class _Frames:
    """All frames on the training device, standardised beforehand where memory allows."""

    def __init__(self, data: TrajectoryData, policy: Policy, device: torch.device) -> None:
        self.data = data
        self.policy = policy
        self.embedding = data.embedding.to(device)
        self.prepared = 4 * data.embedding.numel() <= _PREPARED_BYTES
        if self.prepared:
            self.embedding = policy.normalize_embedding(self.embedding).flatten(1)
        self.proprio = policy.normalize_proprio(data.proprio.to(device))
        self.actions = data.actions.to(device)

    def gather(self, windows: Windows, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Embedding, proprioception, actions and mask of some windows, as ``Policy.loss`` takes."""
        index = windows.index[rows].to(self.embedding.device)
        embedding = self.embedding.index_select(0, index.flatten())
        if not self.prepared:
            embedding = self.policy.normalize_embedding(embedding)
        embedding = embedding.reshape(*index.shape, *self.data.embedding_shape)
        mask = windows.mask[rows].to(self.embedding.device)
        return embedding, self.proprio[index], self.actions[index], mask


@torch.no_grad()
def validate(policy: Policy, frames: _Frames, windows: Windows) -> dict[str, float]:
    """Loss and errors of the deterministic action, means over the held-out frames.

    Returns:
        valid_loss; motion_error, the absolute error of an entry of the action's motion in metres
        (radians for joints); gripper_error, the share of frames with the gripper told the wrong
        way. Empty if there are no held-out frames.
    """
    if not len(windows):
        return {}
    policy.eval()
    totals = torch.zeros(3, dtype=torch.float64)
    for rows in torch.arange(len(windows)).split(_VALIDATION_ROWS):
        embedding, proprio, actions, mask = frames.gather(windows, rows)
        predicted = policy.predict(embedding, proprio)[mask]
        errors = action_errors(predicted, actions[mask], frames.data)
        loss = policy.loss(embedding, proprio, actions, mask)
        totals += torch.stack([loss * mask.sum(), *errors]).double().cpu()
    mean = totals / windows.mask.sum()
    return dict(zip(("valid_loss", "motion_error", "gripper_error"), mean.tolist(), strict=True))


def action_errors(
    predicted: torch.Tensor, actions: torch.Tensor, data: TrajectoryData
) -> tuple[torch.Tensor, torch.Tensor]:
    """Motion errors [m or rad] and wrong gripper commands, both summed over frames.

    A frame's motion error is the mean over entries, not the length of the vector: where an expert
    switches, one entry's error is large for every policy and would hide the others'.
    """
    motion = (predicted - actions)[:, : data.motion_dims].abs().mean(dim=-1) * data.motion_unit
    wrong = (predicted[:, -1] > 0) != (actions[:, -1] > 0)
    return motion.sum(), wrong.sum()


@contextlib.contextmanager
def _scalars(folder: Path | None, epoch: int) -> Iterator[Callable[[dict[str, float]], None]]:
    """A function that logs a history row to TensorBoard; it does nothing without a folder."""
    if folder is None:
        yield lambda row: None
        return
    from torch.utils.tensorboard import SummaryWriter  # slow to import

    with SummaryWriter(str(folder / "tb"), purge_step=epoch + 1) as writer:

        def log(row: dict[str, float]) -> None:
            for name, value in row.items():
                if name != "epoch":
                    writer.add_scalar(name, value, int(row["epoch"]))

        yield log
