"""Encoders of a tiny ViT for tests of runtimes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.tiny_models import write_tiny_model

from s2robot.encoder.frame_encoder import FrameEncoder

Make = Callable[..., FrameEncoder]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Encoders of a tiny ViT: base size 32, patch 8, 24 channels."""
    card = write_tiny_model(tmp_path_factory.mktemp("tiny"))

    def build(scales: tuple[float, ...] = (1, 2), **settings: Any) -> FrameEncoder:
        settings = {"device": "cpu", "runtime": "eager", "readout": "spatial_softmax", **settings}
        return FrameEncoder.from_name(f"file:{card}", scales=scales, **settings)

    return build
