"""The two passes of a reconstruction, each kept on disk as far as it has come.

Training frames become moments, test frames sums of squares a block. Both are small whatever the
number of frames, so tokens are never kept.
"""

from __future__ import annotations

import contextlib
import time
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.analysis.reconstruction.regression import BlockLosses, LinearMap, Moments, less
from s2robot.errors import CorruptFileError
from s2robot.utils.io import atomic_path, digest_of, locked
from s2robot.utils.progress import frames_bar

ReadsTokens = Callable[[int, int], np.ndarray]
"""From the numbers of the first frame and of the one after the last to tokens ``(n, C)``."""


@dataclass(frozen=True)
class ChosenMap:
    """A fitted map and the input channels that it takes."""

    channels: np.ndarray
    fitted: LinearMap


class Kept(ABC):
    """Something made of frames in order, and its file as far as it has come.

    Args:
        folder: for the file; None keeps nothing.
        key: JSON-able, all that decides the content.
    """

    kind: str

    def __init__(self, folder: Path | None, key: Mapping[str, Any]) -> None:
        self.path = folder / f"{self.kind}-{digest_of(key)[:24]}.npz" if folder else None
        self.frames = 0
        """How many are in it."""

    @abstractmethod
    def add(self, x: np.ndarray, y: np.ndarray, frames: int) -> None:
        """Take tokens of the next frames: the source's ``(n, Dx)`` and the target's ``(n, Dy)``."""

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """All that it holds."""

    @abstractmethod
    def fill(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take over what ``arrays`` gave."""

    def restore(self) -> None:
        """Go on from the file where there is one.

        Raises:
            CorruptFileError: it cannot be read, or holds something else.
        """
        if self.path is None or not self.path.exists():
            return
        try:
            with np.load(self.path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            frames = int(arrays.pop("frames"))
            shapes = {name: array.shape for name, array in self.arrays().items()}
            if {name: array.shape for name, array in arrays.items()} != shapes:
                raise ValueError(f"not the arrays {shapes}")
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise CorruptFileError(
                f"{self.path} is damaged ({error}); delete it and rerun"
            ) from None
        self.fill(arrays)
        self.frames = frames

    def save(self) -> None:
        """Write the file, whole or not at all."""
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
        self.moments.update(x, y)
        self.frames += frames

    def arrays(self) -> dict[str, np.ndarray]:
        made = self.moments
        return {"count": np.array(made.count), "mean": made.mean, "scatter": made.scatter}

    def fill(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.moments.count = int(arrays["count"])
        self.moments.mean, self.moments.scatter = arrays["mean"], arrays["scatter"]


class KeptLosses(Kept):
    """Sums of squares that each of a source's maps leaves on test frames, a block.

    Args:
        folder: see ``Kept``.
        key: see ``Kept``.
        blocks: ``(N,)``: number from 0 of the block that a frame is of.
        constant: ``(P, Dy)``, the target's mean on training frames.
        maps: of the source.
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
        y = np.asarray(y, dtype=np.float64)
        blocks = self._blocks[self.frames : self.frames + frames]
        for left, chosen in zip(self._left, self._maps, strict=True):
            np.add.at(left, blocks, _squares(y - chosen.fitted(x[:, chosen.channels]), frames))
        np.add.at(self._total, blocks, _squares(less(y, self._constant), frames))
        np.add.at(self._values, blocks, y.size / frames)
        self.frames += frames

    def arrays(self) -> dict[str, np.ndarray]:
        return {"left": self._left, "total": self._total, "values": self._values}

    def fill(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._left, self._total = arrays["left"], arrays["total"]
        self._values = arrays["values"]

    def losses(self) -> list[BlockLosses]:
        """Of each map, in their order."""
        return [BlockLosses(left, self._total, self._values) for left in self._left]


def _squares(errors: np.ndarray, frames: int) -> np.ndarray:
    """Sums of squares of each frame: ``(n, C)`` to ``(frames,)``."""
    return np.square(errors).reshape(frames, -1).sum(axis=1)


@contextlib.contextmanager
def held(folder: str | Path | None) -> Iterator[Path | None]:
    """The folder as a path, for this process alone as long as it lasts."""
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
    """Encode what is missing of each; frames that several lack go through the target once.

    Args:
        kept: what the tokens of each source go to.
        total: number of frames.
        target: its tokens.
        sources: their tokens, in the order of ``kept``.
        batch: frames at once.
        save_every_s: time between two writes [s]; the last write is at the end.
        name: of the progress bar; empty for none.
    """
    saved = time.monotonic()
    with frames_bar(bool(name)) as bar:
        task = bar.add_task(f"encoding {name}", total=total)
        while (start := min(part.frames for part in kept)) < total:
            bar.update(task, completed=start)
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
        bar.update(task, completed=total)
