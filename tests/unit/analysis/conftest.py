"""Labeled scenes and one reconstruction study, made once for all tests of analyses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.probe_scenes import SMALL
from support.small_encoders import encoder_of, scenes
from support.small_reconstruction import FULL, all_sources

from s2robot.analysis.probes.scenes import SceneData, scene_data
from s2robot.analysis.reconstruction.study import Study, reconstruct


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def data(folder: Path) -> SceneData:
    return scene_data(SMALL, folder / "probes")


@pytest.fixture(scope="session")
def shots() -> tuple[np.ndarray, np.ndarray]:
    """48 frames in 8 blocks."""
    return scenes(48, 64), np.arange(48) // 6


@pytest.fixture(scope="session")
def study(shots: tuple[np.ndarray, np.ndarray]) -> Study:
    return reconstruct(*shots, encoder_of("registers", scales=(1,), **FULL), all_sources())
