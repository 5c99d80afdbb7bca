"""Fixed initial conditions: simulator states with a hash, so that every cell meets the same ones.

Selection conditions choose between settings and test conditions measure the choice; neither is ever
the start of a demonstration, since the three draw from disjoint ranges of environment seeds.
"""

from __future__ import annotations

import functools
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.errors import CorruptFileError, unknown
from s2robot.utils.io import atomic_path, digest_of, locked, sha256_bytes

FIRST_SEEDS = {"selection": 1_000_000, "test": 2_000_000}
"""Environment seed of condition 0; demonstrations use seeds below 1,000,000."""
MAX_INITIAL_STATES = 1_000_000
_LOOKS = ("image_camera", "image_size", "render_mode", "quality", "horizon")


@dataclass(frozen=True)
class InitialStates:
    """Initial simulator states of one level and split."""

    level: str
    split: str
    env_kwargs: Mapping[str, Any]
    """The environment's arguments that decide a state; those of its looks are left out."""
    states: np.ndarray
    """(n, D) float64, as the environment's `get_state` gives them."""

    def __post_init__(self) -> None:
        _check_split(self.split)
        if self.states.ndim != 2 or not len(self.states) or self.states.dtype != np.float64:
            raise ValueError(
                "states must be a non-empty (n, D) float64 array, got "
                f"{self.states.dtype} {self.states.shape}"
            )

    def __len__(self) -> int:
        return len(self.states)

    @functools.cached_property
    def sha256(self) -> str:
        """Hash of everything above; results carry it, and a loaded file must match its own."""
        content = sha256_bytes(np.ascontiguousarray(self.states).tobytes())
        return digest_of([self.header(), list(self.states.shape), content])

    @functools.cached_property
    def starts_sha256(self) -> str:
        """Hash of the states without their appearance.

        Levels that differ in their appearance alone share it: there, condition i starts alike.
        """
        from s2robot.envs.levels import get_level

        looks = int(get_level(self.level).appearance_varies)  # entries at a state's end
        starts = np.ascontiguousarray(self.states[:, : self.states.shape[1] - looks])
        return digest_of([list(starts.shape), sha256_bytes(starts.tobytes())])

    def header(self) -> dict[str, Any]:
        """Return what identifies the conditions besides the states."""
        return {"level": self.level, "split": self.split, "env_kwargs": dict(self.env_kwargs)}


def make_initial_states(
    level: str, split: str, n: int, env_kwargs: Mapping[str, Any]
) -> InitialStates:
    """Draw `n` initial states; a longer set begins with the shorter one's.

    Raises:
        ValueError: an unknown level or split, or `n` out of range.
    """
    from s2robot.envs.pick_cube import PickCubeEnv

    _check_split(split)
    if not 1 <= n <= MAX_INITIAL_STATES:
        raise ValueError(f"n must lie in [1, {MAX_INITIAL_STATES}], got {n}")
    physics = _physics(level, env_kwargs)
    env = PickCubeEnv(**physics)
    try:
        states = [_initial_state(env, FIRST_SEEDS[split] + i) for i in range(n)]
    finally:
        env.close()
    return InitialStates(level, split, physics, np.stack(states))


def save_initial_states(path: str | Path, initial_states: InitialStates) -> None:
    """Write states, header and hash as one npz file (no pickle), atomically."""
    header = {**initial_states.header(), "sha256": initial_states.sha256}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, states=initial_states.states, header=np.array(json.dumps(header)))


def load_initial_states(path: str | Path) -> InitialStates:
    """Read conditions and verify their hash.

    Raises:
        FileNotFoundError: no such file.
        CorruptFileError: truncated, altered, or another kind of file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            header, states = json.loads(str(file["header"])), file["states"]
        recorded = header.pop("sha256")
        initial_states = InitialStates(**header, states=states)
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise CorruptFileError(
            f"{path} is not a file of initial conditions ({error}); delete it to draw it anew"
        ) from None
    if initial_states.sha256 != recorded:
        raise CorruptFileError(
            f"{path}: content has hash {initial_states.sha256[:12]}, recorded is {recorded[:12]}; "
            "the file was altered or damaged: delete it to draw it anew"
        )
    return initial_states


def ensure_initial_states(
    folder: str | Path, level: str, split: str, n: int, env_kwargs: Mapping[str, Any]
) -> InitialStates:
    """Load the conditions of these arguments from `folder`, drawing them if they are not there."""
    _check_split(split)
    key = digest_of(_physics(level, env_kwargs))[:10]
    path = Path(folder) / f"{level}-{split}-{n}-{key}.npz"
    with locked(path):
        if not path.exists():
            save_initial_states(path, make_initial_states(level, split, n, env_kwargs))
    return load_initial_states(path)


def _physics(level: str, env_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in env_kwargs.items() if key not in _LOOKS}
    return {**kept, "level": level}


def _initial_state(env: Any, seed: int) -> np.ndarray:
    env.reset(seed=seed)
    return np.asarray(env.get_state(), np.float64)


def _check_split(split: str) -> None:
    if split not in FIRST_SEEDS:
        raise unknown("split", split, FIRST_SEEDS)
