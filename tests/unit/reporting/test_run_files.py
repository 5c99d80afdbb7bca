"""Damaged runs, and runs that do not fit, are named; the others are read."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from support.synthetic_runs import LARGE, change_run, conditions, outcomes, write_run

from s2robot.errors import S2RobotError
from s2robot.reporting.run_files import load_runs, read_runs


def read_one(root: Path) -> tuple[int, str, bool]:
    """Number of usable runs, and the one problem; ``write_run`` made a good run besides."""
    runs, (problem,) = read_runs(root)
    return len(runs), problem.text, problem.left_out


def damaged(root: Path, **entries: Any) -> Path:
    """Write a good run, and one with other entries in ``cell.json``; return the latter's folder."""
    write_run(root, outcomes(0.5, 1), LARGE)
    folder = write_run(root, outcomes(0.5, 0), strips=1)
    change_run(folder, **entries)
    return folder


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"format": 1}, "format 1, which does not name the settings"),
        ({"format": 3}, "of format 3; this version reads format 2"),
        ({"seed": "0"}, "seed is '0'"),
        ({"seed": True}, "seed is True"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 10**30}, "seed is None"),
        ({"label": None}, "label is None"),
        ({"settings": [1]}, "settings is"),
        ({"settings": {"task": {}, "encoder": {}}}, "settings.encoder"),
        ({"settings": {"task": {}, "encoder": {"backbone": "x", "scales": ["1"]}}}, "encoder"),
        ({"settings": {"task": {}, "encoder": {"backbone": "x"}, "train": {"lr": math.nan}}},
         "settings.train.lr in cell.json is NaN"),
        ({"conditions": {"hash": 3, "n": 64}}, "conditions is"),
        ({"conditions": {"hash": "x", "n": 0}}, "conditions is"),
    ],
)  # fmt: skip
def test_a_run_that_cannot_be_told_apart_is_left_out(tmp_path, entries, message):
    damaged(tmp_path, **entries)
    usable, text, left_out = read_one(tmp_path)
    assert (usable, left_out) == (1, True)
    assert message in text
    assert "s2robot sweep" in text or "this version" in text


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"gflops_per_frame": math.nan}, "gflops_per_frame in cell.json is NaN; it counts"),
        ({"gflops_per_frame": math.inf}, "gflops_per_frame in cell.json is infinite"),
        ({"gflops_per_frame": "9"}, "gflops_per_frame in cell.json is '9', no number from 0"),
        ({"parameters": -3}, "parameters in cell.json is -3, no number from 0"),
        ({"parameters": 10**400}, "parameters in cell.json is infinite or too large"),
        ({"label": "a\ud800b"}, "label in cell.json holds characters that cannot be written"),
        ({"demos": "all"}, "demos in cell.json is 'all'"),
        ({"head": {"lr": math.nan}}, "head.lr in cell.json is NaN"),
    ],
)
def test_an_entry_that_only_describes_is_noticed_and_the_run_is_used(tmp_path, entries, message):
    damaged(tmp_path, **entries)
    usable, text, left_out = read_one(tmp_path)
    assert (usable, left_out) == (2, False)
    assert message in text
    for run in load_runs(tmp_path):
        json.dumps(dict(run.info), allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cell.json cannot be read"),
        ("[]", "cell.json holds no description"),
        ("[" * 100_000, "cell.json cannot be read"),
        (b"\xff\xfe{", "cell.json cannot be read"),
        ("{}", "format 1"),
    ],
)
def test_a_damaged_description_is_left_out(tmp_path, text, message):
    path = damaged(tmp_path) / "cell.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    usable, found, left_out = read_one(tmp_path)
    assert (usable, left_out) == (1, True)
    assert message in found


ROW = {"index": 0, "condition": "a", "stage": "none", "success_once": True, "success_at_end": True}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{**ROW, "success_once": "yes"}], "line 1 .*success_once is 'yes'"),
        ([ROW, {"index": 0}], "line 2 .*condition is None"),
        ([{**ROW, "index": 1.5}], "index is 1.5"),
        ([{**ROW, "condition": 3}], "condition is 3"),
        ([3], "line 1 of .*episodes.jsonl is b'3', not a JSON object"),
        ([ROW, {**ROW, "index": 1}], "has condition 'a' 2 times"),
        ([ROW, {**ROW, "condition": "b"}], "has index 0 2 times"),
    ],
)
def test_a_run_with_damaged_rows_is_left_out(tmp_path, rows, message):
    path = damaged(tmp_path) / "episodes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    runs, (problem,) = read_runs(tmp_path)
    assert len(runs) == 1
    assert re.search(message, problem.text), problem.text


def test_rows_that_are_not_text_are_left_out(tmp_path):
    (damaged(tmp_path) / "episodes.jsonl").write_bytes(b"\xff\xfe\n")
    assert "episodes.jsonl cannot be read" in read_one(tmp_path)[1]


def test_a_torn_last_row_is_dropped_without_a_problem(tmp_path):
    folder = write_run(tmp_path, [True, True, False], planned=4)
    with (folder / "episodes.jsonl").open("a") as file:
        file.write('{"index": 3, "succ')
    (run,), problems = read_runs(tmp_path)
    assert (len(run.rows), run.finished, problems) == (3, False, [])


def test_a_run_relabelled_with_other_initial_states_is_left_out(tmp_path):
    """``cell.json`` of another set beside the episodes of the first one."""
    damaged(tmp_path, conditions=conditions(64, first=64))
    usable, text, left_out = read_one(tmp_path)
    assert (usable, left_out) == (1, True)
    assert "initial states is 'precise 64+64' there and 'precise 0+64' in run.json" in text


def test_settings_that_contradict_those_of_the_episodes_are_left_out(tmp_path):
    folder = damaged(tmp_path)
    path = folder / "run.json"
    record = {"rollout": {"horizon": 40}, **json.loads(path.read_text())}
    path.write_text(json.dumps(record))
    assert "rollout.horizon is 32 there and 40 in run.json" in read_one(tmp_path)[1]


def test_episodes_added_by_eval_count(tmp_path):
    """``eval n=128`` extends the rows and run.json; cell.json still has the sweep's 64."""
    folder = write_run(tmp_path, outcomes(0.5, 0, n=128))
    change_run(folder, conditions=conditions(64))
    (run,), problems = read_runs(tmp_path)
    assert (run.planned, run.finished, problems) == (128, True, [])


def test_rows_of_another_set_than_that_of_other_runs_are_noticed(tmp_path):
    for seed in range(2):
        write_run(tmp_path, outcomes(0.5, seed), seed=seed)
    folder = write_run(tmp_path, outcomes(0.5, 2), seed=2)
    path = folder / "episodes.jsonl"
    path.write_text(path.read_text().replace("precise ", "other "))
    usable, text, left_out = read_one(tmp_path)
    assert (usable, left_out) == (3, False)
    assert "64 of 64 episodes begin in other initial states" in text


def test_of_the_same_variant_and_seed_twice_the_longer_run_is_kept(tmp_path):
    write_run(tmp_path / "a", outcomes(0.5, 0, n=16), planned=64)
    write_run(tmp_path / "b", outcomes(0.5, 0))
    write_run(tmp_path / "c", outcomes(0.9, 0))
    (run,), problems = read_runs(tmp_path)
    assert run.path.parent.name == "b"
    assert [problem.where[0] for problem in problems] == ["c", "a"]
    assert "the same variant and seed as b/" in problems[0].text
    assert all(problem.left_out for problem in problems)


@pytest.mark.parametrize("name", ["{outside}", "../../outside.png", "strips/link.png", 7, "a\0b"])
def test_pictures_outside_of_the_runs_folder_are_not_shown(tmp_path, name):
    cells = tmp_path / "cells"
    folder = damaged(cells)
    inside = next(folder.glob("strips/*.png"))
    outside = tmp_path / "outside.png"
    outside.write_bytes(inside.read_bytes())
    (folder / "strips" / "link.png").symlink_to(outside)
    path = folder / "summary.json"
    given = str(outside) if name == "{outside}" else name
    summary = json.loads(path.read_text()) | {"strips": [given], "videos": []}
    path.write_text(json.dumps(summary))
    runs, (problem,) = read_runs(cells)
    assert [run.strips for run in runs] == [(), ()]
    assert not problem.left_out
    assert "in summary.json" in problem.text


def test_a_linked_folder_and_a_video_outside_are_named(tmp_path):
    folder = damaged(tmp_path / "cells")
    (tmp_path / "elsewhere").mkdir()
    (folder / "videos").symlink_to(tmp_path / "elsewhere")
    path = folder / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"videos": ["videos/a.mp4"]}))
    runs, (problem,) = read_runs(tmp_path / "cells")
    assert "'videos/a.mp4' in summary.json leads out" in problem.text
    assert sorted(len(run.strips) for run in runs) == [0, 1]


def test_a_file_that_is_no_picture_is_named(tmp_path):
    folder = damaged(tmp_path)
    next(folder.glob("strips/*.png")).write_bytes(b"no picture")
    assert "is no picture" in read_one(tmp_path)[1]


def test_a_damaged_summary_costs_latencies_and_pictures_only(tmp_path):
    (damaged(tmp_path) / "summary.json").write_text('{"latency_ms":')
    usable, text, left_out = read_one(tmp_path)
    assert (usable, left_out) == (2, False)
    assert "latencies and pictures of this run are missing" in text


def test_without_a_usable_run_the_error_names_every_problem(tmp_path):
    with pytest.raises(S2RobotError, match="no runs under.*s2robot sweep"):
        load_runs(tmp_path)
    change_run(write_run(tmp_path, outcomes(0.5, 0)), format=1)
    with pytest.raises(S2RobotError, match=r"no usable run under(.|\n)*left out: .*format 1"):
        load_runs(tmp_path)
