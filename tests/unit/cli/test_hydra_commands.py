"""Commands that Hydra runs: what they print can be copied, whatever is in a path."""

from __future__ import annotations

import contextlib
import re
import shlex
import time
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from support.recorded_data import write_robomimic
from support.synthetic_runs import outcomes, write_run

from s2robot.cli import hydra_commands
from s2robot.cli.hydra_commands import expand, sweep_begin, sweep_finish, sweep_run, train
from s2robot.cli.main import main
from s2robot.experiments import pipeline
from s2robot.policies.checkpoint import read_header
from s2robot.utils.command_lines import command, override
from s2robot.utils.io import read_json, write_json

FOLDER = "a long folder/" + 12 * "runs[1]/" + "[bold]"


def _read(text: str) -> object:
    return OverridesParser.create().parse_override(text).value()


def test_the_command_after_training_can_be_copied(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    path = Path(FOLDER, "policy.safetensors")
    monkeypatch.setattr(hydra_commands, "from_config", lambda cls, config: config)
    monkeypatch.setattr(pipeline, "train_run", lambda job, variant: path)
    monkeypatch.setattr("s2robot.experiments.variant.Variant", lambda config: config)
    job = OmegaConf.create({"variant": {"data": None}})
    monkeypatch.setattr(hydra_commands, "train_command", lambda config: job)
    train(OmegaConf.create({}))
    first, second = capsys.readouterr().out.splitlines()
    assert first == str(path)
    word = shlex.split(second.removeprefix("evaluate it: "))[-1]
    assert word.startswith("checkpoint=")
    assert _read(word) == str(path)
    train(OmegaConf.create({"task": "module:own.Reach"}))
    assert _read(shlex.split(capsys.readouterr().out.splitlines()[1])[-1]) == "module:own.Reach"


def test_training_on_a_recorded_file_prints_errors_policy_and_page(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = ["encoder=blind", "budget=none", "train.epochs=1", "device=cpu"]
    data = write_robomimic(tmp_path / "a=b[1]" / "reach.hdf5", episodes=5, length=4)
    folders = [override("data_dir", tmp_path / "data"), override("runs_dir", tmp_path / "runs")]
    assert main(["train", override("data", data), *words, *folders]) == 0
    lines = capsys.readouterr().out.splitlines()
    episodes, observations, left_out, title, *entries, few, policy, page = lines
    assert episodes.startswith("episodes: 4 for training, 1 held out (")
    assert observations == "observations: robot0_eef_pos"
    assert left_out.startswith("not used: object, ")
    assert title == "mean absolute error on 1 held-out episode:"
    assert few.startswith("Only 1 episode is held out, ")
    assert [line.split(":")[0].strip() for line in entries] == ["a0", "a1", "a2"]
    assert Path(policy).is_file()
    assert Path(page).is_file()


def test_features_of_a_recorded_file_are_stored_for_the_named_cameras(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data = write_robomimic(tmp_path / "reach.hdf5", episodes=2, length=3, valid=1)
    words = ["encoder=random/vitt16-128", "cameras=agentview", "scales=1", "readout=mean"]
    settings = [override("data", data), override("data_dir", tmp_path), "device=cpu", *words]
    assert main(["features", *settings, "runtime=eager", "dtype=float32"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "random/vitt16-128 (1), agentview_image: 6 embeddings of width 192"


def test_a_policy_for_bags_reads_the_named_topics(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    pytest.importorskip("rosbags", reason="the extra `ros` is not installed")
    from support.bag_episodes import write_bags

    data = write_bags(tmp_path / "bags", "bag", count=3, length=4)
    words = ["encoder=random/vitt16-128", "scales=1", "readout=mean", "action=/command"]
    words += ["low_dim=[joint_states,joint_states:velocity]", "cameras=/front/image_raw"]
    words += ["budget=none", "train.epochs=1", "device=cpu", "runtime=eager", "dtype=float32"]
    folders = [override("data_dir", tmp_path / "data"), override("runs_dir", tmp_path / "runs")]
    assert main(["train", override("data", data), *words, *folders]) == 0
    *_, dx, dy, close, _, policy, _ = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].strip() for line in (dx, dy, close)] == ["dx", "dy", "close"]
    header = read_header(Path(policy))
    assert header.proprio_keys == ("/joint_states", "/joint_states:velocity")
    assert header.frames["cameras"] == [{"name": "/front/image_raw", "height": 32, "width": 32}]
    assert header.action_space["control_hz"] == pytest.approx(10)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["train", "action=/command"], "action is .* but there is no data"),
        (["train", "data=absent", "tolerance_s=0"], "tolerance_s is 0.0; it must be positive"),
        (["train", "data=absent.hdf5"], "absent.hdf5: there is no such file or folder; allowed"),
        (["train", "data=absent.hdf5", "level=easy"], "level is of tasks with a simulator"),
        (["sweep", "data=absent.hdf5"], "has no simulator for rollouts"),
        (["train", "low_dim=[grip]"], "low_dim is .* but there is no data"),
        (["train", "cameras=[top]"], "unknown camera in cameras 'top'"),
        (["train", "cameras=[far,wrist]", "camera_scales={wrist:[x]}"], "camera_scales.wrist is"),
    ],
)
def test_recorded_data_that_cannot_be_used_are_refused_in_one_line(
    words: list[str],
    why: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with contextlib.suppress(SystemExit):
        assert main([*words, "encoder=blind"]) != 0
    found = capsys.readouterr()
    assert re.search(why, found.err + found.out)
    assert "Traceback" not in found.err + found.out
    assert len(found.err.splitlines()) == 1


@pytest.mark.parametrize("value", ['a"b', "a\\", 'a\\"[', "runs[1]/ä ,=x", "it's", "plain/a-b_1.x"])
def test_a_setting_is_read_as_it_was_written(value: str) -> None:
    assert _read(override("out", value)) == value
    assert _read(shlex.split(command("eval", out=value))[-1]) == value


def test_a_sweep_with_brackets_in_its_folder_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hydra_commands, "_progress", [])  # of sweeps that other tests began
    folder = tmp_path / "runs[1]" / "[bold]"
    for seed in range(3):
        write_run(folder / "cells", outcomes(0.4, seed), seed=seed)
    write_json(folder / "failed" / "abc" / "error.json", {"error": "no [/red] file [x]"})
    assert sweep_finish([override("runs_dir", folder)]) == 1
    printed = capsys.readouterr().out
    assert "no [/red] file [x]\n" in printed
    assert f"{folder / 'report' / 'report.html'}\n" in printed


def test_an_error_with_brackets_is_one_line(capsys: pytest.CaptureFixture) -> None:
    assert main(["report", FOLDER]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert FOLDER in printed.splitlines()[0]


def planned(tmp_path: Path, *words: str) -> dict[str, Any] | None:
    before = time.time_ns()
    sweep_begin([override("runs_dir", tmp_path / "runs[1]"), *words])
    plans = (tmp_path / "runs[1]" / "progress" / "sweeps").glob("*.json")
    new = [path for path in plans if path.stat().st_mtime_ns > before]
    return read_json(new[0]) if new else None


def test_a_sweep_begins_with_a_plan_of_its_runs(tmp_path: Path) -> None:
    plan = planned(tmp_path, "scales=[1],[1,2]", "encoder=blind,random/vitt16-128", "seed=0,1,2")
    assert plan is not None
    assert (len(plan["runs"]), plan["in_turn"], plan["together"]) == (12, True, True)
    assert sum(run["baseline"] for run in plan["runs"]) == 6


def test_runs_of_another_launcher_are_not_in_turn(tmp_path: Path) -> None:
    plan = planned(tmp_path, "seed=0,1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert plan is not None
    assert (len(plan["runs"]), plan["in_turn"], plan["together"]) == (2, False, False)


@pytest.mark.parametrize("words", [["hydra/sweeper=optuna"], ["nothing=1"], ["seed=[0"]])
def test_without_a_list_of_runs_there_is_no_plan(tmp_path: Path, words: list[str]) -> None:
    assert planned(tmp_path) is not None
    assert planned(tmp_path, *words) is None


@pytest.mark.parametrize("other_process", [False, True])
def test_each_run_of_a_sweep_shows_how_far_the_sweep_is(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    other_process: bool,
) -> None:
    def fake(job: Any, times: Any) -> str:
        if job.train.seed == 1:
            raise ValueError("no [seed] 1")
        times.folder, times.rollout_s, times.episodes = str(tmp_path), 90.0, job.n
        return f"seed {job.train.seed} is done"

    monkeypatch.setattr(pipeline, "execute_run", fake)
    write_json(tmp_path / "summary.json", {})
    words = ["encoder=blind", "seed=0,1,2", f"runs_dir={tmp_path}"]
    further = sweep_begin(words)
    if other_process:
        hydra_commands._progress.clear()
    for config in expand("sweep", [*words, *further], {}):
        sweep_run(config)
    assert sweep_finish(words) == 1
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if line.startswith("sweep:")]
    assert lines[0] == "sweep: 0 of 3 runs finished, time left not known yet"
    assert lines[1].startswith("sweep: 1 of 3 runs finished, ")
    assert lines[2].startswith("sweep: 1 of 3 runs finished, 1 failed, ")
    assert "seed 0 is done\n" in printed.out
    assert "failed precise, blind (1,2), mlp, seed 1: ValueError: no [seed] 1\n" in printed.out
    if not other_process:
        assert lines[3].startswith("sweep: 2 of 3 runs finished, 1 failed after ")
