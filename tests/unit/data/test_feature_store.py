"""Feature store: values, shared scales, what has an entry of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.changed_weights import CHANGES
from support.stored_features import (
    BLOCK,
    FRAMES,
    Demos,
    Frames,
    Interrupted,
    Make,
    assert_same,
    entries,
    fill,
)
from support.timed_runtimes import give_times
from support.tiny_models import write_tiny_model

from s2robot.backbones import Backbone
from s2robot.data.feature_entries import Entry
from s2robot.data.feature_store import FeatureStore
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.errors import MismatchError, S2RobotError


@pytest.mark.parametrize("change", CHANGES)
def test_features_of_changed_weights_are_computed_anew(
    store: FeatureStore, make: Make, change: Callable[[Backbone], None]
) -> None:
    encoder = make()
    frames = fill(store, encoder)
    before = store.load(Demos(), frames, encoder)
    change(encoder.backbone)
    with pytest.raises(FileNotFoundError):
        store.load(Demos(), frames, encoder)
    store.ensure(Demos(), frames, encoder, progress=False)
    live = encoder(frames.read(0, FRAMES))
    found = store.load(Demos(), frames, encoder)
    torch.testing.assert_close(found.float(), live, rtol=1e-3, atol=1e-3)
    assert torch.equal(store.load(Demos(), frames, make()), before)


@pytest.mark.parametrize("readout", ["cls", "mean", "spatial_softmax"])
@pytest.mark.parametrize("index", [0, -1])
@pytest.mark.parametrize("input_mode", ["native", "interpolate"])
def test_cached_equals_live(
    store: FeatureStore, make: Make, readout: str, index: int, input_mode: str
) -> None:
    encoder = make(readout=readout, resize_output_to_idx=index, input_mode=input_mode)
    frames = fill(store, encoder)
    cached = store.load(Demos(), frames, encoder)
    live = encoder(frames.read(0, FRAMES))
    assert cached.dtype == torch.float16
    assert cached.shape == (FRAMES, encoder.embedding_dim)
    assert F.cosine_similarity(cached.double(), live.double()).min() >= 0.9999
    torch.testing.assert_close(cached.float(), live, rtol=1e-3, atol=1e-3)
    assert torch.equal(store.load(Demos(), frames, encoder.spec), cached)


def test_missing_scales_are_made_in_one_pass(store: FeatureStore, make: Make) -> None:
    assert fill(store, make((1, 2, 3))).reads == [(0, 3), (3, 6), (6, 9), (9, 11)]
    assert len(entries(store)) == 3


def test_scale_sets_share_scales(store: FeatureStore, make: Make) -> None:
    fill(store, make((1, 2)))
    before = entries(store)
    assert fill(store, make((2, 1), resize_output_to_idx=-1)).reads == []  # the same grids
    fill(store, make((1, 2, 3)))
    assert len(entries(store)) == 3
    assert set(before) < set(entries(store))


def test_what_is_the_same_is_stored_once(store: FeatureStore, make: Make) -> None:
    fill(store, make((1,)))
    assert fill(store, make((1,), input_mode="interpolate")).reads == []
    fill(store, make((1,), readout="cls"))
    assert fill(store, make((1,), readout="published")).reads == []
    assert len(entries(store)) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"input_mode": "interpolate"},
        {"readout": "mean"},
        {"dtype": "bfloat16"},
        {"scales": (1, 3)},
        {"resize_output_to_idx": -1},  # scale 2 is stored at its own grid
    ],
)
def test_what_differs_is_stored_apart(
    store: FeatureStore, make: Make, change: dict[str, Any]
) -> None:
    fill(store, make((1, 2)))
    fill(store, make(**change))
    assert len(entries(store)) > 2


@pytest.mark.parametrize(
    ("demos", "frames"), [(Demos("others"), Frames()), (Demos(), Frames(camera="far"))]
)
def test_other_data_is_stored_apart(
    store: FeatureStore, make: Make, demos: Demos, frames: Frames
) -> None:
    fill(store, make((1,)))
    store.ensure(demos, frames, make((1,)), progress=False)
    assert len(entries(store)) == 2


def test_other_weights_are_stored_apart(store: FeatureStore, make: Make, tmp_path: Path) -> None:
    fill(store, make((1,)))
    pixels = {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": 32}
    other = write_tiny_model(tmp_path, preprocessing=pixels)
    fill(store, FrameEncoder.from_name(f"file:{other}", readout="spatial_softmax", device="cpu"))
    assert len(entries(store)) == 2


def test_scales_at_different_progress(store: FeatureStore, make: Make) -> None:
    first, second, both = (make(scales, readout="mean") for scales in ((1,), (2,), (1, 2)))
    coarse = FeatureStore(store.root, block_frames=4)
    with pytest.raises(InterruptedError):
        coarse.ensure(Demos(), Interrupted(stop_at=8), second, progress=False)
    with pytest.raises(InterruptedError):
        store.ensure(Demos(), Interrupted(stop_at=3), first, progress=False)
    frames = fill(store, both)
    assert frames.reads == [(3, 6), (6, 8), (8, 11)]
    resumed, live = store.load(Demos(), frames, both), both(frames.read(0, FRAMES))
    torch.testing.assert_close(resumed.float(), live, rtol=1e-3, atol=1e-3)


def test_nothing_encoded_yet(store: FeatureStore, make: Make) -> None:
    with pytest.raises(FileNotFoundError, match="0 of 11 frames"):
        store.load(Demos(), Frames(), make((1,)))


def test_features_made_anew_replace_the_stored_ones(store: FeatureStore, make: Make) -> None:
    fill(store, make((1,)))
    assert fill(store, make((1,)), refresh=True).reads[0] == (0, 3)


@pytest.mark.parametrize(("demos", "count"), [(Demos(num_frames=5), 6), (Demos(num_frames=0), 0)])
def test_numbers_of_frames_must_agree(
    store: FeatureStore, make: Make, demos: Demos, count: int
) -> None:
    with pytest.raises(MismatchError, match="the same number"):
        store.ensure(demos, Frames(count), make((1,)), progress=False)


def test_features_beyond_half_precision(
    store: FeatureStore, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = make((1,), readout="mean")
    monkeypatch.setattr(
        encoder, "encode_scales", lambda block, scales: {1: torch.full((len(block), 24), 1e6)}
    )
    with pytest.raises(S2RobotError, match="largest 1e\\+06"):
        store.ensure(Demos(), Frames(), encoder, progress=False)


def test_block_size_is_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        FeatureStore(tmp_path, block_frames=0)


def test_progress_is_shown(store: FeatureStore, make: Make, capsys: pytest.CaptureFixture) -> None:
    store.ensure(Demos(), Frames(), make((1, 2)))
    assert "encoding scales (1, 2)" in capsys.readouterr().err


@pytest.mark.process
@pytest.mark.slow
def test_an_approximate_runtime_is_refused(store: FeatureStore, make: Make) -> None:
    encoder = make()
    frames = np.concatenate([Frames().read(0, FRAMES)] * 3)
    encoder.calibrate(frames)
    encoder.use_runtime("openvino-int8")
    with pytest.raises(MismatchError, match=r"openvino-int8 is approximate.* use runtime auto"):
        fill(store, encoder)
    assert not entries(store)


@pytest.mark.process
@pytest.mark.slow
def test_exact_runtimes_have_entries_of_their_own(store: FeatureStore, make: Make) -> None:
    """They differ in the last digits, so a policy is trained on those of one runtime."""
    other = make().use_runtime("openvino")
    fill(store, other)
    assert fill(store, other).reads == []
    frames = fill(store, make())
    assert frames.reads
    assert len(entries(store)) == 4


def test_the_next_block_is_read_while_this_one_is_encoded(
    store: FeatureStore, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = [threading.Event() for _ in range(FRAMES)]

    class Watched(Frames):
        def read(self, start: int, stop: int) -> np.ndarray:
            begun[start].set()
            return super().read(start, stop)

    encoder, frames = make((1,)), Watched()
    encode, waited = encoder.encode_scales, []

    def encode_late(pixels: np.ndarray, scales: list[float]) -> dict[float, torch.Tensor]:
        start = BLOCK * len(waited)
        waited.append(start + BLOCK >= FRAMES or begun[start + BLOCK].wait(timeout=20))
        assert not any(event.is_set() for event in begun[start + 2 * BLOCK :])  # memory is bounded
        return encode(pixels, scales)

    monkeypatch.setattr(encoder, "encode_scales", encode_late)
    store.ensure(Demos(), frames, encoder, progress=False)
    assert waited == [True] * 4
    assert frames.reads == [(0, 3), (3, 6), (6, 9), (9, 11)]


def test_whole_features_are_verified_once_when_they_are_taken(
    store: FeatureStore, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, frames, read = make((1, 2)), Frames(), []
    first = store.load_or_encode(Demos(), frames, encoder, progress=False)
    assert len(frames.reads) == 4
    original = Entry._read_shard
    monkeypatch.setattr(
        Entry, "_read_shard", lambda self, shard: read.append(shard) or original(self, shard)
    )
    again = store.load_or_encode(Demos(), frames, encoder, progress=False)
    torch.testing.assert_close(again, first, rtol=0, atol=0)
    assert len(read) == 2 * 4  # shards of both scales
    assert len(frames.reads) == 4


def test_damaged_features_are_mended_when_they_are_taken(store: FeatureStore, make: Make) -> None:
    encoder, frames = make((1,)), Frames()
    first = store.load_or_encode(Demos(), frames, encoder, progress=False)
    shard = next(store.root.rglob("0000003.npy"))
    shard.write_bytes(shard.read_bytes()[:-2])
    with pytest.warns(UserWarning, match="3 of 11 frames are encoded again now"):
        again = store.load_or_encode(Demos(), frames, encoder, progress=False)
    assert_same(again, first)
    assert frames.reads[4:] == [(3, 6)]


def test_an_approximate_runtime_is_refused_before_stored_features_are_read(
    store: FeatureStore, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = make((1,))
    store.load_or_encode(Demos(), Frames(), encoder, progress=False)
    monkeypatch.setattr(type(encoder.runtime), "exact", False)
    with pytest.raises(MismatchError, match="is approximate"):
        store.load_or_encode(Demos(), Frames(), encoder, progress=False)
    with pytest.raises(MismatchError, match="the same number"):
        store.load_or_encode(Demos(num_frames=FRAMES + 1), Frames(), encoder, progress=False)


def test_an_interrupted_store_goes_on_with_its_runtime_whatever_is_faster_today(
    store: FeatureStore, make: Make, measured_runtimes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_times(monkeypatch, {"eager": lambda n: 2.0 * n, "openvino": lambda n: 1.0 * n})
    encoder = make((1, 2), runtime="auto")
    with pytest.raises(InterruptedError):
        store.ensure(Demos(), Interrupted(6), encoder, progress=False)
    for record in measured_runtimes.glob("*.json"):
        record.unlink()
    give_times(monkeypatch, {"eager": lambda n: 1.0 * n, "openvino": lambda n: 2.0 * n})
    again = make((1, 2), runtime="auto")
    assert store.with_one_runtime(Demos(), Frames(), again).runtime.name == "openvino"
    frames = fill(store, again)
    assert frames.reads[0][0] > 0
    assert torch.equal(
        store.load(Demos(), frames, again),
        store.load(Demos(), frames, make((1, 2), runtime="openvino")),
    )
    with pytest.raises(FileNotFoundError):
        store.load(Demos(), frames, make((1, 2), runtime="eager"))


def test_encoders_that_share_a_scale_share_its_runtime(
    store: FeatureStore, make: Make, measured_runtimes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_times(monkeypatch, {"eager": lambda n: 1.0, "openvino": lambda n: 1.0 * n})
    fill(store, make((1,), runtime="eager"))
    both = make((1, 2), runtime="auto", max_tiles_per_batch=1)  # OpenVINO would be chosen
    assert store.with_one_runtime(Demos(), Frames(), both).runtime.name == "eager"


@pytest.mark.runtime
def test_a_specification_finds_the_features_of_any_exact_runtime(
    store: FeatureStore, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = make((1, 2), runtime="openvino")
    frames = fill(store, encoder)
    expected = store.load(Demos(), frames, encoder)
    assert torch.equal(store.load(Demos(), frames, encoder.spec), expected)
