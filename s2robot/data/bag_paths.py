"""Recognition of ROS bags by their paths; needs no ROS and no rosbags."""

from __future__ import annotations

from pathlib import Path

BAGS = (".bag", ".mcap", ".db3")
"""Of ROS 1 and ROS 2; of ROS 2 there are folders with metadata.yaml as well."""


def is_bag(path: Path) -> bool:
    """Whether a path is that of a bag, by its name; of a folder, by its metadata.yaml."""
    return path.suffix.lower() in BAGS or (path / "metadata.yaml").is_file()


def bag_and_topic(source: str) -> tuple[Path, str | None] | None:
    """The bag and the topic of a source "PATH" or "PATH:/topic"; None if it is no bag.

    >>> bag_and_topic("run.bag:/camera/image_raw")
    (PosixPath('run.bag'), '/camera/image_raw')
    >>> bag_and_topic("run.mp4") is None
    True
    """
    path, _, topic = source.rpartition(":/")
    if path and is_bag(Path(path)):
        return Path(path), f"/{topic}"
    return (Path(source), None) if is_bag(Path(source)) else None
