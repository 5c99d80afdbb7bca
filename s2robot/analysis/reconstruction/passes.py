"""The two passes of a reconstruction; each saves its progress, so that it can be resumed.

The first pass reduces the training frames to moments, the second reduces the test frames to sums
of squares for each block. Both results are small for any number of frames, so tokens are not saved.
"""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.analysis.reconstruction.regression import BlockLosses, LinearMap, Moments, less
from s2robot.utils.io import atomic_path, digest_of, locked
from s2robot.utils.progress import progress_bar
from s2robot.utils.records import damaged, read_arrays

ReadsTokens = Callable[[int, int], np.ndarray]
"""Function from the indices (start, stop) of frames to their tokens ``(n, C)``."""


@dataclass(frozen=True)
class ChosenMap:
    """A fitted map and the indices of the input channels that it reads."""

    channels: np.ndarray
    fitted: LinearMap


class Kept(ABC):
    """A result that grows frame by frame and is saved to a file, so that it can be resumed.

    Args:
        folder: folder of the file; None to save nothing.
        key: everything that determines the content, as JSON values.
    """

    kind: str

    def __init__(self, folder: Path | None, key: Mapping[str, Any]) -> None:
        self.path = folder / f"{self.kind}-{digest_of(key)[:24]}.npz" if folder else None
        self.frames = 0
        """Number of frames processed so far."""

    @abstractmethod
    def add(self, x: np.ndarray, y: np.ndarray, frames: int) -> None:
        """Add the tokens of the next frames.

        Args:
            x: tokens of the source ``(n, Dx)``.
            y: tokens of the target ``(n, Dy)``.
            frames: number of frames that the tokens belong to.
        """

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """Return the content as arrays by name."""

    @abstractmethod
    def fill(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Replace the content by arrays that the method ``arrays`` returned."""

    def restore(self) -> None:
        """Load the file if it exists.

        Raises:
            CorruptFileError: the file cannot be read, or holds other arrays.
        """
        if self.path is None or not self.path.exists():
            return
        remedy = "delete it and run again"
        arrays = read_arrays(self.path, remedy)
        frames = arrays.pop("frames", np.array(-1))
        if frames.shape != () or frames.dtype.kind != "i" or frames < 0:
            raise damaged(self.path, f"frames is {frames}", remedy)
        shapes = {name: (array.shape, array.dtype) for name, array in self.arrays().items()}
        if {name: (array.shape, array.dtype) for name, array in arrays.items()} != shapes:
            raise damaged(self.path, f"it does not hold the arrays {shapes}", remedy)
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise damaged(self.path, "it holds NaN or infinities", remedy)
        self.fill(arrays)
        self.frames = int(frames)

    def save(self) -> None:
        """Write the file atomically."""
        if self.path is not None:
            arrays = {"frames": np.array(self.frames), **self.arrays()}
            with atomic_path(self.path) as temporary, temporary.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)


class KeptMoments(Kept):
    """Moments of a source and the target on training frames."""

    kind = "moments"

    def __init__(
        self, folder: Path | None, key: Mapping[str, Any], inputs: int, outputs: int, places: int
    ) -> None:
        super().__init__(folder, key)
        self.moments = Moments(inputs, outputs, places)
        self.restore()

    def add(self, x: np.ndarray, y: np.ndarray, frames: int) -> None:
        """Add the tokens of the next frames; see ``Kept.add``."""
        self.moments.update(x, y)
        self.frames += frames

    def arrays(self) -> dict[str, np.ndarray]:
        """Return count, means and scatter of the moments."""
        made = self.moments
        return {"count": np.array(made.count), "mean": made.mean, "scatter": made.scatter}

    def fill(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Replace the moments by those that ``arrays`` returned."""
        self.moments.count = int(arrays["count"])
        self.moments.mean, self.moments.scatter = arrays["mean"], arrays["scatter"]


class KeptLosses(Kept):
    """Sums of squared errors of each map of a source, for each block of test frames.

    Args:
        folder: see ``Kept``.
        key: see ``Kept``.
        blocks: ``(N,)``: index of the block of each frame.
        constant: ``(P, Dy)``: mean of the target's tokens on training frames.
        maps: fitted maps of the source.
    """

    kind = "losses"

    def __init__(
        self,
        folder: Path | None,
        key: Mapping[str, Any],
        blocks: np.ndarray,
        constant: np.ndarray,
        maps: Sequence[ChosenMap],
    ) -> None:
        super().__init__(folder, key)
        self._blocks, self._constant, self._maps = blocks, constant, maps
        count = int(blocks.max()) + 1
        self._left = np.zeros((len(maps), count))
        self._total, self._values = np.zeros(count), np.zeros(count)
        self.restore()

    def add(self, x: np.ndarray, y: np.ndarray, frames: int) -> None:
        """Add the tokens of the next frames; see ``Kept.add``."""
        y = np.asarray(y, dtype=np.float64)
        blocks = self._blocks[self.frames : self.frames + frames]
        for left, chosen in zip(self._left, self._maps, strict=True):
            np.add.at(left, blocks, _squares(y - chosen.fitted(x[:, chosen.channels]), frames))
        np.add.at(self._total, blocks, _squares(less(y, self._constant), frames))
        np.add.at(self._values, blocks, y.size / frames)
        self.frames += frames

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the sums of squares and the numbers of values."""
        return {"left": self._left, "total": self._total, "values": self._values}

    def fill(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Replace the sums by those that ``arrays`` returned."""
        self._left, self._total = arrays["left"], arrays["total"]
        self._values = arrays["values"]

    def losses(self) -> list[BlockLosses]:
        """Return the losses of each map, in their order."""
        return [BlockLosses(left, self._total, self._values) for left in self._left]


def _squares(errors: np.ndarray, frames: int) -> np.ndarray:
    """Return the sum of squares of each frame ``(frames,)`` from errors ``(n, C)``."""
    return np.square(errors).reshape(frames, -1).sum(axis=1)


@contextlib.contextmanager
def held(folder: str | Path | None) -> Iterator[Path | None]:
    """Lock a folder for this process and yield its path; yield None without a folder."""
    if folder is None:
        yield None
        return
    with locked(Path(folder) / "reconstruct"):
        yield Path(folder)


def encode_into(
    kept: Sequence[Kept],
    total: int,
    target: ReadsTokens,
    sources: Sequence[ReadsTokens],
    batch: int,
    save_every_s: float,
    name: str = "",
) -> None:
    """Encode the frames that are missing in each result, and add their tokens to it.

    A frame that is missing in several results is encoded once by the target.

    Args:
        kept: one result for each source.
        total: number of frames.
        target: function that returns tokens of the target.
        sources: functions that return tokens of the sources, in the order of ``kept``.
        batch: number of frames that are encoded together.
        save_every_s: time between two writes [s]; the last write is at the end.
        name: name of the progress bar; empty for none.
    """
    saved = time.monotonic()
    done = min(part.frames for part in kept)
    with progress_bar(f"encoding {name}", total, bool(name), done) as bar:
        while (start := min(part.frames for part in kept)) < total:
            bar.update(start)
            ahead = [part.frames for part in kept if part.frames > start]
            stop = min([start + batch, total, *ahead])
            y = target(start, stop)
            for part, tokens in zip(kept, sources, strict=True):
                if part.frames == start:
                    part.add(tokens(start, stop), y, stop - start)
            late = time.monotonic() - saved > save_every_s
            if late or stop == total:
                for part in kept:
                    part.save()
                saved = time.monotonic()
        bar.update(total)
