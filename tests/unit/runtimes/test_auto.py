"""Runtime "auto": measured for each number of tiles, remembered, and one for all of a purpose."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.helpers import hide
from support.small_encoders import picture
from support.timed_runtimes import FEW_TILES_ONLY, Times, give_times

from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.errors import S2RobotError
from s2robot.runtimes import RuntimeFailedError, RuntimeMissingError, auto
from s2robot.runtimes.base import Runtime, TokenModel
from s2robot.utils.io import read_json, write_json

Make = Callable[..., FrameEncoder]


@pytest.fixture
def timed(measured_runtimes: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Times], list]:
    """Give runtimes times; returns what was timed, in a list."""
    return lambda times: give_times(monkeypatch, times)


def test_a_single_frame_and_a_batch_have_the_runtime_that_is_fastest_for_them(
    make: Make, timed: Callable
) -> None:
    timed(FEW_TILES_ONLY)
    encoder = make(runtime="auto")  # 5 tiles a frame
    assert encoder.runtime_for(1).name == "openvino"
    assert encoder.runtime_for(16).name == "eager"
    named = make(runtime="eager")
    one, many = picture(1, 70, 90), picture(16, 70, 90)
    assert torch.allclose(encoder(one), named(one) + 1, atol=1e-5)
    assert torch.equal(encoder(many), named(many))


def test_numbers_of_tiles_from_one_power_of_two_to_the_next_share_a_measurement(
    make: Make, timed: Callable
) -> None:
    seen = timed(FEW_TILES_ONLY)
    encoder = make(runtime="auto")
    for frames in (13, 16, 25):  # 65, 80 and 125 tiles
        encoder.runtime_for(frames)
    assert {tiles for _, tiles in seen} == {8, 65}  # a few first
    encoder.runtime_for(12)
    assert {tiles for _, tiles in seen} == {8, 65, 60}


def test_more_frames_than_the_backbone_takes_at_once_are_measured_as_that_many(
    make: Make, timed: Callable
) -> None:
    seen = timed(FEW_TILES_ONLY)
    encoder = make(runtime="auto", max_tiles_per_batch=40)
    assert encoder.runtime_for(1000) is encoder.runtime_for()
    assert {tiles for _, tiles in seen} == {8, 40}


def test_nothing_is_measured_before_the_first_call(make: Make, timed: Callable) -> None:
    assert not timed(FEW_TILES_ONLY)
    assert make(runtime="auto").runtime.name == "auto"


def test_all_chunks_of_a_call_are_made_by_one_runtime(make: Make, timed: Callable) -> None:
    timed(FEW_TILES_ONLY)
    encoder = make(runtime="auto", max_tiles_per_batch=80)
    frames = picture(17, 70, 90)  # a chunk of 16, and one frame, which alone goes to OpenVINO
    assert torch.equal(encoder(frames)[16:], make()(frames[16:]))


@pytest.mark.parametrize("make_stream", [FrameEncoder.stream, lambda e: e.selective(budget=4)])
def test_a_stream_has_one_runtime_however_many_tiles_change(
    make: Make, timed: Callable, make_stream: Callable
) -> None:
    fewer = {"eager": lambda n: 10.0 * n, "openvino": lambda n: 6.0 * n if n < 4 else 11.0 * n}
    timed(fewer)
    frames = picture(2, 64, 64)
    frames[1] = frames[0]
    frames[1, :8, :8] = 0  # in the tile of scale 1 and one of scale 2
    stream, plain = make_stream(make(runtime="auto")), make_stream(make())
    assert all(torch.equal(stream(frame), plain(frame)) for frame in frames)


def test_a_named_encoder_shares_the_weights_and_stays_with_its_runtime(
    make: Make, timed: Callable
) -> None:
    timed(FEW_TILES_ONLY)
    encoder = make(runtime="auto")
    named = encoder.for_batches_of(1)
    assert named.backbone is encoder.backbone
    assert named.inference["runtime"]["name"] == "openvino"
    assert named.for_batches_of(16) is named
    assert {other.runtime.name for other in encoder.alternatives()} == {
        "eager", "openvino", "onnxruntime"
    }  # fmt: skip


def test_weights_that_take_gradients_are_run_by_eager_pytorch(make: Make, timed: Callable) -> None:
    seen = timed(FEW_TILES_ONLY)
    encoder = make(runtime="auto")
    encoder.requires_grad_(True)
    encoder(picture(1, 70, 90)).sum().backward()
    assert any(parameter.grad is not None for parameter in encoder.parameters())
    assert not seen


def test_weights_that_were_changed_are_run_by_eager_pytorch(make: Make, timed: Callable) -> None:
    timed(FEW_TILES_ONLY)
    encoder = make(runtime="auto")
    assert encoder.runtime_for(1).name == "openvino"
    with torch.no_grad():
        next(encoder.backbone.parameters()).add_(0.1)
    assert encoder.runtime_for(1).name == "eager"
    assert encoder.use_runtime("auto").runtime_for(1).name == "openvino"


def test_a_copy_of_an_encoder_has_a_runtime_of_its_own(make: Make, timed: Callable) -> None:
    timed(FEW_TILES_ONLY)
    encoder = make(runtime="auto")
    other = copy.deepcopy(encoder)
    assert other.runtime.model is other.token_model is not encoder.token_model  # pyright: ignore
    assert torch.equal(other(picture(1, 70, 90)), encoder(picture(1, 70, 90)))


# ----------------------------------------------------------------------------------- measurement
def test_the_choice_is_remembered(
    make: Make, timed: Callable, measured_runtimes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed(FEW_TILES_ONLY)
    make(runtime="auto").runtime_for(1)
    (kept,) = measured_runtimes.glob("*.json")
    assert read_json(kept)["fastest"] == "openvino"
    monkeypatch.setattr(auto, "measured", lambda *_: pytest.fail("measured again"))
    assert make(runtime="auto").runtime_for(1).name == "openvino"


def test_the_choice_is_measured_again_where_the_record_is_damaged(
    make: Make, timed: Callable, measured_runtimes: Path
) -> None:
    timed(FEW_TILES_ONLY)
    make(runtime="auto").runtime_for(1)
    (kept,) = measured_runtimes.glob("*.json")
    kept.write_text("{")
    make(runtime="auto").runtime_for(1)
    assert read_json(kept)["fastest"] == "openvino"


def test_no_approximate_or_foreign_runtime_is_taken_from_a_file(
    make: Make, timed: Callable, measured_runtimes: Path
) -> None:
    timed(FEW_TILES_ONLY)
    make(runtime="auto").runtime_for(1)
    (kept,) = measured_runtimes.glob("*.json")
    record = read_json(kept)
    times = record["milliseconds"]
    for change in (
        {"fastest": "openvino-int8"},
        {"fastest": "openvino-int8", "milliseconds": {**times, "openvino-int8": 0.001}},
        {"fastest": ["eager"]},
        {"milliseconds": 3},
        {"milliseconds": {}},
        {"milliseconds": {name: "1" for name in times}},
        {"processor": "another"},
    ):
        write_json(kept, {**record, **change})
        assert make(runtime="auto").runtime_for(1).name == "openvino", change
        assert read_json(kept) == record, change


def test_a_way_that_is_clearly_slower_is_timed_once(make: Make, timed: Callable) -> None:
    seen = timed({"eager": lambda n: 10.0 * n, "openvino": lambda n: 20.0 * n})
    assert make(runtime="auto").runtime_for(1).name == "eager"
    assert seen.count(("openvino", 5)) == 2  # to set itself up, then the time that counts


def test_a_way_that_is_far_slower_for_a_few_tiles_never_gets_many(
    make: Make, timed: Callable, measured_runtimes: Path
) -> None:
    seen = timed({"eager": lambda n: 50.0 * n, "openvino": lambda n: 10.0 * n})
    assert make(runtime="auto").runtime_for(16).name == "openvino"  # 16 frames of 5 tiles
    assert max(tiles for name, tiles in seen if name == "eager") == 8
    assert max(tiles for name, tiles in seen if name == "openvino") == 80
    (kept,) = measured_runtimes.glob("*.json")
    record = read_json(kept)
    assert record["left_out"]["eager"] == "400 ms for 8 tiles, 80 ms is best"
    assert set(record["milliseconds"]) == {"openvino"}


def test_a_runtime_that_fails_is_left_out_with_its_reason(
    make: Make, timed: Callable, measured_runtimes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed({"eager": lambda n: 10.0 * n, "onnxruntime": lambda n: 12.0 * n})

    def broken(model: TokenModel, bf16: bool) -> Runtime:
        raise RuntimeFailedError("operation aten::odd is unknown")

    monkeypatch.setitem(auto.MAKERS, "openvino", broken)
    assert make(runtime="auto").runtime_for(1).name == "eager"
    (kept,) = measured_runtimes.glob("*.json")
    record = read_json(kept)
    assert record["left_out"] == {"openvino": "operation aten::odd is unknown"}
    assert set(record["milliseconds"]) == {"eager", "onnxruntime"}


def test_onnx_runtime_is_not_tried_beside_openvino(make: Make, timed: Callable) -> None:
    seen = timed(FEW_TILES_ONLY)
    make(runtime="auto").runtime_for(1)
    assert {name for name, _ in seen} == {"eager", "openvino"}


def test_a_long_measurement_is_told_in_one_line_with_what_is_missing(
    make: Make,
    measured_runtimes: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hide(monkeypatch, "openvino", "onnxruntime")
    monkeypatch.setattr(auto, "_SILENT_S", 0.0)
    encoder = make(runtime="auto")
    assert [encoder.runtime_for(1).name for _ in range(2)] == ["eager"] * 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "eager" in line
    assert "for 5 tiles" in line
    assert "pip install 'openvino>=" in line
    (kept,) = measured_runtimes.glob("*.json")
    assert set(read_json(kept)["left_out"]) == {"openvino", "onnxruntime"}


def test_the_real_runtimes_are_measured(make: Make, measured_runtimes: Path) -> None:
    chosen = make(runtime="auto").runtime_for(1)
    (kept,) = measured_runtimes.glob("*.json")
    record = read_json(kept)
    assert set(record["milliseconds"]) == {"eager", "openvino"}
    assert chosen.name == min(record["milliseconds"], key=record["milliseconds"].get)


# -------------------------------------------------------------------------------- fixed by a name
def test_the_environment_may_name_what_auto_takes(
    make: Make, timed: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = timed(FEW_TILES_ONLY)
    monkeypatch.setenv("S2ROBOT_RUNTIME", "openvino")
    assert make(runtime="auto").runtime_for(16).name == "openvino"
    assert not seen


@pytest.mark.parametrize("name", ["openvino-int8", "cuda-graph", "x"])
def test_the_environment_names_an_exact_runtime_of_the_device(
    make: Make, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("S2ROBOT_RUNTIME", name)
    with pytest.raises(S2RobotError, match="S2ROBOT_RUNTIME is .*allowed on the device cpu: eager"):
        make(runtime="auto")


def test_a_named_runtime_that_is_missing_is_told(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, "openvino")
    monkeypatch.setenv("S2ROBOT_RUNTIME", "openvino")
    with pytest.raises(RuntimeMissingError, match="pip install"):
        make(runtime="auto").runtime_for(1)
