"""What decides the last digits of an embedding, as runs and stored features record it."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.changed_weights import CHANGES, scale_in_place
from support.tiny_models import write_tiny_model

from s2robot import FrameEncoder
from s2robot.backbones import Backbone
from s2robot.encoder.tile_encoder import TileEncoder
from s2robot.errors import MismatchError


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


@pytest.mark.parametrize("change", CHANGES)
def test_the_spec_of_changed_weights_names_them_and_says_that_no_file_holds_them(
    encoder: FrameEncoder, change: Callable[[Backbone], None]
) -> None:
    loaded = encoder.spec
    change(encoder.backbone)
    with pytest.warns(UserWarning, match=r"were changed after they were loaded.*file:CARD\.json"):
        changed = encoder.spec
    assert changed.weights_digest == encoder.backbone.weights_digest
    assert changed.digest() != loaded.digest()
    assert dataclasses.replace(changed, weights_digest=loaded.weights_digest) == loaded


def test_changed_weights_are_told_once_and_untouched_ones_never(encoder: FrameEncoder) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = encoder.spec
        assert encoder.spec == first
        scale_in_place(encoder.backbone)
        with pytest.warns(UserWarning, match="were changed"):
            second = encoder.spec
        assert encoder.spec == second != first
        scale_in_place(encoder.backbone)
        with pytest.warns(UserWarning, match="were changed"):
            assert encoder.spec != second


def test_an_encoder_of_changed_weights_cannot_be_made_from_its_spec(tmp_path: Path) -> None:
    name = f"file:{write_tiny_model(tmp_path)}"
    encoder = FrameEncoder.from_name(name, (1,), "mean", device="cpu")
    scale_in_place(encoder.backbone)
    with pytest.warns(UserWarning, match="were changed"):
        spec = encoder.spec
    with pytest.raises(MismatchError, match="are not those of the spec"):
        FrameEncoder.from_spec(spec, device="cpu")


def test_another_runtime_of_changed_weights_has_their_spec(encoder: FrameEncoder) -> None:
    scale_in_place(encoder.backbone)
    with pytest.warns(UserWarning, match="were changed"):
        other = encoder.with_runtime("eager")
    assert other.layout.spec.weights_digest == encoder.backbone.weights_digest
