"""A finished evaluation as a data set: stored actions are replayed, and drawn when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.data.config import frame_size
from s2robot.data.datasets.contract import choose, unnamed
from s2robot.data.task_facts import facts_of
from s2robot.envs.tasks.contract import TaskEnv
from s2robot.envs.tasks.loading import make_env
from s2robot.envs.tasks.names import env_name_of
from s2robot.errors import MismatchError, S2RobotError
from s2robot.evaluation.env_group import action_and_delay, carry_out
from s2robot.evaluation.episode_rows import RunFolder
from s2robot.evaluation.rollout import CUBE_HEIGHT, Episodes, episode_row
from s2robot.experiments.replay.episode import initial_states_of
from s2robot.experiments.replay.find import RECORD, StoredEpisode
from s2robot.utils.io import digest_of

_ROUNDING_M = 1e-4
"""Distances and heights of a row that differ by less are the same."""


def _same(there: Any, here: Any) -> bool:
    if isinstance(there, float) and isinstance(here, float):
        return abs(there - here) < _ROUNDING_M
    return there == here


def _trained_sizes(camera: Mapping[str, Any] | None) -> dict[str, tuple[int, int]]:
    """Return height and width [px] of the cameras of a run's policy, by name."""
    of_policy = [] if camera is None else camera.get("cameras", [camera])
    return {str(each["name"]): frame_size(each) for each in of_policy}


def is_run(path: Path) -> bool:
    """Return whether a path is the folder of an evaluation's episodes.

    Args:
        path: any.
    """
    return (path / RECORD).is_file()


@dataclass(frozen=True, eq=False)
class _Rollout:
    """One episode, replayed without drawing; T steps until its end."""

    state: np.ndarray
    """Initial state (D,)."""
    rows: np.ndarray
    """Actions as in files, which ``carry_out`` takes, (T, A) or (T, A + 1)."""
    actions: np.ndarray
    """(T, A) in [-1, 1]: the action that begins in each step."""
    obs: Mapping[str, np.ndarray]
    """Observations before each action, (T, d) each."""
    states: np.ndarray
    """States before each action, (T, D)."""
    success: np.ndarray
    """Whether the task was solved after each action, (T,) bool."""


class RunRollouts:
    """Episodes of a finished evaluation; see ``EpisodeDataset``.

    Actions are in the units of the environment. Masks ``success`` and ``failure`` say how each
    episode ended, by its row.

    Args:
        folder: of the run.
        cameras: the task's cameras; None for those of the policy, else the task's first.
        size: side of the frames [px] where the task draws any; None for that of the policy.
        low_dim: keys of the task's observations; None for the robot's own, of pick-cube for all.
        data_dir: folder with initial states, for runs of another MuJoCo.

    Raises:
        S2RobotError: the run is not finished.
        MismatchError: a replayed episode ends otherwise than its row says.
        CorruptFileError: a file of the run is damaged.
        ValueError: there is no such camera or observation, or no such size.
    """

    def __init__(
        self,
        folder: Path,
        cameras: Sequence[str] | None,
        size: int | None,
        low_dim: Sequence[str] | None,
        data_dir: Path,
    ) -> None:
        self.source = str(folder)
        record = RunFolder(folder, 1).record()
        self._run = RunFolder(folder, int(record["rollout"]["num_envs"]))
        rows, planned = self._run.rows(), int(record["conditions"]["n"])
        if len(rows) < planned:
            raise S2RobotError(
                f"{folder} has {len(rows)} of {planned} episodes; repeat its `s2robot eval`, which "
                "adds the missing ones"
            )
        first = StoredEpisode(self._run, record, rows[0], 0)
        states = initial_states_of(first, len(rows), data_dir).states
        self.env_kwargs: dict[str, Any] = dict(record["task"]["env"])
        self._env: TaskEnv = make_env(self.env_kwargs)
        try:
            self._read(record, rows, states, cameras, size, low_dim)
        except BaseException:
            self._env.close()
            raise

    def _read(
        self,
        record: Mapping[str, Any],
        rows: Sequence[Mapping[str, Any]],
        states: np.ndarray,
        cameras: Sequence[str] | None,
        size: int | None,
        low_dim: Sequence[str] | None,
    ) -> None:
        facts = facts_of(self._env)
        self.rate_hz: float | None = facts.rate_hz
        trained = _trained_sizes(record["camera"])
        self.cameras: Mapping[str, tuple[int, int]] = facts.sizes(
            cameras, size, self.source, trained
        )
        self._episodes = [
            self._replayed(number, state, row)
            for number, (state, row) in enumerate(zip(states, rows, strict=True))
        ]
        ends = np.cumsum([len(each.actions) for each in self._episodes])
        self.episode_ends = ends.astype(np.int64)
        actions = np.concatenate([each.actions for each in self._episodes])
        self.actions = facts.in_own_units(actions)
        self.action_names = facts.action_names
        keys = facts.keys(low_dim, self._episodes[0].obs, self.source)
        self.privileged, self.own_actions = facts.privileged(keys), facts.own_actions
        self._low_dim = {
            key: np.concatenate([each.obs[key] for each in self._episodes]) for key in keys
        }
        self.low_dim_names: Mapping[str, tuple[str, ...]] = {
            key: unnamed(f"{key}_", value.shape[1]) for key, value in self._low_dim.items()
        }
        self.masks: Mapping[str, np.ndarray] = {
            name: np.array([i for i, row in enumerate(rows) if row["success_once"] is wanted], int)
            for name, wanted in (("success", True), ("failure", False))
        }
        self.env_name = env_name_of(facts.level)
        self.task: str | None = facts.task
        drawn = {name: list(shape) for name, shape in self.cameras.items()}
        self.digest = digest_of(
            [record["policy"], record["conditions"]["hash"], record["task"], record["versions"]]
            + [drawn, sorted(self._low_dim), [each.rows.tolist() for each in self._episodes]]
        )

    def _replayed(self, number: int, state: np.ndarray, row: Mapping[str, Any]) -> _Rollout:
        """Return an episode, whose outcome is that of its row."""
        rows = self._run.actions_of(number)[: row["steps"]]
        obs, _ = self._env.reset(seed=0, options={"state": state})
        seen, states, after, infos = [], [], [], []
        for each in rows:
            seen.append(obs)
            states.append(self._env.get_state())
            obs, _, _, _, info = carry_out(self._env, each)
            after.append(obs)
            infos.append(info)
        success = np.array([bool(info["is_success"]) for info in infos])
        self._check_row(row, self._row(rows, after, infos))
        columns = {key: np.stack([each[key] for each in seen]) for key in seen[0]}
        low_dim = {key: value.astype(np.float32) for key, value in columns.items()}
        actions = np.stack([action_and_delay(self._env, each)[0] for each in rows])
        return _Rollout(state, rows, actions, low_dim, np.stack(states), success)

    def _row(self, rows: np.ndarray, after: Sequence[Any], infos: Sequence[Any]) -> dict[str, Any]:
        """Return the row of an episode as it went here."""
        info = {key: np.array([[each[key] for each in infos]]) for key in self._env.info_keys}
        gaps_m = None
        if CUBE_HEIGHT in info:
            gaps = np.stack([each["ee_pos"] - each["cube_pos"] for each in after])
            gaps_m = np.linalg.norm(gaps, axis=-1)[None]
        return episode_row(Episodes(rows[None], info, gaps_m, {}), 0)

    def _check_row(self, row: Mapping[str, Any], here: Mapping[str, Any]) -> None:
        """Refuse an episode that goes otherwise than its row says."""
        for name, value in here.items():
            if not _same(row.get(name), value):
                raise MismatchError(
                    f"{self.source}: the actions of episode {row['index']} lead to {name} {value} "
                    f"here, and {row.get(name)} by its row: the simulator is not that of the "
                    "run, whose versions run.json names. Install these, or evaluate the policy "
                    "again, into another folder"
                )

    def low_dim(self, key: str) -> np.ndarray:
        """Return a low-dimensional observation ``(N, d)`` float32."""
        (key,) = choose("observation", [key], self._low_dim, self.source)
        return self._low_dim[key]

    def frames(self, camera: str, episode: int) -> Iterator[np.ndarray]:
        """Yield the frames ``(H, W, 3)`` uint8 RGB before each action of an episode."""
        (camera,) = choose("camera", [camera], self.cameras, self.source)
        own, shape = self._episodes[episode], self.cameras[camera]
        self._env.reset(seed=0, options={"state": own.state})
        for row in own.rows:
            yield self._env.render_frame(camera, *shape).copy()
            carry_out(self._env, row)

    def success_of(self, episode: int) -> np.ndarray:
        """Return whether the task was solved after each action of an episode, ``(T,)`` bool."""
        return self._episodes[episode].success

    def states_of(self, episode: int) -> np.ndarray | None:
        """Return the full states ``(T, D)`` before each action; None where there are none.

        Of a run in real time there are none, since the last action is under way in each of them.
        """
        own = self._episodes[episode]
        between = own.rows.shape[1] > own.actions.shape[1]  # real time: an action is under way
        return own.states if self._env.start == "state" and not between else None

    def close(self) -> None:
        """Close the environment; frames cannot be drawn afterwards."""
        self._env.close()
