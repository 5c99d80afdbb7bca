"""The script for a GPU box: its plan with stand-ins for steps, and steps themselves on the CPU."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import types
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from support.forked import ForkedProcess
from support.paths import ROOT

SCRIPT = ROOT / "benchmarks" / "gpu.sh"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module behind the script."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("gpu")


@pytest.fixture
def options(gpu: Any, tmp_path: Path) -> Namespace:
    """Options of a call of 9 minutes at the commit "abc"."""
    made = gpu.parsed(["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")])
    made.commit = "abc"
    return made


@pytest.fixture
def begun(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the steps that were begun; each is done at once."""
    names: list[str] = []

    def step(options: Namespace, name: str, seconds: float) -> bool:
        del seconds
        names.append(name)
        write(gpu, options, name)
        return True

    monkeypatch.setattr(gpu, "run_step", step)
    return names


def write(gpu: Any, options: Namespace, name: str, **found: Any) -> None:
    """Write a step's result."""
    path = gpu.result_path(options, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**gpu.identity(options), "step_s": 1.0, **found}))


def test_every_step_has_a_function(gpu: Any) -> None:
    assert gpu.runners().keys() == gpu.STEPS.keys()


def test_steps_that_are_done_at_this_commit_are_skipped(
    gpu: Any, options: Namespace, begun: list[str]
) -> None:
    write(gpu, options, "machine")
    assert gpu.run_all(options) == 0
    assert begun == [name for name in gpu.STEPS if name != "machine"]
    begun.clear()
    gpu.run_all(options)
    assert begun == []
    options.commit = "def"
    gpu.run_all(options)
    assert begun == list(gpu.STEPS)


def test_a_step_that_does_not_fit_waits_for_the_next_call(
    gpu: Any, options: Namespace, begun: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    options.minutes = 2.5
    gpu.run_all(options)
    assert "latency" not in begun
    assert {"machine", "render"} <= set(begun)
    assert "latency: does not fit" in capsys.readouterr().out


def test_a_step_waits_for_the_one_that_it_needs(
    gpu: Any, options: Namespace, begun: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    options.only = ["cell"]
    assert gpu.run_all(options) == 0
    assert begun == []
    assert "cell: waits for policy" in capsys.readouterr().out


def test_the_only_step_of_a_call_begins_even_if_it_may_not_fit(
    gpu: Any, options: Namespace, begun: list[str]
) -> None:
    options.minutes, options.only = 1, ["latency"]
    gpu.run_all(options)
    assert begun == ["latency"]


def test_goals_are_judged_by_the_results(
    gpu: Any, options: Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu.verdicts(options)
    assert capsys.readouterr().out.count("not measured: ") == 4
    rows = [
        {"path": "per scale float32", "p50_ms": 1.0, "p95_ms": 1.0},
        {"path": "cuda-graph bfloat16", "p50_ms": 5.5, "p95_ms": 5.9},
    ]
    write(gpu, options, "latency", rows=rows)
    write(gpu, options, "machine", matrix_tflops={"bfloat16": 700.0})
    large = {"batch": 64, "scales": [1, 2, 3]}
    rows = [
        {**large, "path": "per scale float32", "tflops": 40.0, "frames_a_second": 24.0},
        {**large, "path": "eager bfloat16", "tflops": 300.0, "frames_a_second": 180.0},
        {**large, "batch": 1, "path": "eager bfloat16", "tflops": 900.0, "frames_a_second": 1.0},
    ]
    write(gpu, options, "throughput_vitl16", rows=rows)
    write(gpu, options, "cell", n=1000, seconds=75.0)
    gpu.verdicts(options)
    found = [line.split(": ")[0] for line in capsys.readouterr().out.splitlines()]
    assert found == ["met", "not met", "met", "not met"]


def test_results_of_the_script_do_not_change_the_commit(
    gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a result that was written would make all others old."""
    monkeypatch.setattr(gpu, "ROOT", tmp_path)
    result, code = tmp_path / "benchmarks" / "results" / "gpu_cell.json", tmp_path / "code.py"
    result.parent.mkdir(parents=True)
    for path in (result, code):
        path.write_text("1")
    person = ("-c", "user.name=a", "-c", "user.email=a@b")
    for words in (("init", "-q"), ("add", "."), (*person, "commit", "-qm", "first")):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    before = gpu.source()
    result.write_text("2")
    assert gpu.source() == before
    code.write_text("2")
    assert gpu.source() == f"{before}+changes"


def test_a_step_that_fails_is_told_and_one_that_is_cut_is_stopped(
    gpu: Any, options: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = tmp_path / "step.py"
    monkeypatch.setattr(gpu, "__file__", str(child))
    child.write_text("raise SystemExit('no such kernel')")
    assert not gpu.run_step(options, "latency", 30)
    assert gpu.notes(options)["latency"]["state"] == "failed"
    child.write_text("import time; time.sleep(60)")
    assert gpu.run_step(options, "latency", 0.5)
    assert gpu.notes(options)["latency"]["state"] == "cut"


def forking() -> types.ModuleType:
    """Return a module like ``subprocess`` whose processes are forked, with PyTorch imported."""
    module = types.ModuleType("subprocess")
    module.__dict__.update(subprocess.__dict__)

    def start(words: list[str], env: dict[str, str], **options: Any) -> ForkedProcess:
        # It is read on import, which is over; S2ROBOT_OFFLINE keeps what is ours off the network.
        kept = {name: value for name, value in env.items() if name != "HF_HUB_OFFLINE"}
        return ForkedProcess(words, env=kept, **options)

    module.__dict__["Popen"] = start
    return module


@pytest.mark.slow
def test_throughput_has_a_row_for_each_scale_set_and_path(gpu: Any, options: Namespace) -> None:
    options.small, options.device = True, "cpu"
    rows = gpu.runners()["throughput_vits16"](options)["rows"]
    assert {row["path"] for row in rows} >= {"per scale float32", "eager float32"}
    assert {len(row["scales"]) for row in rows} == {1, 2}
    assert min(row["frames_a_second"] for row in rows) > 0


@pytest.mark.slow
def test_steps_run_on_a_processor_and_are_done_in_the_next_call(
    gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first call is made here, each step in a process of its own; the next by the script."""
    steps = ["machine", "latency", "policy", "cell"]
    words = ["--device", "cpu", "--small", "--only", *steps]
    words += ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    monkeypatch.setattr(gpu, "subprocess", forking())
    monkeypatch.setattr(sys, "argv", ["gpu.py", *words])
    assert gpu.main() == 0
    assert "all done" in capsys.readouterr().out
    environment = {**os.environ, "PYTHON": sys.executable}
    again = subprocess.run(
        ["bash", SCRIPT, *words], env=environment, capture_output=True, text=True
    )
    assert again.returncode == 0, again.stdout
    assert "all done" in again.stdout
    assert "runs" not in again.stdout
    found = {n: json.loads((tmp_path / "out" / f"gpu_{n}.json").read_text()) for n in steps}
    assert all(f["provenance"]["commit"] for f in found.values())
    assert found["machine"]["matrix_tflops"].keys() == {"float32", "bfloat16"}
    paths = {row["path"]: row for row in found["latency"]["rows"]}
    assert paths["eager float32"]["difference"] < 1e-3  # the same numbers as the baseline
    assert "needs a CUDA device" in found["latency"]["left_out"]["cuda-graph bfloat16"]
    assert found["cell"]["summary"]["episodes"] == 2
