"""Names of the flat modules that became packages: all of them import for one release."""

from __future__ import annotations

import ast
import importlib
import json
import sys
import types
import warnings
from typing import Any

import pytest
from support.paths import ROOT, TESTS

from s2robot import _moved

OLD_NAMES: dict[str, str] = json.loads((TESTS / "support" / "old_names.json").read_text())
"""Public classes, functions and constants of each old module, separated by blanks."""
NEEDS_ROS = {
    *("plugins.ros.ros1", "plugins.ros.ros1_master", "plugins.ros.ros1_messages"),
    *("plugins.ros.ros1_simulator", "plugins.ros.ros2", "plugins.ros.ros2_support"),
}
"""Modules that import only where ROS is; their source is read instead."""
REPLACED = {
    "plugins.ros.core.config": {"DEFAULT_READOUT", "DEFAULT_SCALES"},
    "verdict": {"DETAILED"},
    **{name: {"console"} for name in ("arms", "commands", "demo", "pipeline")},
    "progress": {"frames_bar"},
    "runtimes.int8": {"folder_of"},
    "matrices": {"int16_coefficients"},
    "resampling": {"PRECISION", "coefficients", "fixed_point", "pillow_arithmetic"},
}
"""Constants that became entries of a table, or that nothing needs any more, by old module."""


def import_old(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return importlib.import_module(f"s2robot.{name}")


def names_bound_in(name: str) -> set[str]:
    """Names that a module's source binds at its top level."""
    path = ROOT / "s2robot" / f"{name.replace('.', '/')}.py"
    bound: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            bound.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            bound |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            bound |= {target.id for target in targets if isinstance(target, ast.Name)}
            if "__getattr__" in bound and isinstance(node.value, ast.Call):
                mapping = node.value.args[-1]
                assert isinstance(mapping, ast.Dict)
                bound |= {ast.literal_eval(key) for key in mapping.keys if key is not None}
    return bound


@pytest.mark.parametrize("old", sorted(_moved.MODULES))
def test_old_module_imports_with_a_warning_that_names_the_new_one(old: str) -> None:
    sys.modules.pop(f"s2robot.{old}", None)
    with pytest.warns(FutureWarning, match=f"s2robot.{_moved.MODULES[old]}"):
        importlib.import_module(f"s2robot.{old}")


@pytest.mark.parametrize("old", sorted(set(OLD_NAMES) - NEEDS_ROS))
def test_old_module_has_its_old_names(old: str) -> None:
    module = import_old(old)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        wanted = set(OLD_NAMES[old].split()) - REPLACED.get(old, set())
        found = {name: getattr(module, name, None) for name in sorted(wanted)}
    assert [name for name, value in found.items() if value is None] == []
    modules = [n for n, value in found.items() if isinstance(value, types.ModuleType)]
    assert [name for name in modules if not callable(found[name])] == []


@pytest.mark.parametrize("old", sorted(NEEDS_ROS))
def test_old_module_of_ros_has_its_old_names(old: str) -> None:
    assert set(OLD_NAMES[old].split()) - names_bound_in(old) == set()


def test_no_old_module_hides_a_new_one() -> None:
    files = {old: ROOT / "s2robot" / old.replace(".", "/") for old in _moved.MODULES}
    assert [old for old, path in files.items() if path.with_suffix(".py").exists()] == []
    assert [old for old, path in files.items() if (path / "__init__.py").exists()] == []


def test_renamed_names_belong_to_a_moved_module() -> None:
    assert set(_moved.NAMES) - set(_moved.MODULES) == set()


def test_functions_whose_name_a_module_took_can_still_be_called(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from s2robot.backbones.download import download
    from s2robot.cli import main

    untyped: Any = main
    with pytest.warns(FutureWarning, match=r"s2robot.cli.main is now called s2robot.cli.main.main"):
        assert untyped(["--version"]) == 0
    assert "s2robot" in capsys.readouterr().out
    untyped = download
    with pytest.warns(FutureWarning), pytest.raises(ValueError, match="need a source"):
        untyped([], "folder", "file")


def test_old_name_of_the_license_warning() -> None:
    from s2robot import errors

    with pytest.warns(FutureWarning, match="LicenseWarning"):
        assert errors.LicenceWarning is errors.LicenseWarning
    with pytest.raises(AttributeError, match="no attribute 'NoSuchError'"):
        _ = errors.NoSuchError
