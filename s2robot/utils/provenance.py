"""Provenance of a result: machine, versions, commit; which versions may be pooled."""

from __future__ import annotations

import functools
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
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

    MuJoCo's is the name of its generation, since not every release changes the simulation.

    Examples:
        >>> sorted(deciding_versions())
        ['mujoco', 'pillow', 'robomimic', 's2robot_rows', 'timm', 'torch']
    """
    found = {
        package: ".".join(_version(package).split("+")[0].split(".")[:numbers])
        for package, numbers in _DECIDING.items()
    }
    return {"s2robot_rows": RESULTS_VERSION, **found, "mujoco": simulation()}


@functools.cache
def simulation() -> str:
    """Return the generation of the installed MuJoCo, which decides frames and motions.

    Examples:
        >>> simulation() == simulation_generation(versions()["mujoco"])
        True
    """
    return simulation_generation(_version("mujoco").split("+")[0])


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


@functools.cache
def cpu_flags() -> frozenset[str]:
    """Return the processor's instruction sets by their names in Linux; empty on other systems."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return frozenset(line.split(":", 1)[1].split())
    return frozenset()


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


# --------------------------------------------------------------------------- releases of MuJoCo
@dataclass(frozen=True)
class Boundary:
    """A release from which on the simulation differs from the releases before it."""

    first: tuple[int, int, int]
    """The release."""
    name: str
    """Name of the generation in records: one of its releases. A generation may come back."""
    change: str
    """What MuJoCo changed there."""


BOUNDARIES = (
    Boundary((3, 3, 3), "3.3.5", "the first release that builds the scene"),
    Boundary((3, 3, 6), "3.3.7", "warm start of the solver, which is a part of states"),
    Boundary((3, 4, 0), "3.4.0", "contacts; the release notes name no cause"),
    Boundary((3, 5, 0), "3.10.0", "velocity derivatives of actuators whose force is clamped"),
    Boundary((3, 7, 0), "3.8.0", "midpoint integration of free bodies"),
    Boundary((3, 8, 1), "3.10.0", "midpoint integration restricted; contacts as in 3.5.0 again"),
    Boundary((3, 11, 0), "3.11.0", "gyroscopic derivatives of free bodies; solver ends earlier"),
    Boundary((3, 12, 0), "3.14.0", "contacts of boxes; texture coordinates of primitives"),
    Boundary((3, 15, 0), "3.17.0", "damping of actuators by dampratio"),
)
"""Measured by ``benchmarks/mujoco_versions.py``. Within a generation, one control step from equal
states differs by less than 1e-9 rad or m, and pictures are equal."""
NEWEST_TESTED = (3, 17, 0)
"""A later release is a generation of its own until it has been measured."""


def simulation_generation(version: str) -> str:
    """Return the name of the generation of a MuJoCo release: one of its releases.

    Args:
        version: of MuJoCo, such as ``mujoco.__version__``.

    Returns:
        The name. A release that was not measured (before the first boundary, after the newest
        tested one, a pre-release) is a generation of its own, named by itself.

    Examples:
        >>> simulation_generation("3.15.0"), simulation_generation("3.17.0")
        ('3.17.0', '3.17.0')
        >>> simulation_generation("3.12.0"), simulation_generation("3.99.1")
        ('3.14.0', '3.99.1')
    """
    release = _parsed(version)
    if release is None or not BOUNDARIES[0].first <= release <= NEWEST_TESTED:
        return version
    return [b.name for b in BOUNDARIES if b.first <= release][-1]


def simulation_change(one: str, other: str) -> str | None:
    """Return what separates two MuJoCo releases, naming both; None within a generation.

    Args:
        one: version of the first.
        other: version of the second.

    Examples:
        >>> simulation_change("3.16.0", "3.17.0")
        >>> simulation_change("3.14.0", "3.17.0")
        'MuJoCo 3.14.0 and 3.17.0 differ (3.15.0: damping of actuators by dampratio)'
    """
    if simulation_generation(one) == simulation_generation(other):
        return None
    releases = _parsed(one), _parsed(other)
    if None in releases or max(releases) > NEWEST_TESTED or min(releases) < BOUNDARIES[0].first:  # pyright: ignore[reportOperatorIssue, reportArgumentType, reportCallIssue]
        return f"MuJoCo {one} and {other} were not compared with each other"
    low, high = sorted(releases)  # pyright: ignore[reportArgumentType]
    between = [b for b in BOUNDARIES if low < b.first <= high]
    listed = "; ".join(f"{'.'.join(map(str, b.first))}: {b.change}" for b in between)
    return f"MuJoCo {one} and {other} differ ({listed})"


def change_since(record: Any) -> str | None:
    """Return what separates the MuJoCo of a record from the installed one; None if nothing does.

    Args:
        record: ``provenance()`` of a file; one that names no version counts as the installed one.

    Examples:
        >>> change_since(provenance())
        >>> change_since({"versions": "unknown"})
    """
    found = record.get("versions") if isinstance(record, Mapping) else None
    there = found.get("mujoco") if isinstance(found, Mapping) else None
    return simulation_change(there, versions()["mujoco"]) if isinstance(there, str) else None


def _parsed(version: str) -> tuple[int, int, int] | None:
    found = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", version)
    return None if found is None else (int(found[1]), int(found[2]), int(found[3]))
