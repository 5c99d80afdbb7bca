"""``s2robot doctor``: check this machine and print how to fix what is missing."""

from __future__ import annotations

import argparse
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from rich.table import Table
from rich.text import Text

from s2robot.cli.help import help_of
from s2robot.cli.settings.flags import CommandParser
from s2robot.errors import S2RobotError, install_command
from s2robot.utils.console import OUTPUT
from s2robot.utils.provenance import git_commit, optional_versions, processor, versions
from s2robot.utils.workers import usable_cores

_MARKS = {"ok": Text("ok", "green"), "note": Text("note", "yellow"), "missing": Text("no", "red")}

_DRIVERS = ("/proc/driver/nvidia", "/dev/nvhost-gpu", "/dev/dxg", "/dev/kfd")
"""Where drivers of GPUs are found: NVIDIA's on Linux, on Jetson and in WSL, and AMD's."""
_ASK_PYTORCH = (
    "import torch\n"
    "if torch.cuda.is_available():\n"
    "    print(f'{torch.cuda.get_device_name(0)} (CUDA {torch.version.cuda})')\n"
)


@dataclass(frozen=True)
class Finding:
    """One line of the table."""

    subject: str
    state: str
    """"ok", "note" (works with a limit) or "missing"."""
    found: str
    fix: str = ""


def main(argv: list[str]) -> int:
    """Print the findings and return 1 if something required is missing."""
    parse(argv)
    findings = [finding for check in CHECKS for finding in _run(check)]
    table = Table(box=None, padding=(0, 2))
    for name in ("", "subject", "found", "how to fix"):
        table.add_column(name, overflow="fold")
    for finding in findings:
        table.add_row(_MARKS[finding.state], finding.subject, finding.found, finding.fix)
    OUTPUT.print(table)
    return int(any(finding.state == "missing" for finding in findings))


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the values of the words after the command's name; a wrong one ends with status 2."""
    return CommandParser("doctor", help_of(__doc__), "example:\n  s2robot doctor").parse(argv)


def _run(check: Callable[[], list[Finding]]) -> list[Finding]:
    """Run a check; if it raises, return that as a finding, so that later checks still run."""
    try:
        return check()
    except Exception as error:
        name = check.__name__.removeprefix("check_")
        return [Finding(name, "missing", type(error).__name__, str(error))]


def check_versions() -> list[Finding]:
    """Return the versions of Python and of the packages that results depend on."""
    commit = git_commit() or "not a checkout"
    findings = [Finding("commit", "ok", commit)]
    for package, version in versions().items():
        fix = _how_to_install(package) if version == "absent" else ""
        findings.append(Finding(package, "missing" if fix else "ok", version, fix))
    return findings


def _how_to_install(package: str) -> str:
    if package == "s2robot":
        return "pip install path/to/s2robot, a folder with its pyproject.toml"
    return f"pip install path/to/s2robot, which brings {package} in the right version"


def check_renderer() -> list[Finding]:
    """Return the renderer of camera frames."""
    from s2robot.envs.gl import GPU_FIX, gpu_for_drawing
    from s2robot.envs.rendering import gl_info

    info = gl_info()
    found = f"{info['renderer']} (MUJOCO_GL={info['backend']})"
    if info["software"]:
        fix = f"in software. {GPU_FIX}" if gpu_for_drawing() else "in software; there is no GPU"
        return [Finding("renderer", "note", found, fix)]
    return [Finding("renderer", "ok", found)]


def check_device() -> list[Finding]:
    """Return the device that networks run on.

    PyTorch takes seconds to import; it is asked only where there is a GPU's driver.
    """
    gpu = _gpu() if _has_driver() else ""
    if gpu:
        return [Finding("GPU", "ok", gpu)]
    fix = "encoders run in float32 on the CPU; use a CUDA GPU for large encoders"
    return [Finding("GPU", "note", f"none; {processor()}, {usable_cores()} cores", fix)]


def _has_driver() -> bool:
    return any(Path(path).exists() for path in _DRIVERS) or shutil.which("nvidia-smi") is not None


def _gpu() -> str:
    """Return the name of PyTorch's first GPU, found in a process of its own; "" without one."""
    found = subprocess.run(
        [sys.executable, "-c", _ASK_PYTORCH], check=False, capture_output=True, text=True
    )
    if found.returncode:
        said = found.stderr.strip().splitlines()
        raise S2RobotError(said[-1] if said else "PyTorch cannot be imported")
    return found.stdout.strip()


def check_runtimes() -> list[Finding]:
    """Return the installed runtimes besides PyTorch."""
    installed = optional_versions()
    found = ", ".join(f"{package} {version}" for package, version in installed.items())
    if "openvino" in installed:  # what runtime auto takes; the others are for int8 and export
        return [Finding("runtimes", "ok", found)]
    fix = f"{install_command('runtimes')}: OpenVINO often encodes single frames faster on a CPU"
    return [Finding("runtimes", "note", found or "eager PyTorch only", fix)]


def check_ros() -> list[Finding]:
    """Return the installed ROS packages, for nodes and bags."""
    installed = [name for name in ("rospy", "rclpy", "s2robot_msgs", "rosbags") if find_spec(name)]
    found = ", ".join(installed) or "not installed"
    has_nodes = bool({"rospy", "rclpy"} & set(installed))
    fixes = [] if has_nodes else ["needed on a robot only: docs/integrations/ros.md"]
    if "rosbags" not in installed:
        fixes.append(f"for bags: {install_command('ros')}")
    return [Finding("ROS", "ok" if has_nodes else "note", found, "; ".join(fixes))]


def check_weights() -> list[Finding]:
    """Compare the shipped encoder with its digest; count the downloaded ones."""
    from safetensors import safe_open

    from s2robot.backbones.card_files import checked_weights_path, packaged_card

    with safe_open(checked_weights_path(packaged_card()), "np") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]
    millions = sum(map(math.prod, shapes)) / 1e6
    return [
        Finding("s2r-vitt16-128", "ok", f"{millions:.1f} M parameters, digest verified"),
        Finding("published encoders", "ok", _stored_weights()),
    ]


def _stored_weights() -> str:
    from s2robot.utils.paths import home, offline

    files = list((home() / "weights").glob("*.safetensors"))
    size = sum(path.stat().st_size for path in files) / 1e9
    network = ", offline (S2ROBOT_OFFLINE)" if offline() else ""
    return f"{len(files)} stored in {home()} ({size:.1f} GB){network}; see `s2robot encoders`"


def check_video() -> list[Finding]:
    """Return the version of FFmpeg, which writes videos of episodes."""
    import imageio_ffmpeg

    return [Finding("ffmpeg", "ok", imageio_ffmpeg.get_ffmpeg_version())]


def check_disk() -> list[Finding]:
    """Return the free disk space for frames and features."""
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    if free < 5:
        return [Finding("disk", "note", f"{free:.1f} GB free", "s2robot demo needs about 3 GB")]
    return [Finding("disk", "ok", f"{free:.0f} GB free")]


CHECKS = (
    check_versions,
    check_renderer,
    check_device,
    check_runtimes,
    check_ros,
    check_weights,
    check_video,
    check_disk,
)
