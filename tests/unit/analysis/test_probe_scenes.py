"""Labeled scenes: labels of the simulator, reduction to label maps, files."""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import binary_dilation
from support.other_pictures import OTHER_PICTURES
from support.probe_scenes import SMALL

from s2robot.analysis.probes.scenes import (
    FARTHEST_M,
    SceneConfig,
    SceneData,
    lower_median,
    majority,
    scene_data,
    split_frames,
)
from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.envs.rendering import renderer
from s2robot.envs.scene import SEGMENTS, segment_of_geom
from s2robot.errors import CorruptFileError


@pytest.mark.render
@pytest.mark.slow
def test_labels_are_those_of_the_simulator(data: SceneData) -> None:
    """A single-frame episode is the reset of its seed; each label is looked up pixel by pixel."""
    env = PickCubeEnv(level="precise", image_camera="far", image_size=48)
    observation, info = env.reset(seed=SMALL.seed + 9)
    (index,) = np.flatnonzero(data.episode == 9)
    np.testing.assert_array_equal(data.frames[index], observation["image"])
    np.testing.assert_allclose(data.cube_xy_m[index], observation["cube_pos"][:2])
    assert data.grasped[index] == info["grasped"]
    seen = renderer().render_labels(env.model, env.data, "far", 48, 48)
    classes = segment_of_geom(env.model)
    for row, column in ((3, 4), (12, 12), (15, 10), (20, 20)):
        block = np.s_[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        predicted = [0 if geom < 0 else int(classes[geom]) for geom in seen.geom_id[block].ravel()]
        assert data.segments[index, row, column] == max(sorted(set(predicted)), key=predicted.count)
        depths = sorted(seen.depth_m[block].ravel().tolist())
        assert data.depth_m[index, row, column] == pytest.approx(min(depths[1], FARTHEST_M))
    env.close()


def test_frames_are_of_both_grasps_and_all_classes(data: SceneData) -> None:
    lengths = np.bincount(data.episode)
    assert (lengths[:8] > 5).all()
    assert lengths[8:].tolist() == [1] * 8
    assert 0.1 < data.grasped.mean() < 0.9
    assert not data.grasped[data.episode >= 8].any()
    assert set(np.unique(data.segments)) == set(range(len(SEGMENTS)))
    lifted = data.grasped & (data.episode < 8)
    assert lifted.sum() > 8


@pytest.mark.render
def test_labels_follow_cameras_that_appearances_move(tmp_path: Path) -> None:
    """On ``hard`` the cube's label still lies on pixels that stand out from those around it."""
    config = SceneConfig("hard", size=192, label_size=96, episodes=0, resets=6)
    data = scene_data(config, tmp_path)
    ordinary = scene_data(dataclasses.replace(config, level="precise"), tmp_path)
    np.testing.assert_allclose(data.cube_xy_m, ordinary.cube_xy_m)
    small = data.frames.reshape(6, 96, 2, 96, 2, 3).mean(axis=(2, 4))
    for frame, labels, before in zip(small, data.segments, ordinary.segments, strict=True):
        cube, table = labels == SEGMENTS.index("cube"), labels == SEGMENTS.index("table")
        assert (labels != before).mean() > 0.002  # the camera stands elsewhere
        near = binary_dilation(cube, iterations=4) & table
        gap = np.linalg.norm(frame[cube].mean(axis=0) - frame[near].mean(axis=0))
        assert gap > 25
        elsewhere = np.roll(cube, (8, 8), (0, 1)) & table
        assert np.linalg.norm(frame[elsewhere].mean(axis=0) - frame[near].mean(axis=0)) < gap / 2


@pytest.mark.parametrize("change", OTHER_PICTURES)
def test_scenes_of_another_renderer_simulator_or_code_have_another_key(
    monkeypatch: pytest.MonkeyPatch, change: tuple[str, Any]
) -> None:
    before = SMALL.key()
    assert SceneConfig(**dataclasses.asdict(SMALL)).key() == before
    monkeypatch.setattr(*change)
    assert SMALL.key() != before


def test_classes_follow_names() -> None:
    env = PickCubeEnv()
    classes = segment_of_geom(env.model)
    named = {env.model.geom(i).name: SEGMENTS[classes[i]] for i in range(env.model.ngeom)}
    assert named["table"] == "table"
    assert named["cube"] == "cube"
    assert named["floor"] == named["wall"] == "background"
    assert named["robot/pad1"] == named["robot/pad2"] == "gripper"
    bodies = {
        env.model.body(env.model.geom_bodyid[i]).name: SEGMENTS[classes[i]]
        for i in range(env.model.ngeom)
    }
    assert bodies["robot/hand"] == "gripper"
    assert {bodies[f"robot/link{i}"] for i in range(8)} == {"arm"}
    env.close()


def test_labels_are_reduced_by_majority_and_lower_median() -> None:
    rng = np.random.default_rng(0)
    classes, depths = rng.integers(0, 5, (12, 12)), rng.uniform(1, 5, (12, 12))
    small, near = majority(classes, 4), lower_median(depths, 4)
    for row in range(4):
        for column in range(4):
            block = np.s_[3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
            counts = np.bincount(classes[block].ravel(), minlength=5)
            assert small[row, column] == counts.argmax()
            assert near[row, column] == np.median(depths[block])
    assert lower_median(np.array([[1.0, 2.0], [3.0, 9.0]]), 1) == 2.0  # seen, not 2.5


def test_scenes_are_read_again_and_a_damaged_file_is_an_error(
    data: SceneData, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("rendered again")

    monkeypatch.setattr(PickCubeEnv, "render_frame", refuse)
    again = scene_data(SMALL, folder / "probes")
    for field in dataclasses.fields(SceneData):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(data, field.name))
    with pytest.raises(RuntimeError, match="rendered again"):
        scene_data(dataclasses.replace(SMALL, seed=5), folder / "probes")
    (kept,) = (folder / "probes").glob("*.npz")
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 255  # a flipped byte among the frames
    (tmp_path / kept.name).write_bytes(bytes(content))
    with pytest.raises(CorruptFileError, match="delete it and run again"):
        scene_data(SMALL, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level": "precis"}, "did you mean 'precise'"),
        ({"camera": "fron"}, "unknown camera 'fron'"),
        ({"label_size": 36}, r"36 does not divide the frame size 48; use one of \[16, 24, 48\]"),
        ({"episodes": 0, "resets": 0}, "at least one must be above 0"),
        ({"resets": -1}, "resets is -1"),
    ],
)
def test_impossible_scenes(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **change)


def test_no_episode_is_in_two_parts(data: SceneData) -> None:
    train, test = data.split(0.25, seed=1)
    assert not set(data.episode[train]) & set(data.episode[test])
    assert sorted([*train, *test]) == list(range(len(data)))
    held_out = np.unique(data.episode[test])
    assert (held_out < 8).sum() == 2  # of the moving ones
    assert (held_out >= 8).sum() == 2  # of the single frames
    with pytest.raises(ValueError, match="more episodes"):
        split_frames(np.array([0, 0, 1, 2, 3, 4]), 0.3)  # one moving episode for two parts
