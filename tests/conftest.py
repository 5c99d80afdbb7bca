"""What every test shares: nothing is read from or written to the user's own cache."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


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
