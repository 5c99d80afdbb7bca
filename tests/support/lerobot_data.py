"""Small LeRobot folders, written by our own writer from a small robomimic file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from s2robot.data.dataset_writers.lerobot import Limits, write_lerobot
from s2robot.data.datasets.opening import open_dataset
from support.recorded_data import write_robomimic

FRONT, WRIST = "observation.images.agentview", "observation.images.robot0_eye_in_hand"
SMALL = Limits(data_mb=0, video_mb=0, files_in_chunk=2)
"""Every episode gets a file of its own, and two files are a chunk."""


def need_libraries() -> None:
    """Skip the module where the extra `lerobot` is not installed."""
    for name in ("av", "pyarrow"):
        pytest.importorskip(name, reason="the extra `lerobot` is not installed")


def small_source(folder: Path, **settings: Any) -> Any:
    """Return a data set of 4 episodes of 6 frames with two cameras."""
    return open_dataset(write_robomimic(folder / "source.hdf5", **settings))


def small_lerobot(folder: Path, images: bool = False, limits: Limits | None = None) -> Path:
    """Write a LeRobot folder and return its path."""
    source = small_source(folder)
    write_lerobot(source, folder / "set", images=images, limits=limits)
    source.close()
    return folder / "set"


def change_info(folder: Path, **entries: Any) -> Path:
    """Change entries of info.json; None takes one away."""
    path = folder / "meta" / "info.json"
    content = {**json.loads(path.read_text()), **entries}
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))
    return folder
