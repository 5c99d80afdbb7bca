"""Tasks of other packages where these are missing, of another release, or beside a newer MuJoCo."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from pathlib import Path

import pytest

from s2robot import errors
from s2robot.envs.tasks.foreign.package_versions import Package, check_package
from s2robot.envs.tasks.loading import named_by_user
from s2robot.envs.tasks.names import PACKAGED, has_module, is_foreign, stored_task

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

ROOT = Path(__file__).parents[5]


def package_of(name: str) -> Package:
    return importlib.import_module(PACKAGED[name].partition(":")[0]).PACKAGE


@pytest.fixture
def extras(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Read the extras from pyproject.toml, as the installed metadata may be older."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = project["optional-dependencies"]
    lines = [f'{each}; extra == "{extra}"' for extra, all_ in found.items() for each in all_]
    monkeypatch.setattr(errors.metadata, "requires", lambda _: lines)
    return found


def install(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    """Pretend that some distributions are installed, and no others."""

    def version(name: str) -> str:
        if name.replace("-", "_") not in versions:
            raise importlib.metadata.PackageNotFoundError
        return versions[name.replace("-", "_")]

    monkeypatch.setattr(importlib.metadata, "version", version)


@pytest.mark.parametrize("name", sorted(PACKAGED))
def test_the_names_are_tasks_of_other_packages_that_files_may_hold(name: str) -> None:
    assert stored_task(name) == name
    assert is_foreign(name)
    assert not has_module(name)


def test_an_unknown_task_of_a_package_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="so101/pick-cub.*" + ", ".join(PACKAGED)):
        stored_task("so101/pick-cub")


@pytest.mark.parametrize("seen", [None, "0.0.1"])
@pytest.mark.parametrize("name", sorted(PACKAGED))
def test_a_missing_or_other_release_is_refused_with_the_command(
    name: str, seen: str | None, extras: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    package = package_of(name)
    distribution = package.distribution.replace("-", "_")
    install(monkeypatch, **({} if seen is None else {distribution: seen}))
    said = "it is not installed" if seen is None else "installed is 0.0.1"
    with pytest.raises(ValueError, match=rf"needs {package.distribution} .*{said}") as raised:
        named_by_user(name)
    wanted = f"{package.distribution}=={package.release}"
    assert wanted in extras[package.extra]
    assert f"pip install {wanted}" in str(raised.value)


@pytest.mark.parametrize(("mujoco", "fits"), [("3.8.1", True), ("3.12.0", False), ("4.0", False)])
def test_a_mujoco_that_a_package_does_not_run_on_is_refused(
    mujoco: str, fits: bool, extras: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    package = package_of("fetch/pick-and-place")
    install(monkeypatch, gymnasium_robotics=package.release, mujoco=mujoco)
    if fits:
        check_package(package, "fetch/pick-and-place")
        return
    said = rf"needs a MuJoCo before 3\.12.*installed is {mujoco}.*environment of its own.*<3\.12"
    with pytest.raises(ValueError, match=said):
        check_package(package, "fetch/pick-and-place")
