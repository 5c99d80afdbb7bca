"""Frames rendered from the states of demonstrations."""

from __future__ import annotations

import numpy as np
import pytest
from support.other_pictures import OTHER_PICTURES

from s2robot.data import rendered_frames
from s2robot.data.rendered_frames import CameraConfig, RenderedFrames
from s2robot.envs.pick_cube import PickCubeEnv


def test_frames_name_everything_that_decides_their_pixels(demos, tmp_path, monkeypatch):
    def folder() -> str:
        return RenderedFrames(demos, CameraConfig("front", 32), tmp_path)._folder.name

    source = RenderedFrames(demos, CameraConfig("front", 32), tmp_path).source
    assert source.keys() == {"kind", "camera", "env", "mujoco", "gl", "scene"}
    names = {folder()}
    for change in OTHER_PICTURES:
        with monkeypatch.context() as patched:
            patched.setattr(*change)
            names.add(folder())
    assert len(names) == 4


@pytest.mark.render
def test_frames_are_those_of_the_states_and_cached(demos, tmp_path):
    frames = RenderedFrames(demos, CameraConfig("front", 64), tmp_path)
    middle = demos.episode_ends[0] - 1
    read = frames.read(int(middle), int(middle) + 2)  # across two episodes
    env = PickCubeEnv(**demos.env_kwargs)
    env.reset(seed=0)
    for frame, state in zip(read, demos.states[middle : middle + 2], strict=True):
        env.set_state(state)
        np.testing.assert_array_equal(frame, env.render_frame("front", 64, 64))
    again = RenderedFrames(demos, CameraConfig("front", 64), tmp_path)
    np.testing.assert_array_equal(again.read(0, len(again)), frames.read(0, len(frames)))


@pytest.mark.render
@pytest.mark.process
def test_frames_that_workers_draw_are_those_of_one_process(demos, tmp_path, monkeypatch):
    alone = RenderedFrames(demos, CameraConfig("front", 64), tmp_path / "alone")
    expected = alone.read(0, len(alone))
    monkeypatch.setattr(rendered_frames, "worthwhile_workers", lambda work, least: 2)
    beside = RenderedFrames(demos, CameraConfig("front", 64), tmp_path / "beside")
    np.testing.assert_array_equal(beside.read(0, len(beside)), expected)


@pytest.mark.render
@pytest.mark.parametrize("damage", ["cut", "empty", "other type", "other size", "objects"])
def test_damaged_frames_are_rendered_again(demos, tmp_path, damage):
    whole = RenderedFrames(demos, CameraConfig("front", 32), tmp_path).read(0, 9)
    shard = next(tmp_path.rglob("episode_00000.npy"))
    frames = np.load(shard)
    if damage in ("cut", "empty"):
        shard.write_bytes(shard.read_bytes()[:-10] if damage == "cut" else b"")
    else:
        others = {"other type": frames.astype(np.int8), "other size": frames[:, :16]}
        np.save(shard, others.get(damage, np.array([{}])), allow_pickle=True)
    again = RenderedFrames(demos, CameraConfig("front", 32), tmp_path)
    with pytest.warns(UserWarning, match=r"episode_00000\.npy is damaged .* rendered again now"):
        np.testing.assert_array_equal(again.read(0, 9), whole)
