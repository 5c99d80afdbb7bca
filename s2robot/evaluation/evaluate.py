"""Roll a policy out on fixed initial conditions: one row an episode, resumable, with latencies.

Environments run in lockstep to a fixed horizon, so that early failures are not counted first, and
every batch has the same shape (the last one is padded), so that a resumed run gives the same rows
as an uninterrupted one. Rows hold no clock times; latencies lie in a file of their own.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from s2robot.envs.levels import levels_of_task
from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.errors import MismatchError, unknown
from s2robot.evaluation.episode_videos import pick_episodes, replay, write_strip, write_video
from s2robot.evaluation.initial_states import InitialStates
from s2robot.evaluation.rollout import STAGES, Actor, Agent, Encoder, episode_row, roll_out
from s2robot.evaluation.vector_env import CameraView, VectorStep, make_vector_env
from s2robot.policies.checkpoint import PolicyHeader, check_action_space
from s2robot.stats.intervals import Interval, wilson
from s2robot.utils.io import (
    append_jsonl,
    atomic_path,
    locked,
    read_json,
    read_jsonl,
    sha256_bytes,
    write_json,
)
from s2robot.utils.provenance import provenance
from s2robot.utils.validation import require_integers

FORMAT = 1
TILE_CHOICES = ("motion", "attention", "random")
SINGLE_FRAME_REPEATS = 30
SINGLE_FRAME_WARMUP = 3
_FILES = ("run.json", "episodes.jsonl", "timing.jsonl", "summary.json")
_FOLDERS = ("actions", "videos", "strips")


@dataclass(frozen=True)
class EvalConfig:
    """How to roll out; `workers`, `videos` and `reuse` cannot change a row, the others can."""

    num_envs: int = 16
    """Environments in lockstep: one encoder call and one policy call serve all of them."""
    workers: int = 0
    """Processes for physics and rendering; 0 keeps them in this one."""
    videos: int = 2
    """Videos of this many first successes and first failures."""
    video_size: int = 384
    """Edge of the videos' square frames [px]."""
    horizon: int | None = None
    """Control steps of an episode; None is the level's own."""
    reuse: bool = False
    """Encode only the tiles that changed since an environment's last frame, which is exact."""
    tile_budget: int | None = None
    """Most tiles above the smallest scale that a frame may cost; None encodes all of them."""
    tile_choice: str = "motion"
    """What a tile budget is spent on: "motion", "attention" (the policy's), "random"."""

    def __post_init__(self) -> None:
        require_integers(self, 1, "num_envs")
        require_integers(self, 0, "workers", "videos")
        require_integers(self, 16, "video_size")
        if self.video_size % 2:
            raise ValueError(f"video_size is {self.video_size}; H.264 needs an even number")
        if self.horizon is not None and self.horizon < 1:
            raise ValueError(f"horizon is {self.horizon}; allowed: 1 step or more, or null")
        if self.tile_choice not in TILE_CHOICES:
            raise unknown("tile_choice", self.tile_choice, TILE_CHOICES)
        if self.reuse and self.tile_budget is not None:
            raise ValueError("a tile_budget reuses tiles by itself: leave reuse=false")


@dataclass(frozen=True)
class Summary:
    """What `summary.json` holds."""

    episodes: int
    success_once: Interval
    """Rate of episodes with the cube lifted at any step."""
    success_at_end: Interval
    """Rate of episodes with the cube lifted when time is up."""
    stages: Mapping[str, int]
    """Episodes by failure stage (`rollout.STAGES`)."""
    latency_ms: Mapping[str, Any]
    """p50 and p95: of a batched step's parts, per frame of a batch, and of a single frame."""
    videos: tuple[str, ...] = ()
    strips: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        rates = []
        for name, rate in (("once", self.success_once), ("at the end", self.success_at_end)):
            count = f"{round(rate.estimate * self.episodes)}/{self.episodes}"
            limits = f"[{100 * rate.low:.0f}, {100 * rate.high:.0f}]"
            rates.append(f"{count} = {100 * rate.estimate:.1f} % {limits} {name}")
        failures = [f"{stage} {n}" for stage, n in self.stages.items() if stage != "none" and n]
        return f"success {', '.join(rates)}; failures: {', '.join(failures) or 'none'}"


def evaluate(
    policy: Actor,
    encoder: Encoder | None,
    initial_states: InitialStates,
    config: EvalConfig,
    out_dir: str | Path,
    *,
    header: PolicyHeader,
    fresh: bool = False,
    progress: bool = True,
) -> Summary:
    """Roll `policy` out on every condition and write rows, latencies, videos and a summary.

    `encoder`: frames to embeddings; None for a control, which `header.encoder` then names.
    `conditions`: of the policy's level, or of one that differs in its appearance alone.
    `out_dir` may hold an interrupted run of the same inputs: finished batches are taken up.
    `fresh`: delete what another run left there.

    Raises:
        MismatchError: the policy is for another task or action space, or `out_dir` holds a run
            with other inputs; the message names what differs.
        S2RobotError: the policy's actions are not finite, or an environment process hung or died.
    """
    run = _Run(policy, encoder, initial_states, config, Path(out_dir), header)
    with locked(run.out / "evaluate"):
        if fresh:
            run.clear()
        run.claim()
        run.roll_out(progress)
        summary = run.summarize()
        run.write(summary)  # before the videos, which need a renderer that controls do without
        summary = dataclasses.replace(summary, **run.record())
        run.write(summary)
    return summary


@dataclass(frozen=True)
class _Run:
    """One policy on one set of conditions, and the folder that holds what came of it."""

    policy: Actor
    encoder: Encoder | None
    initial_states: InitialStates
    config: EvalConfig
    out: Path
    header: PolicyHeader

    @functools.cached_property
    def env_kwargs(self) -> dict[str, Any]:
        kwargs = {**self.header.env_kwargs, "image_camera": None, "render_mode": None}
        kwargs["level"] = self.initial_states.level
        if self.config.horizon is not None:
            kwargs["horizon"] = self.config.horizon
        return kwargs

    @functools.cached_property
    def env(self) -> PickCubeEnv:
        """An environment to ask, and later to replay in."""
        return PickCubeEnv(**self.env_kwargs)

    @functools.cached_property
    def agent(self) -> Agent:
        control = "" if self.encoder else str(self.header.encoder["backbone"])
        yaw = self.env.level.yaw_range_rad > 0
        return Agent(self.policy, self.header.proprio_keys, self.encoder, control, yaw)

    @functools.cached_property
    def rollout_agent(self) -> Agent:
        """The pilot of all batches: its encoder may be a stream, with a slot an environment."""
        if not self.config.reuse or self.encoder is None:
            return self.agent
        stream = getattr(self.encoder, "stream", None)
        if stream is None:
            raise ValueError("reuse needs an encoder with stream(), as FrameEncoder has")
        return dataclasses.replace(self.agent, encoder=stream())

    def _batch_agent(self) -> Agent:
        """The pilot of a batch; a choice of tiles begins anew with each, whatever came before."""
        budget, choice = self.config.tile_budget, self.config.tile_choice
        if budget is None or self.encoder is None:
            return self.rollout_agent
        selective = getattr(self.encoder, "selective", None)
        if selective is None:
            raise ValueError("tile_budget needs an encoder with selective(), as FrameEncoder has")
        return dataclasses.replace(
            self.agent, encoder=selective(budget, choice), tells_attention=choice == "attention"
        )

    @functools.cached_property
    def view(self) -> CameraView | None:
        """The camera that the policy was trained with; None where nothing looks."""
        if self.encoder is None:
            return None
        camera = self.header.frames["camera"]
        return CameraView(camera["name"], camera["size"], camera["size"])

    def clear(self) -> None:
        """Delete an earlier run's files, and nothing else in the folder."""
        for name in _FILES:
            (self.out / name).unlink(missing_ok=True)
        for name in _FOLDERS:
            shutil.rmtree(self.out / name, ignore_errors=True)

    def claim(self) -> None:
        """Refuse a policy that does not fit the task, and a folder that holds another run."""
        doable = [] if self.header.level is None else levels_of_task(self.header.level)
        if self.initial_states.level not in doable:
            raise MismatchError(
                f"the policy is for level {self.header.level!r}, the initial states are of "
                f"{self.initial_states.level!r}; draw those of a level with the policy's task: "
                f"{', '.join(doable) or 'none is known'}"
            )
        check_action_space(self.header, self.env.action_space, self.env.control)  # pyright: ignore[reportArgumentType]
        identity = json.loads(json.dumps(self._identity()))
        path = self.out / "run.json"
        if path.exists():
            _refuse_other(path, read_json(path), identity)
        else:
            write_json(path, identity)

    def _identity(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "policy": self.header.sha256,
            "encoder": self.header.encoder,
            "conditions": self.initial_states.sha256,
            "env": self.env_kwargs,
            "frames": self.header.frames.get("camera"),
            "num_envs": self.config.num_envs,
        } | self._approximations()

    def _approximations(self) -> dict[str, Any]:
        """The tile budget and an approximate runtime, where there is one: they change rows."""
        config, found = self.config, {}
        if config.tile_budget is not None and self.encoder is not None:
            found["tiles"] = {"budget": config.tile_budget, "choice": config.tile_choice}
        runtime = getattr(self.encoder, "runtime", None)
        if runtime is not None and not runtime.exact:
            found["runtime"] = runtime.describe()
        return found

    def roll_out(self, progress: bool) -> None:
        """Roll out the batches that have no rows yet."""
        starts = range(self._finished(), len(self.initial_states), self.config.num_envs)
        if not starts:
            return
        (self.out / "summary.json").unlink(missing_ok=True)
        config = self.config
        envs = make_vector_env(self.env_kwargs, config.num_envs, self.view, config.workers)
        try:
            for start in track(starts, description="rolling out", disable=not progress):
                self._roll_out_batch(envs, start)
        finally:
            envs.close()

    def _finished(self) -> int:
        """Episodes of whole batches; rows of a batch that a kill cut short are dropped."""
        path = self.out / "episodes.jsonl"
        rows = read_jsonl(path)
        if len(rows) >= len(self.initial_states):
            return len(rows)
        whole = len(rows) - len(rows) % self.config.num_envs
        if whole < len(rows):
            with atomic_path(path) as temporary:
                append_jsonl(temporary, rows[:whole])
        return whole

    def _roll_out_batch(self, envs: Any, start: int) -> None:
        states = self.initial_states.states[start : start + self.config.num_envs]
        padding = np.repeat(states[-1:], self.config.num_envs - len(states), axis=0)
        horizon = self.env.level.horizon
        episodes = roll_out(self._batch_agent(), envs, np.concatenate([states, padding]), horizon)
        with atomic_path(self._actions_path(start)) as temporary, temporary.open("wb") as file:
            np.save(file, episodes.actions[: len(states)], allow_pickle=False)
        append_jsonl(self.out / "timing.jsonl", [{"start": start, **episodes.times_ms}])
        rows = [
            {
                "index": start + slot,
                "condition": sha256_bytes(state.tobytes())[:16],
                **episode_row(episodes, slot),
            }
            for slot, state in enumerate(states)
        ]
        append_jsonl(self.out / "episodes.jsonl", rows)

    def _actions_path(self, start: int) -> Path:
        return self.out / "actions" / f"from_{start:05d}.npy"

    def summarize(self) -> Summary:
        """Count the rows; latencies are measured once, right after the rollouts."""
        rows = read_jsonl(self.out / "episodes.jsonl")
        counts = Counter(row["stage"] for row in rows)
        once, at_end = (
            wilson(sum(row[metric] for row in rows), len(rows))
            for metric in ("success_once", "success_at_end")
        )
        return Summary(
            len(rows),
            once,
            at_end,
            {stage: counts[stage] for stage in STAGES},
            **self._measured(),
        )

    def write(self, summary: Summary) -> None:
        """Write `summary.json`."""
        write_json(self.out / "summary.json", dataclasses.asdict(summary))

    def _measured(self) -> dict[str, Any]:
        """Latencies and the machine they were measured on."""
        path = self.out / "summary.json"
        if path.exists():
            earlier = read_json(path)
            return {key: earlier[key] for key in ("latency_ms", "provenance")}
        latency = {**self._batch_latency(), "single_frame": self._single_frame_latency()}
        runtime = getattr(self.encoder, "runtime", None)
        carried = {} if runtime is None else {"runtime": runtime.describe()}
        return {"latency_ms": latency, "provenance": {**provenance(), **carried}}

    def _batch_latency(self) -> dict[str, Any]:
        """p50 and p95 over steps, without each batch's first, which may warm something up."""
        timing = read_jsonl(self.out / "timing.jsonl")
        parts = {
            key: np.concatenate([batch[key][1:] or batch[key] for batch in timing])
            for key in ("encode", "policy", "env", "render")
        }
        parts["per_frame"] = (parts["encode"] + parts["policy"]) / self.config.num_envs
        return {"num_envs": self.config.num_envs} | {k: _quantiles(v) for k, v in parts.items()}

    def _single_frame_latency(self) -> dict[str, Any]:
        """What one robot waits for: encoder and policy on one frame, whatever it shows."""
        snapshot = self._single_step()
        self.policy.reset(1)
        encode_ms, policy_ms = [], []
        for _ in range(SINGLE_FRAME_WARMUP + SINGLE_FRAME_REPEATS):
            start = time.perf_counter()
            embedding = self.agent.encode(snapshot)
            seen = time.perf_counter()
            self.agent.select_action(embedding, snapshot)
            encode_ms.append(1000 * (seen - start))
            policy_ms.append(1000 * (time.perf_counter() - seen))
        encode, select_action = (np.array(t[SINGLE_FRAME_WARMUP:]) for t in (encode_ms, policy_ms))
        series = {"encode": encode, "policy": select_action, "total": encode + select_action}
        return {key: _quantiles(values) for key, values in series.items()}

    def _single_step(self) -> VectorStep:
        obs, _ = self.env.reset(seed=0)
        batched = {key: value[None] for key, value in obs.items()}
        frames = None
        if self.view is not None:
            rng = np.random.default_rng(0)
            frames = rng.integers(0, 256, (1, self.view.height, self.view.width, 3), np.uint8)
        return VectorStep(batched, {}, frames, 0.0, 0.0)

    def record(self) -> dict[str, tuple[str, ...]]:
        """Write videos of the first successes and failures, and strips of the failures."""
        rows = read_jsonl(self.out / "episodes.jsonl")
        videos, strips = [], []
        for kind, index in pick_episodes(rows, self.config.videos):
            video = self.out / "videos" / f"{kind}_{index:05d}.mp4"
            strip = self.out / "strips" / f"{kind}_{index:05d}.png"
            if not video.exists() or (kind == "failure" and not strip.exists()):
                frames = self._replay(index)
                write_video(video, frames, self.env.metadata["render_fps"])
                if kind == "failure":
                    write_strip(strip, frames)
            videos.append(str(video.relative_to(self.out)))
            strips += [str(strip.relative_to(self.out))] if kind == "failure" else []
        return {"videos": tuple(videos), "strips": tuple(strips)}

    def _replay(self, index: int) -> list[np.ndarray]:
        start = index - index % self.config.num_envs
        actions = np.load(self._actions_path(start), allow_pickle=False)[index - start]
        state = self.initial_states.states[index]
        return replay(self.env, state, actions, self.config.video_size)


def _refuse_other(path: Path, seen: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    differing = [key for key in {**seen, **wanted} if seen.get(key) != wanted.get(key)]
    if differing:
        lines = [
            f"  {key}: there {json.dumps(seen.get(key))}, now {json.dumps(wanted.get(key))}"
            for key in differing
        ]
        raise MismatchError(
            f"{path.parent} holds episodes of another run; {', '.join(differing)} differ:\n"
            + "\n".join(lines)
            + "\nGive another output folder, or fresh=true (--fresh) to delete them and start over"
        )


def _quantiles(values: np.ndarray) -> dict[str, float]:
    median, tail = np.quantile(values, [0.5, 0.95])
    return {"p50": round(float(median), 3), "p95": round(float(tail), 3)}
