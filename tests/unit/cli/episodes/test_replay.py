"""``s2robot replay``: the comparison in words, the video, the table of steps, wrong use."""

from __future__ import annotations

import csv
import json

import imageio.v3 as imageio
import numpy as np
import pytest
from support.own_tasks import NAME
from support.small_runs import STEPS, small_run

from s2robot.cli.main import main

pytestmark = [pytest.mark.render, pytest.mark.process]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small_run(tmp_path_factory.mktemp("runs"), pixels=True)


def test_the_outcome_is_compared_and_a_video_is_written_beside(run, capsys):
    assert main(["replay", str(run), "3"]) == 0
    shown = capsys.readouterr().out
    assert "run, episode 3: level easy, split test, initial state " in shown
    assert f"outcome: no success in {STEPS} steps; stage reach" in shown
    assert f"as stored: every entry of its row is equal, and so are its {STEPS} actions" in shown
    video = imageio.imread(run / "replays" / "episode_00003.mp4", plugin="FFMPEG")
    assert video.shape == (STEPS + 1, 384, 384, 3)


@pytest.mark.parametrize(("view", "size"), [("policy", (32, 32)), ("both", (384, 768))])
def test_the_view_of_the_policy_can_be_shown(run, tmp_path, view, size):
    out = tmp_path / "x.mp4"
    assert main(["replay", str(run), "0", "--view", view, "--out", str(out)]) == 0
    assert imageio.imread(out, plugin="FFMPEG").shape == (STEPS + 1, *size, 3)


def test_the_table_has_a_row_a_step_with_the_stored_actions(run, tmp_path):
    steps = tmp_path / "steps.csv"
    argv = ["--steps", str(steps), "--out", str(tmp_path / "x.mp4")]
    assert main(["replay", "run", "1", "--runs", str(run.parent), *argv]) == 0
    rows = list(csv.DictReader(steps.open()))
    actions = np.load(run / "actions" / "from_00000.npy")[1]
    names = ("action_dx", "action_dy", "action_dz", "action_gripper")
    assert [[float(row[name]) for name in names] for row in rows] == actions.tolist()
    assert {"step", "ee_pos_0", "gripper_width_0", "reward", "is_success"} <= set(rows[0])


def test_an_episode_that_goes_otherwise_is_status_1_with_the_reason(tmp_path, capsys):
    run = small_run(tmp_path)
    text = (run / "episodes.jsonl").read_text().replace('"stage": "reach"', '"stage": "grasp"')
    (run / "episodes.jsonl").write_text(text)
    assert main(["replay", str(run), "0"]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "NOT as stored: stage: then grasp, now reach" in shown
    assert "another processor or driver" in shown
    assert "--stored shows the episode as it went then" in shown


def test_stored_actions_need_neither_policy_nor_weights(tmp_path, capsys):
    run = small_run(tmp_path, pixels=True)
    for name in ("policy.safetensors", "tiny.safetensors", "tiny.json"):
        (run / name).unlink()
    assert main(["replay", str(run), "0"]) == 2
    assert "--stored" in capsys.readouterr().err
    assert main(["replay", str(run), "0", "--stored"]) == 0
    assert "played from the stored actions" in capsys.readouterr().out


def test_a_policy_without_pixels_has_no_camera_to_show(tmp_path, capsys):
    run = small_run(tmp_path)
    assert main(["replay", str(run), "0", "--view", "both"]) == 2
    assert "sees no pixels" in capsys.readouterr().err
    assert not (run / "replays").exists()


def test_a_run_that_is_damaged_is_one_line(tmp_path, capsys):
    run = small_run(tmp_path)
    record = json.loads((run / "run.json").read_text())
    del record["rollout"]
    (run / "run.json").write_text(json.dumps(record))
    assert main(["replay", str(run), "0"]) == 2
    assert "run.json" in capsys.readouterr().err


def test_another_task_than_the_runs_is_named_with_the_one_that_is_needed(run, capsys):
    assert main(["replay", str(run), "0", "--task", NAME]) == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert f"--task is {NAME}, and {run} is of task easy" in shown
    assert "give --task easy, or leave --task out" in shown


def test_a_data_file_in_place_of_a_run_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "lift.hdf5").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert main(["replay", "lift.hdf5", "0"]) == 2
    assert "lift.hdf5 is a file, not a run" in " ".join(capsys.readouterr().err.split())
