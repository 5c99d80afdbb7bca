"""Demonstrations and a feature store for the tests of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.stored_features import (
    BLOCK,
    Make,
)
from support.tiny_models import write_tiny_model

from s2robot.data.collection import CollectConfig, collect
from s2robot.data.demonstrations import Demonstrations
from s2robot.data.feature_store import FeatureStore
from s2robot.encoder.frame_encoder import FrameEncoder


@pytest.fixture(scope="session")
def demos(tmp_path_factory) -> Demonstrations:
    out = tmp_path_factory.mktemp("demos") / "easy.hdf5"
    return collect(CollectConfig(level="easy", episodes=4, out=out, valid_share=0.25))


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def make(card: Path) -> Make:
    def build(scales: tuple[float, ...] = (1, 2), **settings: Any) -> FrameEncoder:
        settings = {"readout": "spatial_softmax", **settings}
        return FrameEncoder.from_name(f"file:{card}", scales=scales, device="cpu", **settings)

    return build


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "features", block_frames=BLOCK)
