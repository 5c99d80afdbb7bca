"""The command line: help, mistakes, and every command end to end on a tiny budget.

Most commands run in this process. A process of their own have those that are killed, that need
another environment, and one for each kind of command.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import forked
from support.forked import ForkedProcess

from s2robot.cli.main import main
from s2robot.cli.verbs import VERBS
from s2robot.experiments import pipeline
from s2robot.experiments.run_folders import unused

TINY = (
    "level=easy",
    "encoder=random/vitt16-128",
    "scales=[1,2]",
    "camera.size=128",
    "demos.episodes=4",
    "budget=quick",
    "train.epochs=2",
    "search.trials=1",
    "search.epochs=1",
)
ROLLOUT = ("n=2", "rollout.num_envs=2", "rollout.videos=1", "rollout.horizon=4")
SWEEP = (sys.executable, "-m", "s2robot.cli.main", "sweep")
ROWS = "runs/cells/*/episodes.jsonl"


def s2robot(*argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, in the folder ``cwd``."""
    out, err = io.StringIO(), io.StringIO()
    before, arguments = Path.cwd(), sys.argv
    os.chdir(cwd)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(list(argv))
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    finally:
        os.chdir(before)
        sys.argv = arguments
    return subprocess.CompletedProcess(argv, status, out.getvalue(), err.getvalue())


def s2robot_process(
    *argv: str, cwd: Path, module: str = "s2robot.cli.main", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    command = [sys.executable, "-m", module, *argv]
    environ = {**os.environ, **environment}
    return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True)


def wait_for(folder: Path, pattern: str) -> None:
    """Return as soon as there is a file of such a name."""
    deadline = time.monotonic() + 200
    while not list(folder.glob(pattern)):
        assert time.monotonic() < deadline, f"no {pattern} under {folder}"
        time.sleep(0.01)


def runs(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.rglob("cell.json"))


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example(verb, capsys):
    with contextlib.suppress(SystemExit):  # argparse's way of ending
        main([verb, "--help"])
    shown = capsys.readouterr().out
    assert f"s2robot {verb}" in shown


def test_overview_lists_every_verb(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(verb in shown for verb in VERBS)


def test_unknown_verb_suggests_the_nearest(capsys):
    assert main(["evaluate"]) == 2
    assert "did you mean 'eval'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv, message",
    [
        (["collect", "level=esy"], "did you mean 'easy'"),
        (["collect", "episodes=1"], "episodes is 1"),
        (["features", "encoder=s2r-vit16-128"], "did you mean 's2r-vitt16-128'"),
        (["features", "readout=clss"], "did you mean 'cls'"),
        (["features", "scales=[1,1]"], "scales"),
        (["features", "camera.name=front_left"], "did you mean 'front'"),
        (["train", "policy.kind=mpl"], "did you mean 'mlp'"),
        (["train", "demos.path=none.hdf5", "encoder=privileged_state"], "s2robot collect"),
        (["eval", "checkpoint=none.safetensors"], "s2robot train"),
        (["report", "nowhere"], "s2robot sweep"),
        (["replay", "nowhere", "0"], "--runs with the folder of the runs"),
    ],
)
def test_mistakes_are_one_clear_line(argv, message, tmp_path):
    extra = ["demos.episodes=2", "level=easy"] if argv[0] in ("features", "train") else []
    result = s2robot(*argv, *extra, cwd=tmp_path)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert message in " ".join(result.stderr.split())


def test_a_setting_that_does_not_exist_is_refused(tmp_path):
    result = s2robot("train", "encodr=privileged_state", cwd=tmp_path)
    assert result.returncode != 0
    assert "encodr" in result.stderr


@pytest.mark.parametrize("module", ["s2robot", "s2robot.cli"])
def test_the_package_runs_as_a_program(tmp_path, module):
    result = s2robot_process("report", "nowhere", cwd=tmp_path, module=module)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "no runs under nowhere" in result.stderr


def test_an_interrupt_says_how_to_continue(monkeypatch, capsys):
    def interrupted(_: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("s2robot.cli.doctor.main", interrupted)
    assert main(["doctor"]) == 130
    assert "run the same command again to continue" in capsys.readouterr().err


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Path:
    """A sweep of one encoder and both baselines, from nothing."""
    folder = tmp_path_factory.mktemp("sweep")
    choices = [word for word in TINY if not word.startswith("encoder=")]
    result = s2robot(
        "sweep", "encoder=random/vitt16-128,privileged_state,blind", *choices, *ROLLOUT, cwd=folder
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return folder


def test_sweep_makes_runs_and_a_report(swept):
    names = {json.loads((run / "cell.json").read_text())["label"] for run in runs(swept)}
    assert names == {"random/vitt16-128 (1,2)", "state", "none"}
    assert {path.name for path in swept.iterdir()} == {"data", "runs"}  # nothing beside them
    for run in runs(swept):
        assert len((run / "episodes.jsonl").read_text().splitlines()) == 2
        assert list((run / "videos").iterdir())
    assert (swept / "runs/report/report.html").stat().st_size > 10_000
    assert (swept / "runs/report/report.png").stat().st_size > 10_000


def test_report_is_written_from_the_runs_of_a_sweep(swept, tmp_path):
    folder = str(swept / "runs" / "cells")
    result = s2robot("report", folder, "--out", "report", "--title", "Two scales", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [f"report/report.{kind}" for kind in ("html", "png", "json")]
    assert "Two scales" in (tmp_path / "report/report.html").read_text()


def test_the_command_beside_an_episode_of_the_page_shows_it_again(swept):
    page = (swept / "runs/report/report.html").read_text()
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert len(data["runs"]) == 3
    for run in data["runs"]:
        program, *words = shlex.split(run["replay"])
        assert program == "s2robot"
        result = s2robot(*words, "1", cwd=swept)
        assert result.returncode == 0, result.stdout + result.stderr
        assert "and so are its 4 actions, to the last bit" in result.stdout


def test_old_keys_and_values_work_with_a_warning(swept):
    """The old names of a setting and of a baseline: the sweep finds its finished runs by them."""
    argv = [word for word in TINY if not word.startswith("encoder=")]
    before = runs(swept)
    with pytest.warns(FutureWarning) as warned:
        result = s2robot("sweep", "encoder=state,none", "taps=[]", *argv, *ROLLOUT, cwd=swept)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert runs(swept) == before
    messages = " ".join(str(warning.message) for warning in warned)
    for old, new in (("taps=", "layers="), ("encoder=none", "encoder=blind")):
        assert f"{old} is now called {new}" in messages


def test_a_second_sweep_repeats_nothing(swept):
    before = {p: p.stat().st_mtime_ns for p in swept.rglob("*.safetensors")}
    rows = {run: (run / "episodes.jsonl").read_bytes() for run in runs(swept)}
    result = s2robot("sweep", *TINY, *ROLLOUT, cwd=swept)
    assert result.returncode == 0
    assert before == {p: p.stat().st_mtime_ns for p in swept.rglob("*.safetensors")}
    assert rows == {run: (run / "episodes.jsonl").read_bytes() for run in runs(swept)}


def test_equal_seeds_give_equal_rows(swept, tmp_path):
    """In another process, with other hashes of strings, from the same demonstrations."""
    demos = next((swept / "data/demos").glob("*.hdf5"))
    result = forked.run([*SWEEP, *TINY, *ROLLOUT, f"demos.path={demos}"], cwd=tmp_path)
    assert result.returncode == 0, result.stdout[-3000:]
    (again,) = runs(tmp_path)
    (first,) = [run for run in runs(swept) if "random" in run.name]
    assert (again / "episodes.jsonl").read_bytes() == (first / "episodes.jsonl").read_bytes()


def test_features_train_and_eval_alone(swept):
    """The verbs one by one find what the sweep made, and each other's files."""
    encoding = [word for word in TINY if not word.startswith(("budget", "train", "search"))]
    assert s2robot("features", *encoding, cwd=swept).returncode == 0
    trained = s2robot("train", *TINY, cwd=swept)
    assert trained.returncode == 0, trained.stderr
    (run,) = [run for run in runs(swept) if "random" in run.name]
    policy = run / "policy.safetensors"
    result = s2robot("eval", f"checkpoint={policy}", *ROLLOUT, "out=fresh", cwd=swept)
    assert result.returncode == 0, result.stderr
    assert (swept / "fresh/episodes.jsonl").read_bytes() == (run / "episodes.jsonl").read_bytes()
    assert "success" in result.stdout


def test_crop_reuse_gives_the_same_rows(swept):
    (run,) = [run for run in runs(swept) if "random" in run.name]
    checkpoint = f"checkpoint={run / 'policy.safetensors'}"
    result = s2robot("eval", checkpoint, *ROLLOUT, "rollout.reuse=true", "out=reuse", cwd=swept)
    assert result.returncode == 0, result.stderr
    assert (swept / "reuse/episodes.jsonl").read_bytes() == (run / "episodes.jsonl").read_bytes()


def test_two_sweeps_at_once_share_a_folder_and_survive_kills(swept, tmp_path):
    """Both begin together and are killed at several moments; every run is there once."""
    demos = next((swept / "data/demos").glob("*.hdf5"))
    own = ["n=4", "rollout.num_envs=1", "train_together=[]"]
    words = [*TINY, *ROLLOUT, *own, f"demos.path={demos}"]
    sweeps = ([*SWEEP, *words, "seed=0,1"], [*SWEEP, *words, "seed=1", "scales=[1],[1,2]"])
    log = (tmp_path / "log").open("w")
    for wanted in ("data/features/*/*", "runs/cells/*/training/checkpoint.pt", ROWS):
        both = [ForkedProcess(argv, cwd=tmp_path, stdout=log, stderr=log) for argv in sweeps]
        wait_for(tmp_path, wanted)
        for process in both:
            process.kill()
            process.wait()
        assert len(list(tmp_path.glob("runs/cells/*/cell.json"))) < 3
    both = [ForkedProcess(argv, cwd=tmp_path, stdout=log, stderr=log) for argv in sweeps]
    assert [process.wait() for process in both] == [0, 0]
    log.close()
    assert s2robot("sweep", *words, "seed=0,1", "runs_dir=alone", cwd=tmp_path).returncode == 0
    alone = {
        path.parent.name: path.read_bytes()
        for path in tmp_path.glob("alone/cells/*/episodes.jsonl")
    }
    found = {
        path.parent.name: path.read_bytes() for path in tmp_path.glob("runs/cells/*/episodes.jsonl")
    }
    assert len(alone) == 2
    assert len(found) == 3
    assert {name: found[name] for name in alone} == alone
    assert s2robot("progress", cwd=tmp_path).returncode == 0


def test_shards_of_an_evaluation_merge_to_the_same_rows(swept):
    (run,) = [run for run in runs(swept) if "random" in run.name]
    words = ["eval", f"checkpoint={run / 'policy.safetensors'}", *ROLLOUT, "n=5"]
    assert s2robot(*words, "out=whole", cwd=swept).returncode == 0
    for shard in ("3/3", "1/3"):
        result = s2robot(*words, "out=parts", f"shard={shard}", cwd=swept)
        assert result.returncode == 0, result.stderr
        assert f"shard {shard} is done; not done yet: initial states" in result.stdout
    other = s2robot(*words, "out=parts", "shard=2/2", cwd=swept)
    assert other.returncode == 2
    assert "is divided into other shards" in other.stderr
    (listed,) = [each for each in unused(swept / "parts") if each.where.endswith("000000-000002")]
    assert "merged when the others are there" in listed.reason
    assert s2robot(*words, "out=parts", "shard=2/3", cwd=swept).returncode == 0
    whole, parts = swept / "whole", swept / "parts"
    assert not (parts / "shards").exists()
    names = ["episodes.jsonl", "run.json", *(f"actions/from_0000{n}.npy" for n in (0, 2, 4))]
    for name in names:
        assert (parts / name).read_bytes() == (whole / name).read_bytes(), name
    summaries = [json.loads((each / "summary.json").read_text()) for each in (whole, parts)]
    assert summaries[0]["success_once"] == summaries[1]["success_once"]
    assert summaries[1]["videos"]
    again = s2robot(*words, "out=parts", "n=7", cwd=swept)  # a merged run can be extended
    assert again.returncode == 0, again.stderr
    assert len((parts / "episodes.jsonl").read_bytes().splitlines()) == 7


def test_runs_of_a_sweep_in_shards_are_those_of_a_sweep_in_one_piece(swept, tmp_path):
    demos = next((swept / "data/demos").glob("*.hdf5"))
    words = [*TINY, "n=4", *ROLLOUT[1:], f"demos.path={demos}"]
    assert s2robot("sweep", *words, "runs_dir=whole", cwd=tmp_path).returncode == 0
    result = s2robot("sweep", *words, "shard=1/2,2/2", cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    found = [next(tmp_path.glob(f"{d}/cells/*/episodes.jsonl")) for d in ("runs", "whole")]
    assert found[0].read_bytes() == found[1].read_bytes()
    assert json.loads((found[0].parent / "cell.json").read_text())["conditions"]["n"] == 4
    assert (tmp_path / "runs/report/report.html").exists()


def test_a_failed_run_does_not_stop_the_sweep(tmp_path, swept, monkeypatch):
    demos = next((swept / "data/demos").glob("*.hdf5"))
    argv = [word for word in TINY if not word.startswith("encoder=")]
    train = pipeline.train_run

    def fail_first(job, *rest):
        if job.seed == 0:
            raise RuntimeError("no seed 0")
        return train(job, *rest)

    monkeypatch.setattr(pipeline, "train_run", fail_first)
    words = ["encoder=privileged_state", *argv, *ROLLOUT, f"demos.path={demos}", "seed=0,1"]
    result = s2robot("sweep", *words, cwd=tmp_path)
    assert result.returncode == 1
    assert "failed" in result.stdout
    assert len(runs(tmp_path)) == 1
    shown = s2robot("progress", cwd=tmp_path)
    assert shown.returncode == 1
    assert "runs: 1 failed, 1 done" in shown.stdout


def test_impossible_runs_are_named_before_any_run_begins(tmp_path):
    words = ["encoder=random/vitt16-128,timm/no_such_net,privileged_state", "scales=[1],[1,70]"]
    result = s2robot("sweep", *words, "n=2", cwd=tmp_path)
    assert result.returncode == 2
    assert "3 of 6 runs cannot succeed, so none was begun" in result.stderr
    assert "encoder=random/vitt16-128 scales=[1,70] seed=0: scales (1, 70)" in result.stderr
    assert result.stderr.count("unknown timm model 'no_such_net'") == 2
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "data").exists()


def test_a_killed_sweep_resumes_to_the_same_rows(swept, tmp_path):
    """kill -9 at successive moments of one run; the last run ends as an undisturbed one."""
    demos = next((swept / "data/demos").glob("*.hdf5"))
    argv = [*TINY, *ROLLOUT, f"demos.path={demos}"]
    for wanted in ("data/features/*/*", "runs/cells/*/training/checkpoint.pt"):
        process = ForkedProcess([*SWEEP, *argv], cwd=tmp_path, stdout=subprocess.DEVNULL)
        wait_for(tmp_path, wanted)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert s2robot("sweep", *argv, cwd=tmp_path).returncode == 0
    (run,) = runs(tmp_path)
    (undisturbed,) = [run for run in runs(swept) if "random" in run.name]
    assert (run / "episodes.jsonl").read_bytes() == (undisturbed / "episodes.jsonl").read_bytes()


def test_every_policy_kind_runs(swept, tmp_path):
    demos = next((swept / "data/demos").glob("*.hdf5"))
    argv = [word for word in TINY if not word.startswith("encoder=")]
    result = s2robot(
        "sweep", "encoder=privileged_state", "policy=gmm,rnn_gmm,transformer", *argv, *ROLLOUT,
        f"demos.path={demos}", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-3000:]
    kinds = {json.loads((run / "cell.json").read_text())["policy_kind"] for run in runs(tmp_path)}
    assert kinds == {"gmm", "rnn_gmm", "transformer"}


def test_wrong_mujoco_gl_is_named(tmp_path):
    result = s2robot_process("collect", "level=easy", "episodes=2", cwd=tmp_path, MUJOCO_GL="elg")
    assert result.returncode == 2
    assert "MUJOCO_GL" in result.stderr
    assert "did you mean 'egl'" in result.stderr


def test_doctor_names_renderer_and_weights(capsys):
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "MUJOCO_GL" in shown
    assert "s2r-vitt16-128" in shown
    assert "openvino" in shown
    assert "rosbags" in shown


DECIDE = (
    "encoder=privileged_state,blind",
    "level=easy",
    "demos.episodes=20",
    "train.epochs=40",
    "n=16",
    "rollout.videos=0",
)


def test_decide_shows_the_ground_truth_against_blind_in_three_seeds_and_repeats_nothing(tmp_path):
    result = s2robot("decide", *DECIDE, "--max-seeds", "8", cwd=tmp_path)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert "seed 2: ground-truth position against blind: 100.0 % and" in result.stdout
    record = tmp_path / "runs/decide/sequential.json"
    before = record.read_bytes()
    [pair] = json.loads(before)["pairs"]
    assert (pair["verdict"], pair["seeds"]) == ("better", [0, 1, 2])
    assert "Sequential test" in (tmp_path / "runs/decide/report/report.html").read_text()
    rows = {run: (run / "episodes.jsonl").stat().st_mtime_ns for run in runs(tmp_path)}
    assert s2robot("decide", *DECIDE, "--max-seeds", "8", cwd=tmp_path).returncode == 0
    assert record.read_bytes() == before
    assert rows == {run: (run / "episodes.jsonl").stat().st_mtime_ns for run in runs(tmp_path)}
    refused = s2robot("decide", *DECIDE, "--alpha", "0.01", cwd=tmp_path)
    assert refused.returncode == 2
    assert "alpha: there 0.05, now 0.01" in " ".join(refused.stderr.split())
    plan = s2robot("plan", "--difference", "10", "--runs", "runs/decide/cells", cwd=tmp_path)
    assert plan.returncode == 0, plan.stderr
    assert "each seed of these runs has initial states of its own" in plan.stdout
