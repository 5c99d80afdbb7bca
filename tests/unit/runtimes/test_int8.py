"""int8: calibrated on frames, kept for them, near float32, and a warning on other frames."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.small_encoders import picture, scenes

from s2robot.backbones import Backbone, get_card
from s2robot.backbones.architectures import Architecture
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.spec import EncoderSpec
from s2robot.errors import CalibrationWarning
from s2robot.runtimes import RuntimeFailedError, RuntimeMissingError
from s2robot.runtimes.calibrations import function_folder

Make = Callable[..., FrameEncoder]
INT8 = "openvino-int8"


def test_int8_is_calibrated_kept_and_near(make: Make, fresh_home: Path) -> None:
    encoder = make()
    (record,) = encoder.calibrate(scenes(40)).values()
    assert (record.tiles, record.held_out) == (160, 32)
    # Processors without VNNI saturate some 8-bit products: 0.936 was seen there.
    assert 0.9 < record.cosine_min <= record.cosine_mean <= 1.0
    int8 = make(runtime="openvino-int8")  # another encoder of the same weights
    assert not int8.runtime.exact
    expected, found = encoder(scenes(3)), int8(scenes(3))
    assert torch.nn.functional.cosine_similarity(found, expected, dim=-1).min() > 0.99
    assert not torch.equal(found, expected)
    assert int8.runtime.describe()["models"] == {"32x32": record.model_sha256}


def test_int8_without_calibration(make: Make, fresh_home: Path) -> None:
    with pytest.raises(RuntimeMissingError, match=r"never calibrated .* encoder.calibrate\(frames"):
        make(runtime="openvino-int8")


def test_int8_of_too_few_frames(make: Make, fresh_home: Path) -> None:
    with pytest.raises(ValueError, match="5 tiles are too few"):
        make().calibrate(scenes(1))
    assert not (fresh_home / "int8").exists()


def test_int8_that_is_far_off_is_not_kept(
    make: Make, fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s2robot.runtimes import int8

    honest = int8.reference
    monkeypatch.setattr(int8, "reference", lambda model, tiles: -honest(model, tiles))
    with pytest.raises(RuntimeFailedError, match="have a mean cosine of -"):
        make().calibrate(scenes(10))
    assert not (fresh_home / "int8").exists()


def test_each_encoder_uses_the_calibration_on_its_own_frames(make: Make, fresh_home: Path) -> None:
    front, wrist = make(), make()
    (of_front,) = front.calibrate(scenes(10)).values()
    before = front.with_runtime(INT8)
    (of_wrist,) = wrist.calibrate(picture(10, 70, 90)).values()
    after = front.with_runtime(INT8)
    assert of_front.identity != of_wrist.identity
    assert after.inference == before.inference
    assert after.inference["runtime"]["calibration"] == of_front.identity
    assert wrist.use_runtime(INT8).inference["runtime"]["calibration"] == of_wrist.identity
    assert torch.equal(after(scenes(3)), before(scenes(3)))
    assert not torch.equal(after(scenes(3)), wrist(scenes(3)))

    with pytest.raises(RuntimeMissingError, match="has 2 calibrations on this machine. Name that"):
        make(runtime=INT8)
    named = make(runtime=f"{INT8}:{of_front.identity[:6]}")
    assert named.inference == after.inference


def test_an_encoder_that_was_calibrated_twice_asks_which(make: Make, fresh_home: Path) -> None:
    encoder = make()
    (first,) = encoder.calibrate(scenes(10)).values()
    encoder.calibrations = (first.identity, "0123456789ab")
    with pytest.raises(RuntimeMissingError, match=f"calibrated on 2 sets.*{INT8}:0123456789ab"):
        encoder.use_runtime(INT8)
    assert encoder.use_runtime(f"{INT8}:{first.identity}").runtime.name == INT8


def test_calibrating_on_the_same_frames_gives_the_same_identity(
    make: Make, fresh_home: Path
) -> None:
    first, second = make(), make()
    first.calibrate(scenes(10))
    second.calibrate(scenes(10))
    assert first.calibrations == second.calibrations
    (kept,) = function_folder(first.token_model, (32, 32)).glob("[!.]*/calibration.json")
    assert kept.parent.name == first.calibrations[0]
    assert make(runtime=INT8).inference["runtime"]["calibration"] == first.calibrations[0]


def test_tiles_of_several_sizes_share_an_identity(make: Make, fresh_home: Path) -> None:
    encoder = make((1, 1.5))
    records = encoder.calibrate(scenes(10))
    assert len(records) == 2
    assert {record.identity for record in records.values()} == set(encoder.calibrations)
    assert encoder.use_runtime(INT8)(scenes(2)).isfinite().all()


def test_frames_unlike_the_calibrations_give_one_warning(make: Make, fresh_home: Path) -> None:
    encoder = make()
    encoder.calibrate(picture(20, 70, 90))
    int8 = encoder.with_runtime(INT8)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CalibrationWarning)
        for frame in picture(10, 70, 90, 1):
            int8(frame)
    stream = int8.stream()
    with pytest.warns(CalibrationWarning) as told:
        _ = [stream(frame) for frame in scenes(20)]
    (one,) = [str(each.message) for each in told if each.category is CalibrationWarning]
    assert "% of" in one
    assert f"calibration {encoder.calibrations[0]}" in one
    assert "encoder.calibrate(frames)" in one


def test_a_model_that_gives_one_token_a_tile_is_checked_too(fresh_home: Path) -> None:
    torch.manual_seed(0)
    projection = Architecture("resnet18", {"num_classes": 64})
    card = dataclasses.replace(
        get_card("r3m-resnet18"), architecture=projection, published="head", head_dim=64
    )
    backbone = Backbone(card, projection.build())
    encoder = FrameEncoder(EncoderSpec(card.name, backbone.weights_digest), backbone, "cpu")
    assert encoder.layout.pooling == "head"
    encoder.calibrate(scenes(20, 224))
    int8 = encoder.with_runtime(INT8)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CalibrationWarning)
        assert int8(scenes(12, 224)).shape == (12, 64)
    with pytest.warns(CalibrationWarning, match="% of 32 tiles are out"):
        int8(picture(20, 224, 224))


def test_another_weight_is_another_function(make: Make, fresh_home: Path) -> None:
    encoder = make()
    before = function_folder(encoder.token_model, (32, 32))
    with torch.no_grad():
        next(encoder.backbone.parameters()).add_(0.1)
    assert function_folder(encoder.token_model, (32, 32)) != before
