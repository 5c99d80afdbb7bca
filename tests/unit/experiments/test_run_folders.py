"""What lies in a folder of runs and cannot be reported is named, with the command that helps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.expert_policies import header
from support.synthetic_runs import outcomes, write_run

from s2robot.errors import S2RobotError
from s2robot.experiments.run_folders import failed_runs, find_runs, unused
from s2robot.policies.checkpoint import FORMAT, recorded_action_space
from s2robot.utils.io import write_json

OWN = "module:push.Push"


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """A folder with one run of a sweep."""
    folder = tmp_path / "runs" / "cells"
    write_run(folder, outcomes(0.5, 0))
    return folder


def policy(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "policy.safetensors").write_bytes(b"")
    return folder


def only(cells: Path) -> tuple[str, str]:
    [found] = unused(cells)
    return found.where, found.reason


def test_a_sweeps_folder_has_nothing_unused(cells: Path) -> None:
    assert len(find_runs(cells)) == 1
    assert unused(cells) == []


def test_episodes_without_a_description_are_named(cells: Path) -> None:
    write_json(policy(cells / "mine") / "run.json", {"format": 2})
    where, reason = only(cells)
    assert where == "mine"
    assert "no training.json of this policy" in reason
    assert "Repeat the `s2robot train`" in reason


def test_an_evaluation_that_stopped_before_its_description_is_repeated(cells: Path) -> None:
    folder = policy(cells / "mine")
    write_json(folder / "training.json", {})
    states = {"conditions": {"n": 8}, "task": {"level": "hard"}}
    write_json(folder / "hard" / "run.json", {"format": 2, **states})
    where, reason = only(cells)
    assert where == "mine/hard"
    assert reason.endswith(
        f"s2robot eval checkpoint={folder / 'policy.safetensors'} level=hard n=8"
    )


@pytest.mark.parametrize("record", [{"format": 1}, {"format": 9}, {}])
def test_episodes_of_another_format_are_named(cells: Path, record: dict[str, int]) -> None:
    write_json(cells / "old" / "run.json", record)
    where, reason = only(cells)
    assert where == "old"
    assert f"in format {record.get('format', 1)}; this version" in reason.replace("unknown", "1")


def test_a_damaged_record_is_named(cells: Path) -> None:
    (cells / "bad").mkdir()
    (cells / "bad" / "run.json").write_text("{")
    assert only(cells)[0] == "bad"


def test_policies_without_episodes_are_named_once(cells: Path) -> None:
    for number in range(6):
        policy(cells / f"p{number}")
    where, reason = only(cells)
    assert where == "p0, p1, p2, p3 and 2 more"
    assert f"s2robot eval checkpoint={cells / 'p0' / 'policy.safetensors'}" in reason


def test_a_policy_that_was_evaluated_elsewhere_is_no_policy_without_episodes(cells: Path) -> None:
    policy(cells / "mine")
    write_json(cells / "other" / "cell.json", {"name": "mine"})
    assert unused(cells) == []


def test_seeds_that_a_sequential_sweep_trained_ahead_are_not_named(cells: Path) -> None:
    policy(cells / "ahead")
    write_json(cells.parent / "sequential.json", {})
    assert unused(cells) == []


def test_an_unfinished_training_is_named(cells: Path) -> None:
    (cells / "half" / "training").mkdir(parents=True)
    assert only(cells)[0] == "half"


def test_failed_runs_are_named_by_what_they_are(cells: Path) -> None:
    config = {"variant": {"level": "easy", "encoder": "r3m", "scales": [1, 2.5]}, "seed": 3}
    record = {"error": "ValueError: x[1]", "config": {**config, "policy": {"kind": "mlp"}}}
    write_json(cells.parent / "failed" / "ab12" / "error.json", record)
    assert only(cells) == ("easy, r3m (1,2.5), mlp, seed 3", "failed: ValueError: x[1]")
    (cells.parent / "failed" / "ab12" / "error.json").write_text("?")
    [(name, message)] = failed_runs(cells.parent)
    assert name == "ab12"
    assert "cannot be read" in message


@pytest.mark.parametrize(
    ("kind", "text"),
    [("missing", "which does not exist"), ("file", "which is a file"), ("empty", "is empty")],
)
def test_without_runs_the_error_says_what_was_looked_for(
    tmp_path: Path, kind: str, text: str
) -> None:
    folder = tmp_path / kind
    if kind == "file":
        folder.write_text("")
    if kind == "empty":
        folder.mkdir()
    with pytest.raises(S2RobotError) as error:
        find_runs(folder)
    message = str(error.value)
    assert message.startswith(f"no runs under {folder}, ")
    for expected in (text, "cell.json", "s2robot sweep", "s2robot train", "s2robot eval"):
        assert expected in message


def test_without_runs_the_error_names_what_is_there(tmp_path: Path) -> None:
    policy(tmp_path / "cells" / "mine")
    with pytest.raises(S2RobotError, match=r"found:\n  mine: trained, and not evaluated: s2robot"):
        find_runs(tmp_path / "cells")


def test_linked_runs_are_found_once(cells: Path, tmp_path: Path) -> None:
    """As where runs of several disks or machines are gathered in one folder."""
    gathered = tmp_path / "gathered"
    gathered.mkdir()
    (gathered / "here").symlink_to(cells)
    (gathered / "there").symlink_to(cells)
    [run] = find_runs(gathered)
    assert run.parent == gathered / "here"
    policy(cells / "trained")
    [found] = unused(gathered)
    assert found.where == "here/trained"


def readable_policy(folder: Path, **changes: Any) -> Path:
    """Write a policy file whose header can be read."""
    made = header("none", **changes)
    told = {FORMAT: json.dumps(made.to_dict())}
    save_file({"weight": torch.zeros(1)}, policy(folder) / "policy.safetensors", metadata=told)
    return folder / "policy.safetensors"


def test_policies_of_recorded_data_are_named_apart_with_the_task_that_they_need(
    cells: Path,
) -> None:
    space = recorded_action_space(-np.ones(2), np.ones(2), ("x", "y"), None)
    path = readable_policy(cells / "lift", action_space=space, env_kwargs={})
    other = readable_policy(cells / "push")
    simulated, recorded = unused(cells)
    assert (simulated.where, recorded.where) == ("push", "lift")
    assert simulated.reason == f"trained, and not evaluated: s2robot eval checkpoint={other}"
    assert f"s2robot eval checkpoint={path} task=NAME, where NAME is a task" in recorded.reason


def test_the_command_for_a_policy_of_a_module_names_the_task(cells: Path) -> None:
    path = readable_policy(cells / "push", env_kwargs={"level": OWN})
    command = f"s2robot eval checkpoint={path} 'task=\"{OWN}\"'"
    assert only(cells)[1].endswith(command)


def test_an_evaluation_of_a_module_is_repeated_with_its_task(cells: Path) -> None:
    folder = policy(cells / "mine")
    write_json(folder / "training.json", {})
    states = {"conditions": {"n": 8}, "task": {"level": OWN}}
    write_json(folder / "run.json", {"format": 2, **states})
    assert only(cells)[1].endswith(f"safetensors 'task=\"{OWN}\"' n=8")
