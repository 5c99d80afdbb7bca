"""The collector of the published sweep: the file from finished tests."""

from __future__ import annotations

import sys
from pathlib import Path

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
