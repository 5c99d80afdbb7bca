"""Errors of a candidate's features on held-out episodes: of actions and of positions.

Episodes are divided into folds; each fold is predicted by fits on the others, so that every episode
counts. Linear fits are convex. The action head is the policy's own, trained shortly with several
seeds, since one training says as much of its seed as of the encoder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from s2robot.analysis.probes import linear
from s2robot.analysis.probes.action_errors import action_errors
from s2robot.analysis.probes.grids import TokenGrids
from s2robot.analysis.probes.intervals import split_episodes
from s2robot.analysis.recommend.config import METRICS
from s2robot.analysis.recommend.episodes import EpisodeData
from s2robot.policies.action_units import ActionUnits
from s2robot.policies.config import PolicyConfig
from s2robot.policies.dataset import TrajectoryData
from s2robot.policies.policy import Policy
from s2robot.training.config import TrainConfig
from s2robot.training.many_seeds import fit_many

VERSION = 1
"""Version of the computation; raised whenever the same frames would give other errors."""
FOLDS = 3
SEEDS = 3
"""Trainings of the action head in each fold, each with a seed of its own."""
EPOCHS = 20
VALID_SHARE = 0.25
"""Fraction of the training episodes that chooses the penalty of a linear fit."""
_CHUNK = 256
_SMALLEST_STD = 1e-6  # an observation that does not vary tells nothing


@dataclass(frozen=True)
class Measure:
    """What one error says."""

    title: str
    unit: str
    digits: int


MEASURES = {
    "action": Measure("action error of a small policy head", "% of std", 1),
    "action-linear": Measure("action error of a linear probe", "% of std", 1),
    "localization": Measure("localization error of a linear probe", "mm", 2),
}
"""Measures by the names in ``METRICS``; lower is better."""


@dataclass(frozen=True, eq=False)
class Features:
    """Embeddings of all frames of a candidate."""

    embeddings: Tensor
    """``(N, D)``"""
    shape: tuple[int, ...]
    """``FrameEncoder.output_shape``: (gh, gw, C)."""


def folds_of(episode: np.ndarray, folds: int = FOLDS, seed: int = 0) -> np.ndarray:
    """Return the fold of each frame; all frames of an episode are in one.

    Args:
        episode: ``(N,)`` number of each frame's episode.
        folds: number of folds, at most that of the episodes.
        seed: of the draw.

    Examples:
        >>> folds_of(np.array([5, 5, 7, 8]), folds=3).tolist()
        [2, 2, 1, 0]
    """
    _, index = np.unique(episode, return_inverse=True)
    order = np.random.default_rng([seed, 4]).permutation(index.max() + 1)
    return order[index] % folds


def metrics_of(data: EpisodeData) -> list[str]:
    """Return the names of the measures that the data allows, the preferred one first."""
    missing = {"localization"} if data.positions_m is None else set()
    missing |= set() if data.actions is not None else {"action", "action-linear"}
    return [name for name in METRICS if name not in missing]


def errors_of(
    metric: str, features: Features, data: EpisodeData, products: Callable[[], np.ndarray]
) -> np.ndarray:
    """Return the error of every episode, from fits that did not see it.

    Args:
        metric: one of ``metrics_of(data)``.
        features: of the candidate.
        data: actions, positions and episodes.
        products: returns the frames' inner products, which the linear fits share.

    Returns:
        ``(S, E)``: a row for each training of a fold, in the unit of the measure; one row where
        the fit is convex.
    """
    assert data.episode is not None
    if metric == "action":
        frames = _head_errors(features, data)
    elif metric == "action-linear":
        assert data.actions is not None
        predicted = _linear(_with_proprio(products(), data), data.actions, data.episode)
        frames = _frame_errors(metric, predicted, data.actions)
    else:
        assert data.positions_m is not None
        predicted = _linear(products(), data.positions_m, data.episode)
        frames = _frame_errors(metric, predicted, data.positions_m)
    return _by_episode(frames, data.episode)


def constant_errors(metric: str, data: EpisodeData) -> np.ndarray:
    """Return the error of every episode where the mean of the other folds is predicted.

    No camera is needed for it, so features that are no better tell nothing.

    Args:
        metric: one of ``metrics_of(data)``.
        data: actions, positions and episodes.

    Returns:
        ``(1, E)`` in the unit of the measure.
    """
    assert data.episode is not None
    targets = data.positions_m if metric == "localization" else data.actions
    assert targets is not None
    fold, predicted = folds_of(data.episode), np.empty(targets.shape)
    for number in np.unique(fold):
        predicted[fold == number] = targets[fold != number].mean(axis=0)
    return _by_episode(_frame_errors(metric, predicted, targets), data.episode)


def _frame_errors(metric: str, predicted: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the errors (1, N) of predicted actions [% of std] or positions [mm]."""
    if metric == "localization":
        return 1000 * np.linalg.norm(predicted - targets, axis=1)[None]
    return action_errors(predicted, targets)[None]


def inner_products(features: Features) -> np.ndarray:
    """Return the inner products ``(N, N)`` of frames, with normalized channels."""
    every = np.arange(len(features.embeddings))
    grids = TokenGrids(features.embeddings, features.shape, every)
    return linear.inner_products(grids.column_chunks(), every)


def _by_episode(frames: np.ndarray, episode: np.ndarray) -> np.ndarray:
    """Return the means (S, E) over each episode of errors (S, N)."""
    _, index, counts = np.unique(episode, return_inverse=True, return_counts=True)
    sums = np.zeros((len(frames), len(counts)))
    for row, values in zip(sums, frames, strict=True):
        np.add.at(row, index, values)
    return sums / counts


# ------------------------------------------------------------------------------------ linear fits
def _linear(products: np.ndarray, targets: np.ndarray, episode: np.ndarray) -> np.ndarray:
    """Return predictions (N, k) of ridge regression, each from the other folds."""
    fold, predicted = folds_of(episode), np.empty(targets.shape)
    for number in range(FOLDS):
        test = np.flatnonzero(fold == number)
        rest = np.flatnonzero(fold != number)
        learned, _ = split_episodes(np.unique(episode[rest]), VALID_SHARE, number)
        learns = np.isin(episode[rest], learned)
        parts = (rest[learns], rest[~learns], test)
        chosen = linear.choose(linear.ridge, _square_error, products, targets, parts)
        predicted[test] = chosen.predictions
    return predicted


def _square_error(predicted: np.ndarray, true: np.ndarray) -> float:
    return float(np.square(predicted - true).mean())


def _with_proprio(products: np.ndarray, data: EpisodeData) -> np.ndarray:
    """Return inner products of features and proprioception, of equal variance each."""
    if data.proprio is None:
        return products
    std = data.proprio.std(axis=0)
    scaled = (data.proprio - data.proprio.mean(axis=0)) / np.where(std > _SMALLEST_STD, std, 1)
    own = scaled.astype(float) @ scaled.T
    return products / max(np.trace(products), 1e-300) + own / max(np.trace(own), 1e-300)


# ---------------------------------------------------------------------------------- the small head
def _head_errors(features: Features, data: EpisodeData) -> np.ndarray:
    """Return the errors (S, N) of the action head, from S trainings in each fold."""
    assert data.episode is not None
    assert data.actions is not None
    fold = folds_of(data.episode)
    errors = np.empty((SEEDS, data.num_frames))
    for number in range(FOLDS):
        rest = fold != number
        center, half = _range(data, rest)
        scaled = ((data.actions - center) / half).astype(np.float32)
        trained = _trajectories(features, data, scaled, rest)
        seeds = range(number * SEEDS, (number + 1) * SEEDS)
        found = fit_many(
            trained, PolicyConfig(), TrainConfig(epochs=EPOCHS, dtype="float32"), seeds
        )
        test = np.flatnonzero(~rest)
        for row, seed in enumerate(seeds):
            predicted = _predicted(found[seed].policy, trained, test) * half + center
            errors[row, test] = action_errors(predicted, data.actions, test)
    return errors


def _range(data: EpisodeData, training: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return center and half of the range (A,) that a policy's [-1, 1] stands for.

    It is that of the training actions; those of a task's demonstrations are in [-1, 1] as they are.
    """
    assert data.actions is not None
    if data.demos_path is not None:
        largest = np.abs(data.actions).max(axis=0)
        return np.zeros_like(largest), np.maximum(largest, 1.0)
    seen = torch.from_numpy(data.actions[training])
    units = ActionUnits.of_range(seen.amin(dim=0), seen.amax(dim=0))
    return units.center.double().numpy(), units.half_range.double().numpy()


def _trajectories(
    features: Features, data: EpisodeData, actions: np.ndarray, training: np.ndarray
) -> TrajectoryData:
    assert data.episode is not None
    _, starts, lengths = np.unique(data.episode, return_index=True, return_counts=True)
    ends = torch.from_numpy(np.cumsum(lengths))
    proprio = np.zeros((data.num_frames, 1)) if data.proprio is None else data.proprio
    return TrajectoryData(
        embedding=features.embeddings,
        embedding_shape=features.shape,
        proprio=torch.as_tensor(proprio, dtype=torch.float32),
        actions=torch.from_numpy(actions),
        episode_ends=ends,
        train_episodes=torch.from_numpy(np.flatnonzero(training[starts])),
        valid_episodes=torch.zeros(0, dtype=torch.int64),
    )


@torch.no_grad()
def _predicted(policy: Policy, data: TrajectoryData, frames: np.ndarray) -> np.ndarray:
    """Return the policy's actions (n, A) for some frames."""
    device = policy.proprio_normalizer.mean.device
    parts = []
    for rows in torch.from_numpy(frames).split(_CHUNK):
        embedding = policy.normalize_embedding(data.embedding[rows].to(device))
        proprio = policy.normalize_proprio(data.proprio[rows].to(device))
        parts.append(policy.predict(embedding, proprio).cpu())
    return torch.cat(parts).double().numpy()
