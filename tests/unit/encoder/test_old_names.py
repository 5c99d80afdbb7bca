"""Old names of options and keywords work for one release, with a warning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.tiny_models import write_tiny_model

from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.spec import EncoderSpec

FRAMES = np.zeros((2, 64, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def name(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"file:{write_tiny_model(Path(tmp_path_factory.mktemp('tiny')))}"


def test_from_name_takes_taps_for_layers(name: str) -> None:
    new = FrameEncoder.from_name(
        name, readout="mean", device="cpu", layers=(0, 1), layers_merge="mean"
    )
    options: dict[str, Any] = {"taps": (0, 1), "taps_merge": "mean"}
    with pytest.warns(FutureWarning, match="taps is now called layers") as caught:
        old = FrameEncoder.from_name(name, readout="mean", device="cpu", **options)
    assert {warning.filename for warning in caught} == {__file__}
    assert old.spec == new.spec


def test_a_spec_takes_taps_for_layers() -> None:
    options: dict[str, Any] = {"taps": (5,), "taps_merge": "mean"}
    with pytest.warns(FutureWarning, match="taps_merge is now called layers_merge"):
        old = EncoderSpec("x", "y", readout="mean", **options)
    assert old == EncoderSpec("x", "y", readout="mean", layers=(5,), layers_merge="mean")


def test_an_option_under_both_names_is_refused() -> None:
    options: dict[str, Any] = {"taps": (5,), "layers": (5,)}
    with pytest.raises(TypeError, match="layers is given twice"):
        EncoderSpec("x", "y", readout="mean", **options)


def test_streams_take_slots(name: str) -> None:
    encoder = FrameEncoder.from_name(name, scales=(1, 2), readout="mean", device="cpu")
    expected = encoder.stream()(FRAMES, streams=[1, 0])
    old: dict[str, Any] = {"slots": [1, 0]}
    for embed in (encoder.stream(), encoder.selective(4)):
        with pytest.warns(FutureWarning, match="slots is now called streams"):
            assert torch.equal(embed(FRAMES, **old), expected)
    selective = encoder.selective(4, choose="attention")
    with pytest.warns(FutureWarning, match="slots is now called streams"):
        selective.look_at(np.ones((2, 4, 4)), **old)
