"""Initial states are fixed, disjoint and verified."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.errors import CorruptFileError
from s2robot.evaluation.initial_states import (
    ensure_initial_states,
    load_initial_states,
    make_initial_states,
    save_initial_states,
)

KWARGS: dict[str, Any] = {"level": "easy", "control": "ee_delta"}


@pytest.fixture(scope="module")
def initial_states():
    return make_initial_states("easy", "test", 4, KWARGS)


def test_same_arguments_give_the_same_states(initial_states):
    again = make_initial_states("easy", "test", 4, KWARGS)
    np.testing.assert_array_equal(again.states, initial_states.states)
    assert again.sha256 == initial_states.sha256


def test_a_longer_set_begins_with_the_shorter(initial_states):
    longer = make_initial_states("easy", "test", 6, KWARGS)
    np.testing.assert_array_equal(longer.states[:4], initial_states.states)
    assert longer.sha256 != initial_states.sha256


def test_splits_and_demonstrations_share_no_state(initial_states):
    selection = make_initial_states("easy", "selection", 4, KWARGS)
    env = PickCubeEnv(**KWARGS)
    demonstrations = []
    for seed in range(4):
        env.reset(seed=seed)
        demonstrations.append(env.get_state())
    everything = np.concatenate([initial_states.states, selection.states, demonstrations])
    assert len(np.unique(everything, axis=0)) == 12


def test_settings_of_the_pictures_do_not_matter(initial_states):
    seen = {**KWARGS, "image_camera": "far", "image_size": [64, 64], "horizon": 3}
    assert make_initial_states("easy", "test", 4, seen).sha256 == initial_states.sha256


def test_file_round_trip(tmp_path, initial_states):
    path = tmp_path / "states.npz"
    save_initial_states(path, initial_states)
    loaded = load_initial_states(path)
    np.testing.assert_array_equal(loaded.states, initial_states.states)
    assert loaded.header() == initial_states.header()


def test_ensure_draws_once_and_then_loads(tmp_path, initial_states):
    first = ensure_initial_states(tmp_path, "easy", "test", 4, KWARGS)
    (path,) = tmp_path.glob("*.npz")
    written = path.stat().st_mtime_ns
    assert ensure_initial_states(tmp_path, "easy", "test", 4, KWARGS).sha256 == first.sha256
    assert path.stat().st_mtime_ns == written
    assert first.sha256 == initial_states.sha256


def test_an_altered_file_is_refused(tmp_path, initial_states):
    path = tmp_path / "states.npz"
    moved = dataclasses.replace(initial_states, states=initial_states.states + 1e-9)
    moved.__dict__["sha256"] = initial_states.sha256  # the cached hash of what it was before
    save_initial_states(path, moved)
    with pytest.raises(CorruptFileError, match="altered or damaged"):
        load_initial_states(path)


@pytest.mark.parametrize("content", [b"", b"not a zip file", None])
def test_a_foreign_or_truncated_file_is_refused(tmp_path, initial_states, content):
    path = tmp_path / "states.npz"
    save_initial_states(path, initial_states)
    path.write_bytes(path.read_bytes()[:200] if content is None else content)
    with pytest.raises(CorruptFileError, match="not a file of initial states"):
        load_initial_states(path)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="unknown split 'tests'.*selection, test"):
        make_initial_states("easy", "tests", 4, KWARGS)
    with pytest.raises(ValueError, match="n=0 initial states"):
        make_initial_states("easy", "test", 0, KWARGS)
    with pytest.raises(ValueError, match="unknown level 'esy'"):
        make_initial_states("esy", "test", 1, KWARGS)
