"""Random crops of frames for pre-training, of the same sizes as S² tiles."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from s2robot.pretraining.config import CropConfig
from s2robot.pretraining.frame_dataset import FrameDataset
from s2robot.utils.distributed import ALONE, DistributedContext


class CropSampler(Dataset):
    """Random crops of a frame dataset, one batch for each training step.

    Crop i of a step depends only on (seed, step, i): a resumed run repeats it, and any number of
    processes train on the same crops. As a ``Dataset``, item ``step`` is the batch of this step.

    Args:
        dataset: frames to crop.
        size: side of a resized crop [px].
        config: settings of the crops.
        seed: seed of the crops.
        batch_size: number of crops in a step, over all processes.
        context: the processes that train together; each makes its share of a batch.
        cells: number of cells along a crop's side for which classes are returned, if the dataset
            has segments.
    """

    def __init__(
        self,
        dataset: FrameDataset,
        size: int,
        config: CropConfig,
        seed: int,
        batch_size: int,
        context: DistributedContext = ALONE,
        cells: int = 0,
    ) -> None:
        self._dataset = dataset
        self._size = size
        self._config = config
        self._cumulative = np.cumsum(config.weights) / np.sum(config.weights)
        self._seed = seed
        self._numbers = range(batch_size)[context.rank :: context.size]
        self._cells = cells if dataset.has_segments else 0

    def __getitem__(self, step: int) -> list[torch.Tensor]:
        """Return the crops of a training step, and the classes of their cells if they are known.

        Returns:
            ``(batch_size / processes, 3, size, size)`` uint8; and, with segments,
            ``(batch_size / processes, cells, cells)`` uint8 classes.
        """
        parts = zip(*[self._crop(step, number) for number in self._numbers], strict=True)
        return [torch.cat(part) for part in parts]

    def _crop(self, step: int, number: int) -> list[torch.Tensor]:
        rng = np.random.default_rng([self._seed, step, number])
        index = int(rng.integers(len(self._dataset)))
        frame = self._dataset[index]  # (H, W, 3)
        scale = self._config.scales[int(np.searchsorted(self._cumulative, rng.random(), "right"))]
        side = round(min(frame.shape[:2]) / scale * rng.uniform(1 - self._config.jitter, 1))
        top, left = (int(rng.integers(0, length - side + 1)) for length in frame.shape[:2])
        crop = frame[top : top + side, left : left + side]
        flipped = rng.random() < self._config.flip
        image = torch.from_numpy(crop.copy()).permute(2, 0, 1).unsqueeze(0)  # (1, 3, side, side)
        size = (self._size, self._size)
        parts = [F.interpolate(image, size=size, mode="bilinear", antialias=True)]
        if self._cells:
            shrink = self._dataset.segments(index).shape[0] / frame.shape[0]
            parts.append(self._segments(index, top * shrink, left * shrink, side * shrink))
        return [part.flip(-1) if flipped else part for part in parts]

    def _segments(self, index: int, top: float, left: float, side: float) -> torch.Tensor:
        """Return the classes ``(1, cells, cells)`` at the centers of the cells of a crop."""
        centers = (np.arange(self._cells) + 0.5) / self._cells * side
        rows, columns = ((start + centers).astype(int) for start in (top, left))
        return torch.from_numpy(self._dataset.segments(index)[np.ix_(rows, columns)]).unsqueeze(0)
