"""Padded geometry: whole frames in squares, padding left out of the readouts."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.small_encoders import KINDS, PIXELS, backbone_of, encoder_of, loop_over_tiles, picture
from torch import Tensor

from s2robot.backbones import Preprocessing
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.layout import EmbeddingLayout
from s2robot.encoder.single_frame import SingleFrame
from s2robot.encoder.spec import EncoderSpec
from s2robot.preprocessing.padding import frame_box, frame_coverage, pad

READOUTS = ("cls", "mean", "spatial_softmax")
CASES = [(kind, readout) for kind in KINDS for readout in READOUTS]
CASES.remove(("convnet", "cls"))  # it has no class token
SHAPES = [(30, 64), (64, 30), (33, 47), (7, 100), (48, 48), (1, 90)]


def padded(frames: np.ndarray, size: int) -> tuple[Tensor, Tensor]:
    """Squares ``(B, 3, size, size)`` and a map (size, size) that is 1 where the frame is."""
    height, width = frames.shape[1:3]
    new = [max(1, round(side * size / max(height, width))) for side in (height, width)]
    images = torch.from_numpy(frames).permute(0, 3, 1, 2)
    if new != [height, width]:
        images = F.interpolate(images, tuple(new), mode="bicubic", antialias=True)
    color = [round(255 * mean) for mean in PIXELS.mean]
    canvas = np.empty((len(frames), 3, size, size), np.uint8)
    canvas[:] = np.array(color, np.uint8)[None, :, None, None]
    top, left = (size - new[0]) // 2, (size - new[1]) // 2
    canvas[:, :, top : top + new[0], left : left + new[1]] = images.numpy()
    seen = np.zeros((size, size), np.float32)
    seen[top : top + new[0], left : left + new[1]] = 1
    return torch.from_numpy(canvas), torch.from_numpy(seen)


def expected(encoder: FrameEncoder, frames: np.ndarray) -> Tensor:
    """The embedding by loops, scales 1 and 2 of 32 px; grids as they are stored at index -1."""
    stride, readout = encoder.layout.card.stride, encoder.spec.readout
    outputs = []
    for size in (32, 64):
        images, seen = padded(frames, size)
        prefix, grid = loop_over_tiles(encoder, images, size // 32, size // 32)
        share = seen.unfold(0, stride, stride).unfold(1, stride, stride).mean(dim=(2, 3))
        held = [
            bool(seen[i : i + 32, j : j + 32].any())
            for i in range(0, size, 32)
            for j in range(0, size, 32)
        ]
        if readout == "cls":
            firsts = [prefix[i, :, 0] for i, holds in enumerate(held) if holds]
            outputs.append(torch.stack(firsts).mean(dim=0))
        elif readout == "mean":
            outputs.append((grid * share[..., None]).sum(dim=(1, 2)) / share.sum())
        else:
            grid = grid * (share > 0)[..., None]
            side = 64 // stride
            outputs.append(F.adaptive_avg_pool2d(grid.permute(0, 3, 1, 2), side))
    if readout != "spatial_softmax":
        return torch.cat(outputs, dim=-1)
    return torch.cat(outputs, dim=1).permute(0, 2, 3, 1).flatten(1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("kind", "readout"), CASES)
def test_equals_loops(kind: str, readout: str, shape: tuple[int, int]) -> None:
    encoder = encoder_of(kind, readout=readout, geometry="padded", resize_output_to_idx=-1)
    frames = picture(2, *shape)
    wanted = expected(encoder, frames)
    torch.testing.assert_close(encoder(frames), wanted, rtol=0, atol=1e-4)
    assert torch.equal(encoder.stream()(frames), encoder(frames))
    single = SingleFrame(encoder, *shape)(frames[0])
    torch.testing.assert_close(single, wanted[:1], rtol=0, atol=1e-4)


def test_shrunk_grids_average_what_they_see_of_the_frame() -> None:
    """Scale 2's 8 x 8 grid on scale 1's 4 x 4: cells of only padding are 0, others not thinned."""
    encoder = encoder_of(readout="spatial_softmax", geometry="padded")
    frames = picture(1, 20, 64)  # rows 22 to 42 of 64
    fine = encoder(frames).view(4, 4, 48)[..., 24:]
    images, seen = padded(frames, 64)
    _, grid = loop_over_tiles(encoder, images, 2, 2)
    share = seen.unfold(0, 8, 8).unfold(1, 8, 8).mean(dim=(2, 3))
    assert not fine[[0, 3]].any()
    for i in (1, 2):
        for j in range(4):
            cells = grid[0, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            weights = share[2 * i : 2 * i + 2, 2 * j : 2 * j + 2, None]
            wanted = (cells * weights).sum(dim=(0, 1)) / weights.sum()
            torch.testing.assert_close(fine[i, j], wanted, rtol=0, atol=1e-4)


def test_square_frames_are_as_full_ones() -> None:
    frames = picture(2, 50, 50)
    for readout in ("cls", "mean", "spatial_softmax"):
        settings: dict[str, Any] = {"readout": readout, "scales": (1, 1.5, 2)}
        full, square = (encoder_of(geometry=g, **settings) for g in ("full", "padded"))
        assert torch.equal(full(frames), square(frames))


def test_from_the_base_image_the_frame_lies_where_it_lay() -> None:
    encoder = encoder_of(
        readout="spatial_softmax",
        geometry="padded",
        input_mode="interpolate",
        resize_output_to_idx=-1,
    )
    found = encoder(picture(1, 10, 64)).view(8, 8, 48)  # rows 13 to 18 of 32, 26 to 36 of 64
    assert (
        found[..., 24:].abs().amax(dim=(1, 2)).ne(0).tolist()
        == [False] * 3 + [True] * 2 + [False] * 3
    )


def test_padding_is_not_seen_by_the_mean() -> None:
    """Tiles that hold only padding change nothing: scale 3's outer rows of tiles are left out."""
    encoder = encoder_of(scales=(3,), geometry="padded", readout="cls")
    frames = picture(1, 10, 90)
    images, _ = padded(frames, 96)
    prefix, _ = loop_over_tiles(encoder, images, 3, 3)
    torch.testing.assert_close(encoder(frames)[0], prefix[3:6, 0, 0].mean(dim=0))


def test_float_resampling_pads_with_the_unrounded_mean() -> None:
    frames = torch.from_numpy(picture(1, 20, 40)).permute(0, 3, 1, 2)
    pixels = Preprocessing(32, mean=PIXELS.mean, resampler="float")
    image = pad(frames, 32, pixels)
    assert image.dtype == torch.float32
    assert image[0, :, 0, 0].tolist() == pytest.approx([255 * mean for mean in PIXELS.mean])
    whole = pad(frames, 40, pixels)  # nothing is resized, so nothing is a float
    assert whole.dtype == torch.uint8
    assert whole[0, :, 0, 0].tolist() == [128, 102, 76]
    assert torch.equal(whole[:, :, 10:30], frames)


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ((32, 32), (0, 0, 32, 32)),
        ((30, 60), (8, 0, 24, 32)),
        ((60, 30), (0, 8, 32, 24)),
        ((31, 64), (8, 0, 24, 32)),  # 15.5 rounds to 16
        ((29, 64), (9, 0, 23, 32)),
        ((30, 64), (8, 0, 23, 32)),  # 15 rows: the odd one is below
        ((1, 1000), (15, 0, 16, 32)),
    ],
)
def test_frame_box(shape: tuple[int, int], box: tuple[int, ...]) -> None:
    assert frame_box(*shape, 32) == box


def test_shares_of_cells_that_reach_to_the_tiles_end() -> None:
    """Two tiles of 10 px in cells of 4, 4 and 2 px; the frame is from 3 px to 19 px."""
    coverage = frame_coverage((3, 0, 19, 20), 2, 2, 10, 4, 3)
    assert coverage[:, 0].tolist() == pytest.approx([1 / 4, 1, 1, 1, 1, 1 / 2])
    assert torch.equal(coverage, coverage[:, :1].expand(6, 6))
    floored = frame_coverage((0, 0, 10, 9), 1, 1, 10, 4, 2)  # cells of 4 and 6 px
    assert floored[0].tolist() == pytest.approx([1, 5 / 6])


def test_pooling_needs_to_know_the_frames_shape() -> None:
    encoder = encoder_of(geometry="padded")
    part = encoder.layout.scales[1]
    tokens = torch.zeros(1, 17, 24)
    with pytest.raises(ValueError, match="give their frame_shape"):
        encoder.pool(tokens, part)


def test_padded_head_averages_the_tiles_of_the_frame() -> None:
    """The stage "head" has one token a tile; its layout is asked directly."""
    card = dataclasses.replace(backbone_of("one prefix").card, published="head", head_dim=5)
    layout = EmbeddingLayout(EncoderSpec("x", "", scales=(3,), geometry="padded"), card)
    tokens = torch.randn(9 * 2, 1, 5)
    pooled = layout.pool(tokens, layout.scales[3], (10, 90))
    wanted = tokens.view(9, 2, 5)[3:6].mean(dim=0)
    torch.testing.assert_close(pooled, wanted)
