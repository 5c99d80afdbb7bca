"""A small head that predicts the position of the cube from embeddings, and its fit."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from s2robot.analysis.probes.intervals import split_episodes
from s2robot.policies.config import PolicyConfig
from s2robot.policies.pooling import (
    SMALLEST_MEASURED_STD,
    Normalizer,
    SpatialSoftmaxHead,
    make_head,
)
from s2robot.utils.optim import cosine_schedule, parameter_groups, seeded
from s2robot.utils.validation import require_at_least, require_fractions, require_positive

_CHUNK = 512  # frames at a time in prediction


@dataclass(frozen=True)
class ProbeConfig:
    """Architecture and fit of a ``Localizer``."""

    readout: PolicyConfig = PolicyConfig(keypoints=64)
    """Only the fields of the readout are used (keypoints, softmax_scale, ...)."""
    hidden: int = 128
    """Width of the hidden layer after the readout."""
    epochs: int = 60
    """Maximum number of passes over the training frames."""
    patience: int = 20
    """Number of epochs without a better validation error after which the fit stops."""
    batch: int = 64
    """Frames per step."""
    lr: float = 5e-3
    """Highest learning rate of Adam; it follows a cosine."""
    weight_decay: float = 1e-3
    valid_share: float = 0.15
    """Fraction of the episodes for early stopping."""

    def __post_init__(self) -> None:
        require_at_least(self, 1, "hidden", "epochs", "patience", "batch")
        require_at_least(self, 0, "weight_decay")
        require_positive(self, "lr")
        require_fractions(self, "valid_share")


class Localizer(nn.Module):
    """Network from an embedding to the position of the cube; ``fit_localizer`` makes one.

    Args:
        shape: of the embeddings: a grid ``(gh, gw, C)`` or a vector ``(D,)``.
        config: of the architecture.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> xy_m = rng.uniform(-0.1, 0.1, (64, 2))
        >>> embeddings = np.concatenate([xy_m, rng.normal(size=(64, 2))], axis=1)
        >>> episode = np.arange(64) // 4
        >>> localizer = fit_localizer(embeddings, (4,), xy_m, episode, ProbeConfig(epochs=20))
        >>> localizer.predict_m(embeddings[:1]).shape
        (1, 2)
        >>> bool(localizer.errors_mm(embeddings, xy_m).mean() < 40)
        True
    """

    target_mean: torch.Tensor
    target_std: torch.Tensor

    def __init__(self, shape: tuple[int, ...], config: ProbeConfig) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.normalizer = Normalizer(self.shape[-1])
        self.head = make_head(self.shape, config.readout)
        self.network = nn.Sequential(
            nn.Linear(self.head.width, config.hidden), nn.GELU(), nn.Linear(config.hidden, 2)
        )
        self.register_buffer("target_mean", torch.zeros(2))
        self.register_buffer("target_std", torch.ones(2))

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return normalized positions ``(B, 2)`` of embeddings ``(B, D)``."""
        return self.network(self.head(self.normalized(embeddings)))

    def normalized(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return embeddings ``(B, D)`` as input of the head: float32 ``(B, *shape)``."""
        return self.normalizer(embeddings.unflatten(-1, self.shape))

    @torch.no_grad()
    def predict_m(self, embeddings: np.ndarray | torch.Tensor) -> np.ndarray:
        """Return cube positions ``(N, 2)`` float64 [m] of embeddings ``(N, D)``.

        Raises:
            ValueError: embeddings of another width.
        """
        chunks = self._checked(embeddings).split(_CHUNK)
        parts = [self(chunk) * self.target_std + self.target_mean for chunk in chunks]
        return torch.cat(parts).double().numpy()

    def errors_mm(self, embeddings: np.ndarray | torch.Tensor, cube_xy_m: np.ndarray) -> np.ndarray:
        """Return the distances between predicted and true positions.

        Args:
            embeddings: ``(N, D)``.
            cube_xy_m: ``(N, 2)`` true positions [m].

        Returns:
            ``(N,)`` [mm].
        """
        difference = self.predict_m(embeddings) - np.asarray(cube_xy_m, dtype=float)
        return 1000 * np.linalg.norm(difference, axis=-1)

    @torch.no_grad()
    def attention(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return the attention maps ``(B, gh, gw)`` of the head; each sums to 1.

        Raises:
            ValueError: embeddings of another width, or that are not grids.
        """
        if not isinstance(self.head, SpatialSoftmaxHead):
            raise ValueError(f"embeddings of shape {self.shape} are no grid: no attention map")
        return self.head.attention(self.normalized(self._checked(embeddings)))

    def _checked(self, embeddings: np.ndarray | torch.Tensor) -> torch.Tensor:
        tensor = torch.as_tensor(embeddings).cpu()
        width = math.prod(self.shape)
        if tensor.ndim != 2 or tensor.shape[1] != width or not len(tensor):
            raise ValueError(
                f"embeddings have shape {tuple(tensor.shape)}; this localizer takes (N, {width}), "
                f"the embeddings of an encoder with output shape {self.shape}"
            )
        return tensor


def fit_localizer(
    embeddings: np.ndarray | torch.Tensor,
    shape: tuple[int, ...],
    cube_xy_m: np.ndarray,
    episode: np.ndarray,
    config: ProbeConfig = ProbeConfig(),
    seed: int = 0,
) -> Localizer:
    """Fit a head to training frames; return the epoch with the lowest validation error.

    Args:
        embeddings: ``(N, D)``, half or single precision.
        shape: ``FrameEncoder.output_shape``.
        cube_xy_m: ``(N, 2)`` [m].
        episode: ``(N,)``; whole episodes are used for validation.
        config: of the head and the fit.
        seed: of the validation split, the initial weights and the order of frames.

    Raises:
        ValueError: the shapes do not match, or there are too few episodes.
    """
    with seeded(seed, 0):
        localizer = Localizer(shape, config)
    inputs = localizer._checked(embeddings)
    targets = torch.as_tensor(np.asarray(cube_xy_m), dtype=torch.float32)
    if targets.shape != (len(inputs), 2) or np.shape(episode) != (len(inputs),):
        raise ValueError(
            f"{len(inputs)} embeddings need cube_xy_m of shape ({len(inputs)}, 2) and episode of "
            f"({len(inputs)},); got {tuple(targets.shape)} and {np.shape(episode)}"
        )
    learn_episodes, _ = split_episodes(np.unique(episode), config.valid_share, seed)
    learn = torch.from_numpy(np.isin(episode, learn_episodes))
    localizer.normalizer.fit(inputs[learn].unflatten(-1, localizer.shape))
    localizer.target_mean.copy_(targets[learn].mean(dim=0))
    spread = targets[learn].std(dim=0)
    localizer.target_std.copy_(torch.where(spread > SMALLEST_MEASURED_STD, spread, 1.0))
    _fit(localizer, inputs, targets, learn, config, seed)
    return localizer.eval()


def _fit(
    localizer: Localizer,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    learn: torch.Tensor,
    config: ProbeConfig,
    seed: int,
) -> None:
    optimizer = torch.optim.AdamW(parameter_groups(localizer, config.weight_decay), lr=config.lr)
    wanted = (targets - localizer.target_mean) / localizer.target_std
    frames, generator = learn.nonzero()[:, 0], torch.Generator().manual_seed(seed)
    valid, valid_xy_m = inputs[~learn], targets[~learn].numpy()
    steps = config.epochs * math.ceil(len(frames) / config.batch)
    best, best_epoch, kept, step = math.inf, 0, localizer.state_dict(), 0
    for epoch in range(config.epochs):
        for batch in frames[torch.randperm(len(frames), generator=generator)].split(config.batch):
            for group in optimizer.param_groups:
                group["lr"] = config.lr * cosine_schedule(step, steps, warmup=20)
            loss = functional.smooth_l1_loss(localizer(inputs[batch]), wanted[batch], beta=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
        error = float(localizer.errors_mm(valid, valid_xy_m).mean())
        if error < best:
            best, best_epoch, kept = error, epoch, copy.deepcopy(localizer.state_dict())
        elif epoch - best_epoch >= config.patience:
            break
    localizer.load_state_dict(kept)
