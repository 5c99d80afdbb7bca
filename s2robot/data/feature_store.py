"""Features of demonstrations on disk, addressed by content and checked when they are read.

``<root>/<key>/`` holds one scale of one data set: shards of some hundred frames each, and
``meta.json``, which lists the shards with their SHA-256. A shard is valid once it is listed, so a
killed process loses at most one. Each scale has its own entry, so encoders that share a scale share
its features. Runtime, class of the device and versions are part of the key, since the last digits
depend on them.
"""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from s2robot.backbones import get_card
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.layout import EmbeddingLayout
from s2robot.encoder.spec import EncoderSpec
from s2robot.errors import CorruptFileError, MismatchError, S2RobotError
from s2robot.utils.io import atomic_path, digest_of, locked, read_json, sha256_bytes, write_json
from s2robot.utils.progress import progress_bar
from s2robot.utils.provenance import deciding_versions

FORMAT = 2
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
        of them encodes and the others wait.

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
        entries = self._entries(demos, frames, encoder.layout, encoder.inference)
        if refresh:
            for entry in entries.values():
                with entry.lock():
                    entry.delete()
        missing = [entry for entry in entries.values() if not entry.complete]
        with contextlib.ExitStack() as stack:
            for entry in sorted(missing, key=lambda entry: entry.folder):  # no deadlock
                stack.enter_context(entry.lock())
            missing = [entry for entry in missing if not entry.reread()]
            if missing:
                self._encode(frames, encoder, missing, progress)

    def _encode(
        self, frames: FrameReader, encoder: FrameEncoder, missing: Sequence[_Entry], progress: bool
    ) -> None:
        total = len(frames)
        names = ", ".join(f"{entry.scale:g}" for entry in missing)
        done = min(entry.frames for entry in missing)
        with progress_bar(f"encoding scales ({names})", total, progress, done) as bar:
            while (start := min(entry.frames for entry in missing)) < total:
                behind = [entry for entry in missing if entry.frames == start]
                ahead = [entry.frames for entry in missing if entry.frames > start]
                stop = min([start + self.block_frames, total, *ahead])
                bar.update(start)
                block = frames.read(start, stop)
                parts = encoder.encode_scales(block, [entry.scale for entry in behind])
                for entry in behind:
                    entry.append(parts[entry.scale])
            bar.update(total)

    def load(
        self, demos: DataSet, frames: FrameReader, encoder: FrameEncoder | EncoderSpec
    ) -> Tensor:
        """Load the embeddings of all frames and verify the checksum of every shard.

        Args:
            demos: the data set.
            frames: reader of its frames.
            encoder: the encoder, or its specification, for features that eager PyTorch made.

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
    ) -> tuple[EmbeddingLayout, dict[float, _Entry]]:
        """Return the layout and entries of an encoder; of a spec, those that eager PyTorch made."""
        if isinstance(encoder, FrameEncoder):
            entries = self._entries(demos, frames, encoder.layout, encoder.inference)
            return encoder.layout, entries
        layout = EmbeddingLayout(encoder, get_card(encoder.backbone))
        runtime = {"name": "eager", "exact": True}
        found = [
            self._entries(demos, frames, layout, {"runtime": runtime, "device": device})
            for device in ("cuda", "cpu")
        ]
        whole = [each for each in found if all(entry.complete for entry in each.values())]
        return layout, [*whole, *found][0]

    def _entries(
        self,
        demos: DataSet,
        frames: FrameReader,
        layout: EmbeddingLayout,
        inference: dict[str, Any],
    ) -> dict[float, _Entry]:
        spec = layout.spec
        common = {
            "demos": demos.digest,
            "frames": frames.source,
            "weights": spec.weights_digest,  # covers architecture and preprocessing
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
            scale: _Entry(
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


def _check_exact(encoder: FrameEncoder) -> None:
    if not encoder.runtime.exact:
        raise MismatchError(
            f"runtime {encoder.runtime.name} is approximate, but stored features must be those "
            "of the encoder's specification exactly; use runtime=auto, or another exact runtime"
        )


class _Entry:
    """Entry of one scale of one data set on disk."""

    def __init__(self, root: Path, description: dict[str, Any], total: int) -> None:
        self.description = description
        self.scale: float = description["scale"]
        self.shape: tuple[int, ...] = tuple(description["shape"])
        self.total = total
        self.folder = root / digest_of({"format": FORMAT, **description})[:32]
        self._shards: list[dict[str, Any]] = []
        self.reread()

    def lock(self) -> contextlib.AbstractContextManager[Any]:
        """Return a lock that keeps other processes from writing this entry."""
        return locked(self.folder)

    def reread(self) -> bool:
        """Read the list of shards from disk again and return whether the entry is complete."""
        meta = self.folder / "meta.json"
        self._shards = read_json(meta)["shards"] if meta.exists() else []
        return self.complete

    @property
    def frames(self) -> int:
        """Number of stored frames."""
        return sum(shard["frames"] for shard in self._shards)

    @property
    def complete(self) -> bool:
        return self.frames == self.total

    def delete(self) -> None:
        """Remove the entry from disk."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.reread()

    def append(self, features: Tensor) -> None:
        """Write the features ``(n, *shape)`` of the next frames."""
        half = features.detach().to("cpu", torch.float16)
        if not torch.isfinite(half).all():
            raise S2RobotError(
                f"scale {self.scale:g} has features beyond float16's range (largest "
                f"{features.abs().max():.3g}); this backbone's output cannot be stored"
            )
        buffer = io.BytesIO()
        np.save(buffer, half.numpy(), allow_pickle=False)
        data = buffer.getvalue()
        name = f"{self.frames:07d}.npy"
        with atomic_path(self.folder / name) as temporary:
            temporary.write_bytes(data)
        shard = {"file": name, "frames": len(half), "sha256": sha256_bytes(data)}
        self._shards.append(shard)
        write_json(
            self.folder / "meta.json",
            {"format": FORMAT, "key": self.description, "shards": self._shards},
        )

    def read(self) -> Tensor:
        """Return all features ``(N, *shape)`` float16 with their checksums verified."""
        if not self.complete:
            raise FileNotFoundError(
                f"{self.frames} of {self.total} frames are encoded at scale {self.scale:g} in "
                f"{self.folder}; run `s2robot features` (or FeatureStore.ensure) to encode the rest"
            )
        features = torch.empty(self.total, *self.shape, dtype=torch.float16)
        start = 0
        for shard in self._shards:
            stop = start + shard["frames"]
            features[start:stop] = self._read_shard(shard)
            start = stop
        return features

    def _read_shard(self, shard: dict[str, Any]) -> Tensor:
        path = self.folder / shard["file"]
        data = path.read_bytes() if path.exists() else b""
        if sha256_bytes(data) != shard["sha256"]:
            raise CorruptFileError(
                f"{path} ({len(data)} bytes) does not have the SHA-256 that was recorded when it "
                f"was written; delete {self.folder} and encode again (`s2robot features`)"
            )
        return torch.from_numpy(np.load(io.BytesIO(data), allow_pickle=False))


def _check_lengths(demos: DataSet, frames: FrameReader) -> None:
    if len(frames) != demos.num_frames or not demos.num_frames:
        raise MismatchError(
            f"the data set has {demos.num_frames} frames and their reader {len(frames)}; both must "
            "have the same number, at least 1"
        )
