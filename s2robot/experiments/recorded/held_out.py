"""Errors of a policy on held-out episodes, with intervals over episodes; no success rate."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from s2robot.policies.action_space import ActionBounds
from s2robot.policies.dataset import TrajectoryData
from s2robot.policies.policy import Policy
from s2robot.stats.intervals import Interval, crossed_mean_interval, mean_interval

FORMAT = 1


@dataclass(frozen=True)
class EntryError:
    """Mean absolute error of one entry of the action, in its units."""

    name: str
    error: Interval
    """Mean over held-out episodes of an episode's mean absolute error."""
    constant: Interval
    """The same error of the training actions' median, which needs no policy."""
    change: Interval
    """Error of the policy less that of the constant, episode by episode."""
    range: tuple[float, float]
    """Smallest and largest value in the training episodes."""

    @property
    def share_of_range(self) -> float | None:
        """The error as a fraction of the range; None where the entry does not vary."""
        span = self.range[1] - self.range[0]
        return self.error.estimate / span if span > 0 else None

    @property
    def verdict(self) -> str:
        """How the policy compares with the constant, in words."""
        if self.range[0] == self.range[1]:
            return "does not vary"
        if not np.isfinite(self.change.low):
            return "one episode: not decided"
        if self.change.high < 0:
            return "better than a constant"
        return "worse than a constant" if self.change.low > 0 else "not told apart from a constant"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values; limits are null where one episode gives none."""
        found: dict[str, Any] = {"name": self.name, "range": list(self.range)}
        for key in ("error", "constant", "change"):
            limits = asdict(getattr(self, key))
            found[key] = {k: v if np.isfinite(v) else None for k, v in limits.items()}
        return {**found, "verdict": self.verdict}


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Predictions and errors on held-out episodes."""

    episodes: tuple[int, ...]
    """Indices of the episodes."""
    recorded: tuple[np.ndarray, ...]
    """Recorded actions ``(T, A)`` of each episode, in their units."""
    predicted: tuple[np.ndarray, ...]
    """The actions ``(T, A)`` that ``load_policy`` gives on the recorded observations."""
    errors: np.ndarray
    """``(E, A)`` mean absolute error of each episode and entry; of several seeds, their mean."""
    constant: np.ndarray
    """``(E, A)`` the same of the training actions' median."""
    entries: tuple[EntryError, ...]
    by_seed: tuple[tuple[int, HeldOut], ...] = ()
    """Training seeds and their own errors, where there are several."""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values, without the predictions."""
        seeds = {str(seed): own.to_dict() for seed, own in self.by_seed}
        over = "episodes" if not seeds else f"episodes and {len(seeds)} training seeds, crossed"
        found = {
            "format": FORMAT,
            "measure": "mean absolute error of open-loop actions on held-out episodes, in the "
            "units of the data; no success rate",
            "interval": f"Student's t over {over}, 95 %",
            "episodes": list(self.episodes),
            "entries": [entry.to_dict() for entry in self.entries],
            "errors_by_episode": self.errors.tolist(),
        }
        return {**found, "seeds": seeds} if seeds else found


def held_out_errors(
    policy: Policy,
    data: TrajectoryData,
    actions: np.ndarray,
    names: Sequence[str],
    bounds: ActionBounds,
) -> HeldOut:
    """Return the errors of a policy on the held-out episodes.

    They are those of the actions that a robot would get: within the bounds of the policy's file, as
    ``load_policy`` gives them.

    Args:
        policy: whose ``act`` gives actions in the units of ``actions``.
        data: embeddings and proprioception; ``valid_episodes`` are held out.
        actions: ``(N, A)`` as recorded.
        names: of the A entries.
        bounds: of the policy's file.
    """
    training = actions[data.frames_of(data.train_episodes).numpy()]
    constant = np.median(training, axis=0)
    given = open_loop(policy, data, data.valid_episodes)
    predicted = [bounds.limited(each) for each in given]
    recorded = [actions[rows] for rows in _rows(data, data.valid_episodes)]
    errors = _means([np.abs(p - r) for p, r in zip(predicted, recorded, strict=True)])
    plain = _means([np.abs(constant - r) for r in recorded])
    ranges = _ranges(training)
    numbers = tuple(data.valid_episodes.tolist())
    entries = _entries(names, errors[None], plain, ranges)
    return HeldOut(numbers, tuple(recorded), tuple(predicted), errors, plain, entries)


def over_seeds(found: Mapping[int, HeldOut]) -> HeldOut:
    """Return the errors of several training seeds, with intervals over episodes and seeds.

    Args:
        found: errors by seed, on the same episodes; predictions are those of the first one.
    """
    parts = tuple(found.items())
    first = parts[0][1]
    if len(parts) == 1:
        return first
    errors = np.stack([own.errors for _, own in parts])  # (S, E, A)
    names, ranges = [e.name for e in first.entries], [e.range for e in first.entries]
    return dataclasses.replace(
        first,
        errors=errors.mean(axis=0),
        entries=_entries(names, errors, first.constant, ranges),
        by_seed=parts,
    )


def _entries(
    names: Sequence[str],
    errors: np.ndarray,
    constant: np.ndarray,
    ranges: Sequence[tuple[float, float]],
) -> tuple[EntryError, ...]:
    """Return the error of each entry from those of seeds and episodes (S, E, A)."""
    return tuple(
        EntryError(
            name,
            _not_negative(crossed_mean_interval(errors[..., i])),
            _not_negative(mean_interval(constant[:, i])),
            crossed_mean_interval(errors[..., i] - constant[:, i]),
            ranges[i],
        )
        for i, name in enumerate(names)
    )


def _ranges(training: np.ndarray) -> list[tuple[float, float]]:
    low, high = training.min(axis=0), training.max(axis=0)
    return [(float(a), float(b)) for a, b in zip(low, high, strict=True)]


def open_loop(policy: Policy, data: TrajectoryData, episodes: torch.Tensor) -> list[np.ndarray]:
    """Return what a policy's ``act`` gives on the observations of each episode, ``(T, A)``.

    The policy acts step by step, as on a robot, but what it sees is what was recorded: an error has
    no consequences.

    Args:
        policy: any kind; it is reset.
        data: embeddings and proprioception.
        episodes: their indices.
    """
    rows = _rows(data, episodes)
    policy.reset(len(rows))
    steps = []
    for step in range(max(map(len, rows))):
        index = torch.as_tensor([own[min(step, len(own) - 1)] for own in rows])
        steps.append(policy.act(data.embedding[index], data.proprio[index]).float().cpu().numpy())
    joined = np.stack(steps, axis=1)  # (E, longest T, A)
    return [found[: len(own)] for found, own in zip(joined, rows, strict=True)]


def _not_negative(found: Interval) -> Interval:
    """Return the interval of an error, which has no negative values."""
    return (
        Interval(found.estimate, max(found.low, 0.0), found.high) if found.low > -np.inf else found
    )


def _rows(data: TrajectoryData, episodes: torch.Tensor) -> list[np.ndarray]:
    return [data.frames_of(episode[None]).numpy() for episode in episodes]


def _means(errors: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack([each.mean(axis=0, dtype=np.float64) for each in errors])
