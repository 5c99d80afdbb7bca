"""``s2robot demo``: its commands and what it says of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from s2robot.cli import demo
from s2robot.cli.demo import QUICK, commands

FOLDER = "a long folder/" + 12 * "runs[1]/" + "[bold]"


def test_the_demo_takes_a_folder_with_brackets() -> None:
    parser = OverridesParser.create()
    for words in commands(QUICK, "easy", Path(FOLDER)):
        [word] = [word for word in words if "data_dir=" in word]
        assert parser.parse_override(word).value() == str(Path(FOLDER, "data"))


def test_the_demo_numbers_its_steps(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    done = SimpleNamespace(returncode=0)
    monkeypatch.setattr(demo.subprocess, "run", lambda command, check: done)
    assert demo.main(["--quick", "--out", FOLDER]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("── step 1 of 3: s2robot collect level=precise")
    assert lines[1] == "step 1 of 3 (collect) took 0 s"
    assert lines[-1].endswith(f"open {Path(FOLDER, 'quick', 'runs', 'report', 'report.html')}")
