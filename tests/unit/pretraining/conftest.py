"""Frames and tiny recipes for tests of pre-training."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from PIL import Image
from support.tiny_pretraining import TINY, square

from s2robot.pretraining.config import PretrainConfig
from s2robot.pretraining.frame_dataset import FrameDataset, write_shard


@pytest.fixture(scope="session")
def squares(tmp_path_factory) -> Path:
    """A folder of 64 pictures."""
    folder = tmp_path_factory.mktemp("squares")
    for i in range(64):
        Image.fromarray(square(i)).save(folder / f"{i:03d}.png")
    return folder


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> FrameDataset:
    path = tmp_path_factory.mktemp("frames") / "frames.npy"
    write_shard(path, map(square, range(8)), (8, 96, 96, 3))
    return FrameDataset([path])


@pytest.fixture
def tiny(tmp_path, squares):
    """Makes tiny recipes on the pictures."""

    def make(out="run", **changes) -> PretrainConfig:
        defaults = PretrainConfig(
            out=tmp_path / out,
            source=(str(squares),),
            cache=tmp_path / "frames",
            frame_size=96,
            views=16 * 12,
            batch_size=16,
            checkpoint_every=4,
            device="cpu",
            processes=1,
            model=TINY,
        )
        return dataclasses.replace(defaults, **changes)

    return make
