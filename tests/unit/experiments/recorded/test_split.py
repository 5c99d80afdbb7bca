"""Division of recorded episodes."""

import numpy as np
import pytest

from s2robot.experiments.recorded.split import split_episodes, too_few


def _split(episodes, **masks):
    arrays = {name: np.array(numbers, dtype=np.int64) for name, numbers in masks.items()}
    return split_episodes("lift.hdf5", episodes, arrays)


def test_the_data_sets_own_masks_are_used():
    found = _split(6, train=[0, 1, 4], valid=[5])
    assert (found.train.tolist(), found.held_out.tolist()) == ([0, 1, 4], [5])
    assert "mask 'valid'" in found.origin
    assert set(found.tuning) < set(found.train)


def test_episodes_in_no_mask_are_known():
    assert _split(6, train=[0, 1, 4], valid=[5]).unused(6).tolist() == [2, 3]
    assert _split(6, train=[0, 1], valid=[2, 3], test=[4, 5]).unused(6).tolist() == []
    assert _split(10).unused(10).tolist() == []


def test_few_held_out_episodes_are_told_with_what_helps():
    assert "Only 1 episode is held out" in str(too_few(1))
    assert "Only 4 episodes are held out" in str(too_few(4))
    assert "mask 'valid'" in str(too_few(4))
    assert too_few(5) is None


def test_a_test_mask_is_held_out_and_valid_chooses_hyperparameters():
    found = _split(6, train=[0, 1], valid=[2, 3], test=[4, 5])
    assert (found.train.tolist(), found.tuning.tolist()) == ([0, 1], [2, 3])
    assert found.held_out.tolist() == [4, 5]


def test_without_a_valid_mask_what_train_leaves_out_is_held_out():
    found = _split(5, train=[0, 1, 2])
    assert (found.train.tolist(), found.held_out.tolist()) == ([0, 1, 2], [3, 4])


def test_without_a_train_mask_all_but_the_held_out_episodes_are_trained_on():
    assert _split(4, valid=[1]).train.tolist() == [0, 2, 3]


@pytest.mark.parametrize(("episodes", "held_out"), [(2, 1), (4, 1), (10, 3), (50, 10)])
def test_a_drawn_division_is_the_same_every_time_and_uses_each_episode_once(episodes, held_out):
    found, again = _split(episodes), _split(episodes, **{"20_percent": [0]})
    assert len(found.held_out) == held_out
    both = np.concatenate([found.train, found.held_out])
    assert np.array_equal(np.sort(both), np.arange(episodes))
    assert found.record() == again.record()


def test_hyperparameters_are_not_chosen_on_held_out_episodes():
    found = _split(50)
    assert len(found.tuning) == 6
    assert not set(found.tuning) & set(found.held_out)


@pytest.mark.parametrize(
    ("episodes", "masks", "why"),
    [
        (1, {}, "lift.hdf5 has 1 episode; .* at least 2"),
        (3, {"train": [0, 1], "valid": [1, 2]}, "episode 1 is in the mask for training and"),
        (2, {"valid": [0, 1]}, "no episode is left for train"),
    ],
)
def test_a_division_that_says_nothing_is_refused(episodes, masks, why):
    with pytest.raises(ValueError, match=why):
        _split(episodes, **masks)
