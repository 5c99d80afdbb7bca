"""Encoding of one frame at a time with buffers that are made once, for control loops."""

from __future__ import annotations

import torch
from torch import Tensor

from s2robot.encoder.nonfinite import all_finite, non_finite
from s2robot.encoder.tile_encoder import TileEncoder
from s2robot.multiscale.tiles import group_tiles, map_tiles
from s2robot.preprocessing.frame_input import Frames, as_frames
from s2robot.runtimes.cuda_graph import GraphRecorder, RecordableModel, Recording


class SingleFrame:
    """Encoder of single frames of one size; it returns the same numbers as the encoder.

    On a processor the tiles of all scales are written into buffers that the runtime reads. On a GPU
    with the runtime "cuda-graph" everything from the uint8 frame to the embedding is one recorded
    graph: a frame costs one copy and one launch. One object belongs to one thread.

    Args:
        encoder: what computes the embeddings.
        height: of the frames [px].
        width: of the frames [px].

    Examples:
        >>> import numpy as np
        >>> from s2robot import FrameEncoder
        >>> encoder = FrameEncoder.from_name("random/vitt16-128", (1, 2), "mean", device="cpu")
        >>> embed = encoder.single_frame(240, 320)
        >>> tuple(embed(np.zeros((240, 320, 3), np.uint8)).shape)
        (1, 384)
    """

    @torch.inference_mode(False)  # buffers that are made in it cannot be written outside of it
    def __init__(self, encoder: TileEncoder, height: int, width: int) -> None:
        self.encoder = encoder = encoder.for_batches_of(1)
        self.shape: tuple[int, int, int] = (height, width, 3)
        self.scale_layouts = encoder.scale_layouts
        blank = torch.zeros(1, *self.shape, dtype=torch.uint8)
        whole = encoder.runtime.name == "cuda-graph"
        self._graph = _RecordedFrame(encoder, blank) if whole else None
        self._buffers = [] if whole else self._make_buffers(blank)
        self._places = [] if whole else self._windows()

    def _make_buffers(self, blank: Tensor) -> list[Tensor]:
        """Make one float32 batch for each tile size, which runtimes read without another copy."""
        tiles = self.encoder.tiles(blank.to(self.encoder.device), self.scale_layouts)
        return group_tiles([batch.float() for batch in tiles])

    def _windows(self) -> list[tuple[int, int, int]]:
        """Return the place of each scale's tiles: index of the buffer, first and last row."""
        shapes = [buffer.shape[-2:] for buffer in self._buffers]
        filled, places = [0] * len(shapes), []
        for scale_layout in self.scale_layouts:
            i = shapes.index(torch.Size(scale_layout.tile_shape))
            places.append((i, filled[i], filled[i] + scale_layout.tiles))
            filled[i] += scale_layout.tiles
        return places

    @torch.no_grad()
    def __call__(self, frame: Frames) -> Tensor:
        """Embed one frame, as ``as_frames`` takes it: ``(1, D)`` float32 on the encoder's device.

        Raises:
            ValueError: the frame is invalid or of another size.
            NonFiniteError: the embedding is NaN or infinite.
        """
        images = as_frames(frame)
        if images.shape != (1, *self.shape):
            found = tuple(images.shape[1:] if len(images) == 1 else images.shape)
            raise ValueError(
                f"this path was made for frames of shape {self.shape}; got {found}: "
                "make another one for them"
            )
        if self._graph is not None:
            return self._graph(images)
        return self._through_buffers(images)

    def _through_buffers(self, images: Tensor) -> Tensor:
        encoder = self.encoder
        tiles = encoder.tiles(images.to(encoder.device), self.scale_layouts)
        for batch, (i, first, last) in zip(tiles, self._places, strict=True):
            self._buffers[i][first:last].copy_(batch)
        tokens = [encoder.tokens(buffer) for buffer in self._buffers]
        features = {
            scale_layout.scale: encoder.pool(tokens[i][first:last], scale_layout, self.shape[:2])
            for scale_layout, (i, first, last) in zip(self.scale_layouts, self._places, strict=True)
        }
        if not all_finite(list(features.values())):
            raise non_finite(encoder, list(features.values()), tiles)
        return encoder.merge(features)


class _RecordedFrame:
    """From the frame to the embedding as one CUDA graph."""

    def __init__(self, encoder: TileEncoder, blank: Tensor) -> None:
        self.encoder = encoder
        self.model = RecordableModel(encoder.token_model, encoder.layout.spec.dtype == "bfloat16")
        self.recorder = GraphRecorder(encoder.device)
        self.pinned, self.given = self.recorder.buffers(blank)
        self._recording: Recording | None = None
        with self.recorder.turn():
            self._recorded()

    def _recorded(self) -> Recording:
        """Return the graph, which is recorded again after weights were moved."""
        if self.model.refresh() or self._recording is None:
            self._recording = None  # frees its memory for the next one
            self._recording = self.recorder.record(self._embed)
        return self._recording

    def _embed(self) -> tuple[Tensor, Tensor]:
        """Return the embedding of ``given``, and whether it is finite."""
        encoder = self.encoder
        scale_layouts = encoder.scale_layouts
        tokens = map_tiles(self.model, encoder.tiles(self.given, scale_layouts))
        shape = self.given.shape[1], self.given.shape[2]
        features = {
            p.scale: encoder.pool(t, p, shape) for t, p in zip(tokens, scale_layouts, strict=True)
        }
        embedding = encoder.merge(features)
        return embedding, embedding.isfinite().all()

    def __call__(self, images: Tensor) -> Tensor:
        with self.recorder.turn():
            recording = self._recorded()
            if images.device.type == "cpu":
                self.pinned.copy_(images)
                images = self.pinned
            self.given.copy_(images, non_blocking=True)
            recording.replay()
            embedding, finite = (result.clone() for result in recording.results)
        return embedding if finite else self._embed_again(images)

    def _embed_again(self, images: Tensor) -> Tensor:
        """Embed by the usual path, which names the cause where features are not finite."""
        encoder, shape = self.encoder, (images.shape[1], images.shape[2])
        scale_layouts = encoder.scale_layouts
        tiles = encoder.tiles(images.to(encoder.device), scale_layouts)
        tokens = map_tiles(encoder.tokens, tiles, encoder.max_tiles_per_batch)
        features = [
            encoder.pool(found, scale_layout, shape)
            for found, scale_layout in zip(tokens, scale_layouts, strict=True)
        ]
        if not all_finite(features):
            raise non_finite(encoder, features, tiles)
        return encoder.merge(dict(zip(encoder.layout.scales, features, strict=True)))
