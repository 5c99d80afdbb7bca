from __future__ import annotations

import pytest
import torch

from s2robot.policies.config import PolicyConfig
from s2robot.policies.pooling import Normalizer, SpatialSoftmaxHead, make_head


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
