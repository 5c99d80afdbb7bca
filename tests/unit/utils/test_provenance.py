"""Which releases of MuJoCo may share results."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from s2robot.utils import provenance
from s2robot.utils.provenance import (
    BOUNDARIES,
    NEWEST_TESTED,
    simulation_change,
    simulation_generation,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

ROOT = Path(__file__).parents[3]
MEASURED = json.loads((ROOT / "benchmarks" / "results" / "mujoco_versions.json").read_text())

FIRST, NEWEST = (Version(".".join(map(str, v))) for v in (BOUNDARIES[0].first, NEWEST_TESTED))


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("3.3.3", "3.3.5", True),
        ("3.3.5", "3.3.6", False),
        ("3.3.6", "3.3.7", True),
        ("3.3.7", "3.4.0", False),
        ("3.6.0", "3.8.1", True),  # what 3.7.0 changed is gone again
        ("3.8.0", "3.8.1", False),
        ("3.11.0", "3.12.0", False),
        ("3.12.0", "3.14.0", True),
        ("3.14.0", "3.15.0", False),
        ("3.15.0", "3.17.0", True),
        ("3.17.0", "3.17.1", False),  # not measured
        ("3.17.0", "4.0.1", False),
        ("3.18.0", "3.18.1", False),
        ("3.3.2", "3.3.3", False),
        ("3.17.0", "3.17.0rc1", False),
        ("absent", "absent", True),
    ],
)
def test_releases_share_a_generation_where_they_simulate_alike(one, other, alike):
    assert (simulation_generation(one) == simulation_generation(other)) is alike
    for pair in ((one, other), (other, one)):
        change = simulation_change(*pair)
        assert (change is None) is alike
        assert alike or (one in str(change) and other in str(change))


def test_a_change_says_what_changed_and_where():
    assert simulation_change("3.14.0", "3.11.0") == (
        "MuJoCo 3.14.0 and 3.11.0 differ "
        "(3.12.0: contacts of boxes; texture coordinates of primitives)"
    )
    assert simulation_change("3.17.0", "3.18.0") == (
        "MuJoCo 3.17.0 and 3.18.0 were not compared with each other"
    )


def test_a_generation_is_named_by_one_of_its_releases():
    for boundary in BOUNDARIES:
        first = ".".join(map(str, boundary.first))
        assert simulation_generation(first) == boundary.name == simulation_generation(boundary.name)
    assert [b.first for b in BOUNDARIES] == sorted(b.first for b in BOUNDARIES)


def test_the_table_is_the_one_that_was_measured():
    rows = [row for row in MEASURED["rows"] if Version(row["mujoco"]) <= NEWEST]
    for number, row in enumerate(rows):
        for before in rows[:number]:
            gap = row["motion_against"][before["mujoco"]]
            motion = max(gap["arm_rad"], gap["cube_m"], gap["cube_quat"])
            alike = motion < MEASURED["rounding"] and row["pictures"] == before["pictures"]
            pair = before["mujoco"], row["mujoco"]
            assert (simulation_change(*pair) is None) is alike, pair
    releases = [row["mujoco"] for row in rows]
    assert (Version(releases[0]), Version(releases[-1])) == (FIRST, NEWEST)


def test_the_package_asks_for_the_tested_range():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (asked,) = (r for r in map(Requirement, project["dependencies"]) if r.name == "mujoco")
    tested = [row["mujoco"] for row in MEASURED["rows"] if Version(row["mujoco"]) <= NEWEST]
    assert all(version in asked.specifier for version in tested)
    for version in (*MEASURED["unusable"], "4.0.0", "4.0.1", "5.0.0"):
        assert version not in asked.specifier


def test_results_name_the_generation_of_the_installed_release():
    installed = metadata.version("mujoco")
    assert provenance.deciding_versions()["mujoco"] == simulation_generation(installed)
    assert provenance.versions()["mujoco"] == installed


def test_the_key_of_results_made_with_the_newest_release_is_as_before():
    assert simulation_generation("3.17.0") == "3.17.0"
