"""A recommendation on recorded data of every layout: what is taken, held out, refused and kept."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.moving_spots import spots
from support.recorded_data import CAMERAS, write_folder, write_robomimic
from support.tiny_models import write_tiny_model

from s2robot.analysis.recommend import (
    EpisodeData,
    RecommendConfig,
    probing,
    recommend,
    study,
    timing,
)
from s2robot.analysis.recommend.sources import open_source
from s2robot.data.datasets.choice import DataChoice
from s2robot.data.datasets.opening import open_dataset
from s2robot.data.datasets.robomimic import RobomimicFile
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.single_frame import SingleFrame

BOTH = DataChoice(cameras=CAMERAS)
ONE = DataChoice(cameras=CAMERAS[:1])


@pytest.fixture(autouse=True)
def short_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "EPOCHS", 1)
    quick = timing.Latency(9.0, 10.0, 4, "eager", "cpu")
    monkeypatch.setattr(study, "time_encoder", lambda *_: quick)


@pytest.fixture
def config(tmp_path: Path) -> RecommendConfig:
    return RecommendConfig(
        deadline_ms=60_000,
        encoders=(f"file:{write_tiny_model(tmp_path)}",),
        scale_sets=((1.0,), (1.0, 2.0)),
        device="cpu",
        runtime="eager",
        data=BOTH,
        data_dir=tmp_path / "data",
        out=tmp_path / "out",
    )


def episodes_of(data: EpisodeData) -> np.ndarray:
    assert data.episode is not None
    return np.unique(data.episode)


# --------------------------------------------------------------------------------------- layouts
def _robomimic(folder: Path) -> tuple[Path, DataChoice]:
    return write_robomimic(folder / "a.hdf5", episodes=9, valid=None), ONE


def _folder(folder: Path) -> tuple[Path, DataChoice]:
    return write_folder(folder / "reach", episodes=9, length=6), DataChoice(cameras=("front",))


def _lerobot(folder: Path) -> tuple[Path, DataChoice]:
    for name in ("av", "pyarrow"):
        pytest.importorskip(name, reason="the extra `lerobot` is not installed")
    from s2robot.data.dataset_writers.lerobot import write_lerobot

    source = open_dataset(write_robomimic(folder / "a.hdf5", episodes=9, valid=None))
    write_lerobot(source, folder / "set")
    return folder / "set", DataChoice(cameras=("agentview",))


def _bags(folder: Path) -> tuple[Path, DataChoice]:
    pytest.importorskip("rosbags", reason="the extra `ros` is not installed")
    from support.bag_episodes import COMMAND, write_bags

    return write_bags(folder / "bags", count=9, length=6), DataChoice(action=(COMMAND,))


@pytest.mark.process  # videos are written by ffmpeg
@pytest.mark.parametrize("make", [_robomimic, _folder, _lerobot, _bags])
def test_every_layout_gives_frames_actions_and_observations_by_episode(
    make: Callable[[Path], tuple[Path, DataChoice]], tmp_path: Path
) -> None:
    path, choice = make(tmp_path)
    data = open_source(str(path), tmp_path / "data", choice)
    assert data.actions is not None
    assert data.proprio is not None
    assert data.episode is not None
    assert len(data.cameras) == len(data.camera_names) == 1
    assert data.frame_shape == (32, 32)
    assert data.frames.read(0, data.num_frames).shape == (data.num_frames, 32, 32, 3)
    assert data.actions.shape == (data.num_frames, 3)
    assert data.proprio.shape == (data.num_frames, 2)
    assert len(episodes_of(data)) == 9  # too few to hold some out as a training does
    assert any("All 9 episodes are used" in note for note in data.notes)


def test_several_cameras_have_to_be_named_and_lie_side_by_side(
    config: RecommendConfig, tmp_path: Path
) -> None:
    path = str(write_robomimic(tmp_path / "a.hdf5", episodes=9, valid=None))
    with pytest.raises(ValueError, match=r"has 2 cameras: agentview_image \(32x32\), .*--cameras"):
        open_source(path, tmp_path / "data")
    with pytest.raises(ValueError, match="unknown camera in .*'side'; available: agentview_image"):
        open_source(path, tmp_path / "data", DataChoice(cameras=("side",)))
    found = recommend(path, config)
    assert found.metric == "action-linear"
    assert found.choice is not None
    assert set(found.choice.errors) == {"action-linear"}
    assert found.cameras == CAMERAS
    one = recommend(path, dataclasses.replace(config, data=ONE, out=tmp_path / "one"))
    for both, single in zip(found.candidates, one.candidates, strict=True):
        assert both.gflops == pytest.approx(2 * single.gflops, abs=2e-4)
        assert both.errors["action-linear"].mean != single.errors["action-linear"].mean
    listed = " ".join(found.reasons)
    assert "one frame of each of 2 cameras: agentview_image 32x32, robot0_eye_in_hand_im" in listed
    assert json.loads(json.dumps(found.to_dict()))["cameras"] == list(CAMERAS)


def test_the_second_camera_is_read_where_only_it_shows_what_to_do(tmp_path: Path) -> None:
    data = open_source(
        str(write_robomimic(tmp_path / "a.hdf5", episodes=9)), tmp_path / "data", BOTH
    )
    first, second = (camera.read(3, 5) for camera in data.cameras)
    np.testing.assert_array_equal(second, first.swapaxes(1, 2))
    some = data.at_most(10)
    assert [len(camera) for camera in some.cameras] == [10, 10]
    first, second = (camera.read(0, 10) for camera in some.cameras)
    np.testing.assert_array_equal(second, first.swapaxes(1, 2))


# ------------------------------------------------------------------------- observations, episodes
def test_observations_of_the_simulator_are_left_out_unless_named(tmp_path: Path) -> None:
    path = str(write_robomimic(tmp_path / "a.hdf5", episodes=9))
    data = open_source(path, tmp_path, ONE)
    assert data.proprio is not None
    assert data.proprio.shape[1] == 2
    assert any(note.startswith("Not used: object, which a simulator") for note in data.notes)
    named = dataclasses.replace(ONE, low_dim=("object", "robot0_eef_pos"))
    every = open_source(path, tmp_path, named)
    assert every.proprio is not None
    assert every.proprio.shape[1] == 4
    with pytest.raises(ValueError, match="unknown observation"):
        open_source(path, tmp_path, dataclasses.replace(ONE, low_dim=("objects",)))


@pytest.mark.parametrize("low_dim", [(), ("robot0_eef_pos",), ("object", "robot0_eef_pos")])
def test_named_positions_are_localized_and_are_no_input(
    low_dim: tuple[str, ...], tmp_path: Path
) -> None:
    path = str(write_robomimic(tmp_path / "a.hdf5", episodes=9))
    choice = dataclasses.replace(ONE, low_dim=low_dim)
    data = open_source(path, tmp_path, choice, "object")
    assert data.positions_m is not None
    assert data.proprio is not None
    stored = open_dataset(path)
    rows = np.isin(np.repeat(np.arange(9), 6), episodes_of(data))
    np.testing.assert_array_equal(data.positions_m, stored.low_dim("object")[rows])
    assert data.proprio.shape[1] == (4 if "object" in low_dim else 2)
    assert probing.metrics_of(data) == ["action-linear", "localization", "action"]
    with pytest.raises(ValueError, match="unknown observation in .*'cube'"):
        open_source(path, tmp_path, ONE, "cube")


@pytest.mark.parametrize("low_dim", [(), ("robot0_eef_pos",), ("cube_pos", "robot0_eef_pos")])
def test_the_cube_of_our_own_exports_is_localized_on_the_table(
    low_dim: tuple[str, ...], tmp_path: Path
) -> None:
    path = write_robomimic(tmp_path / "a.hdf5", episodes=9)
    with h5py.File(path, "a") as file:
        for group in file["data"].values():  # pyright: ignore[reportAttributeAccessIssue]
            group["obs/cube_pos"] = np.random.default_rng(0).uniform(size=(6, 3))
    choice = dataclasses.replace(ONE, low_dim=low_dim)
    data = open_source(str(path), tmp_path, choice)
    stored = open_dataset(path)
    assert data.positions_m is not None
    assert data.proprio is not None
    rows = np.isin(np.repeat(np.arange(9), 6), episodes_of(data))
    np.testing.assert_array_equal(data.positions_m, stored.low_dim("cube_pos")[rows][:, :2])
    np.testing.assert_array_equal(data.proprio[:, -2:], stored.low_dim("robot0_eef_pos")[rows])
    assert data.proprio.shape[1] == (5 if "cube_pos" in low_dim else 2)


@pytest.mark.process
def test_the_cube_is_localized_where_the_observations_of_a_table_are_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "reach", episodes=9, length=6)
    keys = tuple(open_dataset(folder).low_dim_names)
    data = open_source(str(folder), tmp_path, DataChoice(cameras=("front",), low_dim=keys[:1]))
    assert data.positions_m is None  # there is no cube
    assert data.proprio is not None


def test_episodes_that_a_training_holds_out_choose_nothing(tmp_path: Path) -> None:
    path = write_robomimic(tmp_path / "a.hdf5", episodes=12, valid=4)
    data = open_source(str(path), tmp_path, ONE)
    assert episodes_of(data).tolist() == list(range(8))
    assert any("8 of 12 episodes are used; the others" in note for note in data.notes)
    assert any("the data set's mask 'valid'" in note for note in data.notes)
    drawn = write_robomimic(tmp_path / "b.hdf5", episodes=12, valid=None)
    data = open_source(str(drawn), tmp_path, ONE)
    assert len(episodes_of(data)) == 8  # of twelve, four are held out
    stored = open_dataset(drawn)
    rows = np.flatnonzero(np.isin(np.repeat(np.arange(12), 6), episodes_of(data)))
    np.testing.assert_array_equal(data.actions, stored.actions[rows])
    expected = np.stack(list(stored.frames(CAMERAS[0], int(rows[-1]) // 6)))[-1]
    np.testing.assert_array_equal(
        data.frames.read(data.num_frames - 1, data.num_frames)[0], expected
    )


@pytest.mark.parametrize("episodes", [1, 7])
def test_too_few_episodes_name_how_many_it_takes(episodes: int, tmp_path: Path) -> None:
    path = write_robomimic(tmp_path / "a.hdf5", episodes=episodes, valid=None)
    with pytest.raises(ValueError, match=rf"has {episodes} episodes?; .* takes at least 8: "):
        open_source(str(path), tmp_path, ONE)


def test_actions_that_never_change_are_refused_before_any_work(
    config: RecommendConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_robomimic(tmp_path / "a.hdf5", episodes=9)
    with h5py.File(path, "a") as file:
        for group in file["data"].values():  # pyright: ignore[reportAttributeAccessIssue]
            group["actions"][:] = 1.0
    monkeypatch.setattr(FrameEncoder, "from_name", lambda *_, **__: pytest.fail("worked"))
    with pytest.raises(ValueError, match="all actions of .* are equal"):
        recommend(str(path), config)


# ------------------------------------------------------------------------------- without actions
def _without_actions(folder: Path) -> Path:
    path = write_robomimic(folder / "a.hdf5", episodes=9, valid=None)
    with h5py.File(path, "a") as file:
        for group in file["data"].values():  # pyright: ignore[reportAttributeAccessIssue]
            del group["actions"]
    return path


def test_data_without_actions_tells_the_latency_alone(
    config: RecommendConfig, tmp_path: Path
) -> None:
    found = recommend(str(_without_actions(tmp_path)), config)
    assert (found.choice, found.metric, found.frames) == (None, None, 0)
    assert "has neither actions nor positions" in found.headline


@pytest.mark.process
def test_tables_without_actions_have_frames_all_the_same(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "reach", episodes=1)
    table = folder / "episode_0/table.csv"
    table.write_text(table.read_text().replace("action.", "moved."))
    data = open_source(str(folder), tmp_path, DataChoice(cameras=("front",)))
    assert (data.actions, data.num_frames) == (None, 5)


def test_data_without_actions_but_with_positions_has_a_choice(
    config: RecommendConfig, tmp_path: Path
) -> None:
    found = recommend(
        str(_without_actions(tmp_path)), dataclasses.replace(config, positions="object")
    )
    assert found.metric == "localization"
    assert found.choice is not None


def test_bags_whose_actions_are_not_named_say_how_to_name_them(tmp_path: Path) -> None:
    pytest.importorskip("rosbags", reason="the extra `ros` is not installed")
    from support.bag_episodes import write_bags

    data = open_source(str(write_bags(tmp_path / "bags", count=2)), tmp_path)
    assert data.actions is None
    assert any("name their topics, --action TOPIC" in note for note in data.notes)
    one = open_source(str(tmp_path / "bags" / "episode_0_db3"), tmp_path)  # bare frames, as before
    assert (one.actions, one.camera_names) == (None, ())


# ---------------------------------------------------------------------------------- units, reuse
@pytest.mark.parametrize("unit", [1e-3, 50.0])
def test_the_unit_of_an_action_decides_nothing(unit: float) -> None:
    data = spots(episodes=9, steps=6)
    assert data.actions is not None
    features = probing.Features(
        probing.torch.from_numpy(data.frames.read(0, 54)[:, ::4, ::4].reshape(54, -1)).half(),
        (8, 8, 3),
    )
    scaled = dataclasses.replace(data, actions=unit * data.actions + 3 * unit)
    errors = [probing._head_errors(features, each).mean() for each in (data, scaled)]
    assert errors[1] == pytest.approx(errors[0], rel=0.02)


def test_frames_are_decoded_once_for_all_candidates_and_not_at_all_again(
    config: RecommendConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(write_robomimic(tmp_path / "a.hdf5", episodes=9, valid=None))
    other = write_tiny_model(tmp_path, "other", name="other")
    more = dataclasses.replace(config, encoders=(*config.encoders, f"file:{other}"))
    decoded: list[tuple[str, int]] = []
    whole = RobomimicFile.frames

    def counted(self: RobomimicFile, camera: str, episode: int) -> Any:
        decoded.append((camera, episode))
        return whole(self, camera, episode)

    monkeypatch.setattr(RobomimicFile, "frames", counted)
    found = recommend(path, more)
    assert len(found.candidates) == 4
    assert sorted(decoded) == sorted((camera, i) for camera in CAMERAS for i in range(9))
    assert list((tmp_path / "data/frames").iterdir()) == []
    decoded.clear()
    monkeypatch.setattr(study, "errors_of", lambda *_: pytest.fail("computed again"))
    monkeypatch.setattr(FrameEncoder, "encode_scales", lambda *_: pytest.fail("encoded again"))
    again = recommend(path, more)
    assert again.headline == found.headline
    assert len(decoded) <= 2 * 3  # the frames that are timed


def test_an_interrupted_call_goes_on_with_the_frames_that_are_not_encoded(
    config: RecommendConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(write_robomimic(tmp_path / "a.hdf5", episodes=9, valid=None))
    one = dataclasses.replace(config, data=ONE)
    encoded: list[tuple[float, int]] = []
    whole = FrameEncoder.encode_scales

    def counted(self: FrameEncoder, frames: Any, scales: Any = None) -> Any:
        if 2.0 in (scales or ()) and not encoded[1:]:
            encoded.append((2.0, 0))
            raise KeyboardInterrupt
        encoded.extend((scale, len(frames)) for scale in scales or ())
        return whole(self, frames, scales)

    monkeypatch.setattr(FrameEncoder, "encode_scales", counted)
    with pytest.raises(KeyboardInterrupt):
        recommend(path, one)
    found = recommend(path, one)
    assert encoded == [(1.0, 54), (2.0, 0), (2.0, 54)]
    assert all(candidate.errors for candidate in found.candidates)


def test_the_features_of_all_frames_are_those_of_a_training(tmp_path: Path) -> None:
    path = write_robomimic(tmp_path / "a.hdf5", episodes=9, valid=None)
    data = open_source(str(path), tmp_path, ONE)
    assert data.digest == open_dataset(path).digest


def test_a_step_of_several_cameras_embeds_a_frame_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "FRAMES", 4)
    monkeypatch.setattr(timing, "LEAST_FRAMES", 4)
    name = f"file:{write_tiny_model(tmp_path)}"
    encoder = FrameEncoder.from_name(name, (1,), "mean", device="cpu", runtime="eager")
    seen: list[tuple[int, ...]] = []
    whole = SingleFrame.__call__

    def counted(self: SingleFrame, frame: Any) -> Any:
        seen.append(frame.shape)
        return whole(self, frame)

    monkeypatch.setattr(SingleFrame, "__call__", counted)
    cameras = [np.zeros((3, 32, 40, 3), np.uint8), np.zeros((3, 48, 32, 3), np.uint8)]
    found = timing.time_encoder(encoder, *cameras)
    assert found.frames == 4
    assert seen.count((32, 40, 3)) == seen.count((48, 32, 3)) == 3 + timing.WARM_UP_FRAMES + 4
