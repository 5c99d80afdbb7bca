"""Collection of demonstrations: the scripted expert acts under execution noise.

The file holds the expert's actions without the noise as labels, in robomimic's HDF5 layout.
"""

from __future__ import annotations

import contextlib
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.data.config import SEEDS_PER_COLLECTION, CollectConfig
from s2robot.data.demonstrations import Demonstrations, Episode, write_demonstrations
from s2robot.envs.tasks.contract import Expert, TaskEnv
from s2robot.envs.tasks.loading import make_env, task_named, trust, trusted_tasks
from s2robot.envs.tasks.names import env_name_of, is_foreign
from s2robot.envs.tasks.pick_cube import PickCubeTaskEnv
from s2robot.errors import CorruptFileError, MismatchError, S2RobotError
from s2robot.utils.io import atomic_path, locked, read_json, write_json
from s2robot.utils.progress import progress_bar
from s2robot.utils.provenance import RESULTS_VERSION, provenance, simulation_change, versions
from s2robot.utils.records import damaged, read_arrays
from s2robot.utils.workers import in_order, worthwhile_workers

_MAX_FAILURES = 50
_LEAST_EPISODES = 20  # which a worker records in about the time that it takes to start


def collect(config: CollectConfig) -> Demonstrations:
    """Collect demonstrations and write them to ``config.path``.

    Finished episodes are kept one by one in ``<path>.parts/`` until the file is written, so that an
    interrupted collection continues. If the file exists, only its settings are checked.

    Returns:
        The data set, opened and checked.

    Raises:
        MismatchError: the file, or the episodes of an interrupted collection, have other settings
            or were simulated by a MuJoCo that differs.
        S2RobotError: the expert fails too often in this environment.
    """
    path = config.path
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name a file, such as {path / 'demos.hdf5'}")
    with locked(path):
        if not path.exists():
            _collect_parts(config, path.with_name(path.name + ".parts"))
        demos = Demonstrations(path)
    if not _same_recipe(demos.meta.get("recipe"), config.recipe()):
        raise MismatchError(
            f"{path} was collected with {demos.meta.get('recipe')}, but the settings are "
            f"{config.recipe()}; give another out="
        )
    if demos.simulation_change is not None:
        raise MismatchError(
            f"{path} was collected under another MuJoCo than the installed one: "
            f"{demos.simulation_change}. Install the former, or collect again with another out= "
            "(data_dir= of train and sweep); demos.path= of train takes the file as it is"
        )
    return demos


def _collect_parts(config: CollectConfig, folder: Path) -> None:
    env = _make_env(config)
    try:
        _expert_of(env)
        _claim(folder, config)
        episodes, failures = _gather(config, folder)
        meta = {"recipe": config.recipe(), "failures": failures, "provenance": provenance()}
        write_demonstrations(
            config.path,
            episodes,
            env_name=env_name_of(config.level),
            env_kwargs=env.env_kwargs(),
            model_xml=env.model_xml() if isinstance(env, PickCubeTaskEnv) else "",
            valid=_held_out(config),
            provenance=meta,
        )
    finally:
        env.close()
    shutil.rmtree(folder)


def _make_env(config: CollectConfig) -> TaskEnv:
    return make_env({"level": config.level, "control": config.control, **config.env})


def _claim(folder: Path, config: CollectConfig) -> None:
    """Refuse to mix the parts of two collections."""
    record, made_with = folder / "recipe.json", folder / "made_with.json"
    advice = "finish that collection, delete the folder or give another out="
    seen = read_json(record, f"delete {folder} and rerun") if record.exists() else None
    if seen is None and any(folder.glob("attempt_*.npz")):
        raise MismatchError(
            f"{folder} holds episodes of an interrupted collection, but not its settings "
            f"({record.name}); {advice}"
        )
    if seen is not None and not _same_recipe(seen, config.recipe()):
        raise MismatchError(
            f"{folder} holds episodes of an interrupted collection with other settings "
            f"({seen}); {advice}"
        )
    now = {"mujoco": versions()["mujoco"], "s2robot_rows": RESULTS_VERSION}
    if record.exists():
        there = read_json(made_with, f"delete {folder} and rerun") if made_with.exists() else {}
        _check_made_with(folder, there if isinstance(there, dict) else {}, now)
    else:
        write_json(made_with, now)
    write_json(record, config.recipe())


def _same_recipe(seen: Any, wanted: dict[str, Any]) -> bool:
    """Return whether two recipes give the same file, however their environments are spelled."""
    if seen == wanted or not isinstance(seen, dict) or not isinstance(seen.get("env"), dict):
        return seen == wanted
    if {**seen, "env": None} != {**wanted, "env": None}:
        return False
    built = []
    for each in (seen, wanted):
        try:
            env = make_env({"level": each["level"], "control": each["control"], **each["env"]})
        except (TypeError, ValueError, OSError):  # of another version or machine
            return False
        built.append(env.env_kwargs())
        env.close()
    return built[0] == built[1]


def _check_made_with(folder: Path, there: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to continue the episodes of another simulation."""
    before = str(there.get("mujoco", "of an unknown version"))
    change = simulation_change(before, now["mujoco"])
    if change is None and there.get("s2robot_rows") != now["s2robot_rows"]:
        change = "this release of s2robot simulates otherwise than the one before"
    if change is not None:
        raise MismatchError(
            f"{folder} holds episodes of an interrupted collection that must not be continued: "
            f"{change}. Delete the folder, or give another out="
        )


def _gather(config: CollectConfig, folder: Path) -> tuple[list[Episode], int]:
    """Return the successful episodes in the order of their seeds and the number of failures."""
    episodes: list[Episode] = []
    attempt = failures = 0
    with progress_bar(f"collecting {config.level}", config.episodes) as bar:
        while missing := config.episodes - len(episodes):  # so many attempts, and no more
            for episode in _attempts(config, folder, range(attempt, attempt + missing)):
                attempt += 1
                if episode.success[-1]:
                    episodes.append(episode)
                    bar.advance()
                    continue
                failures += 1
                if failures > _MAX_FAILURES + 0.1 * attempt:
                    raise S2RobotError(_failing(config, failures, attempt))
    return episodes, failures


def _failing(config: CollectConfig, failures: int, attempts: int) -> str:
    failed = f"the expert failed in {failures} of {attempts} episodes"
    if is_foreign(config.level):
        return f"{failed} of task {config.level}; only episodes that end in success are kept"
    return (
        f"{failed} in this environment ({config.env or 'defaults'}); it is written for the levels' "
        "own settings, so change env= back towards them"
    )


def _attempts(config: CollectConfig, folder: Path, numbers: range) -> Iterator[Episode]:
    """Yield attempts in their order: from disk, or recorded now."""
    stored = {number: _load_part(folder, number) for number in numbers}
    missing = [number for number, episode in stored.items() if episode is None]
    workers = config.workers
    if workers is None:
        workers = worthwhile_workers(len(missing), _LEAST_EPISODES)
    recorded = in_order(_recorder, (config, folder, trusted_tasks()), missing, workers)
    with contextlib.closing(recorded):
        for episode in stored.values():
            yield episode or next(recorded)


def _part_path(folder: Path, attempt: int) -> Path:
    return folder / f"attempt_{attempt:05d}.npz"


def _recorder(
    config: CollectConfig, folder: Path, trusted: tuple[str, ...]
) -> Callable[[int], Episode]:
    """Return a function that records an attempt and keeps it in the folder."""
    trust(trusted)
    env = _make_env(config)

    def record(attempt: int) -> Episode:
        seed = config.seed * SEEDS_PER_COLLECTION + attempt
        episode = record_episode(env, seed, config.hold_steps)
        arrays = {f"obs/{key}": value for key, value in episode.obs.items()}
        for name in ("actions", "executed", "states", "success"):
            arrays[name] = getattr(episode, name)
        with atomic_path(_part_path(folder, attempt)) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        return episode

    return record


def _load_part(folder: Path, attempt: int) -> Episode | None:
    path = _part_path(folder, attempt)
    if not path.exists():
        return None
    remedy = "it is recorded again now"
    try:
        arrays = read_arrays(path, remedy)
        obs = {key[4:]: arrays[key] for key in arrays if key.startswith("obs/")}
        names = ("actions", "executed", "states", "success")
        missing = [name for name in names if name not in arrays]
        if missing or len({len(arrays[name]) for name in names}) > 1:
            raise damaged(path, f"without {missing}, or of several lengths", remedy)
        return Episode(**{name: arrays[name] for name in names}, obs=obs)
    except CorruptFileError as error:
        warnings.warn(str(error), stacklevel=2)
        return None


def record_episode(env: TaskEnv, seed: int, hold_steps: int) -> Episode:
    """Record one episode of the expert under execution noise.

    Args:
        env: the environment.
        seed: seed of the episode and of the noise.
        hold_steps: steps recorded after the first success.

    Returns:
        The episode; it is unsuccessful if the environment truncated it first.

    Raises:
        S2RobotError: the task has no expert.
    """
    noise = task_named(_name(env)).noise_of(env, seed)
    observation, _ = env.reset(seed=seed)
    expert = _expert_of(env)
    observations, states = [observation], []
    actions, executed, success = [], [], []
    truncated, held = False, 0
    while not truncated and held < hold_steps:
        action = expert(observation)
        states.append(env.get_state())
        actions.append(action)
        executed.append(noise(action))
        observation, _, terminated, truncated, info = env.step(executed[-1])
        truncated = truncated or terminated
        observations.append(observation)
        success.append(info["is_success"])
        held = held + 1 if info["is_success"] else 0
    obs = {key: np.stack([o[key] for o in observations]) for key in observations[0]}
    return Episode(
        actions=np.stack(actions).astype(np.float32),
        executed=np.stack(executed).astype(np.float32),
        states=np.stack(states),
        obs=obs,
        success=np.array(success),
    )


def check_expert(level: str) -> None:
    """Raise an error where demonstrations of a task cannot be collected.

    Args:
        level: name of the task in files.

    Raises:
        ValueError: its environment does not fit the contract.
        S2RobotError: it has no expert.
    """
    env = make_env({"level": level})
    try:
        _expert_of(env)
    finally:
        env.close()


def _name(env: TaskEnv) -> str:
    return str(env.env_kwargs()["level"])


def _expert_of(env: TaskEnv) -> Expert:
    expert = task_named(_name(env)).expert_of(env)
    if expert is None:
        raise S2RobotError(
            f"task {_name(env)} has no expert that could demonstrate it. Derive a class with "
            "expert() from s2robot.envs.tasks.gymnasium_task.GymnasiumTask and name it as "
            "task=module:FILE.CLASS"
        )
    return expert


def _held_out(config: CollectConfig) -> list[int]:
    """Return the numbers of the validation episodes, drawn with the collection's seed."""
    count = max(1, round(config.valid_share * config.episodes))
    rng = np.random.default_rng([config.seed, 2])
    return sorted(int(i) for i in rng.choice(config.episodes, size=count, replace=False))
