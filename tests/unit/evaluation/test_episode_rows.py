"""A run on more or fewer initial states: rows stay, missing ones are added, others are refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.damage import attempt, damaged_json, mutations
from support.expert_policies import ENV_KWARGS, ExpertPolicy, PixelPolicy, header, pixel_encoder

from s2robot.errors import CorruptFileError, MismatchError
from s2robot.evaluation import evaluate as module
from s2robot.evaluation.episode_rows import RunFolder
from s2robot.evaluation.evaluate import EvalConfig, evaluate
from s2robot.evaluation.identity import differences
from s2robot.evaluation.initial_states import InitialStates, condition_of, make_initial_states
from s2robot.evaluation.rollout import Episodes
from s2robot.utils.io import read_json, read_jsonl


@pytest.fixture(scope="module")
def seven() -> InitialStates:
    return make_initial_states("easy", "test", 7, ENV_KWARGS)


def run(out: Path, initial_states: InitialStates, *, pixels: bool = False, videos: int = 0) -> Any:
    """Evaluate briefly, 2 initial states at a time, 3 steps."""
    config = EvalConfig(num_envs=2, workers=0, horizon=3, videos=videos, video_size=32)
    policy, made = (
        (PixelPolicy(), header("random/tiny")) if pixels else (ExpertPolicy(), header("state"))
    )
    encoder = pixel_encoder if pixels else None
    args = (policy, encoder, initial_states, config, out)
    return evaluate(*args, header=made, progress=False)


def rows_of(out: Path) -> bytes:
    return (out / "episodes.jsonl").read_bytes()


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path): path.read_bytes() for path in files}


@pytest.mark.render
@pytest.mark.parametrize("first_n", [4, 5])
def test_a_longer_set_extends_to_the_bytes_of_a_run_from_scratch(tmp_path, seven, first_n):
    """Five states end within a batch of two, whose second episode is added later."""
    whole = run(tmp_path / "whole", seven, pixels=True)
    run(tmp_path / "grown", seven.beginning(first_n), pixels=True)
    before = rows_of(tmp_path / "grown")
    assert len(before.splitlines()) == first_n
    grown = run(tmp_path / "grown", seven, pixels=True)
    assert rows_of(tmp_path / "grown") == rows_of(tmp_path / "whole")
    assert rows_of(tmp_path / "grown").startswith(before)
    assert grown.episodes == whole.episodes == 7
    assert read_json(tmp_path / "grown/run.json") == read_json(tmp_path / "whole/run.json")
    for path in (tmp_path / "whole/actions").iterdir():
        assert path.read_bytes() == (tmp_path / "grown/actions" / path.name).read_bytes()


def test_finished_rows_stay_even_where_a_rollout_would_differ(tmp_path, seven):
    run(tmp_path, seven.beginning(5))
    rows = read_jsonl(tmp_path / "episodes.jsonl")
    rows[4]["stage"] = "drop"  # as on a machine whose arithmetic does not repeat
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "episodes.jsonl").write_text(lines)
    actions = tmp_path / "actions" / "from_00004.npy"
    np.save(actions, np.load(actions) + 1)
    run(tmp_path, seven)
    assert rows_of(tmp_path).startswith(lines.encode())
    stages = [row["stage"] for row in read_jsonl(tmp_path / "episodes.jsonl")]
    assert (stages[4], len(stages)) == ("drop", 7)
    kept, added = np.load(actions)
    assert kept.min() >= 0
    assert added.max() <= 1


@pytest.mark.render
@pytest.mark.parametrize("batches", [0, 1])
def test_a_killed_extension_resumes(tmp_path, seven, monkeypatch, batches):
    run(tmp_path / "whole", seven, pixels=True)
    out = tmp_path / "killed"
    run(out, seven.beginning(3), pixels=True)
    finished = rows_of(out)
    real = module.roll_out

    def killed(*arguments: Any) -> Iterator[Episodes]:
        for number, episodes in enumerate(real(*arguments)):
            if number == batches:
                raise KeyboardInterrupt
            yield episodes

    monkeypatch.setattr(module, "roll_out", killed)
    with pytest.raises(KeyboardInterrupt):
        run(out, seven, pixels=True)
    monkeypatch.undo()
    assert rows_of(out).startswith(finished)
    assert read_json(out / "run.json")["conditions"]["n"] == 7
    assert run(out, seven, pixels=True).episodes == 7
    assert rows_of(out) == rows_of(tmp_path / "whole")


def test_a_shorter_set_is_there_already(tmp_path, seven, monkeypatch):
    run(tmp_path, seven)
    before = content(tmp_path)
    monkeypatch.setattr(module, "make_vector_env", lambda *_: pytest.fail("rolled out again"))
    summary = run(tmp_path, seven.beginning(3))
    assert summary.episodes == 7
    assert "0/7" in str(summary)
    assert content(tmp_path) == before


@pytest.mark.render
def test_a_shorter_set_of_an_interrupted_run_is_finished_alone(tmp_path, seven):
    """The claim of the longer set stays, and its rows can be added later."""
    run(tmp_path, seven)
    (tmp_path / "summary.json").unlink()
    path = tmp_path / "episodes.jsonl"
    path.write_bytes(b"".join(rows_of(tmp_path).splitlines(keepends=True)[:4]))
    summary = run(tmp_path, seven.beginning(3), videos=9)
    assert summary.episodes == 4
    assert len(summary.videos) == 3  # those whose initial states are given
    assert read_json(tmp_path / "run.json")["conditions"]["n"] == 7
    assert run(tmp_path, seven).episodes == 7


@pytest.mark.parametrize(
    ("split", "first", "n", "names"),
    [
        ("selection", 0, 5, r"conditions\.hash, .*conditions\.split, initial state 0 differ"),
        ("selection", 0, 2, r"conditions\.split, initial state 0 differ"),
        ("test", 1, 5, r"conditions\.first, initial state 0 differ"),
        ("test", 1, 2, r"conditions\.first, initial state 0 differ"),
    ],
)
def test_other_initial_states_are_refused_by_name(tmp_path, seven, split, first, n, names):
    run(tmp_path, seven.beginning(4))
    (tmp_path / "cell.json").write_text('{"conditions": {"n": 4}}')
    before = content(tmp_path)
    with pytest.raises(MismatchError, match=names):
        run(tmp_path, make_initial_states("easy", split, n, ENV_KWARGS, first))
    assert content(tmp_path) == before


@pytest.mark.parametrize("n", [2, 5])
def test_altered_states_are_refused(tmp_path, seven, n):
    run(tmp_path, seven.beginning(4))
    states = seven.states[:n].copy()
    states[1, 0] += 1e-9
    altered = dataclasses.replace(seven, states=states)
    with pytest.raises(MismatchError, match="initial state 1: there"):
        run(tmp_path, altered)


def test_rows_of_other_states_are_refused(tmp_path, seven):
    run(tmp_path, seven.beginning(4))
    rows = read_jsonl(tmp_path / "episodes.jsonl")
    rows[2]["condition"] = "0" * 16
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "episodes.jsonl").write_text(lines)
    with pytest.raises(MismatchError, match='initial state 2: there "0000000000000000"'):
        run(tmp_path, seven)
    assert read_json(tmp_path / "run.json")["conditions"]["n"] == 4


@pytest.mark.render
def test_a_block_of_states_counts_from_its_first(tmp_path, seven):
    run(tmp_path / "whole", seven, pixels=True)
    block = make_initial_states("easy", "test", 3, ENV_KWARGS, first=4)
    summary = run(tmp_path / "block", block, pixels=True, videos=1)
    assert rows_of(tmp_path / "block") == b"".join(
        rows_of(tmp_path / "whole").splitlines(keepends=True)[4:]
    )
    first = read_jsonl(tmp_path / "block/episodes.jsonl")[0]
    assert (first["index"], first["condition"]) == (4, condition_of(seven.states[4]))
    assert summary.videos == ("videos/failure_00004.mp4",)
    assert read_json(tmp_path / "block/run.json")["conditions"]["first"] == 4


def test_fresh_deletes_the_description_with_the_rows(tmp_path, seven):
    """What ``cell.json`` says of the deleted rows would be wrong of the new ones."""
    run(tmp_path, seven)
    (tmp_path / "cell.json").write_text("{}")
    config = EvalConfig(num_envs=2, workers=0, horizon=3, videos=0)
    args = (ExpertPolicy(), None, seven.beginning(2), config, tmp_path)
    evaluate(*args, header=header("state"), fresh=True, progress=False)
    assert not (tmp_path / "cell.json").exists()
    assert read_json(tmp_path / "run.json")["conditions"]["n"] == 2


# ----------------------------------------------------------------------------------------- damage
@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, seven: InitialStates) -> Path:
    out = tmp_path_factory.mktemp("finished")
    run(out, seven.beginning(4))
    return out


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_every_damage_of_the_identity_is_an_error(copied: Path, seven: InitialStates) -> None:
    record, states = RunFolder(copied, 2), seven.beginning(4)
    identity = {k: v for k, v in record.record().items() if k != "conditions"}
    path = copied / "run.json"
    whole = read_json(path)
    for damage in damaged_json(path):
        before = content(copied)
        _, message = attempt(
            lambda: record.claim(identity, states), CorruptFileError, MismatchError
        )
        assert content(copied) == before, damage
        if message:
            assert "fresh=true" in message, damage
        else:
            seen = {**read_json(path), "surplus": 1}
            names = {name for name, _, _ in differences(seen, {**whole, "surplus": 1})}
            longer = {"conditions.n", "conditions.hash", "conditions.starts"}  # of a set of which
            assert names <= longer, damage  # these are the first states: rows are compared instead
        attempt(record.record, CorruptFileError)


def test_episodes_without_their_identity_are_not_taken_for_another_run(
    copied: Path, seven: InitialStates
) -> None:
    (copied / "run.json").unlink()
    with pytest.raises(CorruptFileError, match=r"run\.json .*nothing tells whose .*fresh=true"):
        run(copied, seven.beginning(4))


def test_every_damage_of_a_row_is_an_error_or_keeps_what_is_counted(copied: Path) -> None:
    path, folder = copied / "episodes.jsonl", RunFolder(copied, 2)
    whole = folder.rows()
    counted = ("index", "success_once", "success_at_end")
    for damage, row in mutations(whole[1]):
        lines = [whole[0], row, *whole[2:]]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        rows, message = attempt(folder.rows, CorruptFileError)
        if rows is None:
            assert str(path) in message, damage
        else:
            assert [[row[key] for key in counted] for row in rows] == [
                [row[key] for key in counted] for row in whole
            ], damage


@pytest.mark.parametrize("order", [(0, 0, 1, 2, 3), (0, 2, 3), (1, 0, 2, 3), (0, 1, 1, 3)])
def test_doubled_missing_and_turned_rows_are_errors(copied: Path, order: tuple[int, ...]) -> None:
    rows = RunFolder(copied, 2).rows()
    lines = [json.dumps(rows[number]) + "\n" for number in order]
    (copied / "episodes.jsonl").write_text("".join(lines))
    with pytest.raises(CorruptFileError, match="one is missing or doubled"):
        RunFolder(copied, 2).rows()


def test_a_damaged_summary_is_made_again(copied: Path) -> None:
    path, folder = copied / "summary.json", RunFolder(copied, 2)
    whole = folder.summary()
    assert whole is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for damage in damaged_json(path):
            found = folder.summary()
            if found is not None:
                kept = (found.episodes, found.success_once, found.success_at_end, found.stages)
                assert kept == (
                    whole.episodes,
                    whole.success_once,
                    whole.success_at_end,
                    whole.stages,
                ), damage
    path.write_text("{}")
    with pytest.warns(UserWarning, match=r"summary\.json is damaged .*made again"):
        assert folder.summary() is None


def test_a_run_with_a_damaged_summary_and_durations_gives_the_same_counts(
    copied: Path, seven: InitialStates
) -> None:
    whole = RunFolder(copied, 2).summary()
    assert whole is not None
    (copied / "summary.json").write_text('{"episodes": 99}')
    (copied / "timing.jsonl").write_text('{"start": "x"}\n')
    with pytest.warns(UserWarning, match=r"timing\.jsonl, line 1, is damaged"):
        again = run(copied, seven.beginning(4))
    assert (again.episodes, again.success_once) == (whole.episodes, whole.success_once)


def test_damaged_actions_are_named(copied: Path) -> None:
    actions, folder = copied / "actions" / "from_00002.npy", RunFolder(copied, 2)
    assert folder.actions_of(3).shape == (3, 4)
    for data in (b"", actions.read_bytes()[:-8]):
        actions.write_bytes(data)
        with pytest.raises(CorruptFileError, match=r"from_00002\.npy is damaged .*fresh=true"):
            folder.actions_of(3)
    actions.unlink()
    with pytest.raises(CorruptFileError, match=r"from_00002\.npy is damaged .*missing"):
        folder.actions_of(3)
