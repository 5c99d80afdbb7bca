"""Pre-training on the frames of bags."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from support.bags import SOURCES, WRIST, BagMaker, file_of, make_bag, path_of

from s2robot.pretraining.config import ModelConfig, PretrainConfig
from s2robot.pretraining.frame_sources import open_dataset


@pytest.mark.parametrize("kind", SOURCES)
def test_pretraining_on_bags(tmp_path, kind):
    shades = [np.full((60, 80, 3), 2 * i, np.uint8) for i in range(128)]

    def content(maker: BagMaker) -> None:
        for i, frame in enumerate(shades):
            maker.compressed(WRIST, i, frame)

    def pool(source: str, every: int = 1) -> Any:
        return open_dataset(
            PretrainConfig(
                source=(source,),
                cache=tmp_path / "cache",
                frame_size=48,
                every=every,
                model=ModelConfig(img_size=32, patch_size=16, embed_dim=16, depth=1, num_heads=1),
            ),
            Console(quiet=True),
        )

    bag = make_bag(path_of(kind, tmp_path), content)
    frames = pool(f"{bag}:{WRIST}")
    assert len(frames) == 128
    assert frames[0].shape == (48, 64, 3)
    assert [int(frames[i].mean()) for i in range(128)] == [2 * i for i in range(128)]
    thinned = pool(f"{bag}:{WRIST}", every=2)
    assert [int(thinned[i].mean()) for i in range(64)] == [4 * i for i in range(64)]
    folders = {p.name for p in (tmp_path / "cache").iterdir() if p.is_dir()}
    pool(f"{bag}:{WRIST}")
    assert {p.name for p in (tmp_path / "cache").iterdir() if p.is_dir()} == folders
    os.utime(file_of(bag), ns=(1, 1))  # another version of the bag
    pool(f"{bag}:{WRIST}")
    assert len([p for p in (tmp_path / "cache").iterdir() if p.is_dir()]) == len(folders) + 1


def test_pretraining_on_bags_that_are_not_there(tmp_path):
    config = PretrainConfig(source=(str(tmp_path / "none.bag"),), cache=tmp_path / "cache")
    with pytest.raises(FileNotFoundError, match="no such folder, video, bag"):
        open_dataset(config, Console(quiet=True))
