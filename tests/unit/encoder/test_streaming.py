"""Crop reuse: the same numbers as the plain path, and only changed tiles encoded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from support.helpers import counting
from support.tiny_models import write_tiny_model

from s2robot.encoder.frame_encoder import FrameEncoder

Make = Callable[..., FrameEncoder]
READOUTS = ("cls", "mean", "spatial_softmax")


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Encoders of a tiny ViT: base size 32, patch 8, 24 channels."""
    card = write_tiny_model(tmp_path_factory.mktemp("tiny"))

    def build(scales: tuple[float, ...] = (1, 2), **settings: Any) -> FrameEncoder:
        settings = {"device": "cpu", "readout": "mean", **settings}
        return FrameEncoder.from_name(f"file:{card}", scales=scales, **settings)

    return build


def episode(steps: int = 6, size: int = 96, cameras: int = 1) -> np.ndarray:
    """Frames ``(steps, cameras, size, size, 3)``: a small block moves over a fixed background."""
    rng = np.random.default_rng(0)
    background = rng.integers(0, 256, (cameras, size, size, 3), dtype=np.uint8)
    frames = np.stack([background] * steps)
    for step in range(steps):
        left = 4 + 6 * step
        frames[step, :, 8:20, left : left + 12] = 255 - 20 * step
    return frames


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("input_mode", ["native", "interpolate"])
@pytest.mark.parametrize("scales", [(1,), (1, 2), (1, 2, 3), (1, 1.5, 3)])
def test_bit_identical_at_tolerance_zero(
    make: Make, readout: str, input_mode: str, scales: tuple[float, ...]
) -> None:
    encoder = make(scales, readout=readout, input_mode=input_mode)
    stream = encoder.stream()
    for frames in episode(cameras=2):
        assert torch.equal(stream(frames), encoder(frames))


def test_only_changed_tiles_are_encoded(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The block stays in the upper left quadrant: the whole frame and one of four tiles change."""
    encoder = make((1, 2))
    stream, frames = encoder.stream(), episode()[:3, 0]
    seen = counting(encoder, monkeypatch)
    for frame in frames:
        stream(frame)
    assert seen == [5, 2, 2]
    assert stream.stats.frames == 3
    assert stream.stats.hit_rates() == {1: 0, 2: 6 / 12}
    assert stream.stats.hit_rate == 6 / 15


def test_a_frame_that_stands_still_costs_nothing(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = make((1, 2, 3))
    stream, frame = encoder.stream(), episode()[0, 0]
    first = stream(frame)
    seen = counting(encoder, monkeypatch)
    assert torch.equal(stream(frame), first)
    assert seen == []


def test_one_pixel_by_one_level_is_a_change(make: Make) -> None:
    encoder = make((1, 2, 3))
    stream, frame = encoder.stream(), episode(size=96)[0, 0].copy()
    stream(frame)
    frame[50, 50, 1] ^= 1
    assert torch.equal(stream(frame), encoder(frame))
    assert stream.stats.reused[3] == 8


def test_what_was_returned_is_not_changed_by_later_frames(make: Make) -> None:
    stream, frames = make((1, 2), readout="spatial_softmax").stream(), episode()[:, 0]
    first = stream(frames[0])
    cached = first.clone()
    stream(frames[3])
    assert torch.equal(first, cached)
    torch.nn.Linear(first.shape[1], 1)(first).sum().backward()  # usable in training


def test_slots_are_apart_and_may_come_in_any_order(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = make((1, 2))
    stream, frames = encoder.stream(), episode(cameras=3)
    stream(frames[0])
    assert torch.equal(stream(frames[0, [2, 0]], streams=[2, 0]), encoder(frames[0, [2, 0]]))
    assert stream.stats.hit_rates() == {1: 2 / 5, 2: 8 / 20}
    swapped = stream(frames[0, [1, 0]], streams=[0, 1])  # another camera's frames: nothing fits
    assert torch.equal(swapped, encoder(frames[0, [1, 0]]))
    seen = counting(encoder, monkeypatch)
    late = stream(frames[1, [2]], streams=[7])
    assert seen == [5]
    assert torch.equal(late, encoder(frames[1, [2]]))


def test_tolerance_reuses_what_noise_alone_has_changed(make: Make) -> None:
    encoder = make((1, 2))
    rng = np.random.default_rng(1)
    frame = rng.integers(20, 236, (64, 64, 3), dtype=np.uint8)
    noisy = frame + rng.integers(0, 3, frame.shape).astype(np.uint8)
    stream = encoder.stream(tolerance=4)
    first = stream(frame)
    assert torch.equal(stream(noisy), first)
    assert 0 < stream.stats.largest_drift <= 4
    assert stream.stats.hit_rate == 0.5
    exact = encoder.stream()
    exact(frame)
    exact(noisy)
    assert exact.stats.hit_rate == 0
    assert exact.stats.largest_drift == 0


def test_small_changes_do_not_add_up(make: Make) -> None:
    """Each step is within the tolerance of the last, but not of what was encoded."""
    encoder = make((1,))
    stream = encoder.stream(tolerance=4)
    frame = np.full((32, 32, 3), 100, np.uint8)
    for level in range(100, 112, 3):
        frame[:] = level
        found = stream(frame)
    assert stream.stats.largest_drift <= 4
    assert stream.stats.reused == {1: 2}  # 103 of 100, 109 of 106
    frame[:] = 106
    assert torch.equal(found, encoder(frame))


def test_forced_refresh(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = make((1, 2))
    stream, frame = encoder.stream(refresh_every=3), episode()[0, 0]
    seen = counting(encoder, monkeypatch)
    for _ in range(7):
        stream(frame)
    assert seen == [5, 5, 5]  # frames 0, 3 and 6
    assert stream.stats.oldest_age == 2


def test_chunks_stay_within_the_bound(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = make((1, 2, 3), max_tiles_per_batch=4)
    frames = episode(cameras=2)[0]
    expected = encoder(frames)
    seen = counting(encoder, monkeypatch)
    assert torch.equal(encoder.stream()(frames), expected)
    assert max(seen) <= 4
    assert sum(seen) == 28


def test_reset_forgets(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = make((1, 2))
    stream, frame = encoder.stream(), episode()[0, 0]
    stream(frame)
    stream.reset()
    assert stream.stats.frames == 0
    seen = counting(encoder, monkeypatch)
    stream(np.concatenate([frame, frame]))  # another size is fine after a reset
    assert seen == [5]


@pytest.mark.parametrize(
    ("frames", "streams", "message"),
    [
        (np.zeros((64, 96, 3), np.uint8), None, "were 96 x 96 and are now 64 x 96"),
        (np.zeros((96, 96, 3), np.uint8), [0, 1], "must be 1 different"),
        (np.zeros((2, 96, 96, 3), np.uint8), [1, 1], "must be 2 different"),
        (np.zeros((96, 96, 3), np.uint8), [-1], "numbers from 0"),
        (np.zeros((96, 96, 3), np.int32), None, "must be uint8"),
    ],
)
def test_mistakes_lose_nothing(make: Make, frames: Any, streams: Any, message: str) -> None:
    encoder = make((1, 2))
    stream, frame = encoder.stream(), episode()[0, 0]
    first = stream(frame)
    with pytest.raises(ValueError, match=message):
        stream(frames, streams)
    assert torch.equal(stream(frame), first)
    assert stream.stats.hit_rate == 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"tolerance": -1}, "tolerance must lie"), ({"refresh_every": 0}, "at least 1")],
)
def test_bad_settings(make: Make, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make((1,)).stream(**settings)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_close_on_a_gpu(make: Make) -> None:
    encoder = make((1, 2), device="cuda", dtype="float32")
    stream = encoder.stream()
    for frames in episode(cameras=2):
        torch.testing.assert_close(stream(frames), encoder(frames), rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["stream", "selective", "single_frame"])
def test_what_begins_in_inference_mode_goes_on_outside_of_it(make: Make, kind: str) -> None:
    encoder, frames = make((1, 2)), episode()[:, 0]
    arguments = {"stream": (), "selective": (4,), "single_frame": frames.shape[1:3]}[kind]
    with torch.inference_mode():
        path = getattr(encoder, kind)(*arguments)
        path(frames[0])
    assert torch.equal(path(frames[1]), encoder(frames[1]))


def test_another_runtime_encodes_all_tiles_again(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = make((1, 2))
    stream, frame = encoder.stream(), episode()[0, 0]
    stream(frame)
    encoder.use_runtime("eager")
    monkeypatch.setattr(encoder.runtime, "bf16", True)  # another runtime, other numbers
    assert torch.equal(stream(frame), encoder(frame))
    assert stream.stats.hit_rate == 0.0
    stream(frame)
    assert stream.stats.hit_rate == pytest.approx(1 / 3)  # from then on they are reused
