"""A run and an episode are found by what a user would type; errors say what there is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.small_runs import small_run

from s2robot.errors import S2RobotError
from s2robot.experiments.replay.find import find_episode, find_policy, find_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name in ("easy_state_seed0_aa", "easy_state_seed1_bb"):
        small_run(folder, name)
    return folder / "cells"


@pytest.mark.parametrize("text", ["easy_state_seed0_aa", "easy_state_seed0"])
def test_a_run_is_found_by_its_name_or_a_beginning_that_fits_no_other(runs, text):
    assert find_run(text, runs).name == "easy_state_seed0_aa"


def test_a_run_is_found_by_its_folder_or_a_file_in_it(runs, tmp_path):
    folder = runs / "easy_state_seed1_bb"
    assert find_run(str(folder), tmp_path) == folder
    assert find_run(str(folder / "policy.safetensors"), tmp_path) == folder


def test_a_beginning_that_fits_several_runs_lists_them(runs):
    with pytest.raises(S2RobotError, match="fits 2 runs; give one:\n  easy_state_seed0_aa\n"):
        find_run("easy_state", runs)


def test_an_unknown_run_names_the_nearest_one(runs):
    with pytest.raises(ValueError, match="did you mean 'easy_state_seed0_aa'"):
        find_run("esy_state_seed0_aa", runs)


def test_a_folder_of_runs_is_not_one_run(runs, tmp_path):
    with pytest.raises(S2RobotError, match="is not the folder of one run; give one of these"):
        find_run(str(runs), tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(S2RobotError, match=r"holds no run\.json"):
        find_run(str(tmp_path / "empty"), runs)


def test_without_any_runs_the_message_names_the_option(tmp_path):
    with pytest.raises(S2RobotError, match="--runs with the folder of the runs"):
        find_run("x", tmp_path)


def test_an_episode_is_found_by_index_or_hash(runs):
    folder = runs / "easy_state_seed0_aa"
    third = find_episode(folder, "3")
    assert (third.row["index"], third.number, third.batch_start) == (3, 3, 2)
    assert find_episode(folder, third.row["condition"]).number == 3
    assert find_episode(folder, third.row["condition"][:6].upper()).number == 3


@pytest.mark.parametrize("text", ["5", "-1", "zzzz", "03"])
def test_an_unknown_episode_names_those_there_are(runs, text):
    with pytest.raises(ValueError, match="it has 5: give an index from 0 to 4, or the hash"):
        find_episode(runs / "easy_state_seed0_aa", text)


def test_a_policy_that_is_gone_or_another_one_is_named(runs, tmp_path):
    episode = find_episode(runs / "easy_state_seed0_aa", "0")
    assert find_policy(episode, None)[0].parent == episode.folder.path
    with pytest.raises(S2RobotError, match=r"does not exist.*--stored"):
        find_policy(episode, tmp_path / "policy.safetensors")
    other = small_run(tmp_path, seed=1) / "policy.safetensors"
    with pytest.raises(S2RobotError, match=r"is another one.*--checkpoint"):
        find_policy(episode, other)


def test_episodes_of_another_level_have_their_policy_in_the_folder_above(tmp_path):
    run = small_run(tmp_path)
    shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("policy*"))
    shutil.move(tmp_path / "copy", run / "easy-hard")
    path, _ = find_policy(find_episode(run / "easy-hard", "0"), None)
    assert path == run / "policy.safetensors"


def test_a_file_outside_a_run_is_named_with_what_a_run_is(runs, tmp_path, monkeypatch):
    (tmp_path / "lift.hdf5").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        S2RobotError, match=r"lift\.hdf5 is a file, not a run: .*run\.json"
    ) as error:
        find_run("lift.hdf5", runs)
    assert str(runs / "NAME") in str(error.value)


def test_a_policy_without_episodes_has_the_command_that_rolls_it_out(runs, tmp_path):
    policy = tmp_path / "policy.safetensors"
    shutil.copy(runs / "easy_state_seed0_aa" / "policy.safetensors", policy)
    with pytest.raises(S2RobotError, match="evaluate its policy first") as error:
        find_run(str(tmp_path), runs)
    assert str(error.value).endswith(f"s2robot eval checkpoint={policy}")
