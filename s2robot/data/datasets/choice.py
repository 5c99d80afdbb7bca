"""What is taken of recorded data, by the words of the settings that go with ``data=``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from s2robot.data.datasets.contract import PRIVILEGED, EpisodeDataset, Simulated
from s2robot.data.datasets.opening import open_dataset


@dataclass(frozen=True)
class DataChoice:
    """Cameras and observations of recorded data; of ROS bags, the topics of the actions too.

    Examples:
        >>> DataChoice(cameras=("front",)).given
        ('cameras',)
    """

    cameras: tuple[str, ...] = ()
    """Keys of cameras; empty for all."""
    low_dim: tuple[str, ...] = ()
    """Keys of low-dimensional observations; empty for all that a robot measures."""
    action: tuple[str, ...] = ()
    """Of bags, topics of the actions."""
    tolerance_s: float | None = None
    """Of bags, the largest distance of a message from its row [s]."""

    @property
    def given(self) -> tuple[str, ...]:
        """Names of the choices that were made."""
        return tuple(f.name for f in fields(self) if getattr(self, f.name) not in ((), None))

    def open(self, source: str | Path) -> EpisodeDataset:
        """Open recorded data, with actions or without; see ``open_dataset``.

        Args:
            source: file or folder.
        """
        return open_dataset(
            source,
            self.cameras or None,
            self.low_dim or None,
            self.action or None,
            self.tolerance_s,
            need_actions=False,
        )

    def measured(self, data: EpisodeDataset) -> tuple[str, ...]:
        """Return the observations that are taken: those that are named, or that a robot measures.

        Args:
            data: as ``open`` returned it.
        """
        if self.low_dim:
            return tuple(data.low_dim_names)  # the whole names of those that are named
        own = data.privileged if isinstance(data, Simulated) else ()
        return tuple(key for key in data.low_dim_names if key not in (*PRIVILEGED, *own))


def cameras_to_take(data: EpisodeDataset, choice: DataChoice, what: str) -> Mapping[str, str]:
    """Return the cameras that are taken, with their sizes in words.

    Args:
        data: as ``choice.open`` returned it.
        choice: what was named.
        what: what the cameras are for, for the message.

    Raises:
        ValueError: there is no camera, or there are several and none is named.
    """
    sizes = {name: f"{height}x{width}" for name, (height, width) in data.cameras.items()}
    if not sizes:
        raise ValueError(f"{data.source} has no camera, so there is nothing to encode")
    if len(sizes) > 1 and not choice.cameras:
        listed = ", ".join(f"{name} ({size})" for name, size in sizes.items())
        raise ValueError(
            f"{data.source} has {len(sizes)} cameras: {listed}; name those of {what}, as in "
            f"--cameras {next(iter(sizes))}"
        )
    return sizes
