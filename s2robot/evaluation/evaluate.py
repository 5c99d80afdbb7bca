"""Roll a policy out on fixed initial states: one row per episode, resumable, with latencies.

All environments of a batch run to a fixed horizon, so that early failures are not counted first.
Every batch has the same shape (the last one is padded), so that a resumed run gives the same rows
as an uninterrupted one. Rows hold no durations; latencies are in a separate file.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.data.config import cameras_of
from s2robot.envs.rendering import gl_info
from s2robot.envs.tasks.action_scale import scale_of
from s2robot.envs.tasks.contract import TaskEnv
from s2robot.envs.tasks.loading import make_env
from s2robot.envs.tasks.names import is_foreign, related_tasks, titled
from s2robot.envs.tasks.real_time import RealTime
from s2robot.errors import MismatchError
from s2robot.evaluation.agents.external_agent import ExternalActor, ExternalAgent, ExternalHeader
from s2robot.evaluation.agents.recorded import RecordedActor, RecordedAgent
from s2robot.evaluation.config import EvalConfig
from s2robot.evaluation.env_group import CameraView, Views, begins_within_steps
from s2robot.evaluation.episode_rows import RunFolder
from s2robot.evaluation.episode_videos import record_episodes, replay
from s2robot.evaluation.eval_info import write_eval_info
from s2robot.evaluation.identity import (
    RECORD_FORMAT,
    camera_record,
    rollout_record,
    warn_of_other_simulation,
)
from s2robot.evaluation.initial_states import InitialStates, condition_of
from s2robot.evaluation.latency import (
    batch_latency,
    encoder_of_run,
    for_one_frame,
    single_frame_latency,
)
from s2robot.evaluation.results import Summary, summarize
from s2robot.evaluation.rollout import (
    Actor,
    Agent,
    Batch,
    Encoder,
    Episodes,
    episode_row,
    roll_out,
)
from s2robot.evaluation.vector_env import make_vector_env
from s2robot.policies.checkpoint import PolicyHeader, check_action_space
from s2robot.utils.console import MESSAGES
from s2robot.utils.io import locked, read_json
from s2robot.utils.progress import progress_bar
from s2robot.utils.provenance import deciding_versions, provenance
from s2robot.utils.workers import usable_cores

__all__ = ["EvalConfig", "EvalRun", "Summary", "evaluate"]


def evaluate(  # noqa: PLR0913
    policy: Actor | ExternalActor,
    encoder: Encoder | None,
    initial_states: InitialStates,
    config: EvalConfig,
    out_dir: str | Path,
    *,
    header: PolicyHeader | ExternalHeader,
    fresh: bool = False,
    progress: bool = True,
    on_claim: Callable[[dict[str, Any]], None] | None = None,
    remark: Mapping[str, Any] | None = None,
) -> Summary:
    """Roll a policy out on every initial state and write rows, latencies, videos and a summary.

    Args:
        policy: as ``s2robot.policies`` builds it, or one that is not ours.
        encoder: frames to embeddings; None for a baseline, which `header.encoder` then names, and
            for a policy that is not ours.
        initial_states: of the policy's level, or of one that differs in its appearance alone.
        config: settings of the rollouts.
        out_dir: folder of the results. It may hold a run of the same inputs, interrupted or on
            fewer or more of the same initial states; its rows are kept and only missing ones added.
        header: of the policy file, or the description of a policy that is not ours.
        fresh: delete an earlier run's files first.
        progress: show a progress bar.
        on_claim: called with the content of ``run.json`` once the folder is taken for this run, and
            before the first rollout.
        remark: JSON-able entries that ``run.json`` has besides, such as why another runtime was
            taken than was asked for.

    Returns:
        The summary of all rows in the folder, which may be more than those of `initial_states`.

    Raises:
        MismatchError: the policy is for another task or action space, or `out_dir` holds a run
            with other inputs; the message names what differs, and nothing was changed.
        S2RobotError: the policy's actions are not finite, or an environment process hung or died.
    """
    config = config if fresh else _with_batches_of(Path(out_dir), config)
    folder = RunFolder(Path(out_dir), config.num_envs)
    encoder = encoder_of_run(encoder, folder, fresh)
    run = EvalRun(policy, encoder, initial_states, config, folder, header, dict(remark or {}))
    with locked(folder.path / "evaluate"):
        run.claim(fresh)
        if on_claim is not None:
            on_claim(folder.record())
        earlier = folder.summary()
        if earlier is not None and earlier.episodes > len(initial_states):
            return earlier
        run.roll_out(progress)
        summary = summarize(folder.rows(), **run.measure())
        folder.write(summary)  # before the videos, which need a renderer that baselines do not need
        summary = dataclasses.replace(summary, **run.record(progress))
        folder.write(summary)
        info = folder.path / "eval_info.json"
        write_eval_info(info, initial_states.level, folder.rows(), folder.timing(), summary.videos)
    return summary


def _with_batches_of(folder: Path, config: EvalConfig) -> EvalConfig:
    """Return the settings with the size of the batches that a folder's rows were made in.

    The size can change the last digits of an action, so all rows of a run have the same.
    """
    path = folder / "run.json"
    record = read_json(path) if path.exists() else {}
    if not isinstance(record, dict) or record.get("format") != RECORD_FORMAT:
        return config  # RunFolder.claim says what is wrong
    rollout = record.get("rollout")
    there = rollout.get("num_envs") if isinstance(rollout, dict) else None
    if not isinstance(there, int) or there in (0, config.num_envs) or config.measures_latency:
        return config
    MESSAGES.print(
        f"note: {folder} holds episodes in batches of {there}; num_envs stays {there}, so that all "
        "rows are made alike"
    )
    return dataclasses.replace(config, num_envs=there)


@dataclass(frozen=True)
class EvalRun:
    """One policy on one set of initial states, and the folder of its results."""

    policy: Actor | ExternalActor
    encoder: Encoder | None
    initial_states: InitialStates
    config: EvalConfig
    folder: RunFolder
    header: PolicyHeader | ExternalHeader
    remark: Mapping[str, Any]

    @functools.cached_property
    def env_kwargs(self) -> dict[str, Any]:
        kwargs = dict(self.header.env_kwargs)
        if not is_foreign(self.initial_states.level):
            kwargs |= {"image_camera": None, "render_mode": None}
        kwargs["level"] = self.initial_states.level
        if self.config.horizon is not None:
            kwargs["horizon"] = self.config.horizon
        return kwargs

    @functools.cached_property
    def env(self) -> TaskEnv:
        """An environment for look-ups and for replays."""
        return make_env(self.env_kwargs)

    @functools.cached_property
    def agent(self) -> Agent:
        if isinstance(self.policy, ExternalActor):
            return ExternalAgent(self.policy, self.header.proprio_keys)
        baseline = "" if self.encoder else str(self.header.encoder["backbone"])
        yaw = float(self.env.env_kwargs().get("yaw_range_rad", 0.0)) > 0
        given = (self.policy, self.header.proprio_keys, self.encoder, baseline, yaw)
        if isinstance(self.policy, RecordedActor):
            return RecordedAgent(*given, names=self.policy.names)
        return Agent(*given)

    def _batch_agent(self, policy: Actor | ExternalActor) -> Agent:
        """Return the agent of a batch; what it remembers of frames begins with the batch."""
        agent = dataclasses.replace(self.agent, policy=policy)
        budget, choice = self.config.tile_budget, self.config.tile_choice
        if self.encoder is None or (budget is None and not self.config.reuse):
            return agent
        method = "stream" if budget is None else "selective"
        make = getattr(self.encoder, method, None)
        if make is None:
            setting = "reuse" if budget is None else "tile_budget"
            raise ValueError(f"{setting} needs an encoder with {method}(), as FrameEncoder has")
        if budget is None:
            return dataclasses.replace(agent, encoder=make())
        attentive = choice == "attention"
        return dataclasses.replace(agent, encoder=make(budget, choice), sends_attention=attentive)

    @property
    def _is_external(self) -> bool:
        """True for a policy that is not ours, whose state cannot be copied."""
        return isinstance(self.policy, ExternalActor)

    @functools.cached_property
    def view(self) -> Views:
        """The camera of the policy's frames, or several; None for a policy without."""
        without = not self.header.frames if self._is_external else self.encoder is None
        if without:
            return None
        views = [CameraView.of(camera) for camera in cameras_of(self.header.frames)]
        return views[0] if len(views) == 1 else views

    def check_task(self) -> None:
        """Raise a MismatchError where the policy does not fit the task."""
        allowed = [] if self.header.level is None else related_tasks(self.header.level)
        if self.initial_states.level not in allowed:
            own = "no task" if self.header.level is None else titled(self.header.level)
            raise MismatchError(
                f"the policy is for {own}, the initial states are of "
                f"{titled(self.initial_states.level)}; draw those of one with the policy's task: "
                f"{', '.join(allowed) or 'none is known'}"
            )
        if isinstance(self.header, PolicyHeader):
            scale = scale_of(self.env)
            own = None if scale is None else scale.record()
            check_action_space(self.header, self.env.action_space, self.env.control, own)

    def claim(self, fresh: bool) -> None:
        """Take the folder for this run, or raise a MismatchError before anything is written."""
        self.check_task()
        if not isinstance(self.policy, RecordedActor):  # whose training had no simulator
            warn_of_other_simulation(self.header.provenance)
        if fresh:
            self.folder.clear()
        self.folder.claim(self.identity(), self.initial_states)

    def identity(self) -> dict[str, Any]:
        """Return what decides the rows besides the initial states."""
        inference = getattr(self.encoder, "inference", None)
        names = {}
        if isinstance(self.policy, RecordedActor):
            names = {"observations": {key: list(own) for key, own in self.policy.names.items()}}
        return {
            "format": RECORD_FORMAT,
            "policy": self.header.sha256,
            "encoder": self.header.encoder,
            "task": {"level": self.initial_states.level, "env": self.env_kwargs, **names},
            "camera": camera_record(self.header.frames),
            "rollout": rollout_record(
                self.config, self.env.horizon, self.encoder is not None, inference
            ),
            "inference": inference,
            "versions": deciding_versions(),
            **self.remark,
        }

    @property
    def realtime(self) -> RealTime | None:
        """How the simulation moves on while an action is computed; None where it waits."""
        config = self.config
        if not config.realtime or config.latency_ms == 0:
            return None
        within_steps = begins_within_steps(self.env)
        return RealTime(1000 / self.env.rate_hz, config.latency_ms, within_steps)

    def repeat(self) -> Episodes:
        """Return the episodes of all initial states, at most a batch, rolled out once more.

        Nothing is read from the folder or written to it.
        """
        horizon = self.env.horizon
        envs = make_vector_env(self.env_kwargs, self.config.num_envs, self.view, 0)
        try:
            with progress_bar("rolling out, steps", horizon, True) as bar:
                batches = self._batches(range(1), 1)
                return next(roll_out(batches, envs, horizon, bar.advance, self.realtime))
        finally:
            envs.close()

    def roll_out(self, progress: bool) -> None:
        """Roll out the batches that lack rows."""
        config = self.config
        starts = self.folder.missing_batches(len(self.initial_states))
        if not starts:
            return
        self.folder.forget_summary()
        kwargs, horizon = self.env_kwargs, self.env.horizon
        one = config.measures_latency or self._is_external  # nothing else runs meanwhile
        alone = {"groups": 1} if one else {}
        envs = make_vector_env(kwargs, config.num_envs, self.view, self._workers(), **alone)
        try:
            text, steps = "rolling out, steps of all batches", len(starts) * horizon
            with progress_bar(text, steps, progress) as bar:
                batches = self._batches(starts, envs.groups)
                found = roll_out(batches, envs, horizon, bar.advance, self.realtime)
                for start, episodes in zip(starts, found, strict=True):
                    self._write(start, episodes)
        finally:
            envs.close()

    def _workers(self) -> int:
        """Return the number of processes beside this one."""
        if self.config.workers is not None:
            return self.config.workers
        cores = usable_cores()
        if self.view is None or cores == 1 or self.config.measures_latency:
            return 0
        device = getattr(self.encoder, "device", None)
        busy = device is None or device.type == "cpu"  # with encoding
        return min(self.config.num_envs, max(1, cores // 4 if busy else cores - 1))

    def _batches(self, starts: range, under_way: int) -> Iterator[Batch]:
        """Yield batches; so many at a time have policies with a state of their own."""
        policies = [self.policy, *(copy.deepcopy(self.policy) for _ in range(1, under_way))]
        for start, policy in zip(starts, itertools.cycle(policies), strict=False):
            states = self.initial_states.states[start : start + self.config.num_envs]
            padding = np.repeat(states[-1:], self.config.num_envs - len(states), axis=0)
            yield Batch(self._batch_agent(policy), np.concatenate([states, padding]))

    def _write(self, start: int, episodes: Episodes) -> None:
        states = self.initial_states.states[start : start + self.config.num_envs]
        first = self.initial_states.first + start
        rows = [
            {"index": first + i, "condition": condition_of(state), **episode_row(episodes, i)}
            for i, state in enumerate(states)
        ]
        self.folder.add_batch(start, rows, episodes.actions[: len(states)], episodes.times_ms)

    def measure(self) -> dict[str, Any]:
        """Return latencies and their provenance; they are measured once, after the rollouts."""
        earlier = self.folder.summary()
        if earlier is not None:
            return {"latency_ms": earlier.latency_ms, "provenance": earlier.provenance}
        timing = self.folder.timing()
        alone = dataclasses.replace(self.agent, encoder=for_one_frame(self.encoder))
        if isinstance(alone, ExternalAgent):
            alone = dataclasses.replace(alone, keeps_chunks=False)
        latency = {
            **(batch_latency(timing, self.config.num_envs) if timing else {}),
            "single_frame": single_frame_latency(alone, self.env, self.view),
        }
        runtimes = {"runtime": self.encoder, "single_frame_runtime": alone.encoder}
        described = {k: e.runtime.describe() for k, e in runtimes.items() if hasattr(e, "runtime")}  # pyright: ignore[reportAttributeAccessIssue, reportOptionalMemberAccess]
        foreign = is_foreign(self.initial_states.level)
        drawn = {} if self.view is None or foreign else {"renderer": gl_info()}
        return {"latency_ms": latency, "provenance": {**provenance(), **described, **drawn}}

    def record(self, progress: bool) -> dict[str, tuple[str, ...]]:
        """Write videos of the first successes and failures, and strips of the failures."""
        rows = self.folder.rows()[: len(self.initial_states)]
        fps = round(self.env.rate_hz)
        videos = self.config.videos
        return record_episodes(self.folder.path, rows, videos, self._replay, fps, progress)

    def _replay(self, index: int) -> list[np.ndarray]:
        number = index - self.initial_states.first
        state, actions = self.initial_states.states[number], self.folder.actions_of(number)
        return replay(self.env, state, actions, self.config.video_size)
