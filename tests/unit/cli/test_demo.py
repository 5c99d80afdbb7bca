"""``s2robot demo``: its commands and what it says of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from s2robot.backbones import get_card
from s2robot.cli import demo
from s2robot.cli.demo import PUBLISHED, QUICK, SHIPPED, commands

FOLDER = "a long folder/" + 12 * "runs[1]/" + "[bold]"


def test_the_demo_takes_a_folder_with_brackets() -> None:
    parser = OverridesParser.create()
    for words in commands(QUICK, "easy", Path(FOLDER)):
        if words[0] == "encoders":
            continue
        [word] = [word for word in words if "data_dir=" in word]
        assert parser.parse_override(word).value() == str(Path(FOLDER, "data"))


def test_the_demo_numbers_its_steps(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    done = SimpleNamespace(returncode=0)
    monkeypatch.setattr(demo.subprocess, "run", lambda command, check: done)
    assert demo.main(["--quick", "--out", FOLDER]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("── step 1 of 5: s2robot collect level=precise")
    assert lines[1] == "step 1 of 5 (collect) took 0 s"
    assert lines[-1].endswith(f"open {Path(FOLDER, 'quick', 'runs', 'report', 'report.html')}")


def test_the_demo_asks_about_two_sizes_and_two_scale_sets_of_one_family() -> None:
    *_, published = commands(QUICK, "precise", Path("runs"))
    families = {get_card(name).family for name in PUBLISHED}
    assert len(families) == 1
    assert f"encoder={','.join(PUBLISHED)}" in published
    assert "scales=[1],[1,2]" in published


def test_without_the_published_weights_the_demo_says_so_and_goes_on_with_the_encoder_that_ships(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    run: list[list[str]] = []

    def status(command: list[str], check: bool) -> SimpleNamespace:
        run.append(command[3:])
        return SimpleNamespace(returncode=int("fetch" in command))

    monkeypatch.setattr(demo.subprocess, "run", status)
    assert demo.main(["--quick"]) == 0
    assert [words[0] for words in run] == ["collect", "encoders", "sweep", "sweep"]
    shown = " ".join(capsys.readouterr().out.split())
    assert "could not be fetched" in shown
    assert f"compares scales of {SHIPPED} only" in shown


def test_a_step_that_fails_ends_the_demo(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    failed = SimpleNamespace(returncode=3)
    monkeypatch.setattr(demo.subprocess, "run", lambda command, check: failed)
    assert demo.main(["--quick"]) == 3
    assert "`collect` failed with exit status 3" in capsys.readouterr().out
