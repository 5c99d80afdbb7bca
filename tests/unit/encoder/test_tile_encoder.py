"""What decides the last digits of an embedding, as runs and stored features record it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_models import write_tiny_model

from s2robot import FrameEncoder
from s2robot.encoder.tile_encoder import TileEncoder


@pytest.fixture
def encoder(tmp_path: Path) -> FrameEncoder:
    """A tiny ViT with the rule of PyTorch's 8-bit kernel."""
    return FrameEncoder.from_name(f"file:{write_tiny_model(tmp_path)}", (1,), "mean", device="cpu")


def test_processors_keep_the_digests_of_their_features(encoder: FrameEncoder) -> None:
    assert encoder.inference == {
        "runtime": {"name": "eager", "exact": True},
        "dtype": "float32",
        "device": "cpu",
    }


def test_features_that_a_gpu_resized_in_floats_are_not_taken_for_todays(
    encoder: FrameEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cpu: dict[str, Any] = encoder.inference["runtime"]
    monkeypatch.setattr(TileEncoder, "device", torch.device("cuda"))
    assert encoder.inference["runtime"] == {**on_cpu, "resizing": "int32"}
