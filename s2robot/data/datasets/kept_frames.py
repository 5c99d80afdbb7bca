"""Frames that are read several times and decoded once: those that were read are kept."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.data.datasets.frame_reader import RecordedFrames


class KeptFrames:
    """Reader of another reader's frames that keeps them in a temporary file, uncompressed.

    The file has no name, so it is gone when the process ends, however it ends. Without room for it,
    frames are decoded again.

    Args:
        frames: reader of a data set.
        folder: in which the file is made.
    """

    def __init__(self, frames: RecordedFrames, folder: Path) -> None:
        self._frames, self._folder = frames, folder
        self._file: Any = None
        self._places: dict[int, int] = {}
        self._full = False
        self._lock = threading.Lock()

    @property
    def source(self) -> dict[str, Any]:
        """Description of what determines the pixels besides the data set."""
        return self._frames.source

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of a frame."""
        height, width = self._frames.source["size"]
        return height, width, 3

    def __len__(self) -> int:
        return len(self._frames)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return frames ``(stop - start, H, W, 3)`` uint8 RGB.

        Args:
            start: number of the first frame.
            stop: number after the last frame.

        Raises:
            ValueError: ``start`` or ``stop`` is out of range.
            CorruptFileError: a frame cannot be decoded.
        """
        if not 0 <= start <= stop <= len(self):
            raise ValueError(f"frames are {start} to {stop}; allowed: 0 to {len(self)}")
        found = np.empty((stop - start, *self.shape), np.uint8)
        with self._lock:
            for place, number in enumerate(range(start, stop)):
                found[place] = self._one(number)
        return found

    def _one(self, number: int) -> np.ndarray:
        if number in self._places:
            self._file.seek(self._places[number])
            content = self._file.read(int(np.prod(self.shape)))
            return np.frombuffer(content, np.uint8).reshape(self.shape)
        (frame,) = self._frames.read(number, number + 1)
        self._keep(number, frame)
        return frame

    def _keep(self, number: int, frame: np.ndarray) -> None:
        if self._full:
            return
        try:
            self._places[number] = self._written(frame.tobytes())
        except OSError as error:
            self._full = True
            warnings.warn(
                f"{self._folder} has no room for decoded frames ({error}), so they are decoded "
                "again for each encoder, which takes longer; make room, or use fewer frames",
                stacklevel=2,
            )

    def _written(self, content: bytes) -> int:
        """Append a frame, and return its place in the file."""
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(buffering=0, dir=self._folder)
        place = self._file.seek(0, os.SEEK_END)
        if self._file.write(content) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return place
