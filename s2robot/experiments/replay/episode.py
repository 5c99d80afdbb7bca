"""An episode rolled out again, in the batch in which it was made, and what differs from its row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.envs.tasks.names import file_name
from s2robot.errors import CorruptFileError, MismatchError
from s2robot.evaluation.agents.camera_encoders import CameraEncoders
from s2robot.evaluation.agents.loaded_policy import encoder_of
from s2robot.evaluation.config import EvalConfig
from s2robot.evaluation.evaluate import EvalRun
from s2robot.evaluation.identity import differences
from s2robot.evaluation.initial_states import (
    InitialStates,
    condition_of,
    load_initial_states,
    make_initial_states,
)
from s2robot.evaluation.rollout import episode_row
from s2robot.experiments.recorded.rollouts import fitted_again, is_recorded
from s2robot.experiments.replay.find import StoredEpisode
from s2robot.policies.checkpoint import PolicyHeader, load_policy
from s2robot.runtimes import RuntimeFailedError, RuntimeMissingError
from s2robot.utils.devices import present_device
from s2robot.utils.io import jsonable


@dataclass(frozen=True)
class Replayed:
    """An episode that was rolled out again.

    Attributes:
        actions: (T, A) float32.
        row: its row now; the stored one where the stored actions were played.
        differing: name, stored value and value now of each entry of the row that differs.
        largest_gap: largest difference from a stored action; None where none are stored.
        first_gap: step of the first action that differs [from 1]; None where none does.
        causes: name, value then and value now of what decides a row and is not as it was.
    """

    actions: np.ndarray
    row: Mapping[str, Any]
    differing: tuple[tuple[str, Any, Any], ...] = ()
    largest_gap: float | None = None
    first_gap: int | None = None
    causes: tuple[tuple[str, Any, Any], ...] = ()

    @property
    def same(self) -> bool:
        """True if the row is as stored."""
        return not self.differing


def initial_states_of(episode: StoredEpisode, count: int, data_dir: Path) -> InitialStates:
    """Return the initial states of an episode's batch, checked by their hashes.

    They are drawn again; where this MuJoCo draws others, the file of the run's states is read.

    Args:
        episode: of a run.
        count: number of states.
        data_dir: folder with the initial states.

    Raises:
        MismatchError: the states are not those of the run, and no file has them.
    """
    record, task = episode.record["conditions"], episode.record["task"]
    level, split, start = task["level"], record["split"], episode.batch_start
    rows = episode.folder.rows()[start : start + count]
    drawn = make_initial_states(level, split, count, task["env"], record["first"] + start)
    if _are_those(drawn.states, rows):
        return drawn
    for path in sorted((data_dir / "conditions").glob(f"{file_name(level)}-{split}-*.npz")):
        try:
            states = load_initial_states(path).states[start : start + count]
        except CorruptFileError:
            continue
        if len(states) == count and _are_those(states, rows):
            first = record["first"] + start
            return InitialStates(level, split, drawn.env_kwargs, states, first)
    raise MismatchError(
        f"the initial states of {episode.folder.path} are not those that this version draws "
        f"({condition_of(drawn.states[0])}, stored {rows[0]['condition']}): it has another MuJoCo, "
        f"or another arm, than the run had. Install the run's versions "
        f"({_text(episode.record['versions'])}), or give the folder whose conditions/ holds the "
        "states of the run: --data"
    )


def _are_those(states: np.ndarray, rows: list[dict[str, Any]]) -> bool:
    return all(
        condition_of(state) == row["condition"] for state, row in zip(states, rows, strict=False)
    )


def batch_size(episode: StoredEpisode) -> int:
    """Return the number of a run's episodes in the batch of one of them."""
    left = int(episode.record["conditions"]["n"]) - episode.batch_start
    return min(episode.folder.num_envs, left)


def stored_actions(episode: StoredEpisode) -> np.ndarray:
    """Return the stored actions (T, A) of an episode.

    Raises:
        CorruptFileError: they are missing or damaged.
    """
    return episode.folder.actions_of(episode.number)


def roll_out_again(
    episode: StoredEpisode,
    policy: Path,
    header: PolicyHeader,
    states: InitialStates,
    weights: Path | None = None,
) -> Replayed:
    """Roll an episode out again, in a batch of the same size and states, and compare it.

    Args:
        episode: as stored.
        policy: file of the policy that made it.
        header: of that file.
        states: of the episode's batch.
        weights: file of the encoder's weights, for encoders that do not ship.

    Raises:
        S2RobotError: the encoder or its weights are missing.
    """
    actor, header = load_policy(policy)
    if is_recorded(header):
        actor, header = fitted_again(actor, header, episode.record)
    encoder = _encoder_of(episode.record, header, weights)
    config = _config_of(episode, header)
    run = EvalRun(actor, encoder, states, config, episode.folder, header, {})
    episodes = run.repeat()
    place = episode.number - episode.batch_start
    own = {"index": episode.row["index"], "condition": condition_of(states.states[place])}
    row = {**own, **episode_row(episodes, place)}
    actions = episodes.actions[place]
    gap, first = _gap(episode, actions)
    now = jsonable(run.identity())
    then = {name: episode.record[name] for name in now if name in episode.record}
    return Replayed(
        actions,
        row,
        tuple(differences(episode.row, row)),
        gap,
        first,
        tuple(differences(then, {name: now[name] for name in then})),
    )


def _gap(episode: StoredEpisode, actions: np.ndarray) -> tuple[float | None, int | None]:
    """Return the largest difference from the stored actions and the first step that has one."""
    try:
        stored = stored_actions(episode)
    except CorruptFileError:
        return None, None
    gaps = np.abs(actions - stored).max(axis=1)
    first = next((step for step, gap in enumerate(gaps, start=1) if gap > 0), None)
    return float(gaps.max()), first


def _encoder_of(
    record: Mapping[str, Any], header: PolicyHeader, weights: Path | None
) -> FrameEncoder | CameraEncoders | None:
    """Return the encoder as the run had it; eager PyTorch where its runtime is not here."""
    inference = record["inference"] or {}
    name = (inference.get("runtime") or {}).get("name", "eager")
    try:
        device = str(present_device(inference.get("device", "cpu")))
    except ValueError:
        device = "cpu"
    options: dict[str, Any] = {"weights": weights, "device": device}
    options["dtype"] = inference.get("dtype")
    try:
        return encoder_of(header, **options, runtime=name)
    except (RuntimeMissingError, RuntimeFailedError):
        return encoder_of(header, **options, runtime="eager")


def _config_of(episode: StoredEpisode, header: PolicyHeader) -> EvalConfig:
    rollout = episode.record["rollout"]
    horizon = episode.record["task"]["env"].get("horizon")
    return EvalConfig(
        num_envs=episode.folder.num_envs,
        workers=0,
        horizon=None if horizon == header.env_kwargs.get("horizon") else horizon,
        reuse=bool(rollout.get("reuse")),
        tile_budget=rollout.get("tile_budget"),
        tile_choice=rollout.get("tile_choice") or "motion",
        realtime=bool(rollout.get("realtime")),
        latency_ms=rollout.get("latency_ms"),
    )


def _text(entries: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in entries.items())
