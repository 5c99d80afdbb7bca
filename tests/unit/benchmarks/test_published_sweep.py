"""The collector of the published sweep: the file from finished tests."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from support.paths import ROOT
from support.sequential import write_sequential
from support.synthetic_runs import SMALL

from s2robot.utils.io import read_json

sys.path.insert(0, str(ROOT / "benchmarks"))
import published_sweep  # pyright: ignore[reportMissingImports]


def test_finished_tests_become_a_file_with_costs_intervals_and_verdicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    variants = [
        {"backbone": SMALL, "scales": (1,), "rate": 0.1},
        {"backbone": SMALL, "scales": (1, 2), "rate": 0.95},
    ]
    write_sequential(tmp_path / "runs", variants, [(0, 1)])
    out, plot = tmp_path / "out.json", tmp_path / "plot.png"
    words = [str(tmp_path), "--out", str(out), "--plot", str(plot)]
    monkeypatch.setattr(sys, "argv", ["published_sweep.py", *words])
    published_sweep.main()
    found = read_json(out)
    [one] = found["questions"]["sequential"]["pairs"]
    assert (one["question"], one["verdict"]) == ("scales", "better")
    [answer] = found["families"].values()
    assert "more scales" in answer
    rates = {row["label"]: row["rate"] for row in found["variants"]}
    assert rates[f"{SMALL} (1, 2)"] > 0.9 > 0.2 > rates[f"{SMALL} (1)"]
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert answer in capsys.readouterr().out


def results(**questions: tuple[str, int]) -> dict[str, Any]:
    """A results file with one pair a question, of the variant A and another one."""
    labels = {"A": max(seeds for _, seeds in questions.values())}
    labels |= dict(questions.values())
    rows = [
        {"label": label, "family": label, "gflops_per_frame": 1.0, "episodes": 32 * seeds}
        for label, seeds in labels.items()
    ]
    pairs = {
        name: {"pairs": [{"first": "A", "second": second, "seeds": seeds}]}
        for name, (second, seeds) in questions.items()
    }
    answered = [label for label in labels if label != "D"]  # as of baselines
    families = dict.fromkeys(answered, f"with {max(labels.values())} seeds")
    common = {"runs_of": [sorted(questions)], "provenance": sorted(questions)}
    return {"variants": rows, "questions": pairs, "families": families, **common}


def test_questions_with_more_seeds_come_from_the_earlier_file() -> None:
    now = results(one=("B", 3), two=("C", 16))
    before = results(one=("B", 8), two=("C", 4), three=("D", 2))
    found = published_sweep.with_earlier(now, before)
    seeds = {name: published_sweep.seeds_of(q) for name, q in found["questions"].items()}
    assert seeds == {"one": 8, "two": 16, "three": 2}
    episodes = {row["label"]: row["episodes"] // 32 for row in found["variants"]}
    assert episodes == {"A": 16, "B": 8, "C": 16, "D": 2}
    assert found["earlier"] == {"questions": ["one", "three"], "provenance": before["provenance"]}
    assert found["families"]["B"] == "with 8 seeds"
    assert found["families"]["C"] == "with 16 seeds"
    assert "D" not in found["families"]
    assert now["questions"]["one"]["pairs"][0]["seeds"] == 3  # the given ones stay as they are


def test_milliseconds_of_one_machine_replace_those_of_the_runs() -> None:
    rows = [{"label": "one (1)", "p50_ms": 90.0}, {"label": "blind", "p50_ms": None}]
    timed = {"variants": {"one (1)": {"p50_ms": 12.5}}, "command": "c", "frame": [384, 384]}
    found = published_sweep.with_latency(
        {"variants": rows}, {**timed, "provenance": {"commit": "1"}}
    )
    assert [row["p50_ms"] for row in found["variants"]] == [12.5, None]
    assert found["latency"] == {"command": "c", "frame": [384, 384], "provenance": {"commit": "1"}}


def test_kept_runs_have_no_policies_and_nobody_s_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished, unfinished = (tmp_path / "runs" / "cells" / name for name in ("one", "two"))
    for cell in (finished, unfinished):
        cell.mkdir(parents=True)
        for name in ("cell.json", "run.json", "episodes.jsonl", "policy.safetensors"):
            (cell / name).write_text("content")
    (finished / "summary.json").write_text("content")
    begun_with = ("data/demos/precise.hdf5", "data/conditions/precise-test-32.npz")
    for name in (*begun_with, "data/features/of-frames.npy"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("content")
    monkeypatch.setattr(published_sweep, "ARCHIVE", tmp_path / "runs.tar.xz")
    published_sweep.keep(tmp_path)
    with tarfile.open(tmp_path / "runs.tar.xz") as archive:
        entries = archive.getmembers()
    names = ("cell.json", "run.json", "episodes.jsonl", "summary.json")
    kept = {f"runs/cells/one/{name}" for name in names} | set(begun_with)
    assert {entry.name for entry in entries} == kept
    assert all(not entry.uname and not entry.uid for entry in entries)
