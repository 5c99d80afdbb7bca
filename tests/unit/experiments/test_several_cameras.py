"""Policies of several cameras in simulated tasks, from demonstrations to episodes and replays."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.own_tasks import SHAPE
from support.tiny_models import write_tiny_model

import s2robot
from s2robot.data.collection import collect
from s2robot.data.config import CollectConfig
from s2robot.data.demonstrations import Demonstrations
from s2robot.data.rendered_frames import RenderedFrames
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.envs.tasks.loading import make_env
from s2robot.evaluation.agents.camera_encoders import CameraEncoders, encoders_of
from s2robot.evaluation.config import EvalConfig
from s2robot.experiments.config import CameraChoice, DemosChoice, VariantConfig
from s2robot.experiments.jobs import EvalJob, RunJob, TrainJob
from s2robot.experiments.pipeline import evaluate_policy, execute_run, train_run
from s2robot.experiments.replay.episode import initial_states_of, roll_out_again, stored_actions
from s2robot.experiments.replay.find import find_episode, find_policy
from s2robot.experiments.replay.output import frames_of
from s2robot.experiments.settings import policy_digest, policy_settings
from s2robot.experiments.sweeps.preflight import check_run, check_runs
from s2robot.experiments.variant import Variant
from s2robot.policies.checkpoint import read_header
from s2robot.policies.config import PolicyConfig
from s2robot.reporting.report import make_report
from s2robot.training.config import TrainConfig
from s2robot.utils.io import read_jsonl

NAME = "module:support.own_tasks.TwoCameras"
TOP, SIDE = "pixels.top", "pixels.side"
ROLLOUT = EvalConfig(num_envs=2, workers=0, videos=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cameras")
    write_tiny_model(folder)
    return folder


@pytest.fixture(scope="module")
def demos(folder: Path) -> Demonstrations:
    config = CollectConfig(task=NAME, episodes=4, out=folder / "demos.hdf5", workers=0)
    return collect(config)


def variant(folder: Path, **changes: Any) -> VariantConfig:
    """Settings of a small variant of both cameras."""
    settings = {
        "task": NAME,
        "encoder": f"file:{folder / 'tiny.json'}",
        "scales": (1.0, 2.0),
        "readout": "mean",
        "cameras": (TOP, SIDE),
        "demos": DemosChoice(path=folder / "demos.hdf5"),
        "device": "cpu",
        "dtype": "float32",
        "runtime": "eager",
        "data_dir": folder / "data",
        **changes,
    }
    return VariantConfig(**settings)


def training(folder: Path, **changes: Any) -> TrainJob:
    policy, train = PolicyConfig(hidden=(8,)), TrainConfig(epochs=2)
    return TrainJob(variant(folder, **changes), policy, train, None, 0, folder / "runs")


@pytest.fixture(scope="module")
def trained(folder: Path, demos: Demonstrations) -> Path:
    """Policy file of both cameras, the second with one scale."""
    job = training(folder, camera_scales={SIDE: (1.0,)})
    return train_run(job, Variant(job.variant))


def evaluated(path: Path, folder: Path, out: Path, **rollout: Any) -> Path:
    config = dataclasses.replace(ROLLOUT, **rollout)
    job = EvalJob(path, task=NAME, n=3, rollout=config, out=out, data_dir=folder / "data")
    evaluate_policy(dataclasses.replace(job, device="cpu", runtime="eager"))
    return out


def test_embeddings_of_all_cameras_lie_side_by_side(folder: Path, demos: Demonstrations) -> None:
    both = Variant(variant(folder)).embeddings()
    each = [Variant(variant(folder, cameras=(name,))).embeddings() for name in (TOP, SIDE)]
    assert torch.equal(both, torch.cat(each, dim=1))
    assert not torch.equal(*each)


def test_a_camera_with_one_scale_has_its_channels_alone(
    folder: Path, demos: Demonstrations
) -> None:
    both = Variant(variant(folder, camera_scales={SIDE: (1.0,)}))
    top = Variant(variant(folder, cameras=(TOP,))).embeddings()
    side = Variant(variant(folder, cameras=(SIDE,), scales=(1.0,))).embeddings()
    assert torch.equal(both.embeddings(), torch.cat([top, side], dim=1))
    assert both.embedding_shape == (top.shape[1] + side.shape[1],)
    assert both.label == f"{both.encoder_name} (1,2) mean of {TOP} + {SIDE} (1)"


def test_frames_of_each_camera_are_encoded_once(
    folder: Path, demos: Demonstrations, monkeypatch: pytest.MonkeyPatch
) -> None:
    Variant(variant(folder)).embeddings()
    monkeypatch.setattr(RenderedFrames, "read", None)
    assert len(Variant(variant(folder, cameras=(SIDE, TOP))).embeddings()) == demos.num_frames
    again = Variant(variant(folder, camera_scales={TOP: (1.0,)}))
    assert len(again.data.embedding) == demos.num_frames
    assert again.encoding_counts() == ({}, {"1": 2 * demos.num_frames, "2": demos.num_frames})


def test_one_camera_by_either_setting_is_one_policy(folder: Path, demos: Demonstrations) -> None:
    jobs = [
        training(folder, cameras=(SIDE,)),
        training(folder, cameras=(), camera=CameraChoice(SIDE)),
    ]
    one, other = (policy_settings(job, Variant(job.variant)) for job in jobs)
    assert one == other
    assert one["camera"]["camera"]["name"] == SIDE
    assert "camera_scales" not in one["encoder"]


def test_the_file_names_cameras_and_scales_of_their_own(trained: Path) -> None:
    frames = read_header(trained).frames
    size = {"height": SHAPE[0], "width": SHAPE[1]}
    assert frames["cameras"] == [{"name": TOP, **size}, {"name": SIDE, **size, "scales": [1.0]}]
    assert "camera" not in frames


def test_a_loaded_policy_takes_the_cameras_by_name(trained: Path) -> None:
    policy = s2robot.load_policy(trained, device="cpu", runtime="eager")
    assert isinstance(policy.encoder, CameraEncoders)
    assert policy.cameras == {TOP: SHAPE, SIDE: SHAPE}
    rng = np.random.default_rng(0)
    top, side = rng.integers(0, 256, (2, *SHAPE, 3)).astype(np.uint8)
    observed = {"agent_pos": [0.4, 0.6]}
    action = policy({SIDE: side, TOP: top, "render": top}, observed)
    policy.reset()
    swapped = policy({TOP: side, SIDE: top}, observed)
    assert not np.array_equal(action, swapped)
    with pytest.raises(KeyError, match=f"no frames of camera '{SIDE}'; got camera '{TOP}'"):
        policy({TOP: top}, observed)
    with pytest.raises(ValueError, match="got one array of frames; the policy reads cameras"):
        policy(top, observed)


def test_a_loop_with_a_loaded_policy_is_the_evaluation(
    trained: Path, folder: Path, tmp_path: Path
) -> None:
    run = evaluated(trained, folder, tmp_path, num_envs=1)
    policy = s2robot.load_policy(trained, device="cpu", runtime="eager")
    env = make_env({"level": NAME})
    episode = find_episode(run, "0")
    (start,) = initial_states_of(episode, 1, folder / "data").states
    obs, _ = env.reset(options={"state": start})
    policy.reset()
    for action in stored_actions(episode):
        frames = {name: env.render_frame(name, *SHAPE) for name in (TOP, SIDE)}
        assert policy.action_scale is not None
        np.testing.assert_array_equal(
            policy(frames, obs), policy.action_scale.own(action.astype(np.float64))
        )
        obs = env.step(action)[0]


@pytest.mark.process
def test_worker_processes_give_the_rows_of_one_process(
    trained: Path, folder: Path, tmp_path: Path
) -> None:
    alone = evaluated(trained, folder, tmp_path / "0") / "episodes.jsonl"
    workers = evaluated(trained, folder, tmp_path / "2", workers=2) / "episodes.jsonl"
    assert alone.read_bytes() == workers.read_bytes()


def test_reused_tiles_give_the_rows_of_whole_frames(
    trained: Path, folder: Path, tmp_path: Path
) -> None:
    whole = evaluated(trained, folder, tmp_path / "whole") / "episodes.jsonl"
    reused = evaluated(trained, folder, tmp_path / "reused", reuse=True) / "episodes.jsonl"
    assert whole.read_bytes() == reused.read_bytes()
    with pytest.raises(ValueError, match="attention, which belongs to the grid of one camera"):
        evaluated(trained, folder, tmp_path / "a", tile_budget=1, tile_choice="attention")


def test_all_cameras_get_the_runtime_of_the_first(folder: Path) -> None:
    options: dict[str, Any] = {"device": "cpu", "runtime": "auto", "readout": "mean"}
    encoder = FrameEncoder.from_name(f"file:{folder / 'tiny.json'}", (1, 2), **options)
    cameras = [{"name": TOP}, {"name": "front"}, {"name": SIDE, "scales": [1.0]}]
    both = encoders_of(encoder, cameras)
    assert isinstance(both, CameraEncoders)
    chosen = encoder.with_runtime("eager")
    chosen.chosen_by_auto = True
    made = both.with_runtime_of(chosen)
    assert made.first is made.encoders["front"] is chosen  # shared, as before
    for each in made.encoders.values():
        assert (each.runtime.name, each.chosen_by_auto) == ("eager", True)
    assert made.encoders[SIDE].spec.scales == (1,)
    assert both.with_runtime_of(both.first) is both


def test_scales_of_a_camera_count_where_they_differ(folder: Path, demos: Demonstrations) -> None:
    usual = training(folder)
    same = training(folder, camera_scales={SIDE: (1, 2)})
    assert same.variant == usual.variant
    digests = [
        policy_digest(job, Variant(job.variant))
        for job in (usual, same, *(training(folder, camera_scales={SIDE: s}) for s in _ONE))
    ]
    assert digests[0] == digests[1] != digests[2] == digests[3]
    blind = [training(folder, encoder="blind", camera_scales=own) for own in ({}, {SIDE: (1,)})]
    one, other = (policy_digest(job, Variant(job.variant)) for job in blind)
    assert one == other  # it sees no camera


_ONE: list[tuple[float, ...]] = [(1,), (1.0,)]
"""The same scales, as Python and as the command line give them."""


def test_a_choice_by_attention_is_refused_before_training(
    folder: Path, demos: Demonstrations
) -> None:
    rollout = dataclasses.replace(ROLLOUT, tile_budget=1, tile_choice="attention")
    options = {"readout": "spatial_softmax"}
    with pytest.raises(ValueError, match=f"one camera; the policy has 2: {TOP}, {SIDE}"):
        check_run(RunJob(training(folder, **options), rollout=rollout))
    budget = dataclasses.replace(ROLLOUT, tile_budget=1)
    job = training(folder, camera_scales={SIDE: (1.0,)})
    with pytest.raises(ValueError, match=f"the encoder has one scale for {SIDE}, 1"):
        check_run(RunJob(job, rollout=budget))


def test_an_episode_is_replayed_and_shows_all_cameras(
    trained: Path, folder: Path, tmp_path: Path
) -> None:
    run = evaluated(trained, folder, tmp_path / "run")
    episode = find_episode(run, "1")
    path, header = find_policy(episode, trained)
    states = initial_states_of(episode, 2, folder / "data")
    replayed = roll_out_again(episode, path, header, states)
    assert replayed.same
    assert replayed.first_gap is None
    camera = episode.record["camera"]
    assert [each["name"] for each in camera["cameras"]] == [TOP, SIDE]
    assert all("scales" not in each for each in camera["cameras"])
    env = make_env(episode.record["task"]["env"])
    given = (env, states.states[1], replayed.actions, camera)
    frames = frames_of(*given, "policy")
    height, width = SHAPE
    assert frames[0].shape == (height, 2 * width, 3)
    np.testing.assert_array_equal(frames[0][:, width:], frames[0][::-1, width - 1 :: -1])
    assert frames_of(*given, "both")[0].shape == (height, 3 * width, 3)


def test_a_sweep_compares_variants_of_two_cameras_and_of_scales(
    folder: Path, demos: Demonstrations, tmp_path: Path
) -> None:
    for scales in ({}, {SIDE: (1.0,)}):
        job = training(folder, camera_scales=scales)
        job = dataclasses.replace(job, runs_dir=tmp_path)
        execute_run(RunJob(job, n=2, rollout=ROLLOUT), log=lambda _: None)
    (group,) = make_report(tmp_path / "cells").groups
    labels = sorted(each.label for each in group.variants)
    assert [label.endswith(f"{SIDE} (1)") for label in labels] == [False, True]
    rows = read_jsonl(next((tmp_path / "cells").rglob("episodes.jsonl")))
    assert len(rows) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cameras": (TOP, TOP)}, "name each camera once"),
        ({"camera": CameraChoice(TOP)}, "give one of them"),
        ({"camera_scales": {"render": (1.0,)}}, "unknown camera in camera_scales 'render'"),
        ({"cameras": (), "camera_scales": {TOP: (1.0,)}}, "cameras= names none"),
        ({"cameras": (TOP,), "camera_scales": {TOP: (1.0,)}}, "give its scales as scales="),
        ({"camera_scales": {TOP: (0.0,)}}, f"camera_scales of {TOP}: .*scale"),
        ({"task": None, "demos": DemosChoice()}, "unknown camera in cameras 'pixels.top'"),
    ],
)
def test_cameras_that_do_not_fit_are_named(changes: Any, message: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=message):
        variant(folder, **changes)


def test_a_sweep_with_a_camera_that_the_task_has_not_does_not_begin(
    folder: Path, demos: Demonstrations
) -> None:
    job = training(folder, cameras=(TOP, "wrist"))
    with pytest.raises(ValueError, match=r"unknown camera .* 'wrist'; available: .*pixels.side"):
        check_runs([("the run", lambda: RunJob(job))])


def test_cameras_with_other_grids_are_refused(folder: Path, demos: Demonstrations) -> None:
    scales = {SIDE: (2.0,)}
    job = training(folder, scales=(1.0,), readout="spatial_softmax", camera_scales=scales)
    with pytest.raises(ValueError, match=r"grids of other sizes: pixels.top \dx\d, pixels.side"):
        check_runs([("the run", lambda: RunJob(job))])
