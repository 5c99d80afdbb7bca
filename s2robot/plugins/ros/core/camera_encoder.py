"""What a channel's frames go through: one camera or several, with crop reuse or without."""

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
    """What a worker encodes with. One object belongs to one thread at a time."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the embedding."""
        ...

    @property
    def hit_rate(self) -> float | None:
        """Share of all tiles so far that were reused; None where none are."""
        ...

    def __call__(self, frames: Mapping[str, np.ndarray]) -> np.ndarray:
        """Frames ``(H, W, 3)`` uint8 RGB by camera, of any sizes, to one flat embedding."""
        ...

    def reset(self) -> None:
        """Forget earlier frames."""
        ...


class CameraEncoder:
    """Frames of a set of cameras to one embedding.

    Embeddings of several cameras follow each other in the order of ``cameras``. With crop reuse
    only tiles that changed are encoded; a frame of another size than before starts that anew.

    Args:
        encoder: what computes the embeddings; several of these objects may share it if one thread
            calls them all.
        cameras: names, each once.
        reuse: whether tiles that stand still keep their features.
        tolerance: see ``FrameEncoder.stream``.
        refresh_every: see ``FrameEncoder.stream``.
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
        encoder.stream(tolerance, refresh_every)  # refuses bad settings now
        self._tiles = self._reused = 0  # of streams that were reset
        self._streams: dict[tuple[int, ...], FrameStream] = {}
        self._single: SingleFrame | None = None
        self._shapes: dict[str, tuple[int, ...]] = {}

    @property
    def shape(self) -> tuple[int, ...]:
        """The encoder's for one camera, else ``(cameras, *that)``."""
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
        """Forget earlier frames and their sizes; counts of tiles go on."""
        for stream in self._streams.values():
            self._tiles += sum(stream.stats.tiles.values())
            self._reused += sum(stream.stats.reused.values())
        self._streams, self._single, self._shapes = {}, None, {}

    def __call__(self, frames: Mapping[str, np.ndarray]) -> np.ndarray:
        """Embed a frame of every camera: ``(cameras · D,)`` float32.

        Raises:
            ValueError: not one frame ``(H, W, 3)`` uint8 of each camera.
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
        """Embeddings ``(cameras, D)``."""
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
        """Cameras of one size share a stream, a slot each, and so the backbone's calls."""
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
