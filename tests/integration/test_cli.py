"""The command line: help, mistakes, and every verb end to end on a tiny budget."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from s2robot.cli.main import main
from s2robot.cli.verbs import VERBS

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


def s2robot(*words: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "s2robot.cli.main", *words], cwd=cwd, capture_output=True, text=True
    )


def cells(folder: Path) -> list[Path]:
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
    "words, message",
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
    ],
)
def test_mistakes_are_one_clear_line(words, message, tmp_path):
    extra = ["demos.episodes=2", "level=easy"] if words[0] in ("features", "train") else []
    result = s2robot(*words, *extra, cwd=tmp_path)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert message in " ".join(result.stderr.split())


def test_a_setting_that_is_none_is_refused(tmp_path):
    result = s2robot("train", "encodr=state", cwd=tmp_path)
    assert result.returncode != 0
    assert "encodr" in result.stderr


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Path:
    """A sweep of one encoder cell and both controls, from nothing."""
    folder = tmp_path_factory.mktemp("sweep")
    choices = [word for word in TINY if not word.startswith("encoder=")]
    result = s2robot(
        "sweep", "encoder=random/vitt16-128,privileged_state,blind", *choices, *ROLLOUT, cwd=folder
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return folder


def test_sweep_makes_cells_and_a_report(swept):
    names = {json.loads((cell / "cell.json").read_text())["label"] for cell in cells(swept)}
    assert names == {"random/vitt16-128 (1,2)", "state", "none"}
    for cell in cells(swept):
        assert len((cell / "episodes.jsonl").read_text().splitlines()) == 2
        assert list((cell / "videos").iterdir())
    assert (swept / "runs/report/report.html").stat().st_size > 10_000
    assert (swept / "runs/report/report.png").stat().st_size > 10_000


def test_a_second_sweep_takes_everything_up(swept):
    before = {p: p.stat().st_mtime_ns for p in swept.rglob("*.safetensors")}
    rows = {cell: (cell / "episodes.jsonl").read_bytes() for cell in cells(swept)}
    result = s2robot("sweep", *TINY, *ROLLOUT, cwd=swept)
    assert result.returncode == 0
    assert before == {p: p.stat().st_mtime_ns for p in swept.rglob("*.safetensors")}
    assert rows == {cell: (cell / "episodes.jsonl").read_bytes() for cell in cells(swept)}


def test_equal_seeds_give_equal_rows(swept, tmp_path):
    """From the same demonstrations, everything else made anew."""
    demos = next((swept / "data/demos").glob("*.hdf5"))
    result = s2robot("sweep", *TINY, *ROLLOUT, f"demos.path={demos}", cwd=tmp_path)
    assert result.returncode == 0, result.stdout[-3000:]
    (again,) = cells(tmp_path)
    (first,) = [cell for cell in cells(swept) if "random" in cell.name]
    assert (again / "episodes.jsonl").read_bytes() == (first / "episodes.jsonl").read_bytes()


def test_features_train_and_eval_alone(swept):
    """The verbs one by one find what the sweep made, and each other's files."""
    encoding = [word for word in TINY if not word.startswith(("budget", "train", "search"))]
    assert s2robot("features", *encoding, cwd=swept).returncode == 0
    trained = s2robot("train", *TINY, cwd=swept)
    assert trained.returncode == 0, trained.stderr
    (cell,) = [cell for cell in cells(swept) if "random" in cell.name]
    policy = cell / "policy.safetensors"
    result = s2robot("eval", f"checkpoint={policy}", *ROLLOUT, "out=fresh", cwd=swept)
    assert result.returncode == 0, result.stderr
    assert (swept / "fresh/episodes.jsonl").read_bytes() == (cell / "episodes.jsonl").read_bytes()
    assert "success" in result.stdout


def test_crop_reuse_gives_the_same_rows(swept):
    (cell,) = [cell for cell in cells(swept) if "random" in cell.name]
    checkpoint = f"checkpoint={cell / 'policy.safetensors'}"
    result = s2robot("eval", checkpoint, *ROLLOUT, "rollout.reuse=true", "out=reuse", cwd=swept)
    assert result.returncode == 0, result.stderr
    assert (swept / "reuse/episodes.jsonl").read_bytes() == (cell / "episodes.jsonl").read_bytes()


def test_a_failed_cell_does_not_stop_the_sweep(tmp_path, swept):
    demos = next((swept / "data/demos").glob("*.hdf5"))
    words = [word for word in TINY if not word.startswith("encoder=")]
    result = s2robot(
        "sweep", "encoder=timm/no_such_net,privileged_state", *words, *ROLLOUT,
        f"demos.path={demos}",
        cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 1
    assert "failed" in result.stdout
    assert len(cells(tmp_path)) == 1


def test_a_killed_sweep_resumes_to_the_same_rows(swept, tmp_path):
    """kill -9 at successive moments of one cell; the last run ends as an undisturbed one."""
    demos = next((swept / "data/demos").glob("*.hdf5"))
    words = [*TINY, *ROLLOUT, f"demos.path={demos}"]
    for wanted in ("data/features/*/*", "runs/cells/*/training/checkpoint.pt"):
        command = [sys.executable, "-m", "s2robot.cli.main", "sweep", *words]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 200
        while not list(tmp_path.glob(wanted)) and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert list(tmp_path.glob(wanted))
    assert s2robot("sweep", *words, cwd=tmp_path).returncode == 0
    (cell,) = cells(tmp_path)
    (undisturbed,) = [cell for cell in cells(swept) if "random" in cell.name]
    assert (cell / "episodes.jsonl").read_bytes() == (undisturbed / "episodes.jsonl").read_bytes()


def test_every_policy_kind_runs(swept, tmp_path):
    demos = next((swept / "data/demos").glob("*.hdf5"))
    words = [word for word in TINY if not word.startswith("encoder=")]
    result = s2robot(
        "sweep", "encoder=privileged_state", "policy=gmm,rnn_gmm,transformer", *words, *ROLLOUT,
        f"demos.path={demos}", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-3000:]
    kinds = {
        json.loads((cell / "cell.json").read_text())["policy_kind"] for cell in cells(tmp_path)
    }
    assert kinds == {"gmm", "rnn_gmm", "transformer"}


def test_wrong_mujoco_gl_is_named(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "s2robot.cli.main", "collect", "level=easy", "episodes=2"],
        cwd=tmp_path,
        env={**os.environ, "MUJOCO_GL": "elg"},
        capture_output=True,
        text=True,
    )
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
