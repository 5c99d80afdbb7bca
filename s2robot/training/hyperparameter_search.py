"""A small hyperparameter search with the same budget for every variant of a comparison.

An effect of untuned hyperparameters can look like an effect of the encoder. So the search tunes
all variants in the same way, on held-out demonstrations, before any rollout.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from s2robot.errors import CorruptFileError, DivergedError
from s2robot.policies.config import PolicyConfig
from s2robot.policies.dataset import TrajectoryData
from s2robot.training.config import SearchConfig, TrainConfig
from s2robot.training.frames import sharing_frames
from s2robot.training.many_seeds import DivergedSeedsError, fit_each
from s2robot.training.precision import resolved
from s2robot.training.seed_trainer import FitResult
from s2robot.training.stacked_policy import STACKABLE_KINDS
from s2robot.utils.devices import resolve_device
from s2robot.utils.io import append_jsonl, digest_of, read_jsonl
from s2robot.utils.provenance import deciding_versions
from s2robot.utils.records import record_of

GRIPPER_WEIGHT = 0.02
"""Cost of a wrong gripper command in the score, as meters of motion error."""


@dataclass(frozen=True)
class HyperparameterChoice:
    """The best trial, and the records of all trials."""

    policy_config: PolicyConfig
    lr: float
    score: float
    trials: tuple[dict[str, Any], ...]
    """One record per trial, in order: settings, score, motion_error, gripper_error."""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values, for the policy file and the report."""
        return {**dataclasses.asdict(self), "policy_config": self.policy_config.to_dict()}


def search_hyperparameters(
    data: TrajectoryData,
    policy_config: PolicyConfig,
    train_config: TrainConfig,
    search_config: SearchConfig,
    seed: int = 0,
    cache_path: str | Path | None = None,
    on_trial: Callable[[dict[str, Any]], None] | None = None,
    device: str | torch.device = "auto",
) -> HyperparameterChoice:
    """Choose learning rate, softmax scale and width on the held-out episodes.

    The score of a trial is the mean motion error of the deterministic action over held-out frames
    [m, or rad for joints] plus ``GRIPPER_WEIGHT`` times the share of wrong gripper commands, after
    the last epoch. The lowest score is chosen; of equal scores, the first. Equal seeds try settings
    in the same order for every variant.

    Args:
        data: with held-out episodes.
        policy_config: shared by all trials.
        train_config: shared by all trials, which replace epochs, lr and seed.
        search_config: budget and range.
        seed: of the order of settings and of the trials.
        cache_path: file of JSON lines, one per finished trial, from which a search resumes. Trials
            of other versions (``deciding_versions``) or another kind of device are tried again.
        on_trial: called with each trial's record.
        device: as in ``fit``.

    Raises:
        ValueError: there are no held-out episodes.
        DivergedError: every trial diverged.
    """
    show = None if on_trial is None else lambda _, row: on_trial(row)
    paths = {} if cache_path is None else {seed: cache_path}
    configs = (policy_config, train_config, search_config)
    return search_many(data, *configs, [seed], paths, show, device)[seed]


def search_many(
    data: TrajectoryData,
    policy_config: PolicyConfig,
    train_config: TrainConfig,
    search_config: SearchConfig,
    seeds: Sequence[int],
    cache_paths: Mapping[int, str | Path] | None = None,
    on_trial: Callable[[int, dict[str, Any]], None] | None = None,
    device: str | torch.device = "auto",
) -> dict[int, HyperparameterChoice]:
    """Run ``search_hyperparameters`` for each seed; trials of one setting are trained together.

    Args:
        data: with held-out episodes.
        policy_config: shared by all trials.
        train_config: shared by all trials, which replace epochs, lr and seed.
        search_config: budget and range.
        seeds: one search each.
        cache_paths: file of finished trials by seed.
        on_trial: called with a seed and each record of its trials.
        device: as in ``fit``.

    Raises:
        ValueError: there are no held-out episodes.
        DivergedSeedsError: every trial of some seeds diverged; it holds the choices of the others.
    """
    if not len(data.valid_episodes):
        raise ValueError(
            "the hyperparameter search needs held-out episodes, but valid_episodes is empty; "
            "collect with valid_share above 0, or train with search=null"
        )
    paths = dict(cache_paths or {})
    train_config = resolved(train_config, len(data.embedding), data.embedding_shape, device)
    trials = {
        (seed, number): _Trial.plan(
            policy_config, train_config, search_config, settings, seed, number
        )
        for seed in seeds
        for number, settings in enumerate(_settings(data, policy_config, search_config, seed))
    }
    made_with = {"versions": deciding_versions(), "device": resolve_device(device).type}
    known = _stored(paths.values(), made_with)
    rows = {}
    with sharing_frames():
        for group in _groups(trials):
            missing = [place for place in group if not trials[place].is_in(known, data)]
            found = _run([trials[place] for place in missing], data, device)
            fresh = dict(zip(missing, found, strict=True))
            for place in group:
                seed, _ = place
                rows[place] = fresh.get(place) or known[trials[place].key(data)]
                if place in fresh and seed in paths:
                    append_jsonl(paths[seed], [{**fresh[place], "made_with": made_with}])
                if on_trial is not None:
                    on_trial(seed, rows[place])
    return _choices(policy_config, seeds, search_config.trials, rows)


def _stored(paths: Iterable[str | Path], made_with: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return whole trials by key; those of other versions or another device are tried again."""
    rows = [row for path in paths for row in read_jsonl(path) if _is_whole(row)]
    found = [(row.pop("made_with", None), row) for row in rows]
    return {row["key"]: row for seen, row in found if seen == made_with}


def _is_whole(row: Mapping[str, Any]) -> bool:
    """Return whether a stored trial has all its entries, and a score that is made of the others.

    Another one is tried again, with the same seeds.
    """
    try:
        found = record_of(_StoredTrial, row, "a trial", "it is tried again")
    except CorruptFileError:
        return False
    parts = (found.motion_error, found.gripper_error)
    if found.score is None or None in parts:
        return found.score is None and parts == (None, None)
    return found.score == found.motion_error + GRIPPER_WEIGHT * found.gripper_error  # pyright: ignore[reportOperatorIssue, reportOptionalOperand]


@dataclass(frozen=True)
class _StoredTrial:
    """Types of a trial's record."""

    key: str
    settings: dict[str, Any]
    score: float | None
    motion_error: float | None
    gripper_error: float | None


def _choices(
    policy_config: PolicyConfig,
    seeds: Sequence[int],
    count: int,
    rows: Mapping[tuple[int, int], dict[str, Any]],
) -> dict[int, HyperparameterChoice]:
    choices: dict[int, HyperparameterChoice] = {}
    errors: dict[int, DivergedError] = {}
    for seed in seeds:
        try:
            choices[seed] = _choose(policy_config, seed, [rows[seed, i] for i in range(count)])
        except DivergedError as error:
            errors[seed] = error
    if errors:
        raise DivergedSeedsError(errors, choices)
    return choices


def _choose(
    policy_config: PolicyConfig, seed: int, rows: list[dict[str, Any]]
) -> HyperparameterChoice:
    finished = [row for row in rows if row["score"] is not None]
    if not finished:
        raise DivergedError(
            f"all {len(rows)} trials of seed {seed}'s hyperparameter search diverged; lower lrs"
        )
    best = min(finished, key=lambda row: row["score"])  # the first of equals
    policy = _with(policy_config, best["settings"])
    return HyperparameterChoice(policy, best["settings"]["lr"], best["score"], tuple(rows))


def _settings(
    data: TrajectoryData, policy: PolicyConfig, config: SearchConfig, seed: int
) -> list[dict[str, Any]]:
    """Return the settings to try, in an order of the whole grid of those that have an effect.

    A variant with fewer settings than trials (a blind policy) repeats them with other seeds.
    """
    axes: dict[str, tuple[Any, ...]] = {"lr": config.lrs}
    if len(data.embedding_shape) == 3:
        axes |= {"softmax_scale": config.softmax_scales, "keypoints": config.keypoints}
    else:
        if data.embedding_shape != (0,):
            axes["vector_width"] = config.vector_widths
        if policy.has_hidden_layers:
            axes["hidden"] = config.hidden
    grid = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    shuffled = [grid[i] for i in np.random.default_rng(seed).permutation(len(grid))]
    if config.order == "balanced":
        shuffled = _in_rounds(shuffled)
    return [shuffled[i % len(grid)] for i in range(config.trials)]


def _in_rounds(settings: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the settings in rounds of one of each learning rate, otherwise in their order."""
    seen: Counter[float] = Counter()
    rounds = []
    for each in settings:
        rounds.append(seen[each["lr"]])
        seen[each["lr"]] += 1
    order = sorted(range(len(settings)), key=rounds.__getitem__)
    return [settings[i] for i in order]


def _with(policy_config: PolicyConfig, settings: dict[str, Any]) -> PolicyConfig:
    changes = {key: value for key, value in settings.items() if key != "lr"}
    if "hidden" in changes:
        changes["hidden"] = tuple(changes["hidden"] for _ in policy_config.hidden)
    return dataclasses.replace(policy_config, **changes)


@dataclass(frozen=True)
class _Trial:
    """One setting, and the trainings that score it."""

    settings: dict[str, Any]
    policy: PolicyConfig
    runs: tuple[TrainConfig, ...]

    @classmethod
    def plan(
        cls,
        policy: PolicyConfig,
        train: TrainConfig,
        search: SearchConfig,
        settings: dict[str, Any],
        seed: int,
        number: int,
    ) -> _Trial:
        """Return a trial, with training seeds that no other trial and no other search has."""
        base = dataclasses.replace(train, epochs=search.epochs, lr=settings["lr"])
        seeds = np.random.SeedSequence((seed, number)).generate_state(search.seeds)
        runs = tuple(dataclasses.replace(base, seed=int(each)) for each in seeds)
        return cls(settings, _with(policy, settings), runs)

    def key(self, data: TrajectoryData) -> str:
        """Return a digest of all that the score depends on besides versions and device."""
        runs = [run.recipe() for run in self.runs]
        return digest_of([data.digest, self.policy.to_dict(), runs])

    def is_in(self, known: Mapping[str, dict[str, Any]], data: TrajectoryData) -> bool:
        """Return whether the trial is among stored ones, with its settings."""
        row = known.get(self.key(data))
        return row is not None and row["settings"] == self.settings

    def record(
        self, data: TrajectoryData, results: Sequence[FitResult | DivergedError]
    ) -> dict[str, Any]:
        """Return the trial's record; without scores if a training diverged.

        Args:
            data: of the training.
            results: of the trial's runs, in order.
        """
        record = {"key": self.key(data), "settings": self.settings}
        ends = [result.history[-1] for result in results if isinstance(result, FitResult)]
        if len(ends) < len(self.runs):
            return record | {"score": None, "motion_error": None, "gripper_error": None}
        motion = float(np.mean([end["motion_error"] for end in ends]))
        gripper = float(np.mean([end["gripper_error"] for end in ends]))
        score = motion + GRIPPER_WEIGHT * gripper
        return record | {"score": score, "motion_error": motion, "gripper_error": gripper}


def _groups(trials: Mapping[tuple[int, int], _Trial]) -> list[list[tuple[int, int]]]:
    """Return groups of trials that are trained together, if seeds can be stacked.

    Trials of one setting are in one group; small groups are joined, so that each core has a trial.
    Groups are in the order of their first trials, and an interrupted search repeats one group.
    """
    settings: dict[Any, list[tuple[int, int]]] = {}
    for place, trial in trials.items():
        together = trial.policy.kind in STACKABLE_KINDS
        key = digest_of(trial.settings) if together else place
        settings.setdefault(key, []).append(place)
    if not all(trial.policy.kind in STACKABLE_KINDS for trial in trials.values()):
        return list(settings.values())
    groups: list[list[tuple[int, int]]] = []
    for places in settings.values():
        if groups and len(groups[-1]) < torch.get_num_threads():
            groups[-1] += places
        else:
            groups.append(list(places))
    return groups


def _run(
    trials: Sequence[_Trial], data: TrajectoryData, device: str | torch.device
) -> list[dict[str, Any]]:
    """Train trials and return their records."""
    if not trials:
        return []
    runs = [(trial.policy, run) for trial in trials for run in trial.runs]
    results = iter(fit_each(data, runs, device))
    return [trial.record(data, [next(results) for _ in trial.runs]) for trial in trials]
