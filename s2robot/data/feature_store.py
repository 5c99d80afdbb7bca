"""Features of demonstrations on disk, addressed by content and checked when they are read.

``<root>/<key>/`` holds one scale of one data set (see ``feature_entries``). A killed process loses
at most one shard of some hundred frames. Each scale has its own entry, so encoders that share a
scale share its features. Runtime, class of the device and versions are part of the key, since the
last digits depend on them.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from s2robot.backbones import get_card
from s2robot.data.feature_entries import FORMAT as FORMAT
from s2robot.data.feature_entries import Entry
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.layout import EmbeddingLayout
from s2robot.encoder.spec import EncoderSpec
from s2robot.errors import CorruptFileError, MismatchError
from s2robot.runtimes import AUTO, exact_descriptions
from s2robot.utils.progress import progress_bar
from s2robot.utils.provenance import deciding_versions

MERGE_FRAMES = 512
"""Number of frames whose scales are merged at once when loading."""


class DataSet(Protocol):
    """Set of frames with a digest that identifies it, such as ``Demonstrations``."""

    @property
    def digest(self) -> str:
        """Digest of the content."""
        ...

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        ...


class FrameReader(Protocol):
    """Reader of a data set's frames, in their order."""

    @property
    def source(self) -> dict[str, Any]:
        """JSON-able description of everything that determines the pixels besides the data set."""
        ...

    def __len__(self) -> int: ...
    def read(self, start: int, stop: int) -> np.ndarray:
        """Return some frames.

        Args:
            start: number of the first frame.
            stop: number after the last frame.

        Returns:
            ``(stop - start, H, W, 3)`` uint8 RGB.
        """
        ...


@dataclass(frozen=True, eq=False)
class ChosenFrames:
    """Some frames of another reader."""

    frames: FrameReader
    chosen: np.ndarray
    """Numbers of the frames, rising."""

    @property
    def source(self) -> dict[str, Any]:
        """Description of the frames for a feature store; which ones is in the data's digest."""
        return self.frames.source

    def __len__(self) -> int:
        return len(self.chosen)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return frames ``(stop - start, H, W, 3)`` uint8 RGB."""
        numbers = self.chosen[start:stop]
        if not len(numbers):
            return self.frames.read(0, 0)
        runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)  # without gaps
        return np.concatenate([self.frames.read(int(r[0]), int(r[-1]) + 1) for r in runs])


class FeatureStore:
    """Store of the features of data sets under one folder, in float16.

    Args:
        root: the folder.
        block_frames: number of frames encoded between two writes; a killed process loses at most
            that many.

    Raises:
        ValueError: ``block_frames`` is below 1.

    Examples:
        The data set has a digest; its reader describes the source of the frames and reads them.

        >>> import tempfile
        >>> from types import SimpleNamespace
        >>> class Black:
        ...     source = {"kind": "black"}
        ...     def __len__(self):
        ...         return 4
        ...     def read(self, start, stop):
        ...         return np.zeros((stop - start, 128, 128, 3), np.uint8)
        >>> data_set = SimpleNamespace(digest="black-4", num_frames=4)
        >>> encoder = FrameEncoder.from_name("random/vitt16-128", (1,), "mean", device="cpu")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = FeatureStore(folder)
        ...     store.ensure(data_set, Black(), encoder, progress=False)
        ...     store.load(data_set, Black(), encoder).shape
        torch.Size([4, 192])
    """

    def __init__(self, root: str | Path, block_frames: int = 256) -> None:
        if block_frames < 1:
            raise ValueError(f"block_frames must be at least 1; got {block_frames}")
        self.root = Path(root)
        self.block_frames = block_frames
        self.encoded: dict[float, int] = {}
        """Number of frames that this object encoded, by scale."""

    def ensure(
        self,
        demos: DataSet,
        frames: FrameReader,
        encoder: FrameEncoder,
        progress: bool = True,
        refresh: bool = False,
    ) -> None:
        """Encode the missing frames, all missing scales in one pass over the frames.

        A call that was killed continues where it stopped. When several processes call at once, one
        of them encodes and the others wait. Stored features are verified first; what is damaged is
        named in a warning and encoded again, and the rest is kept.

        Args:
            demos: the data set.
            frames: reader of its frames.
            encoder: the encoder; each of its scales is stored.
            progress: whether to show a progress bar.
            refresh: whether to delete the stored features first and encode all of them again.

        Raises:
            MismatchError: the reader has another number of frames than the data set, or the
                encoder's runtime is approximate.
        """
        _check_lengths(demos, frames)
        _check_exact(encoder)
        encoder = self.with_one_runtime(demos, frames, encoder)
        entries = self._entries(demos, frames, *_function_of(encoder))
        if refresh:
            for entry in entries.values():
                with entry.lock():
                    entry.delete()
        missing = [entry for entry in entries.values() if not entry.is_sound()]
        with contextlib.ExitStack() as stack:
            for entry in sorted(missing, key=lambda entry: entry.folder):  # no deadlock
                stack.enter_context(entry.lock())
            missing = [entry for entry in missing if not entry.mend()]
            if missing:
                self._encode(frames, encoder, missing, progress)

    def _encode(
        self, frames: FrameReader, encoder: FrameEncoder, missing: Sequence[Entry], progress: bool
    ) -> None:
        """Encode all gaps, block by block; a thread reads the next block meanwhile.

        The first block is read here: a reader may draw all frames then, and GL stays in a thread.
        """
        blocks = list(_blocks(missing, self.block_frames))
        text = f"encoding scales ({', '.join(f'{entry.scale:g}' for entry in missing)})"
        pixels = frames.read(blocks[0].start, blocks[0].stop)
        with (
            progress_bar(text, len(frames), progress, blocks[0].start) as bar,
            ThreadPoolExecutor(1) as reader,
        ):
            for block, following in itertools.zip_longest(blocks, blocks[1:]):
                bar.update(block.start)
                ahead = following and reader.submit(frames.read, following.start, following.stop)
                parts = encoder.encode_scales(pixels, [entry.scale for entry in block.entries])
                for entry in block.entries:
                    entry.write(block.start, parts[entry.scale])
                    self.encoded[entry.scale] = self.encoded.get(entry.scale, 0) + len(pixels)
                if ahead is not None:
                    pixels = ahead.result()
            bar.update(len(frames))

    def load_or_encode(
        self,
        demos: DataSet,
        frames: FrameReader,
        encoder: FrameEncoder,
        progress: bool = True,
    ) -> Tensor:
        """Load the embeddings of all frames; encode those first that are missing or damaged.

        Whole features are read and verified once; ``ensure`` and ``load`` do so twice.

        Args:
            demos: the data set.
            frames: reader of its frames.
            encoder: the encoder; each of its scales is stored.
            progress: whether to show a progress bar.

        Returns:
            ``(N, D)`` float16.

        Raises:
            MismatchError: as in ``ensure``.
        """
        _check_lengths(demos, frames)
        _check_exact(encoder)
        with contextlib.suppress(FileNotFoundError, CorruptFileError):
            return self.load(demos, frames, encoder)
        self.ensure(demos, frames, encoder, progress)
        return self.load(demos, frames, encoder)

    def with_one_runtime(
        self, demos: DataSet, frames: FrameReader, encoder: FrameEncoder
    ) -> FrameEncoder:
        """Return the encoder with the runtime of all its features here, also with runtime "auto".

        That is the runtime that most of the wanted features were made with; where there are none,
        the fastest one for full batches. So scales are shared between encoders, and an interrupted
        call goes on with the runtime that it began with.

        Args:
            demos: the data set.
            frames: reader of its frames.
            encoder: the encoder.
        """
        if encoder.runtime.name != AUTO:
            return encoder
        stored = []
        for other in encoder.alternatives():
            entries = self._entries(demos, frames, *_function_of(other)).values()
            stored.append((sum(entry.frames for entry in entries), other))
        most, there = max(stored, key=lambda each: each[0])
        return there if most else encoder.for_batches_of()

    def load(
        self, demos: DataSet, frames: FrameReader, encoder: FrameEncoder | EncoderSpec
    ) -> Tensor:
        """Load the embeddings of all frames and verify the checksum of every shard.

        Args:
            demos: the data set.
            frames: reader of its frames.
            encoder: the encoder, or its specification, for features that any exact runtime made.

        Returns:
            ``(N, D)`` float16.

        Raises:
            FileNotFoundError: some frames are not encoded.
            CorruptFileError: a file was truncated or altered.
        """
        layout, entries = self._stored(demos, frames, encoder)
        parts = {scale: entry.read() for scale, entry in entries.items()}
        merged = torch.empty(demos.num_frames, layout.embedding_dim, dtype=torch.float16)
        for start in range(0, demos.num_frames, MERGE_FRAMES):
            block = {s: p[start : start + MERGE_FRAMES].float() for s, p in parts.items()}
            merged[start : start + MERGE_FRAMES] = layout.merge(block)
        return merged

    def _stored(
        self, demos: DataSet, frames: FrameReader, encoder: FrameEncoder | EncoderSpec
    ) -> tuple[EmbeddingLayout, dict[float, Entry]]:
        """Return the layout and entries of an encoder; of a spec, those of any exact runtime."""
        if isinstance(encoder, FrameEncoder):
            encoder = self.with_one_runtime(demos, frames, encoder)
            return encoder.layout, self._entries(demos, frames, *_function_of(encoder))
        layout = EmbeddingLayout(encoder, get_card(encoder.backbone))
        found = [
            self._entries(
                demos,
                frames,
                layout,
                encoder.weights_digest,
                {"runtime": {**described, "exact": True}, "device": device},
            )
            for device, described in exact_descriptions()
        ]
        whole = [each for each in found if all(entry.complete for entry in each.values())]
        return layout, [*whole, *found][0]

    def _entries(
        self,
        demos: DataSet,
        frames: FrameReader,
        layout: EmbeddingLayout,
        weights: str,
        inference: dict[str, Any],
    ) -> dict[float, Entry]:
        spec = layout.spec
        common = {
            "demos": demos.digest,
            "frames": frames.source,
            "weights": weights,  # covers architecture and preprocessing
            "pixel_path": spec.pixel_path,
            "stage": layout.pooling,
            "geometry": spec.geometry,
            "taps": [list(spec.layers), spec.layers_merge] if spec.layers else [],
            "dtype": spec.dtype,
            "runtime": inference["runtime"],
            "device": inference["device"],
            "versions": deciding_versions(),
        }
        return {
            scale: Entry(
                self.root,
                {
                    **common,
                    "scale": scale,
                    # both modes use the base image, as at scale 1
                    "input_mode": "native" if layout.is_base(part) else spec.input_mode,
                    **({} if layout.is_square(part) else {"tiling": [part.rows, part.columns]}),
                    "shape": list(part.stored_shape),
                },
                demos.num_frames,
            )
            for scale, part in layout.scales.items()
        }


@dataclass(frozen=True)
class _Block:
    """Frames that are encoded together, and the entries that lack them."""

    start: int
    stop: int
    entries: list[Entry]


def _blocks(missing: Sequence[Entry], most: int) -> Iterator[_Block]:
    """Yield the blocks of all gaps in the order of their frames, of `most` frames or fewer."""
    gaps = {entry: deque(entry.gaps()) for entry in missing}
    while any(gaps.values()):
        first = {entry: own[0] for entry, own in gaps.items() if own}
        start = min(begin for begin, _ in first.values())
        behind = [entry for entry, (begin, _) in first.items() if begin == start]
        ahead = [begin for begin, _ in first.values() if begin > start]
        stop = min(start + most, *(first[entry][1] for entry in behind), *ahead)
        yield _Block(start, stop, behind)
        for entry in behind:
            _, end = gaps[entry].popleft()
            if stop < end:
                gaps[entry].appendleft((stop, end))


def _function_of(encoder: FrameEncoder) -> tuple[EmbeddingLayout, str, dict[str, Any]]:
    """Return what decides features: layout, digest of the weights as they are now, inference."""
    return encoder.layout, encoder.backbone.weights_digest, encoder.inference


def _check_exact(encoder: FrameEncoder) -> None:
    if not encoder.runtime.exact:
        raise MismatchError(
            f"runtime {encoder.runtime.name} is approximate, but stored features must be those "
            "of the encoder's specification exactly; use runtime auto, or another exact runtime"
        )


def _check_lengths(demos: DataSet, frames: FrameReader) -> None:
    if len(frames) != demos.num_frames or not demos.num_frames:
        raise MismatchError(
            f"the data set has {demos.num_frames} frames and their reader {len(frames)}; both must "
            "have the same number, at least 1"
        )
