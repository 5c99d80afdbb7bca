"""Every mistake in the words of a command with flags is one line that says how to mend it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from s2robot.cli.main import main
from s2robot.cli.settings.flags import CommandParser
from s2robot.cli.verbs import VERBS

FLAG_VERBS = [verb.name for verb in VERBS.values() if not verb.hydra]


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must end with status 2, and return its one line of error."""
    try:
        status = main(words)
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    assert status == 2
    assert not captured.out
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


@pytest.mark.parametrize("verb", FLAG_VERBS)
def test_a_flag_that_does_not_exist_is_named_with_the_help(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused([verb, "--zzzz=1"], capsys)
    assert line == f"{verb} has no flag --zzzz; see s2robot {verb} --help"


@pytest.mark.parametrize(
    "words, message",
    [
        ("bench --scaels 1", "bench has no flag --scaels; did you mean --scales? See s2robot"),
        ("plan -difference=3", "plan has no flag -difference; did you mean --difference=3? See"),
        ("encode-bag a b --copy_all", "no flag --copy_all; did you mean --copy-all?"),
        ("decide --margn 3", "decide has no flag --margn; did you mean --margin?"),
    ],
)
def test_a_misspelled_flag_gets_the_nearest_one(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(words.split(), capsys)


def test_a_setting_in_place_of_a_flag_is_shown_as_a_flag(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert refused(["probe", "scales=[1,2]"], capsys) == (
        "probe takes --scales '[1,2]', not scales=[1,2]"
    )


def test_a_flag_in_place_of_a_setting_is_shown_as_a_setting(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = refused(["decide", "--scales", "1", "2"], capsys)
    assert line.endswith("its settings are written NAME=VALUE: 'scales=[1,2]'")


@pytest.mark.parametrize(
    "words, message",
    [
        ("probe --runtime egaer", r"unknown --runtime 'egaer'; available: auto,.* 'eager'\?\)"),
        ("demo --level esy", r"unknown --level 'esy'; available: easy, .*'easy'\?\)"),
        ("probe --head-seeds many", "--head-seeds is 'many'; allowed: a whole number"),
        ("encode-bag a b --start x", "--start is 'x'; allowed: a number"),
        ("plan --difference", "--difference has no value; write --difference POINTS"),
        ("reconstruct --target a --source", "--source has no value; write --source NAME"),
        ("plan", "plan needs --difference POINTS; see s2robot plan --help"),
        ("encode-bag", "encode-bag needs IN, OUT; see s2robot encode-bag --help"),
        ("doctor now", "'now' is one word too many; see s2robot doctor --help"),
        ("decide polcy=mlp", "decide has no setting polcy .*did you mean policy"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert re.match(message, refused(words.split(), capsys))


def test_the_value_of_a_flag_may_look_like_a_setting(capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(["report", "nowhere", "--title", "out=1"], capsys)
    assert line.startswith("no runs under nowhere")


def test_paths_of_flags_may_begin_with_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/a")
    parser = CommandParser("report", None)
    parser.add_argument("--out", type=Path)
    assert parser.parse(["--out=~/x"]).out == Path("/home/a/x")
