"""The package as others install it: declared, complete, importable outside the tree."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from support.paths import ROOT
from support.source_files import library_files

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

OF_DEPENDENCIES = {"omegaconf": "hydra-core", "markupsafe": "jinja2"}
"""Packages whose values a declared one hands out, and that one."""
HOMES = {"envs": "s2robot.envs", "policies": "s2robot.policies", "configs": "s2robot.configs"}


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def found_packages() -> set[str]:
    folders = {ROOT / "s2robot": "s2robot", **{ROOT / k: v for k, v in HOMES.items()}}
    packages = set()
    for folder, name in folders.items():
        for init in folder.rglob("__init__.py"):
            relative = init.parent.relative_to(folder)
            if relative.parts and (ROOT / "s2robot" / relative.parts[0]).is_symlink():
                continue
            packages.add(".".join([name, *relative.parts]))
    return packages


def test_declared_packages_are_those_found(project):
    assert set(project["tool"]["setuptools"]["packages"]) == found_packages()


def imports_at_the_top() -> dict[str, str]:
    """Packages that modules import when they are imported themselves, and one such module each."""
    found = {}
    for path in library_files():
        if {"ros", "rosbag"} & set(path.relative_to(ROOT).parts):
            continue  # imported only where ROS or the extra is there
        pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
        while pending:
            node = pending.pop()
            if isinstance(node, ast.Import):
                found.update((alias.name.split(".")[0], str(path)) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                found[node.module.split(".")[0]] = str(path)
            elif not isinstance(node, (ast.FunctionDef, ast.If, ast.Try)):
                pending += ast.iter_child_nodes(node)
    return found


def test_what_is_imported_is_declared(project):
    declared = {
        re.split(r"[^\w.-]", requirement)[0].lower().replace("_", "-")
        for requirement in project["project"]["dependencies"]
    }
    homes = metadata.packages_distributions()
    assert declared.issuperset(OF_DEPENDENCIES.values())
    known = {*sys.stdlib_module_names, "s2robot", *OF_DEPENDENCIES}
    undeclared = {
        name: path
        for name, path in imports_at_the_top().items()
        if name not in known
        and declared.isdisjoint(home.lower().replace("_", "-") for home in homes.get(name, []))
    }
    assert undeclared == {}


def test_links_inside_the_package_lead_to_the_real_folders():
    for name in HOMES:
        link = ROOT / "s2robot" / name
        assert link.is_symlink()
        assert link.resolve() == ROOT / name


def test_version_is_stated_once_alike(project):
    import s2robot

    assert project["project"]["version"] == s2robot.__version__


def test_ruff_bans_the_bare_names(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("import envs\nfrom policies import policy\nimport configs\n")
    command = [sys.executable, "-m", "ruff", "check", "--config", str(ROOT / "pyproject.toml")]
    result = subprocess.run([*command, str(bad)], capture_output=True, text=True)
    assert result.stdout.count("TID251") == 3


@pytest.fixture(scope="module")
def archives(tmp_path_factory) -> tuple[Path, Path]:
    """Wheel and sdist, built from a clean copy; the wheel is built from the sdist."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return next(out.glob("*.whl")), next(out.glob("*.tar.gz"))


def test_wheel_holds_code_settings_templates_and_weights(archives):
    names = set(zipfile.ZipFile(archives[0]).namelist())
    for wanted in (
        "s2robot/envs/pick_cube.py",
        "s2robot/policies/policy.py",
        "s2robot/configs/sweep.yaml",
        "s2robot/configs/policy/mlp.yaml",
        "s2robot/backbones/weights/s2r-vitt16-128.safetensors",
        "s2robot/reporting/page/assets/plot.umd.min.js",
        "s2robot/reporting/page/assets/plot.LICENSE.txt",
        "s2robot/reporting/page/assets/page.css",
        "s2robot/py.typed",
    ):
        assert wanted in names
    for folder in ("reporting", "pretraining"):
        assert any(name.startswith(f"s2robot/{folder}/templates/") for name in names)
    assert not any(name.split("/")[0] in HOMES for name in names)


def test_sdist_holds_the_real_folders(archives):
    with tarfile.open(archives[1]) as file:
        names = {name.split("/", 1)[1] for name in file.getnames() if "/" in name}
    assert {"envs/pick_cube.py", "policies/policy.py", "configs/sweep.yaml"} <= names


def test_wheel_works_outside_the_tree(archives, tmp_path):
    """Unpacked elsewhere and run from there: nothing may lean on the checkout."""
    zipfile.ZipFile(archives[0]).extractall(tmp_path / "site")
    program = (
        "import s2robot, s2robot.envs, s2robot.policies, s2robot.cli.main, pathlib\n"
        "assert 'site' in s2robot.__file__ and 'site' in s2robot.envs.__file__\n"
        "import gymnasium\n"
        "gymnasium.make('s2robot/PickCube-v0', level='easy').reset(seed=0)\n"
        "s2robot.cli.main.main(['train', '--help'])\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**_environment(), "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert "s2robot train level=precise" in result.stdout


def _environment() -> dict[str, str]:
    import os

    return {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
