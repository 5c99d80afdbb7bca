"""What every test shares: nothing is read from or written to the user's own cache."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.guards import watched
from support.paths import TESTS
from support.published_weights import ViTShape
from support.ros1_fixtures import rig, ros_master  # noqa: F401
from support.small_published import HEADS, RESNETS, SMALL, VITS, small_card

from s2robot.analysis.parity.reference_models import PUBLISHED
from s2robot.backbones import CARDS
from s2robot.errors import LicenseWarning

MARKERS = {
    "runtime": ("unit/runtimes/", "unit/export/test_onnx", "unit/analysis/test_latency"),
    "browser": ("unit/reporting/page/test_in_a_browser",),
    "process": (
        "integration/",
        "ros/",
        "slurm/",
        "lerobot_plugins/",
        "unit/backbones/download/",
        "unit/utils/test_distrib",
    ),
    "render": ("unit/envs/test_rendering", "unit/envs/test_domain", "unit/envs/test_visual"),
    "slow": ("parity/", "unit/envs/test_expert", "unit/backbones/test_published"),
}
"""Markers by the beginning of a test file's path; single tests carry them as decorators."""


LONG = frozenset((TESTS / "support" / "long_tests.txt").read_text(encoding="utf-8").splitlines())
"""Unit tests that the fast tier leaves out, as they take long; see ``tools/long_tests.py``."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Set the markers of ``MARKERS`` and ``LONG``."""
    for item in items:
        if item.nodeid in LONG:
            item.add_marker("long")
        place = item.path.relative_to(TESTS).as_posix()
        for marker, beginnings in MARKERS.items():
            if place.startswith(beginnings):
                item.add_marker(marker)


@pytest.fixture(autouse=True)
def declared_work(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a unit test that starts a process, binds a socket or draws, and is not marked so."""
    with watched() as seen:
        yield
    left_out = any(request.node.get_closest_marker(marker) for marker in MARKERS)
    if seen and not left_out and "unit" in request.node.path.relative_to(TESTS).parts:
        pytest.fail(f"mark this test {', '.join(sorted(seen))}: the fast tier leaves it out then")


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A home for weights of this run's own; commands that tests start inherit it."""
    before = os.environ.get("S2ROBOT_HOME")
    os.environ["S2ROBOT_HOME"] = str(tmp_path_factory.mktemp("home"))
    yield
    if before is None:
        del os.environ["S2ROBOT_HOME"]
    else:
        os.environ["S2ROBOT_HOME"] = before


@pytest.fixture(scope="session", autouse=True)
def one_arithmetic() -> Iterator[None]:
    """No test, nor a command that one starts, measures what "auto" takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("S2ROBOT_RUNTIME", "eager")
        patch.setenv("S2ROBOT_DTYPE", "float32")
        yield


@pytest.fixture
def measured_runtimes(fresh_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let runtime "auto" measure, as on a quiet machine; returns the folder of the measurements."""
    monkeypatch.delenv("S2ROBOT_RUNTIME")
    monkeypatch.setattr("s2robot.runtimes.measurement.OtherWork.share", lambda _: 0.0)
    return fresh_home / "runtimes"


@pytest.fixture
def fresh_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of each test's own; license warnings appear there each time."""
    monkeypatch.setenv("S2ROBOT_HOME", str(tmp_path / "home"))
    warnings.simplefilter("ignore", LicenseWarning)
    return tmp_path / "home"


@pytest.fixture
def shrink(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ViTShape | int | None]:
    """Make a card and its re-computation small; returns the shape to write its file in."""

    def apply(name: str) -> ViTShape | int | None:
        if name not in VITS:
            return RESNETS.get(name)
        monkeypatch.setitem(CARDS, name, small_card(CARDS[name]))
        small = dataclasses.replace(PUBLISHED[name], heads=HEADS, image_size=SMALL.image_size)
        monkeypatch.setitem(PUBLISHED, name, small)
        return SMALL

    return apply
