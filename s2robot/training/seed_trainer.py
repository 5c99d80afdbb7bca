"""Training of one seed: settings, state between epochs, checkpoints, logs."""

from __future__ import annotations

import contextlib
import copy
import math
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from s2robot.errors import CorruptFileError, DivergedError, MismatchError
from s2robot.policies.config import PolicyConfig
from s2robot.policies.dataset import TrajectoryData, acting_windows, training_windows
from s2robot.policies.policy import Policy
from s2robot.training.config import TrainConfig
from s2robot.training.frames import DeviceFrames, share_frames, shared_frames
from s2robot.training.precision import resolved
from s2robot.training.validation import validate
from s2robot.utils.io import atomic_path, digest_of
from s2robot.utils.optim import cosine_schedule, parameter_groups, seeded, set_learning_rate

CHECKPOINT = "checkpoint.pt"

# Windows of a sequence policy overlap: an epoch draws so many that it has each frame about twice.
_WINDOW_COVERAGE = 2
_UNREADABLE = (RuntimeError, OSError, EOFError, KeyError, TypeError, pickle.UnpicklingError)


@dataclass(frozen=True, eq=False)
class FitResult:
    """A trained policy in evaluation mode, and the history of its training."""

    policy: Policy
    history: tuple[dict[str, float], ...]
    """One row per epoch: epoch, lr, train_loss, and the values of ``validate``."""
    resumed_from: int
    """Number of epochs of an earlier, interrupted training."""


class Trainer:
    """State of a training between epochs.

    Args:
        data: embeddings, proprioception, actions.
        policy_config: network and readout.
        config: optimization.
        device: of the training.
        beside: training on the same data and device, whose frames and statistics are used too.
    """

    def __init__(
        self,
        data: TrajectoryData,
        policy_config: PolicyConfig,
        config: TrainConfig,
        device: torch.device,
        beside: Trainer | None = None,
    ) -> None:
        config = resolved(config, len(data.embedding), data.embedding_shape, device)
        self.config = config
        """Settings, with the precision in force."""
        self.device = device
        self.key = digest_of([data.digest, policy_config.to_dict(), config.recipe()])
        self.settings = digest_of([policy_config.to_dict(), config.recipe() | {"seed": None}])
        """Equal for trainings that differ in their seeds alone."""
        place = (device, config.dtype)
        kept = beside.frames if beside else shared_frames(data, policy_config, *place)
        with seeded(config.seed, 0):
            policy = Policy.for_data(policy_config, data, kept and kept.policy)
        self.policy = policy.to(device)
        self.average = copy.deepcopy(self.policy)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.policy, config.weight_decay), lr=config.lr
        )
        self.frames = kept or DeviceFrames(data, self.policy, *place)
        share_frames(self.frames, *place)
        self.windows = (
            beside.windows if beside else training_windows(policy_config, data, data.train_episodes)
        )
        self.held_out = (
            beside.held_out if beside else acting_windows(policy_config, data, data.valid_episodes)
        )
        self.history: list[dict[str, float]] = []
        self._plan()

    def _plan(self) -> None:
        """Compute the windows and the steps of an epoch."""
        length = self.windows.index[0].numel()
        coverage = 1.0 if length == 1 else _WINDOW_COVERAGE / length
        self.windows_per_epoch = math.ceil(len(self.windows) * coverage)
        self.steps_per_epoch = math.ceil(self.windows_per_epoch * length / self.config.batch_size)

    def epoch(self, epoch: int) -> dict[str, float]:
        """Train for one epoch; its randomness depends on the seed and the epoch alone."""
        self.policy.train()
        with seeded(self.config.seed, epoch + 1):
            first = epoch * self.steps_per_epoch
            losses = [self._step(first + i, batch) for i, batch in enumerate(self.batches())]
        return self.finish_epoch(self.learning_rate(first + len(losses) - 1), losses)

    def batches(self) -> tuple[torch.Tensor, ...]:
        """Return the windows of each step of an epoch, in an order drawn from torch's generator."""
        order = torch.randperm(len(self.windows))[: self.windows_per_epoch]
        return order.tensor_split(self.steps_per_epoch)

    def finish_epoch(self, lr: float, losses: list[torch.Tensor]) -> dict[str, float]:
        """Validate and return a new row of the history.

        Args:
            lr: learning rate of the last step.
            losses: of all steps of the epoch.

        Raises:
            DivergedError: their mean is not finite.
        """
        epoch = len(self.history) + 1
        train_loss = float(torch.stack(losses).mean())
        if not math.isfinite(train_loss):
            raise DivergedError(
                f"the loss became {train_loss} in epoch {epoch} of seed {self.config.seed} at a "
                f"peak learning rate of {self.config.lr}; lower lr, or set grad_clip (now "
                f"{self.config.grad_clip})"
            )
        row = {"epoch": epoch, "lr": lr, "train_loss": train_loss}
        row |= validate(self.average, self.frames, self.held_out)
        self.history.append(row)
        return row

    def _step(self, step: int, batch: torch.Tensor) -> torch.Tensor:
        set_learning_rate(self.optimizer, self.learning_rate(step))
        embedding, proprio, actions, mask = self.frames.gather(self.windows, batch)
        if self.config.proprio_noise:
            proprio = proprio + self.config.proprio_noise * torch.randn_like(proprio)
        loss = self.policy.loss(embedding, proprio, actions, mask)
        self.optimizer.zero_grad()
        loss.backward()
        if self.config.grad_clip:
            nn.utils.clip_grad_norm_(self.policy.parameters(), self.config.grad_clip)
        self.optimizer.step()
        average: list[torch.Tensor] = [*self.average.parameters()]
        weights: list[torch.Tensor] = [*self.policy.parameters()]
        with torch.no_grad():
            torch._foreach_lerp_(average, weights, 1 - self.average_decay(step))
        return loss.detach()

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step of the whole training."""
        steps = self.config.epochs * self.steps_per_epoch
        return self.config.lr * cosine_schedule(step, steps, round(self.config.warmup * steps))

    def average_decay(self, step: int) -> float:
        """Return the decay of the average; smaller at first, so that it forgets the start."""
        return min(self.config.ema_decay, (1 + step) / (10 + step))

    def is_checkpoint(self) -> bool:
        """Return whether to save after the last epoch."""
        done = len(self.history)
        return done == self.config.epochs or done % self.config.checkpoint_every == 0

    def result(self) -> Policy:
        """Return the policy with averaged weights, in evaluation mode, on its device."""
        return self.average.eval()

    def save(self, path: Path) -> None:
        """Write a checkpoint, atomically; it holds tensors and plain numbers."""
        state = {
            "key": self.key,
            "policy": self.policy.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
        }
        with atomic_path(path) as temporary:
            torch.save(_own_copy(state), temporary)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint.

        Raises:
            MismatchError: it is of another training.
            CorruptFileError: it cannot be read.
        """
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            key = state["key"]
        except (*_UNREADABLE, ValueError) as error:
            raise CorruptFileError(
                f"{path} is not a whole checkpoint ({error}); delete it to train from the start"
            ) from None
        if key != self.key:
            raise MismatchError(
                f"{path} belongs to a training with other data, policy or training settings; "
                "delete that file to train from the start, or give another runs_dir"
            )
        try:
            self.policy.load_state_dict(state["policy"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.history = [{name: float(row[name]) for name in row} for row in state["history"]]
        except (*_UNREADABLE, AttributeError, ValueError) as error:
            raise CorruptFileError(
                f"{path} is not a whole checkpoint ({error}); delete it to train from the start"
            ) from None


def _own_copy(state: Any) -> Any:
    """Return nested values with tensors of their own: a view would be saved with its base."""
    if isinstance(state, torch.Tensor):
        return state.detach().clone()
    if isinstance(state, dict):
        return {key: _own_copy(value) for key, value in state.items()}
    return state


@contextlib.contextmanager
def scalar_log(folder: Path | None, epoch: int) -> Iterator[Callable[[dict[str, float]], None]]:
    """Yield a function that logs a history row to TensorBoard; without a folder it does nothing."""
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
