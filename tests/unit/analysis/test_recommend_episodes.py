"""Data of a recommendation: what is refused, and which frames are probed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.moving_spots import spot_episodes, spots

from s2robot.analysis.recommend.episodes import ArrayFrames, EpisodeData
from s2robot.analysis.recommend.sources import open_source


def test_episodes_are_joined_with_their_numbers() -> None:
    data = spots(episodes=9, steps=4)
    assert data.num_frames == 36
    assert data.episode is not None
    assert data.actions is not None
    assert data.episode.tolist() == [number for number in range(9) for _ in range(4)]
    assert data.actions.shape == (36, 2)
    assert data.frame_shape == (32, 32)


def test_fewer_frames_are_spread_over_all_episodes_and_keep_their_rows() -> None:
    data = spots(episodes=9, steps=8)
    some = data.at_most(18)
    assert some.num_frames == 18
    assert some.episode is not None
    assert np.unique(some.episode).tolist() == list(range(9))
    number = 5
    place = int(np.linspace(0, 71, 18).round()[number])
    np.testing.assert_array_equal(
        some.frames.read(number, number + 1), data.frames.read(place, place + 1)
    )
    assert some.actions is not None
    assert data.actions is not None
    np.testing.assert_array_equal(some.actions[number], data.actions[place])
    np.testing.assert_array_equal(
        some.frames.read(0, 18), np.concatenate([some.frames.read(i, i + 1) for i in range(18)])
    )


def test_data_that_has_few_enough_frames_keeps_its_digest_and_other_choices_get_others() -> None:
    data = spots(episodes=9, steps=8)
    assert data.at_most(72) is data
    assert len({data.digest, data.at_most(18).digest, data.at_most(20).digest}) == 3


def test_actions_of_varying_size_are_refused_with_the_episode() -> None:
    episodes = spot_episodes(episodes=9)
    episodes[4] = dataclasses.replace(episodes[4], actions=np.zeros((6, 3)))
    with pytest.raises(ValueError, match=r"actions of episode 4 have shape \(3,\) each, .*\(2,\)"):
        EpisodeData.from_episodes("mine", episodes)


def test_an_episode_without_actions_among_others_is_named() -> None:
    episodes = spot_episodes(episodes=9)
    episodes[2] = dataclasses.replace(episodes[2], actions=None)
    with pytest.raises(ValueError, match="episode 2 has no actions, but others have"):
        EpisodeData.from_episodes("mine", episodes)


def test_too_few_episodes_say_how_many_are_missing() -> None:
    with pytest.raises(ValueError, match="mine has 5 episodes; .*at least 8: 3 more"):
        EpisodeData.from_episodes("mine", spot_episodes(episodes=5))


def test_actions_without_episodes_are_refused() -> None:
    data = spots()
    with pytest.raises(ValueError, match="the episodes of its frames are not known"):
        dataclasses.replace(data, episode=None)


def test_values_that_are_not_finite_are_refused() -> None:
    data = spots()
    with pytest.raises(ValueError, match="positions_m holds NaN"):
        dataclasses.replace(data, positions_m=np.full((data.num_frames, 2), np.nan))


def test_frames_of_another_type_are_refused() -> None:
    with pytest.raises(ValueError, match=r"frames are float64 .*allowed: uint8"):
        ArrayFrames(np.zeros((2, 8, 8, 3)))


def test_a_folder_of_pictures_is_read_in_its_own_size_without_actions(tmp_path: Path) -> None:
    for number in range(3):
        Image.new("RGB", (40, 24), (number, 0, 0)).save(tmp_path / f"{number}.png")
    data = open_source(str(tmp_path), tmp_path / "data")
    assert data.frame_shape == (24, 40)
    assert (data.num_frames, data.actions, data.positions_m) == (3, None, None)
