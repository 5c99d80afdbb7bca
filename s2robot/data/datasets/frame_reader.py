"""Frames of one camera of a recorded data set, as the feature store reads them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from s2robot.data.datasets.contract import EpisodeDataset
from s2robot.errors import CorruptFileError
from s2robot.preprocessing.picture_files import READER_VERSION
from s2robot.utils.io import digest_of

_APART = 10
"""Frames between two samples of one episode, where there are fewer episodes than samples."""


class RecordedFrames:
    """Frames ``(N, H, W, 3)`` uint8 RGB of one camera of a data set, decoded in their order.

    Reading on is cheap; reading back decodes the episode again from its first frame.

    Args:
        data: the data set.
        camera: key of the camera.
    """

    def __init__(self, data: EpisodeDataset, camera: str) -> None:
        self._data, self._camera = data, camera
        self._ends = data.episode_ends
        self._decoded: Iterator[np.ndarray] = iter(())
        self._next, self._stop = 0, 0
        """Number of the frame that ``_decoded`` gives next, and of the one after its last."""
        self._begun: dict[int, Iterator[np.ndarray]] = {}
        """Frames of episodes from which samples were taken, by episode: from the first one on."""

    @property
    def source(self) -> dict[str, Any]:
        """Description of what determines the pixels besides the data set."""
        size = list(self._data.cameras[self._camera])
        return {
            "kind": "recorded",
            "camera": self._camera,
            "size": size,
            "reader": READER_VERSION,
        }

    @property
    def digest(self) -> str:
        """Digest of what determines the frames."""
        return digest_of({"data": self._data.digest, **self.source})[:24]

    @property
    def num_frames(self) -> int:
        """Number of frames N."""
        return int(self._ends[-1])

    def __len__(self) -> int:
        return self.num_frames

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return some frames.

        Args:
            start: number of the first frame.
            stop: number after the last frame.

        Returns:
            ``(stop - start, H, W, 3)`` uint8 RGB.

        Raises:
            ValueError: ``start`` or ``stop`` is out of range.
            CorruptFileError: a frame cannot be decoded, or frames are missing.
        """
        if not 0 <= start <= stop <= len(self):
            raise ValueError(f"frames are {start} to {stop}; allowed: 0 to {len(self)}")
        found = np.empty((stop - start, *self._data.cameras[self._camera], 3), np.uint8)
        for place, number in enumerate(range(start, stop)):
            found[place] = self._frame(number)
        return found

    def sample(self, count: int) -> np.ndarray:
        """Return some first frames of episodes that are evenly spread, without decoding one twice.

        What is decoded is kept until the episode is read. Where there are fewer episodes than
        frames wanted, further ones follow at a distance of some frames.

        Args:
            count: number of frames; fewer are returned where episodes are few and short.

        Returns:
            ``(count, H, W, 3)`` uint8 RGB.

        Raises:
            CorruptFileError: as in ``read``.
        """
        spread = np.linspace(0, len(self._ends) - 1, count).round().astype(int)
        episodes = np.unique(spread).tolist()
        each = -(-count // len(episodes))
        found = [frame for episode in episodes for frame in self._first(episode, each)]
        return np.stack(found[:count])

    def _first(self, episode: int, count: int) -> list[np.ndarray]:
        """Decode an episode's beginning, keep it, and return so many frames of it."""
        self._begin(int(self._ends[episode - 1]) if episode else 0)
        length = min((count - 1) * _APART + 1, self._stop - self._next)
        start = self._next
        frames = [self._frame(start + place).copy() for place in range(length)]
        self._begun[episode] = itertools.chain(frames, self._decoded)
        self._next = self._stop  # the next frame to be read begins an episode
        return frames[::_APART]

    def _frame(self, number: int) -> np.ndarray:
        if not self._next <= number < self._stop:
            self._begin(number)
        while True:
            try:
                frame = next(self._decoded)
            except StopIteration:
                episode = int(np.searchsorted(self._ends, number, side="right"))
                raise CorruptFileError(
                    f"{self._data.source}: camera {self._camera} has fewer frames than actions in "
                    f"episode {episode}; leave that episode out, or copy the data again"
                ) from None
            self._next += 1
            if self._next > number:
                if self._next == self._stop:
                    self._finish()
                return frame

    def _begin(self, number: int) -> None:
        """Start to decode the episode of a frame."""
        episode = int(np.searchsorted(self._ends, number, side="right"))
        begun = self._begun.pop(episode, None)
        self._decoded = self._data.frames(self._camera, episode) if begun is None else begun
        self._next = int(self._ends[episode - 1]) if episode else 0
        self._stop = int(self._ends[episode])

    def _finish(self) -> None:
        """Read an episode to its end: a reader checks there that no frame is left over."""
        for _ in self._decoded:
            raise CorruptFileError(
                f"{self._data.source}: camera {self._camera} has more frames than actions in the "
                f"episode that ends with frame {self._stop - 1}; leave that episode out"
            )
