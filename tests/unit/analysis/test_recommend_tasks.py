"""Recommendation, probe and reconstruction on demonstrations of tasks other than pick-cube."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.tiny_models import write_tiny_model

from s2robot.analysis.probes.recorded import RecordedConfig
from s2robot.analysis.recommend import RecommendConfig, probing, study, timing
from s2robot.analysis.recommend.sources import TASK, kind_of, open_source
from s2robot.cli.main import main
from s2robot.cli.parsers.recommend import NO_ACCURACY
from s2robot.cli.recommend.confirm import _job
from s2robot.cli.reconstruct import frames_in_blocks
from s2robot.data.collection import collect
from s2robot.data.config import CameraConfig, CollectConfig
from s2robot.data.datasets.choice import DataChoice
from s2robot.data.demonstrations import Demonstrations
from s2robot.data.rendered_frames import RenderedFrames
from s2robot.envs.tasks import loading
from s2robot.envs.tasks.loading import named_by_user

EXACT = "module:support.own_tasks.Exact"
CAMERAS = ("pixels.side", "pixels.top")
EPISODES = 12


def collected(folder: Path, task: str, episodes: int) -> Path:
    out = folder / "demos.hdf5"
    collect(CollectConfig(task=task, episodes=episodes, valid_share=0.25, out=out, workers=0))
    return out


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve demonstrations with two cameras, of which three are held out."""
    return collected(tmp_path_factory.mktemp("exact"), EXACT, EPISODES)


@pytest.fixture(autouse=True)
def named() -> Iterator[None]:
    """Forget afterwards what a test named."""
    named_by_user(EXACT)
    yield
    loading._trusted.discard(EXACT)
    loading.task_named.cache_clear()


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Words of a quick command."""
    monkeypatch.setattr(probing, "EPOCHS", 1)
    quick = timing.Latency(9.0, 10.0, 4, "eager", "cpu")
    monkeypatch.setattr(study, "time_encoder", lambda *_: quick)
    words = ["--scales", "1", "--device", "cpu", "--runtime", "eager"]
    return [*words, "--data-dir", str(tmp_path / "data"), "--out", str(tmp_path / "out")]


def test_frames_actions_and_observations_are_those_of_a_training_without_held_out_episodes(
    path: Path, tmp_path: Path
) -> None:
    data, demos = open_source(str(path), tmp_path / "data"), Demonstrations(path)
    assert data.episode is not None
    assert data.actions is not None
    assert data.proprio is not None
    assert np.unique(data.episode).tolist() == sorted(demos.train_episodes.tolist())
    assert len(demos.train_episodes) == 9
    ends = demos.episode_ends
    rows = np.isin(np.searchsorted(ends, np.arange(ends[-1]), side="right"), demos.train_episodes)
    np.testing.assert_array_equal(data.actions, demos.actions[rows].astype(float))
    np.testing.assert_array_equal(data.proprio, demos.low_dim("agent_pos")[rows])
    env = loading.make_env(demos.env_kwargs)
    first = env.cameras[0]
    env.close()
    frames = RenderedFrames(demos, CameraConfig(first), tmp_path / "data/frames")
    assert data.frames.source == frames.source  # so that features are a training's
    stored = frames.read(0, len(frames))[rows]
    np.testing.assert_array_equal(data.frames.read(0, data.num_frames), stored)
    assert (data.positions_m, data.camera_names) == (None, (first,))
    listed = " ".join(data.notes)
    assert "9 of 12 episodes are used" in listed
    assert f"Frames are those of {first}, the task's first camera" in listed
    assert "Not used: goal, which a simulator alone knows" in listed


def test_cameras_and_observations_are_chosen_and_positions_localized(
    path: Path, tmp_path: Path
) -> None:
    choice = DataChoice(cameras=CAMERAS, low_dim=("goal",))
    data, demos = open_source(str(path), tmp_path, choice, "goal"), Demonstrations(path)
    whole = open_source(str(path), tmp_path, DataChoice(cameras=CAMERAS), "goal")
    assert data.camera_names == CAMERAS
    assert not any("first camera" in note for note in data.notes)
    side, top = (camera.read(0, 5) for camera in data.cameras)
    np.testing.assert_array_equal(side, top[:, ::-1, ::-1])
    assert data.positions_m is not None
    assert data.proprio is not None
    assert whole.positions_m is not None
    assert whole.proprio is not None
    np.testing.assert_array_equal(data.positions_m, data.proprio)  # both named
    np.testing.assert_array_equal(whole.positions_m, data.positions_m)
    learned = np.isin(
        np.searchsorted(demos.episode_ends, np.arange(demos.num_frames), side="right"),
        demos.train_episodes,
    )
    np.testing.assert_array_equal(whole.proprio, demos.low_dim("agent_pos")[learned])
    assert probing.metrics_of(data) == ["action-linear", "localization", "action"]


@pytest.mark.parametrize(
    "choice, positions, message",
    [
        (DataChoice(cameras=("wrist",)), None, "unknown camera in .*'wrist'; available: pixels"),
        (DataChoice(low_dim=("gaol",)), None, "unknown observation in .*'gaol'; .*did you mean"),
        (DataChoice(), "cube", "unknown observation in .*'cube'; available: agent_pos, goal"),
        (DataChoice(action=("/a",)), None, "action is of ROS bags"),
        (DataChoice(tolerance_s=0.1), None, "tolerance_s is of ROS bags"),
    ],
)
def test_what_the_task_does_not_have_is_named(
    choice: DataChoice, positions: str | None, message: str, path: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        open_source(str(path), tmp_path, choice, positions)


def test_too_few_demonstrations_say_how_many_it_takes(tmp_path: Path) -> None:
    few = collected(tmp_path, EXACT, 4)
    with pytest.raises(ValueError, match="has 4 episodes; .* takes at least 8: 4 more"):
        open_source(str(few), tmp_path)


# ----------------------------------------------------------------------------------- the commands
def test_the_command_compares_by_the_error_of_actions(
    path: Path, small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = f"file:{write_tiny_model(tmp_path)}"
    words = ["recommend", str(path), "--ms", "20", "--encoder", encoder]
    status = main([*words, *small, "--task", EXACT, "--cameras", *CAMERAS, "--json"])
    record = json.loads(capsys.readouterr().out)
    assert status == (0 if record["better_than_constant"] else NO_ACCURACY)  # they are few
    assert record["metric"] == "action-linear"
    assert record["cameras"] == list(CAMERAS)
    assert record["episodes"] == 9
    (candidate,) = record["candidates"]
    assert set(candidate["errors"]) == {"action-linear"}


def test_a_probe_takes_demonstrations(
    path: Path, small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["probe", f"file:{write_tiny_model(tmp_path)}", "--data", str(path)]
    assert main([*words, *small, "--data-task", EXACT, "--cameras", "pixels.top", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["task"] for row in rows} == {"action"}
    assert list((tmp_path / "data/frames").glob("*/episode_00000.npy"))
    data = RecordedConfig(str(path), DataChoice(cameras=CAMERAS[:1]), 20).load(tmp_path / "data")
    top = RecordedConfig(str(path), DataChoice(cameras=CAMERAS[1:]), 20).load(tmp_path / "data")
    np.testing.assert_array_equal(data.read(0, 20), top.read(0, 20)[:, ::-1, ::-1])


@pytest.mark.parametrize(
    "words, message",
    [
        (["--task", "module:support.own_tasks.Reach"], r"is of task module:\S+Exact; give --task"),
        (["--task", EXACT, "--low-dim", "goal", "--confirm", "4"], "--low-dim is goal, but polic"),
    ],
)
def test_a_task_or_confirmation_that_does_not_fit_is_refused(
    words: list[str],
    message: str,
    path: Path,
    small: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    encoder = ["--encoder", "random/vitt16-128"]
    assert main(["recommend", str(path), "--ms", "20", *encoder, *small, *words]) == 2
    assert re.search(message, " ".join(capsys.readouterr().err.split()))


@pytest.mark.parametrize("command", ["recommend", "probe"])
def test_a_task_of_a_module_is_imported_only_where_the_user_names_it(
    command: str, path: Path, small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    loading._trusted.discard(EXACT)
    loading.task_named.cache_clear()
    words = {
        "recommend": ["recommend", str(path), "--ms", "20", "--encoder", "random/vitt16-128"],
        "probe": ["probe", "random/vitt16-128", "--data", str(path)],
    }[command]
    assert main([*words, *small]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "would import a module" in told
    assert "`s2robot export-dataset`, `recommend` and `replay`, or --data-task of" in told


def test_a_recording_has_no_task_to_name(
    small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["recommend", str(tmp_path / "absent.hdf5"), "--ms", "20", "--task", EXACT]
    assert main([*words, "--encoder", "random/vitt16-128", *small]) == 2
    assert "holds none; leave it out" in " ".join(capsys.readouterr().err.split())


def test_policies_that_confirm_are_of_the_task_and_its_cameras(path: Path, tmp_path: Path) -> None:
    assert kind_of(str(path), DataChoice(cameras=CAMERAS)) == TASK
    config = RecommendConfig(
        deadline_ms=20, data=DataChoice(cameras=CAMERAS), out=tmp_path, data_dir=tmp_path
    )
    candidate = argparse.Namespace(encoder="random/vitt16-128", scales=(1.0,))
    job = _job(candidate, str(path), config, argparse.Namespace(states=8))  # pyright: ignore[reportArgumentType]
    variant = job.train.variant
    assert (variant.level, variant.control, variant.cameras) == (EXACT, "native", CAMERAS)
    assert dataclasses.replace(variant).demos.path == path


def test_a_reconstruction_takes_their_frames_with_episodes_as_blocks(
    path: Path, tmp_path: Path
) -> None:
    demos = Demonstrations(path)
    total = int(demos.episode_ends[-1])
    assert total > 20
    for camera in CAMERAS:
        whole = RenderedFrames(demos, CameraConfig(camera, 64), tmp_path).read(0, total)
        height, width = whole.shape[1:3]
        choice = DataChoice(cameras=(camera,))
        frames, blocks = frames_in_blocks(
            [str(path)], height, width, total, 4, tmp_path / "drawn", choice
        )
        np.testing.assert_array_equal(frames, whole)
        np.testing.assert_array_equal(np.diff(blocks).nonzero()[0] + 1, demos.episode_ends[:-1])
        few, _ = frames_in_blocks([str(path)], height, width, 20, 4, tmp_path / "drawn", choice)
        rows = np.linspace(0, total - 1, 20).round().astype(int)
        np.testing.assert_array_equal(few, whole[rows])


def test_a_reconstruction_needs_the_task_of_a_module_named(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loading._trusted.discard(EXACT)
    loading.task_named.cache_clear()
    card = str(write_tiny_model(tmp_path, "tiny"))
    words = ["reconstruct", "--target", f"file:{card}", "--source", f"file:{card}", "--scales", "1"]
    words += ["--frames", str(path), "--device", "cpu", "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert EXACT in capsys.readouterr().err
    assert main([*words, "--frames-task", "pick-cube/easy"]) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert f"is of task {EXACT}; give --frames-task {EXACT}" in message
    assert main([*words, "--frames-task", EXACT, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["frames"]["from"] == [str(path)]
    assert record["blocks"]["test"] == 3
