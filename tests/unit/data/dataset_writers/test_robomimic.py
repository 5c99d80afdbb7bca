"""robomimic files with images that are written: read by our reader and by robomimic."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import pytest

from s2robot.data.dataset_writers.robomimic import write_robomimic
from s2robot.data.datasets.opening import open_dataset
from s2robot.data.rendered_demonstrations import open_source

pytestmark = [pytest.mark.render]


@pytest.fixture(scope="module")
def exported(demos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("robomimic")
    data = open_source(demos.path, ["front", "wrist"], None, 32, folder)
    write_robomimic(data, folder / "images.hdf5")
    return data, folder / "images.hdf5"


def test_our_reader_gives_what_was_written(exported):
    data, path = exported
    back = open_dataset(path)
    assert np.array_equal(back.actions, data.actions)
    assert np.array_equal(back.episode_ends, data.episode_ends)
    for key in data.low_dim_names:
        assert np.array_equal(back.low_dim(key), data.low_dim(key))
    for number in range(len(data.episode_ends)):
        for camera in ("front", "wrist"):
            frames = np.stack(list(back.frames(f"{camera}_image", number)))
            assert np.array_equal(frames, np.stack(list(data.frames(camera, number))))
    assert {name: mask.tolist() for name, mask in back.masks.items()} == {
        name: mask.tolist() for name, mask in data.masks.items()
    }
    assert back.task == "Pick up the cube."


def test_states_and_rewards_of_the_simulator_are_kept(exported, demos):
    with h5py.File(exported[1]) as file:
        group: Any = file["data/demo_0"]
        assert np.array_equal(group["states"][:], demos.episodes[0].states)
        assert np.array_equal(group["rewards"][:], demos.episodes[0].success.astype(np.float32))


def test_robomimic_itself_reads_the_frames_of_the_training_part(exported, demos):
    import robomimic.utils.obs_utils as obs_utils
    from robomimic.utils.dataset import SequenceDataset

    data, path = exported
    keys = {"low_dim": ["ee_pos"], "rgb": ["front_image", "wrist_image"]}
    obs_utils.initialize_obs_utils_with_obs_specs({"obs": keys})
    dataset = SequenceDataset(
        hdf5_path=str(path),
        obs_keys=["ee_pos", "front_image", "wrist_image"],
        dataset_keys=["actions", "rewards", "dones"],
        load_next_obs=False,
        hdf5_cache_mode=None,
        filter_by_attribute="train",
    )
    assert len(dataset) == sum(len(demos.episodes[number]) for number in demos.train_episodes)
    first = int(demos.train_episodes[0])
    frames = np.stack(list(data.frames("front", first)))
    for step in range(len(frames)):
        sample: Any = dataset[step]
        assert np.array_equal(sample["obs"]["front_image"][0], frames[step])
        assert np.array_equal(sample["actions"][0], demos.episodes[first].actions[step])
