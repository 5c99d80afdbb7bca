"""Evaluation: rows that repeat byte for byte, resume, guards, latencies, videos."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from PIL import Image
from support.expert_policies import ENV_KWARGS, PROPRIO, SIZE, ExpertPolicy, header
from support.small_encoders import encoder_of

from s2robot.envs.levels import get_level
from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.envs.rendering import RenderingError
from s2robot.errors import MismatchError, S2RobotError
from s2robot.evaluation import evaluate as module
from s2robot.evaluation import vector_env as vector_env
from s2robot.evaluation.episode_videos import pick_episodes
from s2robot.evaluation.evaluate import EvalConfig, evaluate
from s2robot.evaluation.initial_states import InitialStates, make_initial_states
from s2robot.evaluation.rollout import Agent, failure_stage, roll_out
from s2robot.evaluation.vector_env import (
    CameraView,
    SubprocessVectorEnv,
    VectorStep,
    make_vector_env,
)


class PixelPolicy:
    """A smooth function of embedding and proprioception: sensitive to every pixel."""

    def reset(self, batch_size: int) -> None:
        del batch_size

    def act(self, embedding: torch.Tensor, proprio: torch.Tensor) -> torch.Tensor:
        return torch.sin(40 * embedding[:, :4] + 10 * proprio)


def pixel_encoder(frames: Any) -> torch.Tensor:
    assert frames.shape[1:] == (SIZE, SIZE, 3)
    return torch.from_numpy(frames).float().mean(dim=2)[:, :, 0] / 255  # (B, H)


@pytest.fixture(scope="module")
def initial_states() -> InitialStates:
    return make_initial_states("easy", "test", 5, ENV_KWARGS)


def run(out: Path, initial_states: InitialStates, *, pixels: bool = False, **settings: Any) -> Any:
    """Evaluate briefly: 5 conditions, 2 at a time, 4 steps."""
    options = {"num_envs": 2, "horizon": 4, "videos": 0, **settings}
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


def test_expert_on_the_true_position_succeeds_and_an_idle_slot_fails(tmp_path, initial_states):
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
    assert policy.batches == [2, 2, 2, 1]  # three batches of 5 conditions, then the single frame


@pytest.mark.parametrize("pixels", [False, True])
def test_the_same_run_twice_gives_the_same_bytes(tmp_path, initial_states, pixels):
    run(tmp_path / "a", initial_states, pixels=pixels)
    run(tmp_path / "b", initial_states, pixels=pixels)
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b")


def test_worker_processes_give_the_same_bytes(tmp_path, initial_states):
    run(tmp_path / "here", initial_states, pixels=True)
    run(tmp_path / "workers", initial_states, pixels=True, workers=2)
    assert rows_of(tmp_path / "here") == rows_of(tmp_path / "workers")


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


def test_a_finished_run_is_taken_up_without_rolling_out(tmp_path, initial_states, monkeypatch):
    run(tmp_path, initial_states)
    first = (tmp_path / "summary.json").read_bytes()
    monkeypatch.setattr(module, "make_vector_env", lambda *_: pytest.fail("rolled out again"))
    run(tmp_path, initial_states)
    assert (tmp_path / "summary.json").read_bytes() == first


def test_a_control_without_a_renderer_keeps_its_summary(tmp_path, initial_states, monkeypatch):
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
    with pytest.raises(MismatchError, match="env, num_envs differ"):
        run(tmp_path, initial_states, num_envs=3, horizon=5)
    run(tmp_path, initial_states, header=other, fresh=True)
    assert json.loads((tmp_path / "run.json").read_text())["policy"] == "policy-2"
    assert (tmp_path / "policy.safetensors").exists()


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
    with pytest.raises(MismatchError, match="'precise'.*'easy'"):
        run(tmp_path, initial_states, header=precise)


def test_actions_that_are_not_finite_are_an_error(tmp_path, initial_states):
    class Diverged(PixelPolicy):
        def act(self, embedding: torch.Tensor, proprio: torch.Tensor) -> torch.Tensor:
            return proprio * math.nan

    with pytest.raises(S2RobotError, match="NaN or infinite actions"):
        run(tmp_path, initial_states, policy=Diverged())


def test_latencies_are_recorded_outside_the_rows(tmp_path, initial_states):
    summary = run(tmp_path, initial_states, pixels=True)
    latency = summary.latency_ms
    for part in ("encode", "policy", "env", "render", "per_frame"):
        assert 0 < latency[part]["p50"] <= latency[part]["p95"]
    assert latency["single_frame"]["total"]["p50"] >= latency["single_frame"]["encode"]["p50"] > 0
    assert b"_ms" not in rows_of(tmp_path)
    saved = json.loads((tmp_path / "summary.json").read_text())
    assert saved["success_once"]["estimate"] == summary.success_once.estimate


def test_nothing_is_rendered_for_a_control(tmp_path, initial_states, monkeypatch):
    monkeypatch.setattr(PickCubeEnv, "render_frame", lambda *_: pytest.fail("rendered"))
    assert run(tmp_path, initial_states).latency_ms["render"]["p95"] < 1


@pytest.mark.parametrize(
    ("stage", "success", "reached", "grasped"),
    [
        ("none", [0, 1, 1], [1, 1, 1], [1, 1, 1]),
        ("drop", [0, 1, 0], [1, 1, 0], [1, 1, 0]),
        ("reach", [0, 0, 0], [0, 0, 0], [0, 0, 0]),
        ("grasp", [0, 0, 0], [1, 0, 0], [0, 0, 0]),
        ("lift", [0, 0, 0], [1, 1, 0], [0, 1, 0]),
        ("timeout", [0, 0, 0], [1, 1, 1], [0, 1, 1]),
    ],
)
def test_failure_stage(stage, success, reached, grasped):
    info = {"is_success": success, "reached": reached, "grasped": grasped}
    assert failure_stage({key: np.array(value, bool) for key, value in info.items()}) == stage


def test_pick_episodes_takes_the_first_of_each_kind():
    rows = [{"index": i, "success_once": i in (1, 4, 5)} for i in range(6)]
    picked = [("success", 1), ("success", 4), ("failure", 0), ("failure", 2)]
    assert pick_episodes(rows, 2) == picked


def test_slots_do_not_disturb_each_other(initial_states):
    """A slot's episode is the same whatever its neighbours do."""
    kwargs = {**ENV_KWARGS, "horizon": 6}
    pair = make_vector_env(kwargs, 2, None)
    quiet = roll_out(
        Agent(ExpertPolicy((1,)), PROPRIO, baseline="state"), pair, initial_states.states[:2], 6
    )
    busy = roll_out(
        Agent(ExpertPolicy(), PROPRIO, baseline="state"), pair, initial_states.states[:2], 6
    )
    np.testing.assert_array_equal(quiet.distance_m[0], busy.distance_m[0])
    assert (quiet.distance_m[1] != busy.distance_m[1]).any()


def test_a_hung_worker_is_reported_and_killed(initial_states, monkeypatch):
    envs = SubprocessVectorEnv(ENV_KWARGS, 2, CameraView("front", SIZE, SIZE), workers=1)
    envs._watchdog_s = 0.0
    with pytest.raises(S2RobotError, match="hung in its renderer.*workers=0"):
        envs.reset(initial_states.states[:2])
    envs.close()  # returns, as the process is gone


def test_workers_end_when_their_parent_is_killed():
    script = (
        "import time; from s2robot.evaluation.vector_env import SubprocessVectorEnv\n"
        "if __name__ == '__main__':\n"
        "    envs = SubprocessVectorEnv({'level': 'easy'}, 1, None, workers=1)\n"
        "    print(*envs._pids, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while _alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(worker)


def _alive(pid: int) -> bool:
    """Whether a process runs (one that ended but that nobody waited for does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_envs": 0}, "num_envs is 0"),
        ({"workers": -1}, "workers is -1"),
        ({"videos": 1.5}, "videos is 1.5"),
        ({"video_size": 33}, "even"),
        ({"horizon": 0}, "horizon is 0"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        EvalConfig(**settings)


def test_snapshot_of_workers_equals_that_of_one_process(initial_states):
    view = CameraView("front", SIZE, SIZE)
    snapshots: list[VectorStep] = []
    for workers in (0, 2):
        envs = vector_env.make_vector_env(ENV_KWARGS, 3, view, workers)
        snapshots.append(envs.reset(initial_states.states[:3]))
        envs.close()
    local, remote = snapshots
    np.testing.assert_array_equal(local.frames, remote.frames)  # pyright: ignore[reportArgumentType]
    for key in local.obs:
        np.testing.assert_array_equal(local.obs[key], remote.obs[key])


class LookingPolicy(PixelPolicy):
    """Looks at the left half, and counts how often it is asked to."""

    def __init__(self) -> None:
        self.looks = 0

    def act(self, embedding: torch.Tensor, proprio: torch.Tensor) -> torch.Tensor:
        return super().act(embedding[:, -4:], proprio)  # of the largest scale

    def attention(self, embedding: torch.Tensor) -> torch.Tensor:
        self.looks += 1
        maps = torch.zeros(len(embedding), 2, 2)
        maps[:, :, 0] = 1
        return maps


def budgeted(
    out: Path, initial_states: InitialStates, encoder: Any, **settings: Any
) -> LookingPolicy:
    policy = LookingPolicy()
    config = EvalConfig(num_envs=2, horizon=4, videos=0, **settings)
    made = header("random/tiny")
    evaluate(policy, encoder, initial_states, config, out, header=made, progress=False)
    return policy


@pytest.fixture(scope="module")
def scaled() -> Any:
    return encoder_of(scales=(1, 2), readout="mean")


def test_a_budget_of_all_tiles_gives_the_same_rows(
    tmp_path: Path, initial_states: InitialStates, scaled: Any
) -> None:
    budgeted(tmp_path / "plain", initial_states, scaled)
    budgeted(tmp_path / "all", initial_states, scaled, tile_budget=4)
    budgeted(tmp_path / "none", initial_states, scaled, tile_budget=0)
    assert rows_of(tmp_path / "all") == rows_of(tmp_path / "plain")
    assert rows_of(tmp_path / "none") != rows_of(tmp_path / "plain")


@pytest.mark.parametrize("choice", ["motion", "attention", "random"])
def test_a_budgeted_run_that_was_cut_short_goes_on_alike(
    tmp_path: Path, initial_states: InitialStates, scaled: Any, choice: str
) -> None:
    settings = {"tile_budget": 1, "tile_choice": choice}
    policy = budgeted(tmp_path / "whole", initial_states, scaled, **settings)
    assert policy.looks == (12 if choice == "attention" else 0)  # 3 batches of 4 steps
    budgeted(tmp_path / "cut", initial_states, scaled, **settings)
    path = tmp_path / "cut" / "episodes.jsonl"
    path.write_bytes(b"".join(rows_of(tmp_path / "whole").splitlines(keepends=True)[:2]))
    budgeted(tmp_path / "cut", initial_states, scaled, **settings)
    assert rows_of(tmp_path / "cut") == rows_of(tmp_path / "whole")


def test_a_folder_with_another_budget_is_refused(
    tmp_path: Path, initial_states: InitialStates, scaled: Any
) -> None:
    budgeted(tmp_path, initial_states, scaled, tile_budget=1)
    with pytest.raises(MismatchError, match="tiles: there .*1.*now null"):
        budgeted(tmp_path, initial_states, scaled)


def test_bad_budgets(tmp_path: Path, initial_states: InitialStates, scaled: Any) -> None:
    with pytest.raises(ValueError, match="unknown tile_choice 'region'"):
        EvalConfig(tile_choice="region")
    with pytest.raises(ValueError, match="leave reuse=false"):
        EvalConfig(reuse=True, tile_budget=1)
    with pytest.raises(ValueError, match="from 0 to 4"):
        budgeted(tmp_path / "many", initial_states, scaled, tile_budget=9)
    with pytest.raises(ValueError, match="an encoder with selective"):
        budgeted(tmp_path / "other", initial_states, pixel_encoder, tile_budget=1)


def test_an_approximate_runtime_is_another_run(
    tmp_path: Path, initial_states: InitialStates, scaled: Any
) -> None:
    rng = np.random.default_rng(0)
    scaled.calibrate(rng.integers(0, 256, (12, 64, 64, 3), dtype=np.uint8))
    int8 = scaled.with_runtime("openvino-int8")
    budgeted(tmp_path, initial_states, int8)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["provenance"]["runtime"] == int8.runtime.describe()
    with pytest.raises(MismatchError, match="runtime: there .*openvino-int8.*now null"):
        budgeted(tmp_path, initial_states, scaled)
