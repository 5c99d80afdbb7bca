"""Rollouts in real time: which action each step carries out, what rows and reports say of it."""

from __future__ import annotations

import itertools
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.expert_policies import ENV_KWARGS, PROPRIO, ExpertPolicy, header
from support.synthetic_runs import write_run

from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.envs.tasks.loading import make_env
from s2robot.envs.tasks.real_time import ActionsInTime, RealTime
from s2robot.evaluation import rollout
from s2robot.evaluation.config import EvalConfig
from s2robot.evaluation.env_group import carry_out
from s2robot.evaluation.evaluate import evaluate
from s2robot.evaluation.identity import comparable
from s2robot.evaluation.initial_states import InitialStates, make_initial_states
from s2robot.experiments.replay.output import step_rows
from s2robot.policies.dataset import stack_proprio
from s2robot.reporting.comparisons import classify
from s2robot.reporting.report import make_report
from s2robot.reporting.setting_differences import latency_changes
from s2robot.utils.io import read_json, read_jsonl
from s2robot.utils.provenance import provenance

HORIZON = 7


class CountingPolicy:
    """Its n-th action is n hundredths in every entry."""

    def reset(self, batch_size: int) -> None:
        self.size, self.calls = batch_size, 0

    def act(self, embedding: torch.Tensor, proprio: torch.Tensor) -> torch.Tensor:
        del embedding, proprio
        self.calls += 1
        return torch.full((self.size, 4), (self.calls - 1) / 100)


@pytest.fixture(scope="module")
def initial_states() -> InitialStates:
    return make_initial_states("easy", "test", 2, ENV_KWARGS)


def run(out: Path, states: InitialStates, policy: Any = None, **settings: Any) -> Path:
    options = {"num_envs": 2, "workers": 0, "horizon": HORIZON, "videos": 0, **settings}
    config, made = EvalConfig(**options), header("state")
    evaluate(policy or ExpertPolicy(), None, states, config, out, header=made, progress=False)
    return out


def numbers(folder: Path, episode: int = 0) -> list[int]:
    """Numbers of the computed actions that the steps of an episode carried out."""
    return np.rint(100 * stored(folder)[episode, :, 0]).astype(int).tolist()


def delays_ms(folder: Path) -> list[float]:
    """How late in its step each action of the first episode began [ms]."""
    return np.round(1000 * stored(folder)[0, :, 4].astype(float), 3).tolist()


def stored(folder: Path) -> np.ndarray:
    (path, *_) = sorted((folder / "actions").iterdir())
    return np.load(path)


@pytest.mark.parametrize(
    ("latency_ms", "carried_out", "late_ms"),
    [
        (0.0, [0, 1, 2, 3, 4, 5, 6], None),
        (40.0, [0, 1, 2, 3, 4, 5, 6], [0, *[40] * 6]),
        (200.0, [0, 0, 1, 2, 3, 4, 5], [0] * 7),
        (250.0, [0, 0, 1, 1, 2, 2, 3], [0, 0, *[50] * 5]),
        (600.0, [0, 0, 0, 0, 1, 1, 1], [0] * 7),
    ],
)
def test_the_last_action_goes_on_until_the_next_is_ready(
    tmp_path, initial_states, latency_ms, carried_out, late_ms
):
    run(tmp_path, initial_states, CountingPolicy(), realtime=True, latency_ms=latency_ms)
    assert numbers(tmp_path) == numbers(tmp_path, 1) == carried_out
    assert late_ms is None or delays_ms(tmp_path) == late_ms
    rows = read_jsonl(tmp_path / "episodes.jsonl")
    repeated = sum(one == other for one, other in itertools.pairwise(carried_out))
    expected = (None, None) if latency_ms == 0 else ("given", repeated)
    assert {(row.get("realtime"), row.get("steps_repeated")) for row in rows} == {expected}
    rollout_record = read_json(tmp_path / "run.json")["rollout"]
    assert rollout_record["realtime"] is True
    assert rollout_record["latency_ms"] == latency_ms


def test_no_latency_gives_exactly_the_rows_of_a_simulation_that_waits(tmp_path, initial_states):
    waits = run(tmp_path / "waits", initial_states)
    no_latency = run(tmp_path / "zero", initial_states, realtime=True, latency_ms=0)
    late = run(tmp_path / "late", initial_states, realtime=True, latency_ms=300)
    rows = [(folder / "episodes.jsonl").read_bytes() for folder in (waits, no_latency, late)]
    assert rows[0] == rows[1] != rows[2]
    assert "realtime" not in read_json(waits / "run.json")["rollout"]


def test_an_action_is_of_the_observation_from_which_it_was_computed(tmp_path, initial_states):
    """One step late, the expert's action is the one that it would have taken a step before."""
    seen: list[np.ndarray] = []

    class Watched(ExpertPolicy):
        def act(self, embedding: torch.Tensor, proprio: torch.Tensor) -> torch.Tensor:
            seen.append(super().act(embedding, proprio).numpy())
            return torch.from_numpy(seen[-1])

    carried_out = stored(run(tmp_path, initial_states, Watched(), realtime=True, latency_ms=200))[
        ..., :4
    ]
    np.testing.assert_array_equal(carried_out[:, 0], seen[0])
    np.testing.assert_array_equal(carried_out[:, 2:], np.stack(seen[1 : HORIZON - 1], axis=1))


def test_the_arm_moves_on_under_the_last_action_until_the_next_begins(tmp_path, initial_states):
    """The episode is that of a robot which begins each action 60 ms after its observation."""
    seen: list[np.ndarray] = []

    class Watched(ExpertPolicy):
        def act(self, embedding: torch.Tensor, proprio: torch.Tensor) -> torch.Tensor:
            seen.append(proprio.numpy()[0])
            return super().act(embedding, proprio)

    states = initial_states.beginning(1)
    late = run(tmp_path, states, Watched(), num_envs=1, realtime=True, latency_ms=60)
    env = PickCubeEnv(**ENV_KWARGS)
    obs, _ = env.reset(seed=0, options={"state": states.states[0]})
    physics_step_s = 0.2 / env._sim._glide.substeps
    waiting, moving = round(0.06 / physics_step_s), round(0.14 / physics_step_s)
    assert waiting > 0
    for step, row in enumerate(stored(late)[0]):
        np.testing.assert_array_equal(
            stack_proprio({k: obs[k][None] for k in PROPRIO}, PROPRIO)[0], seen[step]
        )
        env.advance(waiting if step else 0)
        env.begin(row[:4])
        env.advance(moving if step else waiting + moving)
        obs = env.observe()
    env.close()


def test_latencies_below_a_control_step_are_told_apart(tmp_path, initial_states):
    heights = []
    for latency_ms in (0.0, 20.0, 60.0, 150.0):
        folder = run(
            tmp_path / f"{latency_ms:g}", initial_states, realtime=True, latency_ms=latency_ms
        )
        heights.append(
            tuple(row["min_distance_m"] for row in read_jsonl(folder / "episodes.jsonl"))
        )
    assert len(set(heights)) == 4


@pytest.mark.process
def test_worker_processes_give_the_same_rows(tmp_path, initial_states):
    runs = [
        run(tmp_path / str(n), initial_states, realtime=True, latency_ms=60, workers=n)
        for n in (0, 2)
    ]
    np.testing.assert_array_equal(stored(runs[0]), stored(runs[1]))
    rows = [(folder / "episodes.jsonl").read_bytes() for folder in runs]
    assert rows[0] == rows[1]


def test_a_stored_episode_is_played_as_it_was(tmp_path, initial_states):
    """Frames of a replay are those of the rollout: its last distance to the cube is the same."""
    folder = run(tmp_path, initial_states, realtime=True, latency_ms=60)
    env = make_env(ENV_KWARGS)
    gaps = []
    for state, rows in zip(initial_states.states, stored(folder), strict=True):
        played = step_rows(env, state, rows, None)
        assert [row["action_delay_s"] for row in played] == pytest.approx([0, *[0.06] * 6])
        env.reset(seed=0, options={"state": state})
        seen = [carry_out(env, row)[0] for row in rows]
        gaps.append(min(np.linalg.norm(obs["ee_pos"] - obs["cube_pos"]) for obs in seen))
    env.close()
    expected = [row["min_distance_m"] for row in read_jsonl(folder / "episodes.jsonl")]
    assert gaps == pytest.approx(expected, abs=1e-6)


def test_a_delay_beyond_a_control_step_is_refused(initial_states):
    env = make_env(ENV_KWARGS)
    env.reset(seed=0, options={"state": initial_states.states[0]})
    with pytest.raises(ValueError, match=r"delay_s is 0.25; allowed: 0 to 0.2, a control step"):
        env.step(np.zeros(4, np.float32), delay_s=0.25)  # pyright: ignore[reportCallIssue]
    env.close()


@pytest.mark.parametrize(
    ("within_steps", "expected"),
    [
        (True, [(0, 0.0), (1, 0.0), (2, 0.0), (3, 0.05), (4, 0.05), (5, 0.05), (6, 0.05)]),
        (False, [(0, 0.0), (1, 0.0), (2, 0.0), (2, 0.0), (3, 0.0), (4, 0.0), (5, 0.0)]),
    ],
)
def test_a_chunk_goes_on_at_the_delay_of_its_first_action(within_steps, expected):
    """Chunks of three actions that take 50 ms, in control steps of 200 ms."""
    in_time = ActionsInTime(RealTime(200.0, 50.0, within_steps))
    taken: list[int] = []

    def compute() -> tuple[np.ndarray, float]:
        taken.append(len(taken))
        return np.array([taken[-1]]), 0.0

    steps = [in_time.next(len(taken) % 3 != 0, compute) for _ in range(7)]
    assert [(int(actions[0]), delay_s) for actions, delay_s, _ in steps] == expected


def test_the_measured_duration_of_each_action_decides(tmp_path, initial_states, monkeypatch):
    """Encoding and policy take 150 ms each: actions begin 100 ms into the step after the next."""
    ticks = itertools.count(0.0, 0.15)
    clock = types.SimpleNamespace(perf_counter=lambda: next(ticks))
    monkeypatch.setattr(rollout, "time", clock)
    states = initial_states.beginning(1)
    run(tmp_path, states, CountingPolicy(), realtime=True, num_envs=1)
    assert numbers(tmp_path) == [0, 0, 1, 1, 2, 2, 3]
    assert delays_ms(tmp_path) == [0, 0, 100, 100, 100, 100, 100]
    (row,) = read_jsonl(tmp_path / "episodes.jsonl")
    assert (row["realtime"], row["steps_repeated"]) == ("measured", 3)
    record = read_json(tmp_path / "run.json")["rollout"]
    assert record["latency_ms"] is None
    assert record["machine"] == provenance()["machine"]  # such rows do not go on elsewhere


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"realtime": True}, "num_envs is 16.*set rollout.num_envs=1, or give"),
        ({"latency_ms": 20.0}, "latency_ms is 20, but realtime is false"),
        ({"realtime": True, "latency_ms": -1.0}, "latency_ms is -1.0; allowed: milliseconds"),
        ({"realtime": True, "latency_ms": float("nan")}, "latency_ms is nan"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        EvalConfig(**settings)


def test_a_report_compares_encoders_with_their_latencies_and_names_them(tmp_path):
    """Latency is what an encoder costs: it does not part a comparison group, real time does."""
    for latency_ms, outcomes in ((20.0, [True] * 8), (150.0, [False] * 8)):
        settings = {"rollout": {"realtime": True, "latency_ms": latency_ms}}
        write_run(tmp_path, outcomes, settings=settings)
    write_run(tmp_path, [True] * 8)
    report = make_report(tmp_path)
    labels = sorted(sorted(each.label for each in group.variants) for group in report.groups)
    assert labels == [
        ["mvp-vits-hoi (1)"],
        ["mvp-vits-hoi (1), 150 ms late", "mvp-vits-hoi (1), 20 ms late"],
    ]
    (late,) = [group for group in report.groups if len(group.variants) == 2]
    first, second = sorted(late.variants, key=lambda variant: variant.label)
    assert classify(first, second) == "rollout.latency_ms"
    assert latency_changes(first.settings, second.settings) == {"rollout.latency_ms": (150.0, 20.0)}
    assert latency_changes(first.settings, first.settings) == {}


def test_runs_of_a_measured_latency_are_one_variant_of_one_runtime_alone() -> None:
    def settings(runtime: str, latency_ms: float | None) -> dict[str, Any]:
        inference = {"runtime": {"name": runtime, "exact": True}, "device": "cpu"}
        return {"inference": inference, "rollout": {"realtime": True, "latency_ms": latency_ms}}

    given = [comparable(settings(name, 20.0)) for name in ("eager", "openvino")]
    measured = [comparable(settings(name, None)) for name in ("eager", "openvino")]
    assert given[0] == given[1]
    assert measured[0] != measured[1]
