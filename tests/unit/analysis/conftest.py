"""Labeled scenes, rendered once for all tests of probes."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.probe_scenes import SMALL

from s2robot.analysis.probes.scenes import SceneData, scene_data


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def data(folder: Path) -> SceneData:
    return scene_data(SMALL, folder / "probes")
