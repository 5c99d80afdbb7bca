"""Try an installed s2robot: where it lies, what it ships, one embedding.

Usage: `python tools/smoke_test.py SITE_PACKAGES`
"""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path

import numpy as np

import s2robot
from s2robot import FrameEncoder


def main(site: Path) -> None:
    """Raise AssertionError where the package in `site` lacks something."""
    home = Path(s2robot.__file__).resolve()
    assert home.is_relative_to(site.resolve()), f"{home} was imported, not the package in {site}"
    assert resources.files("s2robot.configs").joinpath("sweep.yaml").is_file()
    frames = np.full((1, 96, 128, 3), 127, dtype=np.uint8)
    embedding = FrameEncoder.from_name("s2r-vitt16-128", scales=(1, 2))(frames)
    assert embedding.shape == (1, 384), f"embedding of shape {tuple(embedding.shape)}"
    assert bool(embedding.isfinite().all())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
