"""State of one pre-training run and one optimizer step of it."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from s2robot.errors import DivergedError, MismatchError
from s2robot.pretraining.config import PretrainConfig, learning_rate
from s2robot.pretraining.hardware import (
    compiles,
    plain_attention,
    resolve_precision,
    training_device,
)
from s2robot.pretraining.masked_autoencoder import (
    MaskedAutoencoder,
    normalize_pixels,
    visible_patches,
)
from s2robot.utils.distributed import ALONE, DistributedContext
from s2robot.utils.io import atomic_path, jsonable
from s2robot.utils.optim import parameter_groups, seeded
from s2robot.utils.records import damaged

_REMEDY = "delete it to train from the start, or give another out="
_UNREADABLE = (
    *(AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError),
    pickle.UnpicklingError,
)
"""What PyTorch raises for damaged content."""


class Trainer:
    """State of one pre-training run: model, average of the weights, optimizer, step.

    Args:
        config: settings of the run.
        context: the processes that train together.
    """

    def __init__(self, config: PretrainConfig, context: DistributedContext = ALONE) -> None:
        self.config, self.context = config, context
        self.device = training_device(config.device)
        self.precision = resolve_precision(config.precision, self.device)
        with seeded(config.seed, 0):
            self.model = self._new_model()
        self.average = self._new_model().requires_grad_(False)
        self.average.load_state_dict(self.model.state_dict())
        if self.device.type == "cpu":
            plain_attention(self.model)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model, config.weight_decay),
            lr=config.lr,
            betas=(0.9, 0.95),
            fused=True,
        )
        self.forward: Any = self.model
        if context.size > 1:
            self.forward = DistributedDataParallel(self.model)
        if compiles(config.compile, self.device):
            self.forward = torch.compile(self.forward)
        self.step = 0

    def _new_model(self) -> MaskedAutoencoder:
        shape = self.config.model
        decoder = shape.decoder_dim, shape.decoder_depth, shape.decoder_heads
        model = MaskedAutoencoder(shape.build(), *decoder, self.config.segments_weight)
        return model.to(self.device)

    def update(self, crops: torch.Tensor, segments: torch.Tensor | None = None) -> float:
        """Make one optimizer step on this process's crops; return the mean loss of all processes.

        Args:
            crops: ``(B, 3, S, S)`` uint8.
            segments: their classes, if ``segments_weight`` is above 0; see ``MaskedAutoencoder``.

        Raises:
            DivergedError: the loss or a gradient is NaN or infinite; the weights do not change.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.config)
        loss = self._loss(crops, segments)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        mean, norm = self.context.mean(torch.stack([loss.detach(), norm.detach()])).tolist()
        self._check(mean, norm)
        self.optimizer.step()
        self._update_average()
        self.step += 1
        return mean

    def _loss(self, crops: torch.Tensor, segments: torch.Tensor | None) -> torch.Tensor:
        keep = self.context.share(self.visible(self.step, self.config.batch_size)).to(self.device)
        images = normalize_pixels(crops.to(self.device, non_blocking=True))
        if segments is not None:
            segments = segments.to(self.device, non_blocking=True)
        low = self.precision is torch.bfloat16
        with torch.autocast(self.device.type, torch.bfloat16, enabled=low):
            return self.forward(images, keep, segments)[0]

    def visible(self, step: int, batch: int) -> torch.Tensor:
        """Return the visible patches of a step, which depend only on (seed, step).

        Args:
            step: index of the step.
            batch: B, number of crops.

        Returns:
            Indices ``(B, V)`` int64.
        """
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + step)
        return visible_patches(batch, self.model.grid**2, self.config.mask_ratio, generator)

    def _check(self, loss: float, norm: float) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            return
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"a gradient is {norm}"
        raise DivergedError(
            f"{what} in batch {self.step} (crops of seed {self.config.seed}, step {self.step}); "
            f"the last checkpoint in {self.config.out} is still good. Lower lr "
            f"({self.config.lr}) and give another out="
        )

    @torch.no_grad()
    def _update_average(self) -> None:
        if not self.context.is_main_process:
            return
        # The usual ramp; without it, short runs would keep the random initial weights.
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        averages: list[torch.Tensor] = list(self.average.parameters())
        torch._foreach_lerp_(averages, list(self.model.parameters()), 1 - decay)  # pyright: ignore

    def save(self, path: Path) -> None:
        """Write everything that is needed to resume, atomically."""
        state = {
            "recipe": json.dumps(jsonable(self.config.recipe()), sort_keys=True),
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        with atomic_path(path) as temporary:
            torch.save(state, temporary)

    def load(self, path: Path) -> None:
        """Resume from a checkpoint.

        Raises:
            MismatchError: the checkpoint was written with another recipe.
            CorruptFileError: the checkpoint is damaged.
        """
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            theirs = dict(json.loads(state["recipe"]))
        except _UNREADABLE as error:
            raise damaged(path, error, _REMEDY) from None
        ours = jsonable(self.config.recipe())
        if ours != theirs:
            raise MismatchError(
                f"{path} was written with another recipe: {_differences(theirs, ours)}; "
                "give the same settings, or another out="
            )
        try:
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = range(self.config.steps + 1)[state["step"]]
        except _UNREADABLE as error:
            raise damaged(path, error, _REMEDY) from None


def _differences(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    keys = [k for k in sorted({*theirs, *ours}) if theirs.get(k) != ours.get(k)]
    return ", ".join(f"{k} is {theirs.get(k)!r} there and {ours.get(k)!r} here" for k in keys)
