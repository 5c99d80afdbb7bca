"""How precisely do frozen features tell where the cube is? Less noisy than rates of success.

A small head (the policies' own readout and a small network) learns the cube's position from
embeddings; its error on frames of other episodes is given in millimetres. A fitted head can judge
embeddings of the same frames that were made in another way (int8, fewer tiles).
"""

from __future__ import annotations

import copy
import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from s2robot.collect import record_episode
from s2robot.envs.levels import get_level
from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.errors import CorruptFileError
from s2robot.files import atomic_path, digest_of, locked
from s2robot.optim import cosine_schedule, parameter_groups, seeded
from s2robot.policies.config import PolicyConfig, require_at_least, require_positive
from s2robot.policies.heads import SpatialSoftmaxHead, Standardiser, make_head
from s2robot.provenance import versions
from s2robot.stats import BOOTSTRAP_DRAWS, BOOTSTRAP_SEED, Interval

FIRST_SEED = 880_000
"""Of the environments; demonstrations and evaluations start elsewhere."""
_HOLD_STEPS = 4  # frames of an episode with the cube up
_CHUNK = 512  # frames at a time where nothing is learnt


# ------------------------------------------------------------------------------------------ data
@dataclass(frozen=True)
class LocalisationData:
    """Frames and where the cube was; the frames of an episode follow each other."""

    frames: np.ndarray
    """(N, S, S, 3) uint8 RGB."""
    cube_xy_m: np.ndarray
    """(N, 2) float64, in the robot's base frame."""
    episode: np.ndarray
    """(N,) int64: which episode a frame is of."""

    def __len__(self) -> int:
        return len(self.frames)

    def of_episodes(self, episodes: np.ndarray) -> LocalisationData:
        """The frames of some episodes."""
        mask = np.isin(self.episode, episodes)
        return LocalisationData(self.frames[mask], self.cube_xy_m[mask], self.episode[mask])

    def split(
        self, test_share: float = 0.25, seed: int = 0
    ) -> tuple[LocalisationData, LocalisationData]:
        """Training and test frames; no episode is in both.

        Raises:
            ValueError: one of them would be empty.
        """
        episodes = np.unique(self.episode)
        rest, held_out = _split(episodes, test_share, seed)
        return self.of_episodes(rest), self.of_episodes(held_out)


def localisation_data(
    level: str = "precise",
    camera: str | None = None,
    size: int = 384,
    episodes: int = 60,
    resets: int = 1200,
    seed: int = FIRST_SEED,
    folder: str | Path = "data/localisation",
) -> LocalisationData:
    """Render what a head learns localisation from; kept in ``folder``, where it is found again.

    Args:
        level: of the task.
        camera: that looks; the level's own when not given.
        size: side of a square frame [px].
        episodes: of the expert with execution noise, every frame.
        resets: further episodes of one frame: the arm near home, the cube anywhere.
        seed: of the first episode's environment; the others follow.
        folder: for one file a setting.

    Raises:
        ValueError: unknown level or camera, or nothing to render.
        CorruptFileError: the kept file is damaged.
    """
    if min(episodes, resets) < 0 or episodes + resets < 1:
        raise ValueError(
            f"episodes {episodes} and resets {resets} must not be negative, nor both zero"
        )
    camera = camera or get_level(level).camera
    env = PickCubeEnv(level=level, image_camera=camera, image_size=size)
    recipe = {"env": env.env_kwargs(), "episodes": episodes, "resets": resets, "seed": seed}
    key = digest_of({**recipe, "mujoco": versions()["mujoco"]})[:16]
    path = Path(folder) / f"{level}-{camera}-{size}-{key}.npz"
    try:
        with locked(path):
            if not path.exists():
                _save(path, _render(env, episodes, resets, seed))
    finally:
        env.close()
    return _load(path)


def _render(env: PickCubeEnv, episodes: int, resets: int, seed: int) -> LocalisationData:
    frames, spots, numbers = [], [], []
    camera, shape = env.image_camera, env.image_shape
    assert camera is not None
    plain = PickCubeEnv(**{**env.env_kwargs(), "image_camera": None})  # renders nothing by itself
    for number in range(episodes + resets):
        for state, spot in _moments(plain, seed + number, moving=number < episodes):
            plain.set_state(state)
            frames.append(plain.render_frame(camera, *shape))
            spots.append(spot)
            numbers.append(number)
    plain.close()
    return LocalisationData(np.stack(frames), np.stack(spots), np.array(numbers))


def _moments(env: PickCubeEnv, seed: int, moving: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """States and cube positions [m] of an episode, or of its start alone."""
    if moving:
        episode = record_episode(env, seed, _HOLD_STEPS)
        yield from zip(episode.states, episode.obs["cube_pos"][:, :2].astype(float), strict=False)
    else:
        observation, _ = env.reset(seed=seed)
        yield env.get_state(), observation["cube_pos"][:2].astype(float)


def _save(path: Path, data: LocalisationData) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, frames=data.frames, cube_xy_m=data.cube_xy_m, episode=data.episode)


def _load(path: Path) -> LocalisationData:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return LocalisationData(arrays["frames"], arrays["cube_xy_m"], arrays["episode"])
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise CorruptFileError(f"{path} is damaged ({error}); delete it and rerun") from None


def _split(groups: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted different ``groups`` without, and with, a share of them drawn by ``seed``."""
    count = round(share * len(groups))
    if not 0 < count < len(groups):
        raise ValueError(
            f"a share of {share} of {len(groups)} episodes leaves one part empty; "
            "take a share between 0 and 1, and more episodes"
        )
    drawn = np.random.default_rng([seed, 3]).permutation(len(groups))[:count]
    held_out = np.isin(np.arange(len(groups)), drawn)
    return groups[~held_out], groups[held_out]


# ------------------------------------------------------------------------------------------ head
@dataclass(frozen=True)
class ProbeConfig:
    """How a localiser is built and fitted."""

    readout: PolicyConfig = PolicyConfig(keypoints=64)
    """Its readout's fields count (keypoints, softmax_scale, ...)."""
    hidden: int = 128
    """Width of the hidden layer after the readout."""
    epochs: int = 60
    """Passes over the training frames, at most."""
    patience: int = 20
    """Epochs without a better validation error after which fitting ends."""
    batch: int = 64
    """Frames a step."""
    lr: float = 5e-3
    """Adam's learning rate at its highest; it follows a cosine."""
    weight_decay: float = 1e-3
    valid_share: float = 0.15
    """Share of the episodes that decides when to stop."""

    def __post_init__(self) -> None:
        require_at_least(self, 1, "hidden", "epochs", "patience", "batch")
        require_at_least(self, 0, "weight_decay")
        require_positive(self, "lr")
        if not 0 < self.valid_share < 1:
            raise ValueError(f"valid_share is {self.valid_share}; it must lie between 0 and 1")


class Localiser(nn.Module):
    """Where the cube is, from an embedding.

    Args:
        shape: of the embeddings: a grid ``(gh, gw, C)`` or a vector ``(D,)``.
        config: of its parts.
    """

    target_mean: torch.Tensor
    target_std: torch.Tensor

    def __init__(self, shape: tuple[int, ...], config: ProbeConfig) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.standardiser = Standardiser(self.shape[-1])
        self.head = make_head(self.shape, config.readout)
        self.network = nn.Sequential(
            nn.Linear(self.head.width, config.hidden), nn.GELU(), nn.Linear(config.hidden, 2)
        )
        self.register_buffer("target_mean", torch.zeros(2))
        self.register_buffer("target_std", torch.ones(2))

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Embeddings ``(B, D)`` to positions ``(B, 2)``, standardised."""
        return self.network(self.head(self.standardised(embeddings)))

    def standardised(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Embeddings ``(B, D)`` as the head reads them: float32 ``(B, *shape)``."""
        return self.standardiser(embeddings.unflatten(-1, self.shape))

    @torch.no_grad()
    def predict_m(self, embeddings: np.ndarray | torch.Tensor) -> np.ndarray:
        """Embeddings ``(N, D)`` to cube positions ``(N, 2)`` float64 in metres.

        Raises:
            ValueError: embeddings of another width.
        """
        chunks = self._checked(embeddings).split(_CHUNK)
        parts = [self(chunk) * self.target_std + self.target_mean for chunk in chunks]
        return torch.cat(parts).double().numpy()

    def errors_mm(self, embeddings: np.ndarray | torch.Tensor, cube_xy_m: np.ndarray) -> np.ndarray:
        """Distance (N,) in millimetres between the told and the true positions ``(N, 2)`` [m]."""
        difference = self.predict_m(embeddings) - np.asarray(cube_xy_m, dtype=float)
        return 1000 * np.linalg.norm(difference, axis=-1)

    @torch.no_grad()
    def attention(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Where the head looks: embeddings ``(B, D)`` to maps ``(B, gh, gw)`` that sum to 1.

        Raises:
            ValueError: embeddings of another width, or no grids.
        """
        if not isinstance(self.head, SpatialSoftmaxHead):
            raise ValueError(f"embeddings of shape {self.shape} are no grid to look at")
        return self.head.attention(self.standardised(self._checked(embeddings)))

    def _checked(self, embeddings: np.ndarray | torch.Tensor) -> torch.Tensor:
        tensor = torch.as_tensor(embeddings).cpu()
        width = math.prod(self.shape)
        if tensor.ndim != 2 or tensor.shape[1] != width or not len(tensor):
            raise ValueError(
                f"embeddings have shape {tuple(tensor.shape)}; this localiser takes (N, {width}), "
                f"as the encoder gives them for the output shape {self.shape}"
            )
        return tensor


def fit_localiser(
    embeddings: np.ndarray | torch.Tensor,
    shape: tuple[int, ...],
    cube_xy_m: np.ndarray,
    episode: np.ndarray,
    config: ProbeConfig = ProbeConfig(),
    seed: int = 0,
) -> Localiser:
    """Fit a head to training frames; the epoch with the least validation error is kept.

    Args:
        embeddings: ``(N, D)``, half or single precision.
        shape: ``FrameEncoder.output_shape``.
        cube_xy_m: ``(N, 2)`` in metres.
        episode: ``(N,)``; the validation part holds whole episodes.
        config: of the head and the fit.
        seed: of the validation part, the initial weights and the order of frames.

    Raises:
        ValueError: shapes that do not fit each other, or too few episodes.
    """
    with seeded(seed, 0):
        localiser = Localiser(shape, config)
    inputs = localiser._checked(embeddings)
    targets = torch.as_tensor(np.asarray(cube_xy_m), dtype=torch.float32)
    if targets.shape != (len(inputs), 2) or np.shape(episode) != (len(inputs),):
        raise ValueError(
            f"{len(inputs)} embeddings need cube_xy_m of shape ({len(inputs)}, 2) and episode of "
            f"({len(inputs)},); got {tuple(targets.shape)} and {np.shape(episode)}"
        )
    learn_episodes, _ = _split(np.unique(episode), config.valid_share, seed)
    learn = torch.from_numpy(np.isin(episode, learn_episodes))
    localiser.standardiser.fit(inputs[learn].unflatten(-1, localiser.shape))
    localiser.target_mean.copy_(targets[learn].mean(dim=0))
    localiser.target_std.copy_(targets[learn].std(dim=0).clamp(min=1e-6))
    _fit(localiser, inputs, targets, learn, config, seed)
    return localiser.eval()


def _fit(
    localiser: Localiser,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    learn: torch.Tensor,
    config: ProbeConfig,
    seed: int,
) -> None:
    optimiser = torch.optim.AdamW(parameter_groups(localiser, config.weight_decay), lr=config.lr)
    wanted = (targets - localiser.target_mean) / localiser.target_std
    frames, generator = learn.nonzero()[:, 0], torch.Generator().manual_seed(seed)
    valid, valid_xy_m = inputs[~learn], targets[~learn].numpy()
    steps = config.epochs * math.ceil(len(frames) / config.batch)
    best, best_epoch, kept, step = math.inf, 0, localiser.state_dict(), 0
    for epoch in range(config.epochs):
        for batch in frames[torch.randperm(len(frames), generator=generator)].split(config.batch):
            for group in optimiser.param_groups:
                group["lr"] = config.lr * cosine_schedule(step, steps, warmup=20)
            loss = functional.smooth_l1_loss(localiser(inputs[batch]), wanted[batch], beta=0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            step += 1
        error = float(localiser.errors_mm(valid, valid_xy_m).mean())
        if error < best:
            best, best_epoch, kept = error, epoch, copy.deepcopy(localiser.state_dict())
        elif epoch - best_epoch >= config.patience:
            break
    localiser.load_state_dict(kept)


# ---------------------------------------------------------------------------------------- errors
@dataclass(frozen=True)
class LocalisationError:
    """Errors on test frames [mm], with 95 % intervals over episodes."""

    mean_mm: Interval
    median_mm: Interval
    frames: int
    episodes: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values."""
        parts = {"mean_mm": self.mean_mm, "median_mm": self.median_mm}
        intervals = {
            name: {"estimate": i.estimate, "low": i.low, "high": i.high}
            for name, i in parts.items()
        }
        return {**intervals, "frames": self.frames, "episodes": self.episodes}


def error_summary(errors_mm: np.ndarray, episode: np.ndarray) -> LocalisationError:
    """Mean and median of errors (N,), with intervals from resampled episodes (N,).

    Frames of an episode resemble each other, so whole episodes are drawn.
    """
    errors, weights = _resampled(errors_mm, episode)  # (N,), (draws, N)
    order = np.argsort(errors)
    summed = np.cumsum(weights[:, order], axis=1)
    middle = (summed >= summed[:, -1:] / 2).argmax(axis=1)
    medians = errors[order][middle]
    means = weights @ errors / weights.sum(axis=1)
    return LocalisationError(
        Interval(float(errors.mean()), *_limits(means)),
        Interval(float(np.median(errors)), *_limits(medians)),
        len(errors),
        len(np.unique(episode)),
    )


def mean_difference(first: np.ndarray, second: np.ndarray, episode: np.ndarray) -> Interval:
    """Mean of ``second`` minus ``first`` (N,) on the same frames, intervals from whole episodes."""
    if np.shape(first) != np.shape(second):
        raise ValueError(
            f"errors of the same frames are compared; got {np.shape(first)} and {np.shape(second)}"
        )
    difference, weights = _resampled(np.asarray(second) - np.asarray(first), episode)
    means = weights @ difference / weights.sum(axis=1)
    return Interval(float(difference.mean()), *_limits(means))


def _resampled(values: np.ndarray, episode: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Checked values (N,) and how often each frame is drawn with its episode (draws, N)."""
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or values.shape != np.shape(episode) or not len(values):
        raise ValueError(
            f"errors and episode must be (N,) each; got {values.shape} and {np.shape(episode)}"
        )
    groups, index = np.unique(episode, return_inverse=True)
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    share = np.full(len(groups), 1 / len(groups))
    counts = rng.multinomial(len(groups), share, BOOTSTRAP_DRAWS // 5)
    return values, counts[:, index].astype(float)


def _limits(draws: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)
