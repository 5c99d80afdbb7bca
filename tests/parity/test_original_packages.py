"""Against the original packages, where they are installed; skipped, visibly, where not.

``pip install git+https://github.com/facebookresearch/r3m`` and the like; see
docs/results/parity.md.
"""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path

import pytest
from support.package_files import write_lite
from support.published_files import write_published

from s2robot.analysis.parity.original_packages import (
    PACKAGES,
    NoOriginalPackageError,
    original_model,
)
from s2robot.analysis.parity.verify import verify_file
from s2robot.backbones import get_card
from s2robot.errors import LicenseWarning

pytestmark = pytest.mark.parity
SMALL_ENOUGH = [name for name in PACKAGES if "vitl" not in name]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S2ROBOT_HOME", str(tmp_path / "home"))
    warnings.simplefilter("ignore", LicenseWarning)


@pytest.mark.parametrize("name", SMALL_ENOUGH)
def test_the_original_package_gives_the_same_output(name: str, tmp_path: Path) -> None:
    try:
        importlib.import_module(PACKAGES[name])
    except Exception as error:
        pytest.skip(f"{PACKAGES[name]} is not installed or does not import: {error}")
    lite = name.removeprefix("efficientnet-lite")
    path = write_lite(int(lite), tmp_path)[0] if lite != name else write_published(name, tmp_path)
    try:
        original_model(get_card(name), path)
    except OSError as error:  # theia asks the hub
        pytest.skip(f"{PACKAGES[name]} needs a network: {error}")
    checks = {check.what: check for check in verify_file(get_card(name), path, path)}
    check = checks[f"output, {PACKAGES[name]}"]
    assert check.passed, check.seen


def test_without_the_package_the_way_to_it_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGES, "r3m-resnet18", "no_such_package_of_r3m")
    monkeypatch.setattr(
        "s2robot.analysis.parity.original_packages._REPOSITORIES",
        {"no_such_package_of_r3m": "git+https://example.org/r3m"},
    )
    with pytest.raises(NoOriginalPackageError, match=r"cannot be imported.*pip install git\+https"):
        original_model(get_card("r3m-resnet18"), Path("nothing"))


def test_encoders_of_no_package_raise() -> None:
    with pytest.raises(NoOriginalPackageError, match="no package of its authors is known"):
        original_model(get_card("mcr-resnet50"), Path("nothing"))
