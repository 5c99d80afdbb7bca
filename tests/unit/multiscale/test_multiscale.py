"""The S² operator against an independent re-computation, and its pieces one by one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2robot.multiscale.forward import multiscale_forward
from s2robot.multiscale.resizing import resize_grid
from s2robot.multiscale.tiles import count_splits, map_tiles, merge_tiles, split_tiles

PATCH = 4


class TinyViT(nn.Module):
    """Position-dependent tokens with prefix tokens: enough to notice every misplaced crop."""

    def __init__(self, prefix: int = 0, dim: int = 6) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.prefix = prefix
        self.weight = nn.Parameter(torch.randn(dim, 3, PATCH, PATCH, generator=generator) / 7)
        self.calls: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(len(x))
        maps = F.conv2d(x, self.weight.to(x.dtype), stride=PATCH)
        tokens = maps.flatten(2).transpose(1, 2)
        tokens = tokens * torch.linspace(1, 2, tokens.shape[1], dtype=x.dtype).view(1, -1, 1)
        firsts = [tokens.amax(dim=1, keepdim=True) * (k + 1) for k in range(self.prefix)]
        return torch.cat([*firsts, tokens], dim=1)


class TinyConvNet(TinyViT):
    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(len(x))
        maps = F.conv2d(x, self.weight.to(x.dtype), stride=PATCH)
        return maps * torch.linspace(1, 2, maps.shape[-1], dtype=x.dtype)


def recompute(
    model: Callable[[Tensor], Tensor],
    image: Tensor,
    sizes: Sequence[int],
    max_split: int,
    index: int,
    prefix: int,
    maps: bool,
) -> Tensor:
    """The operator crop by crop with plain loops, as the paper describes it."""
    grids, firsts = [], []
    for size in sizes:
        big = F.interpolate(image.float(), size=size, mode="bicubic").to(image.dtype)
        n = math.ceil(size / max_split)
        side = size // n
        rows, prefixes = [], []
        for i in range(n):
            cells = []
            for j in range(n):
                out = model(big[:, :, i * side : (i + 1) * side, j * side : (j + 1) * side])
                if not maps:
                    prefixes.append(out[:, :prefix])
                    k = round((out.shape[1] - prefix) ** 0.5)
                    out = out[:, prefix:].transpose(1, 2).reshape(len(image), -1, k, k)
                cells.append(out)
            rows.append(torch.cat(cells, dim=3))
        grids.append(torch.cat(rows, dim=2))
        firsts.append(torch.stack(prefixes).mean(dim=0) if prefixes else None)
    target = grids[index].shape[-2:]
    resized = [F.adaptive_avg_pool2d(g.float(), target).to(g.dtype) for g in grids]
    out = torch.cat(resized, dim=1)
    if maps:
        return out
    tokens = out.flatten(2).transpose(1, 2)
    return torch.cat([torch.cat(firsts, dim=-1), tokens], dim=1) if prefix else tokens


CASES: dict[str, tuple[dict[str, Any], list[int], int]] = {
    "one scale": ({"scales": [1]}, [16], 16),
    "two": ({"scales": [1, 2]}, [16, 32], 16),
    "three": ({"scales": [1, 2, 3]}, [16, 32, 48], 16),
    "fraction": ({"scales": [1, 1.5]}, [16, 24], 16),
    "sizes": ({"img_sizes": [16, 32]}, [16, 32], 16),
    "sizes before scales": ({"scales": [1], "img_sizes": [32]}, [32], 16),
    "small crops": ({"scales": [1, 2], "max_split_size": 8}, [16, 32], 8),
    "uneven crops": ({"img_sizes": [16, 24], "max_split_size": 16}, [16, 24], 16),
    "smaller scale": ({"scales": [0.5, 1]}, [8, 16], 16),
    "downward order": ({"scales": [2, 1]}, [32, 16], 16),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("index", [0, -1])
@pytest.mark.parametrize("kind", ["tokens", "one prefix", "five prefixes", "maps"])
@pytest.mark.parametrize("split_forward", [False, True])
def test_equals_recomputation(case: str, index: int, kind: str, split_forward: bool) -> None:
    arguments, sizes, max_split = CASES[case]
    prefix = {"tokens": 0, "maps": 0, "one prefix": 1, "five prefixes": 5}[kind]
    model = TinyConvNet() if kind == "maps" else TinyViT(prefix)
    image = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    ours = multiscale_forward(
        model,
        image,
        resize_output_to_idx=index,
        num_prefix_token=prefix,
        output_shape="bchw" if kind == "maps" else "bnc",
        split_forward=split_forward,
        **arguments,
    )
    theirs = recompute(model, image, sizes, max_split, index, prefix, kind == "maps")
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert ours.is_contiguous()


def test_crops_of_all_scales_share_one_call() -> None:
    model = TinyViT()
    multiscale_forward(model, torch.zeros(2, 3, 16, 16), scales=(1, 2, 3))
    assert model.calls == [2 * (1 + 4 + 9)]


def test_split_forward_runs_crop_by_crop() -> None:
    model = TinyViT()
    multiscale_forward(model, torch.zeros(2, 3, 16, 16), scales=(1, 2), split_forward=True)
    assert model.calls == [2] * 5


def test_keeps_dtype() -> None:
    image = torch.randn(1, 3, 16, 16, dtype=torch.bfloat16)
    assert multiscale_forward(TinyViT(), image, scales=(1, 2)).dtype == torch.bfloat16


def test_gradients_reach_image_and_model() -> None:
    model, image = TinyViT(), torch.randn(1, 3, 16, 16, requires_grad=True)
    multiscale_forward(model, image, scales=(1, 2)).sum().backward()
    assert image.grad is not None
    assert image.grad.abs().min() > 0
    assert model.weight.grad is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "at least one"),
        ({"scales": []}, "at least one"),
        ({"scales": [0.01]}, "at least 1 px"),
        ({"img_sizes": [25]}, "25 px does not divide into 2×2.*take 24 or 26 px"),
        ({"scales": [1], "max_split_size": -4}, "max_split_size must be at least 1"),
        ({"scales": [1, 2], "resize_output_to_idx": 2}, "allowed are -2 to 1"),
        ({"scales": [1], "output_shape": "bhwc"}, "'bnc', 'bchw'"),
        ({"scales": [1], "output_shape": "bchw", "num_prefix_token": 1}, "must be 0 with"),
        ({"scales": [1], "num_prefix_token": 3}, "no square grid"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        multiscale_forward(TinyViT(), torch.zeros(1, 3, 16, 16), **arguments)


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 3, 16, 32)])
def test_image_must_be_square(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="square images"):
        multiscale_forward(TinyViT(), torch.zeros(shape), scales=(1,))


def test_count_splits_rounds_up() -> None:
    assert [count_splits(size, 16) for size in (8, 16, 24, 32, 48)] == [1, 1, 2, 2, 3]


def test_merge_undoes_split_on_rectangles() -> None:
    images = torch.arange(2 * 3 * 6 * 9.0).view(2, 3, 6, 9)
    tiles = split_tiles(images, 2, 3)
    assert tiles.shape == (12, 3, 3, 3)
    assert torch.equal(tiles[2], images[0, :, :3, 3:6])  # second tile of the first row, image 0
    assert torch.equal(tiles[7], images[1, :, 3:, :3])  # first tile of the second row, image 1
    assert torch.equal(merge_tiles(tiles.permute(0, 2, 3, 1), 2, 3), images.permute(0, 2, 3, 1))


def test_map_tiles_keeps_order_and_limit() -> None:
    calls: list[int] = []

    def total(x: Tensor) -> Tensor:
        calls.append(len(x))
        return x.sum(dim=(1, 2, 3))

    tiles = [torch.full((n, 1, side, side), float(n)) for n, side in ((3, 2), (1, 4), (2, 2))]
    sums = map_tiles(total, tiles, limit=2)
    assert [s.tolist() for s in sums] == [[12.0] * 3, [16.0], [8.0] * 2]
    assert sorted(calls) == [1, 1, 2, 2]


def test_resize_grid_averages_and_repeats() -> None:
    grid = torch.arange(16.0).view(1, 4, 4, 1)
    assert resize_grid(grid, (2, 2)).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    small = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 2, 2, 1)
    assert torch.equal(resize_grid(small, (4, 4))[0, :2, 2:, 0], torch.full((2, 2), 2.0))


def frames(size: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (1, 3, size, size), generator=generator, dtype=torch.uint8)
