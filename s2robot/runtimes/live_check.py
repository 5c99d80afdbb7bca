"""Comparison of live tiles with the ranges that an int8 model was calibrated on."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from s2robot.errors import CalibrationWarning, UnfitFramesError

TILE_LIMIT = 0.01
"""A tile is out of range if more than this share of its token values is. None of the tiles of the
calibrated camera were, and 60 % and more of those of another (docs/results/int8.md)."""
TILES_LIMIT = 0.25
"""Share of the tiles out of range from which to warn."""
_FEWEST, _MOST = 10, 100
"""Tiles that a share is taken of: at least, and after how many the count starts again."""


@dataclass(frozen=True)
class Ranges:
    """Smallest and largest value of each channel of tokens ``(C,)``."""

    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, tokens: Tensor) -> Ranges:
        """Return the ranges of tokens ``(N, P + g, C)``."""
        return cls(tokens.amin(dim=(0, 1)), tokens.amax(dim=(0, 1)))

    def outside(self, tokens: Tensor) -> Tensor:
        """Return the share of the values of each tile outside of the ranges ``(N,)``."""
        beyond = (tokens < self.low) | (tokens > self.high)
        return beyond.flatten(1).float().mean(dim=1)

    def save(self, path: Path) -> None:
        """Write the ranges as safetensors."""
        safetensors.torch.save_file({"low": self.low, "high": self.high}, path)

    @classmethod
    def load(cls, path: Path) -> Ranges:
        """Read what ``save`` wrote."""
        return cls(**safetensors.torch.load_file(path))


class LiveCheck:
    """Warns once when live tiles are unlike those of the calibration, or refuses them.

    Args:
        ranges: of the tokens of the calibration's tiles.
        usual: largest share of values outside of the ranges among tiles of the calibration's
            frames that the ranges were not taken from.
        message: makes the warning's text of the share of tiles out of range and their number.

    Any thread may call it.

    Attributes:
        refuses: raise UnfitFramesError in place of the warning, each time.
    """

    refuses = False

    def __init__(self, ranges: Ranges, usual: float, message: Callable[[float, int], str]) -> None:
        self.ranges = ranges
        self.limit = max(TILE_LIMIT, 2 * usual)
        self._message = message
        self._seen = self._odd = 0
        self._done = False
        self._lock = threading.Lock()

    def __call__(self, tiles: Tensor, tokens: Tensor) -> None:
        """Count tiles ``(N, 3, h, w)`` with the tokens ``(N, P + g, C)`` that they gave.

        Tiles of one color, as a black frame has, show nothing of a camera and do not count.

        Raises:
            UnfitFramesError: too many are out of range, and ``refuses`` is set.
        """
        if self._done and not self.refuses:
            return
        odd, count = self.count(tiles, tokens)
        with self._lock:
            self._seen += count
            self._odd += odd
            seen, share = self._seen, self._odd / max(1, self._seen)
            tell = seen >= _FEWEST and share > TILES_LIMIT and (self.refuses or not self._done)
            self._done |= tell
            if seen >= _MOST:
                self._seen = self._odd = 0
        if tell and self.refuses:
            raise UnfitFramesError(self._message(share, seen), share)
        if tell:
            warnings.warn(self._message(share, seen), CalibrationWarning, stacklevel=2)

    def count(self, tiles: Tensor, tokens: Tensor) -> tuple[int, int]:
        """Return how many tiles are out of range, of how many that count.

        Args:
            tiles: ``(N, 3, h, w)``.
            tokens: ``(N, P + g, C)`` that they gave.
        """
        odd = self.ranges.outside(tokens) > self.limit
        blank = int(_of_one_color(tiles[odd]).sum()) if odd.any() else 0
        return int(odd.sum()) - blank, len(tiles) - blank


def _of_one_color(tiles: Tensor) -> Tensor:
    """Return which tiles have the same color in every pixel ``(N,)``."""
    pixels = tiles.flatten(2)
    return torch.eq(pixels.amin(dim=2), pixels.amax(dim=2)).all(dim=1)
