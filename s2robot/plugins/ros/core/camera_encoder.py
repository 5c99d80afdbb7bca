"""Encoders of a channel's frames: one camera or several, with tile reuse or without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.encoder.single_frame import SingleFrame
from s2robot.encoder.streaming import FrameStream
from s2robot.errors import unknown


class FramesEncoder(Protocol):
    """Encoder that a worker calls. One thread at a time may use an object."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the embedding."""
        ...

    @property
    def hit_rate(self) -> float | None:
        """Share of all tiles so far that were reused; None without reuse."""
        ...

    def __call__(self, frames: Mapping[str, np.ndarray]) -> np.ndarray:
        """Encode frames ``(H, W, 3)`` uint8 RGB by camera, of any sizes, to one flat embedding."""
        ...

    def reset(self) -> None:
        """Forget earlier frames."""
        ...


class CameraEncoder:
    """Encoder of frames of one or several cameras to one embedding.

    Embeddings of several cameras follow each other in the order of ``cameras``. With reuse, only
    tiles that changed are encoded; a frame of another size than the last one resets the reuse.

    Args:
        encoder: encoder of the frames; several of these objects may share it if one thread calls
            them all.
        cameras: names of the cameras, each once.
        reuse: whether unchanged tiles keep their features.
        tolerance: see ``FrameEncoder.stream``.
        refresh_every: see ``FrameEncoder.stream``.

    Raises:
        ValueError: ``cameras`` is empty or has a name twice, or a setting of the reuse is invalid.
    """

    def __init__(
        self,
        encoder: FrameEncoder,
        cameras: Sequence[str],
        reuse: bool = True,
        tolerance: float = 0.0,
        refresh_every: int | None = None,
    ) -> None:
        if not cameras or len(set(cameras)) < len(cameras):
            raise ValueError(f"cameras must be one or more different names; got {list(cameras)}")
        self.encoder = encoder
        self.cameras = list(cameras)
        self._reuse, self._tolerance, self._refresh_every = reuse, tolerance, refresh_every
        encoder.stream(tolerance, refresh_every)  # refuses invalid settings
        self._tiles = self._reused = 0  # of streams that were reset
        self._streams: dict[tuple[int, ...], FrameStream] = {}
        self._single: SingleFrame | None = None
        self._shapes: dict[str, tuple[int, ...]] = {}

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the embedding: the encoder's for one camera, else ``(cameras, *shape)``."""
        count = len(self.cameras)
        return (count,) * (count > 1) + tuple(self.encoder.output_shape)

    @property
    def hit_rate(self) -> float | None:
        """Share of all tiles so far that were reused; None without reuse."""
        if not self._reuse:
            return None
        stats = [stream.stats for stream in self._streams.values()]
        tiles = self._tiles + sum(sum(s.tiles.values()) for s in stats)
        reused = self._reused + sum(sum(s.reused.values()) for s in stats)
        return reused / tiles if tiles else 0.0

    def reset(self) -> None:
        """Forget earlier frames and their sizes; the counts of tiles continue."""
        for stream in self._streams.values():
            self._tiles += sum(stream.stats.tiles.values())
            self._reused += sum(stream.stats.reused.values())
        self._streams, self._single, self._shapes = {}, None, {}

    def __call__(self, frames: Mapping[str, np.ndarray]) -> np.ndarray:
        """Encode a frame of every camera to ``(cameras · D,)`` float32.

        Raises:
            ValueError: a camera is unknown or missing, or a frame is not ``(H, W, 3)`` uint8.
            NonFiniteError: an embedding is NaN or infinite.
        """
        for name in frames.keys() ^ set(self.cameras):
            raise unknown("or missing camera", name, self.cameras)
        shapes = {camera: frames[camera].shape for camera in self.cameras}
        if shapes != self._shapes:
            self.reset()
            self._shapes = shapes
        return self._embed(frames).float().flatten().cpu().numpy()

    def _embed(self, frames: Mapping[str, np.ndarray]) -> Tensor:
        """Return embeddings ``(cameras, D)``."""
        if self._reuse:
            return self._embed_streams(frames)
        if len(self.cameras) > 1:
            found = self.encoder.encode_cameras(frames)
            return torch.cat([found[camera] for camera in self.cameras])
        frame = frames[self.cameras[0]]
        if self._single is None:
            self._single = self.encoder.single_frame(*frame.shape[:2])
        return self._single(frame)

    def _embed_streams(self, frames: Mapping[str, np.ndarray]) -> Tensor:
        """Encode cameras of one size with one stream, so that they share calls of the backbone."""
        found: dict[str, Tensor] = {}
        for shape in dict.fromkeys(self._shapes.values()):
            group = [camera for camera in self.cameras if self._shapes[camera] == shape]
            if shape not in self._streams:
                self._streams[shape] = self.encoder.stream(self._tolerance, self._refresh_every)
            if len(group) == 1:
                batch = frames[group[0]]
            else:
                batch = np.stack([frames[camera] for camera in group])
            found.update(zip(group, self._streams[shape](batch), strict=True))
        return torch.stack([found[camera] for camera in self.cameras])
