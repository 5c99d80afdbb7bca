"""Fixed initial states: simulator states with a hash, so that every run starts from the same ones.

The split ``selection`` is for the choice between settings, the split ``test`` for measuring the
chosen one. Neither contains the start of a demonstration, since the three use disjoint ranges of
environment seeds.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from s2robot.envs.tasks.loading import make_env
from s2robot.envs.tasks.names import appearance_entries, file_name, is_foreign
from s2robot.errors import CorruptFileError, unknown
from s2robot.evaluation.config import FIRST_SEEDS
from s2robot.utils.io import atomic_path, digest_of, jsonable, locked, sha256_bytes
from s2robot.utils.records import damaged, read_arrays, record_of

if TYPE_CHECKING:
    from s2robot.envs.tasks.contract import TaskEnv

MAX_INITIAL_STATES = 1_000_000
"""Number of states of a split; the next split's seeds begin there."""
_REMEDY = "delete it, and the next evaluation draws the same states again"
_APPEARANCE = ("image_camera", "image_size", "render_mode", "quality", "horizon")


@dataclass(frozen=True)
class InitialStates:
    """Initial simulator states of one level, or another task, and split.

    Raises:
        ValueError: the split is unknown, the states are not a non-empty (n, D) float64 array of
            finite numbers, or they reach beyond the split.

    Examples:
        >>> drawn = make_initial_states("easy", "test", 2, {})
        >>> len(drawn), drawn.states.dtype, len(drawn.sha256)
        (2, dtype('float64'), 64)
        >>> longer = make_initial_states("easy", "test", 3, {})
        >>> longer.beginning(2).sha256 == drawn.sha256
        True
        >>> later = make_initial_states("easy", "test", 2, {}, first=1)
        >>> bool((later.states == longer.states[1:]).all())
        True
    """

    level: str
    split: str
    env_kwargs: Mapping[str, Any]
    """Arguments of the environment that decide a state; those of its pictures are left out."""
    states: np.ndarray
    """(n, D) float64, as the environment's ``get_state`` returns them."""
    first: int = 0
    """Index of the first state in its split, where the set is a block of it."""

    def __post_init__(self) -> None:
        _check_split(self.split)
        if self.states.ndim != 2 or not len(self.states) or self.states.dtype != np.float64:
            raise ValueError(
                "states must be a non-empty (n, D) float64 array, got "
                f"{self.states.dtype} {self.states.shape}"
            )
        if not np.isfinite(self.states).all():
            raise ValueError("states hold NaN or infinite numbers; take those of get_state()")
        _check_range(self.first, len(self.states))

    def __len__(self) -> int:
        return len(self.states)

    @functools.cached_property
    def sha256(self) -> str:
        """Hash of all fields; results contain it, and a loaded file is verified by it."""
        content = sha256_bytes(np.ascontiguousarray(self.states).tobytes())
        return digest_of([self.header(), list(self.states.shape), content])

    @functools.cached_property
    def starts_sha256(self) -> str:
        """Hash of the states without their appearance.

        It is the same on levels that differ in their appearance alone: there, episode i starts
        from the same state of arm and cube.
        """
        entries = appearance_entries(self.level)  # at the end
        starts = np.ascontiguousarray(self.states[:, : self.states.shape[1] - entries])
        return digest_of([list(starts.shape), sha256_bytes(starts.tobytes())])

    def header(self) -> dict[str, Any]:
        """Return what identifies the initial states besides the states themselves.

        ``first`` is included only where it is not 0, so that sets without it keep their hash.
        """
        header = {"level": self.level, "split": self.split, "env_kwargs": dict(self.env_kwargs)}
        return header | ({"first": self.first} if self.first else {})

    @property
    def restored_by(self) -> str:
        """How an episode gets its start: by "state" in full, or by the "seed" of a reset."""
        if not is_foreign(self.level):
            return "state"
        env = make_env(self.env_kwargs)
        env.close()
        return env.start

    def beginning(self, n: int) -> InitialStates:
        """Return the first `n` states, which have the hash of a set that was drawn as short."""
        return dataclasses.replace(self, states=self.states[:n])

    def record(self) -> dict[str, Any]:
        """Return the description of the set in ``run.json`` and ``cell.json``."""
        return {
            "hash": self.sha256,
            "starts": self.starts_sha256,
            "n": len(self),
            "split": self.split,
            "first": self.first,
            **({"restored_by": self.restored_by} if is_foreign(self.level) else {}),
        }


@dataclass(frozen=True)
class _Header:
    """Header of a file of initial states."""

    level: str
    split: str
    env_kwargs: dict[str, Any]
    sha256: str
    first: int = 0


def condition_of(state: np.ndarray) -> str:
    """Return the hash of one initial state (D,), by which rows of several runs are paired."""
    return sha256_bytes(state.tobytes())[:16]


def make_initial_states(
    level: str, split: str, n: int, env_kwargs: Mapping[str, Any], first: int = 0
) -> InitialStates:
    """Draw initial states; a longer set begins with the states of a shorter one.

    Args:
        level: name of the level.
        split: "selection" or "test".
        n: number of states.
        env_kwargs: of the task's environment.
        first: index of the first state in the split.

    Raises:
        ValueError: an unknown level or split, or `n` or `first` out of range.
    """
    _check_split(split)
    _check_range(first, n)
    physics = _physics(level, env_kwargs)
    env = make_env(physics)
    try:
        seeds = range(FIRST_SEEDS[split] + first, FIRST_SEEDS[split] + first + n)
        if env.start == "seed":
            _check_seed(env, seeds[0], level)
        states = [_initial_state(env, seed) for seed in seeds]
    finally:
        env.close()
    return InitialStates(level, split, physics, np.stack(states), first)


def save_initial_states(path: str | Path, initial_states: InitialStates) -> None:
    """Write states, header and hash as one npz file (no pickle), atomically.

    Args:
        path: of the file.
        initial_states: to write.
    """
    header = {**initial_states.header(), "sha256": initial_states.sha256}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, states=initial_states.states, header=np.array(json.dumps(header)))


def load_initial_states(path: str | Path) -> InitialStates:
    """Return the initial states of a file, verified by their hash.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptFileError: it is truncated, altered, or of another kind.
    """
    arrays = read_arrays(path, _REMEDY)
    try:
        header = record_of(_Header, json.loads(str(arrays["header"])), path, _REMEDY)
        initial_states = InitialStates(
            header.level, header.split, header.env_kwargs, arrays["states"], header.first
        )
    except (ValueError, KeyError, RecursionError) as error:
        raise damaged(path, error, _REMEDY) from None
    if initial_states.sha256 != header.sha256:
        why = f"its content has hash {initial_states.sha256[:12]}, recorded is {header.sha256[:12]}"
        raise damaged(path, why, _REMEDY)
    return initial_states


def ensure_initial_states(
    folder: str | Path,
    level: str,
    split: str,
    n: int,
    env_kwargs: Mapping[str, Any],
    first: int = 0,
) -> InitialStates:
    """Return the initial states of these arguments from a folder; draw them if they are missing.

    They are drawn again, with a warning, where their file is damaged or holds another set.

    Args:
        folder: of the files.
        level: name of the level.
        split: "selection" or "test".
        n: number of states.
        env_kwargs: of the task's environment.
        first: index of the first state in the split.

    Raises:
        ValueError: an unknown level or split, or `n` or `first` out of range.
    """
    _check_split(split)
    key = digest_of(_physics(level, env_kwargs))[:10]
    block = f"{first}+{n}" if first else str(n)
    path = Path(folder) / f"{file_name(level)}-{split}-{block}-{key}.npz"
    with locked(path):
        if path.exists():
            try:
                return _checked_set(path, (level, split, _physics(level, env_kwargs), first, n))
            except CorruptFileError as error:
                warnings.warn(f"{error}. They are drawn again now", stacklevel=2)
        save_initial_states(path, make_initial_states(level, split, n, env_kwargs, first))
    return load_initial_states(path)


def _checked_set(path: Path, wanted: tuple[Any, ...]) -> InitialStates:
    found = load_initial_states(path)
    there = (found.level, found.split, dict(found.env_kwargs), found.first, len(found))
    if jsonable(there) != jsonable(wanted):
        raise damaged(path, f"it holds the set {there} instead of {wanted}", _REMEDY)
    return found


def _physics(level: str, env_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in env_kwargs.items() if key not in _APPEARANCE}
    return {**kept, "level": level}


def _check_seed(env: TaskEnv, seed: int, level: str) -> None:
    """Warn where a seed does not give the same start again."""
    first, again = env.reset(seed=seed)[0], env.reset(seed=seed)[0]
    if any(not np.array_equal(first[key], again[key], equal_nan=True) for key in first):
        warnings.warn(
            f"task {level}: reset(seed={seed}) did not give the same start twice, so its initial "
            "conditions cannot be repeated. Success rates are valid; episodes of two policies are "
            "not paired, and videos may show other episodes. Let reset() pass its seed on",
            UserWarning,
            stacklevel=3,
        )


def _initial_state(env: TaskEnv, seed: int) -> np.ndarray:
    env.reset(seed=seed)
    return np.asarray(env.get_state(), np.float64)


def _check_range(first: int, n: int) -> None:
    """Raise a ValueError where states would be none, or those of another split."""
    if n < 1 or first < 0 or first + n > MAX_INITIAL_STATES:
        raise ValueError(
            f"n={n} initial states from first={first} on: n must be at least 1 and first at least "
            f"0, and a split has {MAX_INITIAL_STATES} states"
        )


def _check_split(split: str) -> None:
    if split not in FIRST_SEEDS:
        raise unknown("split", split, FIRST_SEEDS)
