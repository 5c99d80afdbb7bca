"""Several cameras in one call: the numbers of separate calls, in fewer calls of the backbone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.small_encoders import KINDS, encoder_of, picture
from torch import Tensor

from s2robot.encoder.multi_camera import as_cameras, packs
from s2robot.runtimes import Runtime

CAMERAS = {
    "wrist": picture(1, 40, 60, seed=1)[0],
    "front": picture(3, 64, 64, seed=2),
    "far": torch.from_numpy(picture(2, 91, 33, seed=3)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("geometry", ["published", "full", "padded"])
@pytest.mark.parametrize("limit", [1, 12, 128])
def test_the_numbers_of_separate_calls(kind: str, geometry: str, limit: int) -> None:
    encoder = encoder_of(
        kind, readout="spatial_softmax", geometry=geometry, max_tiles_per_batch=limit
    )
    found = encoder.encode_cameras(CAMERAS)
    assert list(found) == list(CAMERAS)
    for name, frames in CAMERAS.items():
        if kind == "convnet":  # convolutions round by the size of their batch
            torch.testing.assert_close(found[name], encoder(frames), rtol=0, atol=1e-5)
        else:
            assert torch.equal(found[name], encoder(frames))


def test_all_tiles_of_one_size_share_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = encoder_of(scales=(1, 1.5, 2))  # tiles of 32, 24 and 32 px
    calls: list[tuple[int, int]] = []
    tokens = encoder.tokens

    def count(tiles: Tensor, runtime: Runtime) -> Tensor:
        calls.append((len(tiles), tiles.shape[-1]))
        return tokens(tiles, runtime)

    monkeypatch.setattr(encoder, "tokens", count)
    encoder.encode_cameras(CAMERAS)
    assert sorted(calls) == [(6 * 4, 24), (6 * 5, 32)]


def test_calls_stay_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = encoder_of(max_tiles_per_batch=10)  # two frames of five tiles
    calls: list[int] = []
    tokens = encoder.tokens

    def count(tiles: Tensor, runtime: Runtime) -> Tensor:
        calls.append(len(tiles))
        return tokens(tiles, runtime)

    monkeypatch.setattr(encoder, "tokens", count)
    encoder.encode_cameras(CAMERAS)
    assert calls == [10, 10, 10]


def test_packs_keep_every_frame_in_order() -> None:
    cameras = as_cameras(CAMERAS)
    for most in (1, 2, 4, 6, 9):
        found: dict[str, list[Tensor]] = {}
        for pack in packs(cameras, most):
            assert 0 < sum(len(frames) for frames in pack.values()) <= most
            for name, frames in pack.items():
                found.setdefault(name, []).append(frames)
        assert list(found) == list(cameras)
        assert all(torch.equal(torch.cat(found[name]), cameras[name]) for name in cameras)
    assert [sum(map(len, p.values())) for p in packs(cameras, 4)] == [4, 2]


@pytest.mark.parametrize(
    ("cameras", "message"),
    [
        ({}, "at least one.*got dict of 0"),
        (np.zeros((2, 8, 8, 3), np.uint8), "must be a mapping.*got ndarray"),
        ({"front": CAMERAS["front"], "wrist": np.zeros((8, 8, 3), int)}, "camera 'wrist': .*int64"),
        ({"front": np.zeros((8, 8, 4), np.uint8)}, "camera 'front': .*alpha"),
        ({"front": None}, "camera 'front': .*NoneType"),
    ],
)
def test_mistakes_name_the_camera(cameras: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encoder_of().encode_cameras(cameras)
