"""Provenance of a result: machine, versions, commit."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("s2robot", "torch", "timm", "robomimic", "mujoco", "gymnasium", "numpy")
_OPTIONAL = ("openvino", "nncf", "onnx", "onnxscript", "onnxruntime")
RESULTS_VERSION = 1
"""Raised whenever this package's own code gives other frames, policies or episode rows."""
_DECIDING = {"torch": 2, "mujoco": 3, "robomimic": 2, "timm": 2, "pillow": 1}
"""Packages that change results, and how many numbers of their version count."""


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a result."""
    return {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


@functools.cache
def deciding_versions() -> dict[str, Any]:
    """Return the versions that two results must share to be of one run, as short as is safe.

    Examples:
        >>> sorted(deciding_versions())
        ['mujoco', 'pillow', 'robomimic', 's2robot_rows', 'timm', 'torch']
    """
    found = {
        package: ".".join(_version(package).split("+")[0].split(".")[:numbers])
        for package, numbers in _DECIDING.items()
    }
    return {"s2robot_rows": RESULTS_VERSION, **found}


@functools.cache
def optional_versions() -> dict[str, str]:
    """Return the versions of those optional packages that are installed."""
    found = {}
    for package in _OPTIONAL:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def git_commit() -> str | None:
    """Return the checkout's commit, with ``+changes`` if tracked files differ; None outside git."""
    folder = Path(__file__).resolve().parent
    try:
        commit = _git(folder, "rev-parse", "--short=12", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+changes" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=10
    ).stdout.strip()


@functools.cache
def processor() -> str:
    """Return the processor's name as the operating system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def gpu_name() -> str | None:
    """Return the name of the first CUDA device; None without one, or before torch is imported."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_name(0)


def provenance() -> dict[str, Any]:
    """Return a JSON-able record for every result: machine, versions, commit."""
    return {
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": processor(),
            "cpus": os.cpu_count(),
            "gpu": gpu_name(),
        },
        "versions": versions() | optional_versions(),
        "commit": git_commit(),
    }
