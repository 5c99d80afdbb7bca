"""Streams of frames: a tile that has not changed keeps its features, and is not encoded again.

The tiles of S² do not attend to each other, so this is exact. A stream caches the tiles that it
encoded last and their tokens, for each camera. It compares the tiles of a new frame with these and
encodes only the changed ones. At tolerance 0 nothing is approximated; where the
backbone's arithmetic does not depend on the rest of a batch (float32 on the processors tried),
embeddings are bit-identical to the encoder's own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from s2robot.encoder.nonfinite import all_finite, non_finite
from s2robot.encoder.scale_layout import ScaleLayout
from s2robot.encoder.tile_encoder import TileEncoder
from s2robot.preprocessing.frame_input import Frames, as_frames
from s2robot.runtimes import Runtime
from s2robot.utils.deprecation import renamed_keywords

_by_old_names = renamed_keywords({"slots": "streams"})


@dataclass
class StreamStats:
    """Counts of a stream since it was made or reset."""

    frames: int = 0
    tiles: dict[float, int] = field(default_factory=dict)
    """Tiles of the frames, by scale."""
    reused: dict[float, int] = field(default_factory=dict)
    """Those whose features were taken from an earlier frame, by scale."""
    largest_drift: float = 0.0
    """Largest difference of a pixel between a reused tile and the one that was encoded (0-255)."""
    oldest_age: int = 0
    """Most frames in a row that a tile's features were reused for."""

    @property
    def hit_rate(self) -> float:
        """Share of all tiles that were reused."""
        total = sum(self.tiles.values())
        return sum(self.reused.values()) / total if total else 0.0

    def hit_rates(self) -> dict[float, float]:
        """Share of the tiles of each scale that were reused."""
        return {scale: self.reused[scale] / count for scale, count in self.tiles.items() if count}


class FrameStream:
    """Encoder of successive frames that encodes only the tiles that changed.

    One stream belongs to one thread. It can be called in place of the encoder.

    Args:
        encoder: what computes the embeddings.
        tolerance: largest difference of a pixel (0-255) between a tile and the encoded one at which
            its features still count as its own. Differences do not add up: the comparison is
            always with the tile that was encoded. Above 0 embeddings are approximate.
        refresh_every: encode a tile again after that many frames even if it has not changed; None
            for never, which is exact at tolerance 0.

    Raises:
        ValueError: an argument is out of its range.

    Examples:
        >>> import numpy as np
        >>> from s2robot import FrameEncoder
        >>> encoder = FrameEncoder.from_name("random/vitt16-128", (1, 2), "mean", device="cpu")
        >>> stream = encoder.stream()
        >>> frame = np.zeros((256, 256, 3), np.uint8)
        >>> for _ in range(2):
        ...     embedding = stream(frame)
        >>> bool(torch.equal(embedding, encoder(frame))), stream.stats.hit_rate
        (True, 0.5)
    """

    def __init__(
        self, encoder: TileEncoder, tolerance: float = 0.0, refresh_every: int | None = None
    ) -> None:
        if not 0 <= tolerance < 255:
            raise ValueError(f"tolerance must lie in [0, 255) levels of a pixel; got {tolerance}")
        if refresh_every is not None and refresh_every < 1:
            raise ValueError(
                f"refresh_every must be at least 1 frame, or None; got {refresh_every}"
            )
        self.encoder = encoder
        self.tolerance = tolerance
        self.refresh_every = refresh_every
        self.reset()

    def reset(self) -> None:
        """Forget all frames and counts."""
        self._scales: dict[float, TileCache] = {}
        self._shape: tuple[int, ...] | None = None
        self._runtime = self.encoder.runtime
        self._named: Runtime | None = None  # with "auto", one for all tiles of the stream
        self.stats = StreamStats()

    @_by_old_names
    @torch.inference_mode(False)  # what is cached in it could not be written outside of it
    @torch.no_grad()  # inside, as the line above turns gradients on
    def __call__(self, frames: Frames, streams: Sequence[int] | None = None) -> Tensor:
        """Embed one frame of each of several cameras.

        Args:
            frames: as for ``as_frames``: ``(B, H, W, 3)`` or ``(H, W, 3)`` uint8 RGB, ...
            streams: camera (or environment) of each frame, by index; 0 to B - 1 when not given.

        Returns:
            ``(B, D)`` float32 on the encoder's device.

        Raises:
            ValueError: the frames are invalid or of another size than before, or the streams are
                not B different numbers from 0.
            NonFiniteError: the embedding of a frame is NaN or infinite.
        """
        images = as_frames(frames)
        if not len(images):
            return self.encoder.merge(self.encoder.no_features(self.encoder.scale_layouts))
        order = self._check(images, streams)
        encoder = self.encoder
        if encoder.runtime is not self._runtime:  # another runtime's tokens may differ
            self._scales, self._runtime, self._named = {}, encoder.runtime, None
        self._named = self._named or encoder.runtime_for(len(images))
        scale_layouts = encoder.scale_layouts
        tiles = encoder.tiles(images.to(encoder.device), scale_layouts)
        cached = [
            self._cached(scale_layout, new, order)
            for scale_layout, new in zip(scale_layouts, tiles, strict=True)
        ]
        changed = [k.changed(new, order, self) for k, new in zip(cached, tiles, strict=True)]
        tokens = functools.partial(encoder.tokens_of_batches, runtime=self._named)
        encode_some(tokens, cached, tiles, changed, order)
        self._count(scale_layouts, cached, changed, order)
        shape = images.shape[1], images.shape[2]
        features = [
            encoder.pool(k.of(order), scale_layout, shape)
            for scale_layout, k in zip(scale_layouts, cached, strict=True)
        ]
        if not all_finite(features):
            raise non_finite(encoder, features, [k.tiles[:, order].flatten(0, 1) for k in cached])
        return encoder.merge(dict(zip(encoder.layout.scales, features, strict=True)))

    def _check(self, images: Tensor, streams: Sequence[int] | None) -> Tensor:
        check_same_size(images, self._shape)
        order = checked_streams(len(images), streams)
        self._shape = tuple(images.shape[1:])
        return torch.tensor(order, device=self.encoder.device)

    def _cached(self, scale_layout: ScaleLayout, tiles: Tensor, order: Tensor) -> TileCache:
        streams = int(order.max()) + 1
        if scale_layout.scale not in self._scales:
            self._scales[scale_layout.scale] = TileCache(scale_layout.tiles, tiles)
        cached = self._scales[scale_layout.scale]
        cached.grow(streams)
        return cached

    def _count(
        self,
        scale_layouts: Sequence[ScaleLayout],
        cached: Sequence[TileCache],
        changed: Sequence[Tensor],
        order: Tensor,
    ) -> None:
        stats = self.stats
        stats.frames += len(order)
        for scale_layout, k, mask in zip(scale_layouts, cached, changed, strict=True):
            new = int(mask.sum())
            stats.tiles[scale_layout.scale] = stats.tiles.get(scale_layout.scale, 0) + mask.numel()
            stats.reused[scale_layout.scale] = (
                stats.reused.get(scale_layout.scale, 0) + mask.numel() - new
            )
            stats.oldest_age = max(stats.oldest_age, int(k.age[:, order].max()))
            stats.largest_drift = max(stats.largest_drift, k.drift)


def check_same_size(images: Tensor, before: Sequence[int] | None) -> None:
    """Raise ValueError if frames ``(B, H, W, 3)`` differ in shape from ``before`` (H, W, 3).

    Args:
        images: of the new frames.
        before: shape of the frames so far; None for the first ones.
    """
    if before is not None and tuple(images.shape[1:]) != tuple(before):
        raise ValueError(
            f"frames of this stream were {before[0]} x {before[1]} and are now "
            f"{images.shape[1]} x {images.shape[2]}; give each camera size a stream of its "
            "own, or call reset()"
        )


def checked_streams(frames: int, streams: Sequence[int] | None) -> list[int]:
    """Return the stream of each frame; 0, 1, ... where ``streams`` is not given.

    Args:
        frames: number of frames.
        streams: index of the camera of each frame.

    Raises:
        ValueError: the streams are not that many different numbers from 0.
    """
    order = list(range(frames)) if streams is None else list(streams)
    if len(order) != frames or len(set(order)) < len(order) or min(order) < 0:
        raise ValueError(f"streams {order} must be {frames} different numbers from 0, one a frame")
    return order


def encode_some(
    tokens_of: Callable[[Sequence[Tensor]], list[Tensor]],
    cached: Sequence[TileCache],
    tiles: Sequence[Tensor],
    wanted: Sequence[Tensor],
    order: Tensor,
) -> None:
    """Encode some tiles of all scales, in as few calls as possible, and cache their tokens.

    Args:
        tokens_of: batches of tiles ``(N, 3, h, w)`` to the tokens ``(N, P + g, C)`` of each.
        cached: cache of each scale.
        tiles: ``(n · B, 3, h, w)`` of each scale.
        wanted: ``(n, B)`` booleans of each scale, true for tiles to encode.
        order: stream ``(B,)`` of each frame.
    """
    new = [tile[mask.flatten()] for tile, mask in zip(tiles, wanted, strict=True)]
    some = [i for i, batch in enumerate(new) if len(batch)]
    tokens = tokens_of([new[i] for i in some])
    for i, found in zip(some, tokens, strict=True):
        cached[i].store(found, tiles[i], wanted[i], order)


class TileCache:
    """Cache of one scale: the tiles that were encoded and their tokens, for each stream.

    Args:
        tiles_per_frame: of the scale.
        like: a tile ``(..., 3, h, w)`` with the shape, dtype and device of all.
    """

    def __init__(self, tiles_per_frame: int, like: Tensor) -> None:
        self.tiles_per_frame = tiles_per_frame
        self.tiles = like.new_empty(tiles_per_frame, 0, *like.shape[1:])  # (n, streams, 3, h, w)
        self.known = torch.zeros(tiles_per_frame, 0, dtype=torch.bool, device=like.device)
        self.age = torch.zeros(tiles_per_frame, 0, dtype=torch.long, device=like.device)
        self.tokens: Tensor | None = None  # (n, streams, P + g, C)
        self.drift = 0.0
        """Largest difference of a pixel in the tiles last reused."""

    def grow(self, streams: int) -> None:
        """Make room for streams that are new."""
        more = streams - self.known.shape[1]
        if more <= 0:
            return
        self.tiles = _widened(self.tiles, more)
        self.known = _widened(self.known, more)
        self.age = _widened(self.age, more)
        if self.tokens is not None:
            self.tokens = _widened(self.tokens, more)

    def changed(self, tiles: Tensor, order: Tensor, stream: FrameStream) -> Tensor:
        """Return which tiles have to be encoded, and count the age of the others.

        Args:
            tiles: ``(n · B, 3, h, w)`` of the new frames.
            order: stream ``(B,)`` of each frame.
            stream: the stream with its tolerance.

        Returns:
            ``(n, B)`` booleans.
        """
        new = tiles.unflatten(0, (self.tiles_per_frame, -1))  # (n, B, 3, h, w)
        old = self.tiles[:, order]
        if stream.tolerance == 0:
            differs, distance = (new != old).flatten(2).any(dim=2), None
        else:
            distance = (new.float() - old.float()).abs().flatten(2).amax(dim=2)
            differs = distance > stream.tolerance
        differs |= ~self.known[:, order]
        if stream.refresh_every is not None:
            differs |= self.age[:, order] + 1 >= stream.refresh_every
        self.age[:, order] = torch.where(differs, 0, self.age[:, order] + 1)
        reused = distance[~differs] if distance is not None else None
        self.drift = float(reused.max()) if reused is not None and reused.numel() else 0.0
        return differs

    def change(self, tiles: Tensor, order: Tensor) -> Tensor:
        """Return the mean absolute difference (0-255) between tiles and the cached ones.

        Args:
            tiles: ``(n · B, 3, h, w)`` of the new frames.
            order: stream ``(B,)`` of each frame.

        Returns:
            ``(n, B)``; 0 only where all pixels are equal, infinite where nothing is cached.
        """
        self.grow(int(order.max()) + 1)
        new = tiles.unflatten(0, (self.tiles_per_frame, -1))  # (n, B, 3, h, w)
        mean = (new.float() - self.tiles[:, order].float()).abs().flatten(2).mean(dim=2)
        return torch.where(self.known[:, order], mean, torch.inf)

    def store(self, tokens: Tensor, tiles: Tensor, changed: Tensor, order: Tensor) -> None:
        """Cache tiles and their tokens.

        Args:
            tokens: ``(k, P + g, C)`` of the k changed tiles.
            tiles: ``(n · B, 3, h, w)``, changed or not.
            changed: ``(n, B)`` booleans.
            order: stream ``(B,)`` of each frame.
        """
        if self.tokens is None:
            self.tokens = tokens.new_zeros(*self.known.shape, *tokens.shape[1:])
        rows, columns = changed.nonzero(as_tuple=True)
        self.tokens[rows, order[columns]] = tokens
        self.tiles[rows, order[columns]] = tiles.unflatten(0, changed.shape)[rows, columns]
        self.known[rows, order[columns]] = True

    def of(self, order: Tensor) -> Tensor:
        """Return the tokens ``(n · B, P + g, C)`` of some streams, in the encoder's order."""
        assert self.tokens is not None  # all tiles of a stream's first frame are encoded
        return self.tokens[:, order].flatten(0, 1)


def _widened(cached: Tensor, more: int) -> Tensor:
    """Return ``(n, streams, ...)`` with room for more streams."""
    return torch.cat([cached, cached.new_zeros(cached.shape[0], more, *cached.shape[2:])], dim=1)
