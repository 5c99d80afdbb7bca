"""Other packages that tasks are of: the releases that are known to work, and how to get them."""

from __future__ import annotations

import importlib
import importlib.metadata
from dataclasses import dataclass

from s2robot.errors import install_command


@dataclass(frozen=True)
class Package:
    """A package with tasks, in the one release that results are of.

    Attributes:
        distribution: name that pip knows.
        release: the version.
        module: what it is imported as.
        extra: of this package, which has it.
        mujoco_below: the first MuJoCo that it does not run on, such as (3, 12); None for none.
    """

    distribution: str
    release: str
    module: str
    extra: str
    mujoco_below: tuple[int, int] | None = None


def import_package(package: Package, task: str) -> None:
    """Import a package.

    Args:
        package: that a task is of.
        task: its name, for messages.

    Raises:
        ValueError: it is missing, or of another release, or MuJoCo is too new for it.
    """
    check_package(package, task)
    importlib.import_module(package.module)


def check_package(package: Package, task: str) -> None:
    """Refuse a missing or an unknown release of a package, and a MuJoCo that it does not run on.

    Raises:
        ValueError: with the command that installs what is needed.
    """
    found = _version(package.distribution)
    if found != package.release:
        seen = "it is not installed" if found is None else f"installed is {found}"
        raise ValueError(
            f"the task {task} needs {package.distribution} {package.release}; {seen}. Install it: "
            f"{install_command(package.extra)}"
        )
    mujoco = _version("mujoco")
    if package.mujoco_below is not None and mujoco is not None:
        numbers = tuple(int(part) for part in mujoco.split(".")[:2])
        if numbers >= package.mujoco_below:
            least = ".".join(map(str, package.mujoco_below))
            raise ValueError(
                f"the task {task} needs a MuJoCo before {least}, since {package.distribution} "
                f"{package.release} does not run on later ones; installed is {mujoco}. Use a "
                f"virtual environment of its own for this task, and in it: "
                f"{install_command(package.extra)}"
            )


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
