"""``s2robot doctor``: what it found, as it is."""

from __future__ import annotations

import pytest

from s2robot.cli import doctor
from s2robot.cli.doctor import Finding, main


def test_brackets_of_a_fix_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    monkeypatch.setattr(doctor, "optional_versions", dict)
    monkeypatch.setattr(doctor, "CHECKS", (doctor.check_ros, doctor.check_runtimes))
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("for bags: pip install 'rosbags>=" in line for line in lines)
    assert any("pip install 'openvino>=" in line for line in lines)


def test_a_message_with_markup_is_printed_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def check_disk() -> list[Finding]:
        raise OSError("/data/runs[1]/[bold]/[/red]: no space " + 30 * "x")

    monkeypatch.setattr(doctor, "CHECKS", (check_disk,))
    assert main([]) == 1
    assert "/data/runs[1]/[bold]/[/red]: no space " + 30 * "x" in capsys.readouterr().out
