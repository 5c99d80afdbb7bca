"""Equal tiles of a batch are encoded once, and no bit of an embedding shows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.helpers import counting
from support.tiny_models import write_tiny_model
from torch import Tensor

from s2robot.encoder.distinct_tiles import DistinctTiles, distinct
from s2robot.encoder.frame_encoder import FrameEncoder


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ViT with tiles of 32 px."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


def make(card: Path, scales: tuple[float, ...] = (1, 2), readout: str = "mean") -> FrameEncoder:
    return FrameEncoder.from_name(f"file:{card}", scales, readout, device="cpu", runtime="eager")


def table(frames: int = 4, size: int = 64) -> np.ndarray:
    """Frames ``(B, size, size, 3)`` that differ in the upper left quarter alone."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
    batch = np.stack([picture] * frames)
    corner = (frames, size // 4, size // 4, 3)
    batch[:, : size // 4, : size // 4] = rng.integers(0, 256, corner, dtype=np.uint8)
    return batch


def alone(encoder: FrameEncoder, frames: np.ndarray) -> Tensor:
    """The embeddings of frames encoded one by one, which share nothing."""
    return torch.cat([encoder(frame) for frame in frames])


@pytest.mark.parametrize("readout", ["cls", "mean", "spatial_softmax"])
@pytest.mark.parametrize("scales", [(1, 2), (1, 2, 3), (1, 1.5, 3)])
def test_embeddings_are_those_of_frames_alone(
    card: Path, scales: tuple[float, ...], readout: str
) -> None:
    encoder, frames = make(card, scales, readout), table(size=96)
    expected = alone(encoder, frames)
    for _ in range(2):  # with the check, and after it
        assert torch.equal(encoder(frames), expected)


def test_tiles_that_frames_share_reach_the_backbone_once(
    card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, frames = make(card), table()
    encoder(frames)
    seen = counting(encoder, monkeypatch)
    encoder(frames)
    assert seen == [4 + 4 + 3]  # whole frames, their upper left corners, three shared corners


def test_the_first_batch_with_equal_tiles_is_encoded_both_ways(
    card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, frames = make(card), table()
    seen = counting(encoder, monkeypatch)
    encoder(frames[:1])
    encoder(frames)
    assert seen == [5, 20, 1, 11]


def test_environments_of_a_stream_share_tiles(card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their first frames do, where nothing can be taken from a frame before."""
    encoder, frames = make(card), table()
    encoder(frames)
    stream, expected = encoder.stream(), alone(encoder, frames)
    seen = counting(encoder, monkeypatch)
    assert torch.equal(stream(frames), expected)
    assert seen == [4 + 4 + 3]


def test_cameras_share_tiles(card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, frames = make(card), table()
    expected = encoder(frames)
    seen = counting(encoder, monkeypatch)
    found = encoder.encode_cameras({"left": frames, "right": frames})
    assert seen == [4 + 4 + 3]
    assert torch.equal(found["left"], expected)
    assert torch.equal(found["right"], expected)


def test_one_pixel_by_one_level_makes_a_tile_of_its_own() -> None:
    tiles = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)
    tiles[1, 2, 7, 7] = 1
    first, places = distinct(tiles)
    assert (first, places) == ([0, 1], [0, 1, 0])
    assert torch.equal(tiles[first][places], tiles)


def test_a_backbone_whose_numbers_depend_on_the_batch_gets_all_tiles() -> None:
    calls: list[int] = []

    def encode(tiles: Tensor) -> Tensor:
        calls.append(len(tiles))
        return tiles.flatten(1)[:, None] + 1e-6 * len(tiles)

    tiles, some = torch.zeros(3, 3, 4, 4), DistinctTiles()
    for _ in range(3):
        assert torch.equal(some.encode(tiles, encode, "eager"), torch.full((3, 1, 48), 3e-6))
    assert calls == [3, 1, 1, 3, 3]


def test_each_runtime_is_checked_for_itself() -> None:
    calls: list[int] = []

    def encode(tiles: Tensor) -> Tensor:
        calls.append(len(tiles))
        return tiles.flatten(1)[:, None]

    tiles, some = torch.zeros(3, 3, 4, 4), DistinctTiles()
    for runtime in ("eager", "openvino"):
        some.encode(tiles, encode, runtime)
        some.encode(tiles, encode, runtime)
    assert calls == 2 * [3, 1, 1, 1]


def test_gradients_get_all_tiles(card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, frames = make(card).requires_grad_(True), table()
    seen = counting(encoder, monkeypatch)
    for _ in range(2):
        encoder(frames).sum().backward()
    assert seen == [20, 20]


def test_one_pixel_makes_tiles_distinct_wherever_it_is() -> None:
    """A few numbers of each tile are compared first; the others count all the same."""
    base = torch.randint(0, 256, (3, 9, 128), generator=torch.Generator().manual_seed(0))
    for place in (0, 1, 508, 509, 510, base.numel() - 1):
        other = base.clone()
        other.view(-1)[place] += 1
        first, places = distinct(torch.stack([base, other, base, other, other + 1]).float())
        assert (first, places) == ([0, 1, 4], [0, 1, 0, 1, 2])
