from __future__ import annotations

import pytest
import torch

from s2robot.policies.config import PolicyConfig
from s2robot.policies.pooling import (
    SMALLEST_MEASURED_STD,
    Normalizer,
    SpatialSoftmaxHead,
    make_head,
)


def test_standardizer_gives_zero_mean_and_unit_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    values = (
        torch.randn(600, 2, 3, generator=generator) * torch.tensor([1.0, 5.0, 0.0]) + 7
    ).half()
    normalizer = Normalizer(3)
    normalizer.fit(values)
    result = normalizer(values)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.mean(dim=(0, 1)), torch.zeros(3), atol=1e-4, rtol=0)
    std = result.std(dim=(0, 1), correction=0)
    torch.testing.assert_close(std, torch.tensor([1.0, 1.0, 0.0]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("shape", [(7, 3), (300, 130), (600, 2, 65), (40, 3, 200)])
def test_statistics_are_those_of_all_channels_at_once_bit_for_bit(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    """They are summed by blocks of channels, and were once summed over all of them."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(shape, generator=generator).to(dtype)
    rows = torch.randperm(shape[0], generator=generator)[: shape[0] * 2 // 3]
    total = squares = torch.zeros(shape[-1], dtype=torch.float64)
    for chunk in values[rows].split(256):
        wide = chunk.reshape(-1, shape[-1]).double()
        total, squares = total + wide.sum(dim=0), squares + wide.square().sum(dim=0)
    mean = total / values[rows][..., 0].numel()
    std = (squares / values[rows][..., 0].numel() - mean.square()).sqrt()
    normalizer = Normalizer(shape[-1])
    normalizer.fit(values, rows=rows)
    assert torch.equal(normalizer.mean, mean.float())
    assert torch.equal(normalizer.std, std.float())


def test_values_are_normalized_into_memory_that_is_given() -> None:
    values = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).half()
    normalizer, memory = Normalizer(3), torch.empty(5, 3)
    normalizer.fit(values)
    assert normalizer(values, memory).data_ptr() == memory.data_ptr()
    assert torch.equal(memory, normalizer(values))


def normalized_std(values: torch.Tensor, *smallest: float) -> list[float]:
    normalizer = Normalizer(values.shape[-1])
    normalizer.fit(values, *smallest)
    return normalizer(values).std(dim=0, correction=0).tolist()


def test_proprioception_below_half_a_millimeter_is_not_scaled_up() -> None:
    """In m and rad: a tool's path, a gripper, a slight turn, a controller's tilt, solver noise."""
    stds = torch.tensor([6e-2, 1e-2, 1.6e-3, 3e-4, 2e-6])
    noise = torch.randn(2000, 5, generator=torch.Generator().manual_seed(0))
    noise = (noise - noise.mean(dim=0)) / noise.std(dim=0, correction=0)
    found = normalized_std(0.5 + noise * stds, SMALLEST_MEASURED_STD)
    assert found == pytest.approx([1, 1, 1, 3e-4, 2e-6], rel=0.02)


@pytest.mark.parametrize(
    ("dtype", "level", "step"), [(torch.float16, 1.5, 2**-10), (torch.float32, 1000.0, 2**-14)]
)
def test_an_embedding_that_only_rounds_is_not_scaled_up(
    dtype: torch.dtype, level: float, step: float
) -> None:
    """A channel that takes two neighboring numbers of its type, beside one that takes many."""
    flips = (torch.arange(1000) % 2).double()
    many = torch.arange(1000).double() / 100
    values = torch.stack([level + step * flips, level + many], dim=1).to(dtype)
    assert len(values[:, 0].unique()) == 2
    assert normalized_std(values) == pytest.approx([step / 2, 1], rel=0.02)


def test_a_small_embedding_that_varies_is_scaled() -> None:
    """Embeddings have no unit: what is small beside others may be all that a channel says."""
    values = torch.randn(1000, 1, generator=torch.Generator().manual_seed(0)) * 1e-4 + 1e-3
    assert normalized_std(values.half()) == pytest.approx([1], rel=1e-3)


def test_spatial_softmax_finds_a_peak() -> None:
    head = SpatialSoftmaxHead((4, 8), channels=2, keypoints=1, softmax_scale=50.0, features=1)
    with torch.no_grad():
        head.project.weight.copy_(torch.eye(2))  # map = channel 0, feature = channel 1
        head.project.bias.zero_()
    tokens = torch.zeros(1, 4, 8, 2)
    tokens[0, 3, 6] = torch.tensor([1.0, 0.25])
    x, y, feature = head(tokens)[0].tolist()
    assert x == pytest.approx(6.5 / 4 - 1, abs=1e-6)  # center of column 6 of 8, to the right
    assert y == pytest.approx(3.5 / 2 - 1, abs=1e-6)  # center of row 3 of 4, down
    assert feature == pytest.approx(0.25, abs=1e-6)


def test_spatial_softmax_of_a_flat_map_is_the_middle() -> None:
    head = SpatialSoftmaxHead((3, 5), channels=2, keypoints=4, softmax_scale=1.0, features=0)
    torch.testing.assert_close(head(torch.zeros(2, 3, 5, 2)), torch.zeros(2, 8))


@pytest.mark.parametrize(
    "shape, change, width",
    [
        ((4, 4, 6), {"keypoints": 5, "keypoint_features": 3}, 25),
        ((9,), {}, 9),
        ((9,), {"vector_width": 4, "vector_layer_norm": True}, 4),
    ],
)
def test_width_is_what_comes_out(shape: tuple[int, ...], change: dict, width: int) -> None:
    head = make_head(shape, PolicyConfig(**change))
    assert head.width == width
    assert head(torch.randn(2, *shape)).shape == (2, width)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(gh, gw, C\)"):
        make_head((4, 6), PolicyConfig())
