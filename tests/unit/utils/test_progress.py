"""Progress: plain lines with the time left where standard error is a pipe."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from s2robot.utils import progress
from s2robot.utils.progress import duration, progress_bar, tracked


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A clock that moves when it is told to [s]."""
    now = [100.0]

    def wait(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return wait


def test_a_pipe_gets_plain_lines_with_the_time_left(
    clock: Callable[[float], None], capsys: pytest.CaptureFixture
) -> None:
    with progress_bar("encoding [bold]", 10) as bar:
        for _ in range(10):
            clock(30)
            bar.advance()
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert lines[0] == "encoding [bold]: 1 of 10, 4 min left"
    assert lines[-1] == "encoding [bold]: 10 of 10 after 5 min"
    assert len(lines) == 10
    assert printed.out == ""
    assert "\x1b" not in printed.err
    assert "\r" not in printed.err


def test_work_that_was_done_before_does_not_shorten_the_time_left(
    clock: Callable[[float], None], capsys: pytest.CaptureFixture
) -> None:
    with progress_bar("encoding", 10, done=8) as bar:
        clock(60)
        bar.advance()
    assert capsys.readouterr().err.splitlines()[0] == "encoding: 9 of 10, 60 s left"


def test_quick_work_prints_one_line(capsys: pytest.CaptureFixture) -> None:
    assert list(tracked([1, 2, 3], "adding")) == [1, 2, 3]
    assert capsys.readouterr().err == "adding: 3 of 3 after 0 s\n"


def test_hidden_progress_prints_nothing(capsys: pytest.CaptureFixture) -> None:
    assert list(tracked([1, 2, 3], "adding", shown=False)) == [1, 2, 3]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89, "89 s"), (91, "2 min"), (840, "14 min"), (7200, "2 h 0 min")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text
