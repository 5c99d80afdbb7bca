"""``s2robot doctor``: what there is on this machine, and how to mend what is missing."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.table import Table

from s2robot.utils.provenance import git_commit, optional_versions, processor, versions

_MARKS = {"ok": "[green]ok[/green]", "note": "[yellow]note[/yellow]", "missing": "[red]no[/red]"}


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    what: str
    state: str
    """``ok``, ``note`` (works, with something to know) or ``missing``."""
    seen: str
    mend: str = ""


def main(argv: list[str]) -> int:
    """Print the findings; the exit status is 1 if something needed is missing."""
    parser = argparse.ArgumentParser(
        prog="s2robot doctor", description=__doc__, epilog="example: s2robot doctor"
    )
    parser.parse_args(argv)
    findings = [finding for check in CHECKS for finding in _run(check)]
    table = Table("", "what", "seen", "how to mend", box=None, padding=(0, 2))
    for finding in findings:
        table.add_row(_MARKS[finding.state], finding.what, finding.seen, finding.mend)
    Console().print(table)
    return int(any(finding.state == "missing" for finding in findings))


def _run(check: Callable[[], list[Finding]]) -> list[Finding]:
    """A check that breaks is itself a finding: the doctor must always reach its last line."""
    try:
        return check()
    except Exception as error:
        name = check.__name__.removeprefix("check_")
        return [Finding(name, "missing", type(error).__name__, str(error))]


def check_versions() -> list[Finding]:
    """Python and the packages that decide results."""
    commit = git_commit() or "not a checkout"
    findings = [Finding("commit", "ok", commit)]
    for package, version in versions().items():
        mend = "pip install s2robot" if version == "absent" else ""
        findings.append(Finding(package, "missing" if mend else "ok", version, mend))
    return findings


def check_renderer() -> list[Finding]:
    """Whether a frame can be drawn, and by what."""
    from s2robot.envs.rendering import gl_info

    info = gl_info()
    seen = f"{info['renderer']} (MUJOCO_GL={info['backend']})"
    if info["software"]:
        mend = "drawn by the processor; on a GPU machine install its EGL driver"
        return [Finding("renderer", "note", seen, mend)]
    return [Finding("renderer", "ok", seen)]


def check_device() -> list[Finding]:
    """Where networks run."""
    import torch

    if torch.cuda.is_available():
        return [
            Finding("GPU", "ok", f"{torch.cuda.get_device_name(0)} (CUDA {torch.version.cuda})")
        ]
    mend = "encoders run in float32 on the processor; larger ones want a CUDA GPU"
    seen = f"none; {processor()}, {torch.get_num_threads()} threads"
    return [Finding("GPU", "note", seen, mend)]


def check_runtimes() -> list[Finding]:
    """What can carry an encoder's work out besides PyTorch itself."""
    found = optional_versions()
    there = ", ".join(f"{package} {version}" for package, version in found.items())
    if {"openvino", "nncf", "onnxruntime"} <= found.keys():
        return [Finding("runtimes", "ok", there)]
    mend = "pip install 's2robot[runtimes]': several times faster on a processor"
    return [Finding("runtimes", "note", there or "eager PyTorch alone", mend)]


def check_ros() -> list[Finding]:
    """What a robot's node, and bags, would find."""
    there = [name for name in ("rospy", "rclpy", "s2robot_msgs", "rosbags") if find_spec(name)]
    seen = ", ".join(there) or "nothing of it"
    if {"rospy", "rclpy"} & set(there):
        return [Finding("ROS", "ok", seen)]
    advice = "needed on a robot only: docs/integrations/ros.md, 's2robot[ros]'"
    return [Finding("ROS", "note", seen, advice)]


def check_weights() -> list[Finding]:
    """Whether the encoder that ships loads and is what its model card says."""
    from s2robot.backbones import load_backbone

    backbone = load_backbone("s2r-vitt16-128")
    millions = backbone.parameters_count / 1e6
    return [
        Finding("s2r-vitt16-128", "ok", f"{millions:.1f} M parameters, digest verified"),
        Finding("published encoders", "ok", _kept_weights()),
    ]


def _kept_weights() -> str:
    from s2robot.utils.paths import home, offline

    kept = list((home() / "weights").glob("*.safetensors"))
    size = sum(path.stat().st_size for path in kept) / 1e9
    network = ", offline (S2ROBOT_OFFLINE)" if offline() else ""
    return f"{len(kept)} kept in {home()} ({size:.1f} GB){network}; see `s2robot encoders`"


def check_video() -> list[Finding]:
    """Whether rollouts can be written as video."""
    import imageio_ffmpeg

    return [Finding("ffmpeg", "ok", imageio_ffmpeg.get_ffmpeg_version())]


def check_disk() -> list[Finding]:
    """Free space for frames and features."""
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    if free < 5:
        return [Finding("disk", "note", f"{free:.1f} GB free", "a demo run needs about 3 GB here")]
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
