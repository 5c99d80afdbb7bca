"""A replayed episode is the stored one to the last bit, or what differs is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.small_runs import STEPS, small_run

from s2robot.errors import MismatchError, S2RobotError
from s2robot.experiments.replay import episode as module
from s2robot.experiments.replay.episode import (
    batch_size,
    initial_states_of,
    roll_out_again,
    stored_actions,
)
from s2robot.experiments.replay.find import StoredEpisode, find_episode, find_policy

pytestmark = [pytest.mark.render]


def replayed(run: Path, index: int, **options):
    found = find_episode(run, str(index))
    return found, roll(found, **options)


def roll(found: StoredEpisode, **options):
    path, header = find_policy(found, None)
    states = initial_states_of(found, batch_size(found), found.folder.path / "data")
    return roll_out_again(found, path, header, states, **options)


@pytest.fixture(scope="module")
def pixels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run(tmp_path_factory.mktemp("pixels"), pixels=True)


@pytest.mark.parametrize("index", [0, 3, 4])
def test_an_episode_of_pixels_repeats_to_the_last_bit_in_any_place_of_a_batch(pixels, index):
    found, again = replayed(pixels, index)
    assert again.same
    assert again.row == found.row
    assert (again.largest_gap, again.first_gap, again.causes) == (0.0, None, ())
    assert np.array_equal(again.actions, stored_actions(found))
    assert again.actions.shape == (STEPS, 4)


def test_a_policy_on_the_ground_truth_repeats_as_well(tmp_path):
    _, again = replayed(small_run(tmp_path), 1)
    assert again.same
    assert again.first_gap is None


def test_nothing_in_the_run_changes(pixels):
    before = {path: path.read_bytes() for path in pixels.rglob("*") if path.is_file()}
    replayed(pixels, 2)
    assert {path: path.read_bytes() for path in pixels.rglob("*") if path.is_file()} == before


def test_another_outcome_names_the_entries_that_differ(tmp_path):
    run = small_run(tmp_path)
    lines = (run / "episodes.jsonl").read_text().splitlines()
    row = json.loads(lines[1])
    lines[1] = json.dumps({**row, "min_distance_m": 0.5})
    (run / "episodes.jsonl").write_text("\n".join(lines) + "\n")
    _, again = replayed(run, 1)
    assert again.differing == (("min_distance_m", 0.5, row["min_distance_m"]),)
    assert not again.same


def test_another_version_or_runtime_is_named_as_what_is_not_as_it_was(tmp_path):
    run = small_run(tmp_path, pixels=True)
    record = json.loads((run / "run.json").read_text())
    record["versions"]["torch"] = "1.0"
    record["inference"]["runtime"]["name"] = "none-such"
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="none-such"):
        replayed(run, 0)
    record["inference"]["runtime"] = {"name": "cuda-graph", "exact": True}
    (run / "run.json").write_text(json.dumps(record))
    _, again = replayed(run, 0)  # no GPU here: eager PyTorch takes its place
    causes = {name: (then, now) for name, then, now in again.causes}
    assert causes["versions.torch"][0] == "1.0"
    assert causes["inference.runtime.name"] == ("cuda-graph", "eager")


def test_actions_that_differ_are_measured_from_the_step_on(tmp_path):
    run = small_run(tmp_path)
    path = next((run / "actions").glob("*00000.npy"))
    actions = np.load(path)
    actions[1, 2, 0] += 0.25
    np.save(path, actions)
    _, again = replayed(run, 1)
    assert again.same
    assert again.first_gap == 3
    assert again.largest_gap == pytest.approx(0.25)
    path.unlink()
    assert replayed(run, 1)[1].largest_gap is None


def test_states_that_this_version_draws_otherwise_are_read_from_the_runs_file(
    tmp_path, monkeypatch
):
    run = small_run(tmp_path)
    found = find_episode(run, "3")
    wanted = initial_states_of(found, 2, tmp_path / "data")
    real = module.make_initial_states

    def draws_others(level, split, n, env_kwargs, first=0):
        return real(level, split, n, env_kwargs, first + 100)

    monkeypatch.setattr(module, "make_initial_states", draws_others)
    again = initial_states_of(found, 2, tmp_path / "data")
    assert np.array_equal(again.states, wanted.states)
    with pytest.raises(MismatchError, match=r"another MuJoCo.*--data"):
        initial_states_of(found, 2, tmp_path / "elsewhere")


def test_weights_that_are_missing_are_an_error_that_says_so(tmp_path):
    run = small_run(tmp_path, pixels=True)
    for path in run.glob("tiny.*"):
        path.unlink()
    with pytest.raises((S2RobotError, ValueError, FileNotFoundError), match="tiny"):
        replayed(run, 0)
