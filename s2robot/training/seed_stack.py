"""Seeds that are trained together, epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from s2robot.errors import DivergedError
from s2robot.policies.policy import Policy
from s2robot.training.seed_trainer import Trainer
from s2robot.training.stacked_policy import StackedPolicy
from s2robot.utils.optim import seeded, set_learning_rate


class SingleSeed:
    """One seed of any kind of policy, with the interface of ``SeedStack``.

    Args:
        trainer: of the seed.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainers = [trainer]
        self.diverged: dict[int, DivergedError] = {}

    def is_unfinished(self) -> bool:
        """Return whether epochs are left, and the seed has not diverged."""
        trainer = self.trainers[0]
        return len(trainer.history) < trainer.config.epochs and not self.diverged

    def epoch(self) -> Iterator[tuple[Trainer, dict[str, float]]]:
        """Train for one epoch; yield the trainer and the row, unless the seed diverged."""
        trainer = self.trainers[0]
        try:
            row = trainer.epoch(len(trainer.history))
        except DivergedError as error:
            self.diverged[trainer.config.seed] = error
        else:
            yield trainer, row


class SeedStack:
    """Seeds that take their steps together; the weights of each are its trainer's own.

    Only the network is computed for all seeds at once. Optimizer, clipping and averages see each
    seed's tensors, so that a seed's rounding does not depend on those beside it.

    Args:
        trainers: of equal progress.
    """

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        self.trainers = trainers
        self.config = trainers[0].config
        self.diverged: dict[int, DivergedError] = {}
        self.done = len(trainers[0].history)
        self.policy = StackedPolicy([trainer.policy for trainer in trainers])
        self.stacked = [weight.requires_grad_() for weight in self.policy.weights.values()]
        self.weights = self._of_seeds([trainer.policy for trainer in trainers])
        self.average = self._of_seeds([trainer.average for trainer in trainers])
        decay = self.config.weight_decay
        groups: list[dict[str, Any]] = [
            {"params": [w for w in self.weights if w.ndim >= 2], "weight_decay": decay},
            {"params": [w for w in self.weights if w.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=self.config.lr, fused=True)
        for trainer in trainers:
            self._share_moments(trainer)

    def _of_seeds(self, policies: Sequence[Policy]) -> list[torch.Tensor]:
        """Return all parameters in the order of the stacked weights, the seeds of each in turn."""
        return [p.get_parameter(name) for name in self.policy.weights for p in policies]

    def _share_moments(self, trainer: Trainer) -> None:
        """Let the trainer's optimizer, which writes its checkpoints, hold the same moments."""
        for parameter in trainer.policy.parameters():
            state = trainer.optimizer.state[parameter]
            for key in ("exp_avg", "exp_avg_sq"):
                state.setdefault(key, torch.zeros_like(parameter, requires_grad=False))
            state["step"] = state.get("step", torch.zeros(())).to(parameter.device)
            self.optimizer.state[parameter] = state

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
            with seeded(trainer.config.seed, self.done + 1):
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
        for weight in self.stacked:
            weight.grad = None
        losses.sum().backward()
        grads = [grad for weight in self.stacked if weight.grad is not None for grad in weight.grad]
        if self.config.grad_clip:
            self._clip(grads)
        for weight, grad in zip(self.weights, grads, strict=True):
            weight.grad = grad
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.weights, 1 - trainer.average_decay(step))
        return losses.detach()

    @torch.no_grad()
    def _clip(self, grads: list[torch.Tensor]) -> None:
        """Limit the norm of each seed's gradient, as ``torch.nn.utils.clip_grad_norm_`` does."""
        norms = torch.stack(torch._foreach_norm(grads)).unflatten(0, (-1, len(self.trainers)))
        squares = norms.square()  # (parameters, G)
        norm = sum(squares[1:], start=squares[0]).sqrt()
        factor = (self.config.grad_clip / (norm + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(grads, list(factor) * len(squares))
