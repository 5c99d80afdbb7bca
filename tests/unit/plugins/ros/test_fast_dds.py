"""Shared memory of Fast DDS for programs that publish images."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import xml.etree.ElementTree as Xml
from pathlib import Path

import pytest

from s2robot.plugins.ros import fast_dds
from s2robot.plugins.ros.fast_dds import NEW_VARIABLE, OLD_VARIABLE, PROFILE, use_large_segment

FULL_HD_BYTES = 1920 * 1080 * 3


def installed(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    """Let these packages be installed, in these versions."""

    def version(name: str) -> str:
        found = versions.get(name.replace("-", "_"))
        if found is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(fast_dds.importlib.metadata, "version", version)


@pytest.mark.parametrize(
    ("versions", "name"),
    [
        ({"rclpy": "3.3.16"}, OLD_VARIABLE),
        ({"ros_rclpy": "7.1.6"}, OLD_VARIABLE),
        ({"ros_rclpy": "9.1.2"}, NEW_VARIABLE),
        ({"rclpy": "10.0.0"}, NEW_VARIABLE),
        ({}, OLD_VARIABLE),
    ],
)
def test_each_version_has_the_variable_that_it_reads(
    versions: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, **versions)
    variables: dict[str, str] = {}
    assert use_large_segment(variables)
    assert variables == {name: str(PROFILE)}
    assert f"{name}={PROFILE}" in fast_dds.advice()


@pytest.mark.parametrize(
    "own",
    [
        {OLD_VARIABLE: "mine.xml"},
        {NEW_VARIABLE: "mine.xml"},
        {"FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"},
        {"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"},
    ],
)
def test_what_somebody_has_chosen_stays(own: dict[str, str]) -> None:
    variables = dict(own)
    assert not use_large_segment(variables)
    assert variables == own


def test_settings_in_this_folder_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("DEFAULT_FASTRTPS_PROFILES.xml").touch()
    variables: dict[str, str] = {}
    assert not use_large_segment(variables)
    assert not variables


def test_two_frames_of_full_hd_fit() -> None:
    (size,) = [e for e in Xml.parse(PROFILE).iter() if e.tag.endswith("segment_size")]
    assert int(size.text or "") > 2 * FULL_HD_BYTES


@pytest.mark.process
def test_it_prints_a_line_for_a_shell() -> None:
    command = [sys.executable, "-m", "s2robot.plugins.ros.fast_dds"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    word, _, value = done.stdout.strip().partition("=")
    assert word in (f"export {OLD_VARIABLE}", f"export {NEW_VARIABLE}")
    assert value == str(PROFILE)
