"""Names of tasks."""

from __future__ import annotations

import pytest

from s2robot.envs.levels import LEVELS
from s2robot.envs.tasks.names import (
    appearance_entries,
    check_stored,
    file_name,
    has_module,
    parts_of,
    rare_share,
    related_tasks,
    stored_task,
)


def test_files_hold_a_pick_cube_task_under_its_level() -> None:
    assert [stored_task(f"pick-cube/{level}") for level in LEVELS] == list(LEVELS)
    assert stored_task("hard") == "hard"


@pytest.mark.parametrize("name", ["pick-cube/presice", "foo", "gym", "Pusher-v5"])
def test_an_unknown_task_is_refused_with_all_forms_of_names(name: str) -> None:
    with pytest.raises(ValueError, match=r"unknown task .*pick-cube/LEVEL, gym:ID .*module:path"):
        stored_task(name)


@pytest.mark.parametrize("name", ["module:own", "module:own.", "module:a b.C", "gym:", "gym:?x=1"])
def test_a_name_without_its_parts_is_refused_with_an_example(name: str) -> None:
    with pytest.raises(ValueError, match="such as (module:own_task.Reach|gym:Pusher-v5)"):
        check_stored(name)


def test_options_in_a_name_are_read_as_json_where_they_are() -> None:
    env_id, options = parts_of('gym:my_lib:Lift-v1?width=96&image=true&proprio=["a","b"]&key=done')
    assert env_id == "my_lib:Lift-v1"
    assert options == {"width": 96, "image": True, "proprio": ["a", "b"], "key": "done"}


def test_a_name_that_imports_a_module_is_told_from_one_that_does_not() -> None:
    assert has_module("module:own_task.Reach")
    assert has_module("gym:my_lib:Lift-v1?a=1")
    assert not has_module("gym:Pusher-v5?file=a:b")


def test_a_foreign_task_has_one_appearance_and_shares_policies_with_itself_alone() -> None:
    assert related_tasks("gym:Pusher-v5") == ["gym:Pusher-v5"]
    assert related_tasks("precise") == ["precise", "mixed", "hard"]
    assert (appearance_entries("gym:Pusher-v5"), appearance_entries("hard")) == (0, 1)
    assert (rare_share("gym:Pusher-v5"), rare_share("mixed")) == (0.0, 0.25)


def test_file_names_of_foreign_tasks_have_no_separators() -> None:
    assert file_name("module:a.B") == "module-a.B"
    assert file_name("gym:lib:A/B-v0?x=1&y=2") == "gym-lib-A-B-v0-x-1-y-2"
    assert file_name("easy-hard") == "easy-hard"
