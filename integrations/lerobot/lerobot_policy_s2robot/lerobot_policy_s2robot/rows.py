"""Rows of a LeRobot data set without their pictures, which are not needed once they are encoded.

LeRobot's data loader decodes the video of each row, every epoch. A data set whose metadata carry
``TrainingRows`` returns whole batches from its tables instead, through ``__getitems__``, PyTorch's
own hook for batches. All other data sets are read as before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.utils.constants import ACTION

ATTRIBUTE = "s2robot_rows"
_NUMBERS = ("index", "episode_index", "frame_index", "task_index", "timestamp")


@dataclass
class TrainingRows:
    """Which steps of observations and actions a policy reads; lies in a data set's metadata.

    Args:
        state: key of the measurements; None for a policy without.
        observations: steps from the present one, of the measurements.
        actions: steps from the present one, of the actions.
        sequences: whether values have an axis for steps; else each list of steps is ``[0]``.
    """

    state: str | None
    observations: list[int]
    actions: list[int]
    sequences: bool
    _tables: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_tables": {}}  # each worker of a loader reads its own

    def batch(self, dataset: LeRobotDataset, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Return items as LeRobot's own reading returns them, but for the pictures.

        Args:
            dataset: the data set.
            rows: relative indices, as samplers draw them.

        Raises:
            ValueError: the data set has image transforms.
        """
        if dataset.reader is not None and dataset.reader._image_transforms is not None:
            raise ValueError(
                "dataset.image_transforms is enabled, but policy s2robot encodes each frame once, "
                "before training, so it would never see a transformed one; set "
                "--dataset.image_transforms.enable=false"
            )
        if not self._tables:
            self._tables = _tables(dataset, [ACTION, *([self.state] if self.state else [])])
        return [self._item(dataset, int(row)) for row in rows]

    def _item(self, dataset: LeRobotDataset, row: int) -> dict[str, Any]:
        tables = self._tables
        tasks: Any = dataset.meta.tasks
        item = {key: torch.tensor(tables[key][row]) for key in _NUMBERS}
        item["task"] = tasks.iloc[int(tables["task_index"][row])].name
        if self.state:
            item[self.state] = self._steps(self.state, row, self.observations)[0]
        item[ACTION], padded = self._steps(ACTION, row, self.actions)
        if self.sequences:
            item[f"{ACTION}_is_pad"] = padded
        return item

    def _steps(
        self, key: str, row: int, offsets: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return values ``(T, d)``, or ``(d,)`` without sequences, and where they are padded."""
        first, last = self._tables["first"][row], self._tables["last"][row]
        wanted = row + np.asarray(offsets)
        values = torch.from_numpy(self._tables[key][wanted.clip(first, last)])
        padded = torch.from_numpy((wanted < first) | (wanted > last))
        return (values if self.sequences else values[0]), padded


def _tables(dataset: LeRobotDataset, keys: Sequence[str]) -> dict[str, np.ndarray]:
    """Return columns of all rows, and the first and the last row of each row's episode."""
    data = dataset.hf_dataset.data
    found = {}
    for key in (*_NUMBERS, *keys):
        column = data.column(key)
        values = np.stack(column.to_numpy()) if key in keys else column.to_numpy()
        found[key] = values.astype(np.float32) if key in keys else values
        if key in keys and found[key].ndim == 1:  # features of one entry are plain columns
            found[key] = found[key][:, None]
    episode = found["episode_index"]
    starts = np.flatnonzero(np.diff(episode, prepend=episode[0] - 1))
    lengths = np.diff([*starts, len(episode)])
    found["first"] = np.repeat(starts, lengths)
    found["last"] = np.repeat(starts + lengths - 1, lengths)
    return found


def _items(self: LeRobotDataset, rows: Sequence[int]) -> list[dict[str, Any]]:
    """Return the items of a batch; PyTorch's data loader calls it where it exists."""
    own = getattr(self.meta, ATTRIBUTE, None)
    read: Any = self
    return [read[row] for row in rows] if own is None else own.batch(self, rows)


def install() -> None:
    """Let LeRobot's data sets return whole batches.

    Raises:
        ImportError: LeRobot has such a method of its own, so this package does not fit it.
    """
    present = getattr(LeRobotDataset, "__getitems__", _items)
    if present is not _items:
        raise ImportError(
            "LeRobotDataset has its own __getitems__ in this version of lerobot, which this "
            "package would replace; install a tested version: pip install 'lerobot>=0.6.1,<0.7'"
        )
    LeRobotDataset.__getitems__ = _items  # pyright: ignore[reportAttributeAccessIssue]


def attach(meta: Any, rows: TrainingRows) -> None:
    """Let the data set of some metadata return rows without pictures.

    Args:
        meta: metadata of a data set, which its reader holds too.
        rows: which steps are wanted.
    """
    setattr(meta, ATTRIBUTE, rows)
