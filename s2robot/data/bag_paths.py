"""Recognition of ROS bags by their paths; needs no ROS and no rosbags."""

from __future__ import annotations

from pathlib import Path

BAGS = (".bag", ".mcap", ".db3")
"""File endings of bags; a bag of ROS 2 may also be a folder with metadata.yaml."""


def is_bag(path: Path) -> bool:
    """Return whether a path names a bag: by its ending or, for a folder, by its metadata.yaml."""
    return path.suffix.lower() in BAGS or (path / "metadata.yaml").is_file()


def bag_and_topic(source: str) -> tuple[Path, str | None] | None:
    """Split a source "PATH" or "PATH:/topic" into the bag and its topic.

    Returns:
        The bag's path and the topic, which is None where the source names none; None instead of
        both if the source is not a bag.

    Examples:
        >>> bag, topic = bag_and_topic("run.bag:/camera/image_raw")
        >>> bag.name, topic
        ('run.bag', '/camera/image_raw')
        >>> bag_and_topic("run.mp4") is None
        True
    """
    path, _, topic = source.rpartition(":/")
    if path and is_bag(Path(path)):
        return Path(path), f"/{topic}"
    return (Path(source), None) if is_bag(Path(source)) else None
