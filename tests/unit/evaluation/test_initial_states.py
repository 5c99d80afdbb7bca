"""Initial states are fixed, disjoint and verified."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from support.damage import attempt, damaged_bytes, mutations

from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.envs.tasks.loading import named_by_user
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
    with pytest.raises(CorruptFileError, match="its content has hash"):
        load_initial_states(path)


@pytest.mark.parametrize("content", [b"", b"not a zip file", None])
def test_a_foreign_or_truncated_file_is_refused(tmp_path, initial_states, content):
    path = tmp_path / "states.npz"
    save_initial_states(path, initial_states)
    path.write_bytes(path.read_bytes()[:200] if content is None else content)
    with pytest.raises(
        CorruptFileError, match=r"states\.npz is damaged .* draws the same states again"
    ):
        load_initial_states(path)


def test_a_block_is_a_part_of_the_split(tmp_path, initial_states):
    block = ensure_initial_states(tmp_path, "easy", "test", 2, KWARGS, first=1)
    np.testing.assert_array_equal(block.states, initial_states.states[1:3])
    assert ensure_initial_states(tmp_path, "easy", "test", 2, KWARGS).first == 0  # another file
    assert load_initial_states(next(tmp_path.glob("*-1+2-*.npz"))).record() == block.record()
    assert block.record()["first"] == 1
    elsewhere = dataclasses.replace(block, first=0)
    assert elsewhere.sha256 != block.sha256
    assert elsewhere.starts_sha256 == block.starts_sha256


def test_a_beginning_has_the_hash_of_a_short_set(initial_states):
    short = make_initial_states("easy", "test", 2, KWARGS)
    assert initial_states.beginning(2).record() == short.record()
    assert initial_states.beginning(4).record() == initial_states.record()


@pytest.mark.parametrize(("first", "n"), [(-1, 2), (1_000_000, 1), (999_999, 2), (0, 1_000_001)])
def test_no_block_reaches_into_another_split(initial_states, first, n):
    with pytest.raises(ValueError, match=f"n={n} initial states from first={first}"):
        make_initial_states("easy", "selection", n, KWARGS, first)
    if n == 2:
        with pytest.raises(ValueError, match="a split has 1000000 states"):
            dataclasses.replace(initial_states.beginning(2), first=first)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="unknown split 'tests'.*selection, test"):
        make_initial_states("easy", "tests", 4, KWARGS)
    with pytest.raises(ValueError, match="n=0 initial states"):
        make_initial_states("easy", "test", 0, KWARGS)
    with pytest.raises(ValueError, match="unknown level 'esy'"):
        make_initial_states("esy", "test", 1, KWARGS)


def test_states_that_are_not_finite_are_refused(initial_states):
    states = initial_states.states.copy()
    states[1, 3] = np.nan
    with pytest.raises(ValueError, match="states hold NaN or infinite numbers"):
        dataclasses.replace(initial_states, states=states)


def header_of(path) -> Any:
    with np.load(path) as file:
        return json.loads(str(file["header"]))


def test_every_damage_of_the_header_is_an_error(tmp_path, initial_states):
    path = tmp_path / "states.npz"
    save_initial_states(path, initial_states)
    for damage, content in mutations(header_of(path)):
        np.savez(path, states=initial_states.states, header=np.array(json.dumps(content)))
        found, message = attempt(lambda: load_initial_states(path), CorruptFileError)
        if found is None:
            assert "delete it" in message, damage
        else:
            assert found.sha256 == initial_states.sha256, damage
            assert found.level == "easy", damage


@pytest.mark.parametrize(
    "states",
    [np.zeros((2, 3), np.float32), np.zeros(3), np.zeros((0, 3)), np.full((2, 3), np.nan), None],
)
def test_states_of_another_kind_are_refused(tmp_path, initial_states, states):
    path = tmp_path / "states.npz"
    save_initial_states(path, initial_states)
    arrays: dict[str, Any] = {"header": np.array(json.dumps(header_of(path))), "states": states}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(CorruptFileError, match=r"states\.npz is damaged .* delete it"):
        load_initial_states(path)


def test_every_damage_of_the_file_is_an_error(tmp_path, initial_states):
    path = tmp_path / "states.npz"
    save_initial_states(path, initial_states)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    flipped = []
    for place in rng.integers(len(whole), size=100):
        data = bytearray(whole)
        data[place] ^= 1 << int(rng.integers(8))
        flipped.append((f"a bit at {place}", bytes(data)))
    for damage, content in [*damaged_bytes(whole), *flipped]:
        path.write_bytes(content)
        found, message = attempt(lambda: load_initial_states(path), CorruptFileError)
        assert found is None or found.sha256 == initial_states.sha256, damage
        assert found is not None or "delete it" in message, damage


def test_a_damaged_file_is_drawn_again(tmp_path, initial_states):
    first = ensure_initial_states(tmp_path, "easy", "test", 2, KWARGS)
    path = next(tmp_path.glob("*.npz"))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.warns(UserWarning, match="drawn again now"):
        again = ensure_initial_states(tmp_path, "easy", "test", 2, KWARGS)
    assert again.sha256 == first.sha256
    assert load_initial_states(path).sha256 == first.sha256


def test_a_file_under_the_name_of_another_set_is_not_taken_for_it(tmp_path, initial_states):
    first = ensure_initial_states(tmp_path, "easy", "test", 2, KWARGS)
    path = next(tmp_path.glob("*.npz"))
    save_initial_states(path, initial_states)  # four states
    with pytest.warns(UserWarning, match="instead of"):
        assert ensure_initial_states(tmp_path, "easy", "test", 2, KWARGS).sha256 == first.sha256


def test_a_task_that_drops_its_seed_is_named_with_what_pairing_is_worth():
    name = named_by_user("module:support.own_tasks.Unseeded")
    with pytest.warns(UserWarning, match=r"reset\(seed=2000000\) did not give .*are not paired"):
        make_initial_states(name, "test", 2, {"level": name})


def test_initial_states_of_a_task_without_states_are_seeds(tmp_path):
    name = named_by_user("module:support.own_tasks.Reach")
    drawn = ensure_initial_states(tmp_path, name, "test", 2, {"level": name})
    assert drawn.states.tolist() == [[0.0, 2_000_000.0], [0.0, 2_000_001.0]]
    assert [path.suffix for path in tmp_path.glob("module-support.own_tasks.Reach-*.npz")]
    assert drawn.record()["restored_by"] == "seed"
