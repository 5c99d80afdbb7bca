"""Work of ``s2robot replay``: an episode again, compared with its row, as a video and a table."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from s2robot.cli.parsers.replay import parse
from s2robot.cli.settings.task_of_demos import check_named
from s2robot.envs.tasks.loading import make_env, named_by_user
from s2robot.envs.tasks.names import titled
from s2robot.errors import S2RobotError
from s2robot.evaluation.episode_videos import write_video
from s2robot.experiments.recorded.rollouts import is_recorded
from s2robot.experiments.replay.episode import (
    Replayed,
    batch_size,
    initial_states_of,
    roll_out_again,
    stored_actions,
)
from s2robot.experiments.replay.find import StoredEpisode, find_episode, find_policy, find_run
from s2robot.experiments.replay.output import frames_of, step_rows, write_steps
from s2robot.policies.checkpoint import PolicyHeader
from s2robot.utils.console import OUTPUT

ROUNDING = 1e-3
"""Difference of two actions up to which another rounding is the likely cause."""


def main(argv: list[str]) -> int:
    """Run the command; return 1 if the episode did not go as stored."""
    options = parse(argv)
    if options.task is not None:
        named_by_user(options.task)
    episode = find_episode(find_run(options.run, options.runs), options.episode)
    if options.task is not None:
        own = str(episode.record["task"]["level"])
        check_named("--task", options.task, own, episode.folder.path)
    camera = episode.record["camera"]
    if options.view != "scene" and camera is None:
        raise S2RobotError("this policy sees no pixels, so it has no camera; give --view scene")
    print(_heading(episode))
    states = initial_states_of(episode, batch_size(episode), options.data)
    replayed, header = _played(episode, options, states)
    for line in comparison_lines(episode, replayed, options.stored):
        OUTPUT.print(line, markup=False, highlight=False)
    state = states.states[episode.number - episode.batch_start]
    out = options.out or _default_out(episode)
    with _environment(episode) as env:
        frames = frames_of(env, state, replayed.actions, camera, options.view)
        write_video(out, frames, round(env.rate_hz))
        print(out)
        if options.steps:
            write_steps(options.steps, step_rows(env, state, replayed.actions, header))
            print(options.steps)
    return int(not replayed.same)


def _played(
    episode: StoredEpisode, options: argparse.Namespace, states: Any
) -> tuple[Replayed, PolicyHeader | None]:
    if options.stored:
        return Replayed(stored_actions(episode), episode.row), None
    path, header = find_policy(episode, options.checkpoint)
    replayed = roll_out_again(episode, path, header, states, options.weights)
    return replayed, None if is_recorded(header) else header  # whose names are not the task's


def _environment(episode: StoredEpisode) -> Any:
    kwargs = episode.record["task"]["env"]
    return contextlib.closing(make_env(kwargs))


def _default_out(episode: StoredEpisode) -> Path:
    return episode.folder.path / "replays" / f"episode_{episode.row['index']:05d}.mp4"


def _heading(episode: StoredEpisode) -> str:
    record = episode.record
    return (
        f"{episode.folder.path.name}, episode {episode.row['index']}: "
        f"{titled(str(record['task']['level']))}, split {record['conditions']['split']}, "
        f"initial state {episode.row['condition']}"
    )


def comparison_lines(episode: StoredEpisode, replayed: Replayed, stored: bool) -> Iterator[str]:
    """Yield lines on the outcome, and on how it compares with the stored row.

    Args:
        episode: as stored.
        replayed: as it went now.
        stored: True where the stored actions were played.
    """
    yield f"outcome: {_outcome(replayed.row)}"
    if stored:
        yield "played from the stored actions; the policy and its encoder were not run"
        return
    if replayed.same:
        yield f"as stored: every entry of its row is equal{_actions(replayed)}"
        if replayed.first_gap is None:
            return
    else:
        yield f"NOT as stored: {_changes(replayed.differing)}{_actions(replayed)}"
    if replayed.causes:
        yield f"what is not as it was: {_changes(replayed.causes)}"
    elif not replayed.same:
        yield (
            "what decides a row is all as recorded, so the cause is one that is not recorded: "
            "another processor or driver, which rounds or draws otherwise"
        )
    if not replayed.same:
        yield "--stored shows the episode as it went then"


def _actions(replayed: Replayed) -> str:
    if replayed.largest_gap is None:
        return "; its actions are not stored"
    if replayed.first_gap is None:
        return f", and so are its {len(replayed.actions)} actions, to the last bit"
    size = "a rounding" if replayed.largest_gap < ROUNDING else "more than a rounding"
    return (
        f"; its actions differ from step {replayed.first_gap} on, by at most "
        f"{replayed.largest_gap:.2g} ({size})"
    )


def _outcome(row: Any) -> str:
    if not row["success_once"]:
        return f"no success in {row['steps']} steps; stage {row['stage']}"
    end = "held at the end" if row["success_at_end"] else "lost before the end"
    return f"success in step {row['steps_to_success']} of {row['steps']}, {end}"


def _changes(entries: Iterable[tuple[str, Any, Any]]) -> str:
    return "; ".join(f"{name}: then {one}, now {other}" for name, one, other in entries)
