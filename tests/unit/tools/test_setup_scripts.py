"""Environments that see s2robot without having it installed have its command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

from s2robot import __version__

TOOLS = ROOT / "tools"
SHARING = sorted(
    path.name
    for path in TOOLS.glob("setup_*.sh")
    if "s2robot_shared.pth" in path.read_text(encoding="utf-8")
)


def test_every_script_that_shares_packages_adds_the_command() -> None:
    assert {"setup_ros1_venv.sh", "setup_ros2_venv.sh", "setup_tasks_venv.sh"} <= set(SHARING)
    for name in SHARING:
        text = (TOOLS / name).read_text(encoding="utf-8")
        after = text.partition("s2robot_shared.pth")[2]
        assert 'bash "$(dirname "$0")/add_command.sh" "$venv"' in after, name


@pytest.mark.process
def test_the_command_runs_with_the_python_of_its_environment(tmp_path: Path) -> None:
    venv = tmp_path / "an environment"  # with a space, which no first line of a script can hold
    (venv / "bin").mkdir(parents=True)
    python = venv / "bin" / "python"
    python.write_text(f'#!/bin/sh\necho "python of $0" >&2\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    subprocess.run(["bash", str(TOOLS / "add_command.sh"), str(venv)], check=True, cwd=tmp_path)
    command = venv / "bin" / "s2robot"
    assert command.stat().st_mode & 0o111 == 0o111
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    found = subprocess.run(
        [str(command), "--version"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert found.stdout == f"s2robot {__version__}\n"
    assert found.stderr == f"python of {python}\n"
