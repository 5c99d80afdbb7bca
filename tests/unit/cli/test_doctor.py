"""``s2robot doctor``: what it found, as it is."""

from __future__ import annotations

import pytest

from s2robot.backbones import load_backbone
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


def test_the_shipped_encoder_has_the_parameters_that_pytorch_counts() -> None:
    (shipped, _) = doctor.check_weights()
    millions = load_backbone("s2r-vitt16-128").parameters_count / 1e6
    assert shipped == Finding(
        "s2r-vitt16-128", "ok", f"{millions:.1f} M parameters, digest verified"
    )


def test_pytorch_is_asked_for_a_gpu_only_where_there_is_a_driver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "_gpu", lambda: "NVIDIA H200 (CUDA 13.0)")
    monkeypatch.setattr(doctor, "_has_driver", lambda: True)
    assert doctor.check_device() == [Finding("GPU", "ok", "NVIDIA H200 (CUDA 13.0)")]
    monkeypatch.setattr(doctor, "_has_driver", lambda: False)
    (finding,) = doctor.check_device()
    assert (finding.state, finding.found[:6]) == ("note", "none; ")


@pytest.mark.process
def test_an_error_of_pytorch_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_has_driver", lambda: True)
    monkeypatch.setattr(doctor, "_ASK_PYTORCH", "raise ImportError('libcudart is missing')")
    (finding,) = doctor._run(doctor.check_device)
    assert (finding.subject, finding.state) == ("device", "missing")
    assert "libcudart is missing" in finding.fix


@pytest.mark.parametrize(
    "installed, state, found, fix",
    [
        ((), "note", "not installed", "on a robot only: docs/integrations/ros.md; for bags: pip"),
        (("rosbags",), "note", "rosbags", "needed on a robot only: docs/integrations/ros.md"),
        (("rclpy",), "ok", "rclpy", "for bags: pip"),
        (("rclpy", "rosbags"), "ok", "rclpy, rosbags", ""),
    ],
)
def test_only_what_is_missing_of_ros_has_a_fix(
    installed: tuple[str, ...],
    state: str,
    found: str,
    fix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: name in installed or None)
    (finding,) = doctor.check_ros()
    assert (finding.state, finding.found) == (state, found)
    assert fix in finding.fix
    assert bool(finding.fix) is bool(fix)
    assert ("rosbags" in finding.fix) is ("rosbags" not in installed)
