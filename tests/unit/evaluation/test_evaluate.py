"""Evaluation: rows that repeat byte for byte, resume, guards, latencies, videos."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from PIL import Image
from support.expert_policies import (
    ENV_KWARGS,
    SIZE,
    ExpertPolicy,
    PixelPolicy,
    header,
    pixel_encoder,
)

from s2robot.envs.levels import get_level
from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.envs.rendering import RenderingError, gl_info
from s2robot.errors import CorruptFileError, MismatchError, S2RobotError
from s2robot.evaluation import evaluate as module
from s2robot.evaluation.evaluate import EvalConfig, evaluate
from s2robot.evaluation.initial_states import InitialStates, make_initial_states
from s2robot.evaluation.vector_env import SubprocessVectorEnv, VectorEnv
from s2robot.utils.io import read_json


@pytest.fixture(scope="module")
def initial_states() -> InitialStates:
    return make_initial_states("easy", "test", 5, ENV_KWARGS)


def run(out: Path, initial_states: InitialStates, *, pixels: bool = False, **settings: Any) -> Any:
    """Evaluate briefly: 5 initial states, 2 at a time, 4 steps."""
    options = {"num_envs": 2, "workers": 0, "horizon": 4, "videos": 0, **settings}
    fresh, made = options.pop("fresh", False), options.pop("header", None)
    policy = options.pop("policy", None) or (PixelPolicy() if pixels else ExpertPolicy())
    return evaluate(
        policy,
        pixel_encoder if pixels else None,
        initial_states,
        EvalConfig(**options),
        out,
        header=made or header("random/tiny" if pixels else "state"),
        fresh=fresh,
        progress=False,
    )


def rows_of(out: Path) -> bytes:
    return (out / "episodes.jsonl").read_bytes()


def test_a_rerun_with_other_batches_keeps_the_rows_and_goes_on_in_the_folders_batches(
    tmp_path, initial_states, capsys
):
    whole = run(tmp_path / "whole", initial_states)
    run(tmp_path / "part", initial_states.beginning(3))
    again = run(tmp_path / "part", initial_states.beginning(3), num_envs=3)
    assert again.episodes == 3
    longer = run(tmp_path / "part", initial_states, num_envs=1)
    assert longer.episodes == whole.episodes == 5
    assert rows_of(tmp_path / "part") == rows_of(tmp_path / "whole")
    assert "num_envs stays 2" in capsys.readouterr().err


@pytest.mark.process
@pytest.mark.render
def test_the_expert_succeeds_and_an_idle_environment_fails(tmp_path, initial_states):
    policy = ExpertPolicy(fails=(1,))
    summary = run(tmp_path, initial_states, policy=policy, horizon=None, videos=1, video_size=64)
    rows = [json.loads(line) for line in rows_of(tmp_path).splitlines()]
    assert [row["index"] for row in rows] == [0, 1, 2, 3, 4]
    assert [row["success_once"] for row in rows] == [True, False, True, False, True]
    assert [row["stage"] for row in rows] == ["none", "reach", "none", "reach", "none"]
    assert all(row["max_height_m"] >= 0.05 for row in rows if row["success_once"])
    assert rows[0]["steps_to_success"] < rows[0]["steps"] == get_level("easy").horizon
    assert rows[1]["steps_to_success"] is None
    assert summary.success_once.estimate == pytest.approx(0.6)
    assert summary.stages["reach"] == 2
    assert "3/5 = 60.0 %" in str(summary)
    assert summary.videos == ("videos/success_00000.mp4", "videos/failure_00001.mp4")
    video = imageio.imread(tmp_path / summary.videos[0], plugin="FFMPEG")
    assert video.shape == (get_level("easy").horizon + 1, 64, 64, 3)
    with Image.open(tmp_path / summary.strips[0]) as strip:
        assert strip.size == (8 * 192, 192)


def test_batches_are_padded_to_one_shape(tmp_path, initial_states):
    policy = ExpertPolicy()
    run(tmp_path, initial_states, policy=policy)
    assert policy.batches == [
        2,
        2,
        2,
        1,
    ]  # 5 initial states, then the single frame


@pytest.mark.render
@pytest.mark.parametrize("pixels", [False, True])
def test_the_same_run_twice_gives_the_same_bytes(tmp_path, initial_states, pixels):
    run(tmp_path / "a", initial_states, pixels=pixels)
    run(tmp_path / "b", initial_states, pixels=pixels)
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b")


@pytest.mark.process
@pytest.mark.render
@pytest.mark.parametrize("workers", [1, 2, None])
def test_worker_processes_give_the_same_bytes(tmp_path, initial_states, workers):
    run(tmp_path / "here", initial_states, pixels=True)
    run(tmp_path / "workers", initial_states, pixels=True, workers=workers)
    assert rows_of(tmp_path / "here") == rows_of(tmp_path / "workers")
    for path in (tmp_path / "here/actions").iterdir():
        assert path.read_bytes() == (tmp_path / "workers/actions" / path.name).read_bytes()


class LosingVectorEnv(SubprocessVectorEnv):
    """Kills one of its workers in mid-run, and stops the other."""

    begun = 0

    def step_async(self, actions: np.ndarray, group: int = 0, render: bool = True) -> None:
        super().step_async(actions, group, render)
        self.begun += 1
        if self.begun in (3, 11):
            os.kill(self.pids[0], signal.SIGKILL)
        if self.begun == 7:
            os.kill(self.pids[1], signal.SIGSTOP)


@pytest.mark.process
@pytest.mark.render
def test_killed_and_hung_workers_lose_and_repeat_no_episode(
    tmp_path, initial_states, monkeypatch, capsys
):
    run(tmp_path / "here", initial_states, pixels=True)

    def losing(env_kwargs: Any, count: int, view: Any, workers: int) -> VectorEnv:
        return LosingVectorEnv(env_kwargs, count, view, workers, groups=2, watchdog_s=3.0)

    monkeypatch.setattr(module, "make_vector_env", losing)
    summary = run(tmp_path / "lost", initial_states, pixels=True, workers=2)
    assert summary.episodes == 5
    assert capsys.readouterr().err.count("another one takes over") == 3
    assert rows_of(tmp_path / "lost") == rows_of(tmp_path / "here")


@pytest.mark.render
def test_the_single_frame_is_a_picture_of_the_task(tmp_path, initial_states):
    """int8 takes frames that are unlike the task's, such as noise, for those of another camera."""
    seen = []

    def encoder(frames: Any) -> torch.Tensor:
        seen.append(frames.copy())
        return pixel_encoder(frames)

    config = EvalConfig(num_envs=2, workers=0, horizon=2, videos=0)
    made = header("random/tiny")
    evaluate(PixelPolicy(), encoder, initial_states, config, tmp_path, header=made, progress=False)
    env = PickCubeEnv(**ENV_KWARGS)
    env.reset(seed=0)
    np.testing.assert_array_equal(seen[-1], env.render_frame("front", SIZE, SIZE)[None])
    assert read_json(tmp_path / "summary.json")["provenance"]["renderer"] == gl_info()


@pytest.mark.parametrize(
    ("cores", "device", "expected"),
    [(1, "cpu", 0), (2, "cpu", 1), (16, "cpu", 4), (16, "cuda", 15), (64, "cuda", 16)],
)
def test_workers_are_a_share_of_the_cores(
    tmp_path, initial_states, monkeypatch, cores, device, expected
):
    asked: list[int] = []

    def refuse(_kwargs: Any, _count: int, _view: Any, workers: int) -> VectorEnv:
        asked.append(workers)
        raise S2RobotError("enough")

    class Encoder:
        def __init__(self) -> None:
            self.device = torch.device(device)

        def __call__(self, frames: Any) -> torch.Tensor:
            return pixel_encoder(frames)

    monkeypatch.setattr(module, "usable_cores", lambda: cores)
    monkeypatch.setattr(module, "make_vector_env", refuse)
    config = EvalConfig(videos=0)
    with pytest.raises(S2RobotError, match="enough"):
        evaluate(
            PixelPolicy(), Encoder(), initial_states, config, tmp_path, header=header("random/tiny")
        )
    assert asked == [expected]


@pytest.mark.render
@pytest.mark.parametrize("cut", ["mid-line", "mid-batch", "between batches"])
def test_a_cut_run_resumes_to_the_same_bytes(tmp_path, initial_states, cut):
    run(tmp_path / "whole", initial_states, pixels=True)
    run(tmp_path / "cut", initial_states, pixels=True)
    whole = rows_of(tmp_path / "whole")
    lines = whole.splitlines(keepends=True)
    kept = {"mid-line": 3, "mid-batch": 3, "between batches": 2}[cut]
    torn = lines[kept][:20] if cut == "mid-line" else b""
    (tmp_path / "cut" / "episodes.jsonl").write_bytes(b"".join(lines[:kept]) + torn)
    summary = run(tmp_path / "cut", initial_states, pixels=True)
    assert rows_of(tmp_path / "cut") == whole
    assert summary.episodes == 5


def test_a_finished_run_is_not_rolled_out_again(tmp_path, initial_states, monkeypatch):
    run(tmp_path, initial_states)
    first = (tmp_path / "summary.json").read_bytes()
    monkeypatch.setattr(module, "make_vector_env", lambda *_: pytest.fail("rolled out again"))
    run(tmp_path, initial_states)
    assert (tmp_path / "summary.json").read_bytes() == first


def test_a_baseline_without_a_renderer_keeps_its_summary(tmp_path, initial_states, monkeypatch):
    def fail(*_: Any) -> None:
        raise RenderingError("no GL context")

    monkeypatch.setattr(PickCubeEnv, "render_frame", fail)
    with pytest.raises(RenderingError):
        run(tmp_path, initial_states, videos=1)
    assert json.loads((tmp_path / "summary.json").read_text())["episodes"] == 5
    assert run(tmp_path, initial_states).videos == ()


def test_another_run_in_the_folder_is_refused_by_name_and_fresh_starts_over(
    tmp_path, initial_states
):
    run(tmp_path, initial_states)
    (tmp_path / "policy.safetensors").write_text("not evaluation's")
    other = header("state", sha256="policy-2")
    with pytest.raises(MismatchError, match=r"policy differ(.|\n)*policy-1(.|\n)*policy-2.*"):
        run(tmp_path, initial_states, header=other)
    with pytest.raises(MismatchError, match=r"task\.env\.horizon, rollout\.horizon differ"):
        run(tmp_path, initial_states, num_envs=3, horizon=5)
    run(tmp_path, initial_states, header=other, fresh=True, num_envs=3)
    assert json.loads((tmp_path / "run.json").read_text())["rollout"]["num_envs"] == 3
    assert json.loads((tmp_path / "run.json").read_text())["policy"] == "policy-2"
    assert (tmp_path / "policy.safetensors").exists()


@pytest.mark.parametrize("content", ["[]", '{"format": 2, "rollout": []}', '{"format": 2}'])
def test_a_damaged_record_is_named_whatever_it_holds(tmp_path, initial_states, content):
    run(tmp_path, initial_states)
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(CorruptFileError, match=r"run\.json"):
        run(tmp_path, initial_states)


def test_the_levels_own_horizon_may_be_written_out(tmp_path, initial_states):
    own = get_level("easy").horizon
    few = initial_states.beginning(1)
    run(tmp_path, few, horizon=None)
    assert run(tmp_path, few, horizon=own).episodes == 1


@pytest.mark.process
@pytest.mark.render
def test_workers_and_videos_may_change_between_runs(tmp_path, initial_states):
    run(tmp_path, initial_states)
    summary = run(tmp_path, initial_states, videos=1, video_size=32, workers=1)
    assert summary.videos == ("videos/failure_00000.mp4",)


def test_a_policy_for_another_task_is_refused(tmp_path, initial_states):
    joints = header("state")
    space = {**joints.action_space, "control": "joint_delta"}
    with pytest.raises(MismatchError, match="different action spaces"):
        run(tmp_path, initial_states, header=dataclasses.replace(joints, action_space=space))
    precise = header("state", env_kwargs={**ENV_KWARGS, "level": "precise"})
    with pytest.raises(MismatchError, match="is for level precise, .* of level easy"):
        run(tmp_path, initial_states, header=precise)


def test_actions_that_are_not_finite_are_an_error(tmp_path, initial_states):
    class Diverged(PixelPolicy):
        def act(self, embedding: torch.Tensor, proprio: torch.Tensor) -> torch.Tensor:
            return proprio * math.nan

    with pytest.raises(S2RobotError, match="NaN or infinite actions"):
        run(tmp_path, initial_states, policy=Diverged())


@pytest.mark.render
def test_latencies_are_recorded_outside_the_rows(tmp_path, initial_states):
    summary = run(tmp_path, initial_states, pixels=True)
    latency = summary.latency_ms
    for part in ("encode", "policy", "env", "render", "per_frame"):
        assert 0 < latency[part]["p50"] <= latency[part]["p95"]
    assert latency["single_frame"]["total"]["p50"] >= latency["single_frame"]["encode"]["p50"] > 0
    assert b"_ms" not in rows_of(tmp_path)
    saved = json.loads((tmp_path / "summary.json").read_text())
    assert saved["success_once"]["estimate"] == summary.success_once.estimate


def test_nothing_is_rendered_for_a_baseline(tmp_path, initial_states, monkeypatch):
    monkeypatch.setattr(PickCubeEnv, "render_frame", lambda *_: pytest.fail("rendered"))
    assert run(tmp_path, initial_states).latency_ms["render"]["p95"] < 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_envs": 0}, "num_envs is 0"),
        ({"workers": -1}, "workers is -1"),
        ({"videos": 1.5}, "videos is 1.5"),
        ({"video_size": 33}, "even"),
        ({"horizon": 0}, "horizon is 0"),
        ({"horizon": 2.5}, r"horizon is 2\.5; allowed: an integer"),
        ({"horizon": True}, "horizon is True; allowed: an integer"),
        ({"num_envs": True}, "num_envs is True; allowed: an integer"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        EvalConfig(**settings)
