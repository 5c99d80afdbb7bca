"""Pooling of tokens, and what is stored of each scale."""

from __future__ import annotations

import pytest
import torch

from s2robot.backbones import get_card
from s2robot.encoder.readout import embedding_shape, join, pool, pooling_of, stored_shape

PREFIX = torch.arange(12.0).view(2, 2, 3)
GRID = torch.arange(2 * 4 * 4 * 3.0).view(2, 4, 4, 3)


@pytest.mark.parametrize(
    ("readout", "backbone", "pooling"),
    [
        ("published", "mvp-vitb-egosoup", "cls"),
        ("published", "r3m-resnet18", "mean"),
        ("cls", "mvp-vitb-egosoup", "cls"),
        ("mean", "mvp-vitb-egosoup", "mean"),
        ("spatial_softmax", "r3m-resnet18", "grid"),
    ],
)
def test_stage(readout: str, backbone: str, pooling: str) -> None:
    assert pooling_of(readout, get_card(backbone)) == pooling


@pytest.mark.parametrize(
    ("readout", "message"), [("clss", "did you mean 'cls'"), ("cls", "r3m-resnet18 lacks")]
)
def test_unsuitable_readout(readout: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pooling_of(readout, get_card("r3m-resnet18"))


def test_pool_takes_class_token_mean_or_grid() -> None:
    assert torch.equal(pool("cls", PREFIX, GRID, (3,)), PREFIX[:, 0])
    assert torch.equal(pool("mean", PREFIX, GRID, (3,)), GRID.mean(dim=(1, 2)))
    assert torch.equal(pool("grid", PREFIX, GRID, (4, 4, 3)), GRID)
    halved = pool("grid", PREFIX, GRID, (2, 2, 3))
    assert torch.allclose(halved[:, 0, 1], GRID[:, :2, 2:].mean(dim=(1, 2)))


@pytest.mark.parametrize(("own", "target", "stored"), [(8, 8, 8), (16, 8, 8), (8, 16, 8)])
def test_stored_grid_is_the_smaller_one(own: int, target: int, stored: int) -> None:
    assert stored_shape("grid", (own, 3), (target, 2), 5) == (stored, 2, 5)
    assert stored_shape("mean", (own, 3), (target, 2), 5) == (5,)


def test_join_brings_grids_to_the_target() -> None:
    small = GRID[:, :2, :2]
    shape = embedding_shape("grid", (4, 4), 3, 2)
    joined = join("grid", [small, GRID], (4, 4)).view(2, *shape)
    assert torch.equal(joined[..., 3:], GRID)
    assert torch.equal(joined[:, 2:, :2, :3], small[:, 1:, :1].expand(2, 2, 2, 3))


def test_join_concatenates_vectors_in_order() -> None:
    joined = join("cls", [PREFIX[:, 0], PREFIX[:, 1]], (1, 1))
    assert torch.equal(joined, PREFIX.flatten(1))
    assert embedding_shape("cls", (4, 4), 3, 2) == (6,)
