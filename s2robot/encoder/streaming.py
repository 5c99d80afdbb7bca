"""Crop reuse: S² crops do not attend to each other; one that stands still keeps its features.

A stream keeps, for each camera (slot), the tiles it last encoded and their tokens. Tiles of a new
frame are compared with those, and only the changed ones go through the backbone. At tolerance 0
nothing is approximated; where the backbone's arithmetic does not depend on what else is in a batch
(float32 on the processors tried), embeddings are bit-identical to the encoder's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from s2robot.encoder.nonfinite import all_finite, non_finite
from s2robot.encoder.tile_encoder import TileEncoder
from s2robot.encoder.tiling import ScaleLayout
from s2robot.multiscale import map_tiles
from s2robot.preprocessing.image_pyramid import as_frames
from s2robot.utils.deprecation import renamed_keywords

_by_old_names = renamed_keywords({"slots": "streams"})


@dataclass
class StreamStats:
    """What a stream has done since it was made or reset."""

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
    """Frames of cameras that mostly stand still, to embeddings; only changed tiles are encoded.

    One stream belongs to one thread. It may be called wherever the encoder is.

    Args:
        encoder: what computes the embeddings.
        tolerance: largest difference of a pixel (0-255) between a tile and the encoded one at which
            its features still count as its own. Differences do not add up: the comparison is
            always with the tile that was encoded. Above 0 embeddings are approximate.
        refresh_every: encode a tile again after that many frames even if it stood still; None for
            never, which is exact at tolerance 0.

    Raises:
        ValueError: an argument is out of its range.
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
        self.stats = StreamStats()

    @_by_old_names
    @torch.no_grad()
    def __call__(self, frames: np.ndarray | Tensor, streams: Sequence[int] | None = None) -> Tensor:
        """Embed one frame of each of several cameras.

        Args:
            frames: as for the encoder, ``(B, H, W, 3)`` or ``(H, W, 3)`` uint8 RGB.
            streams: which camera (or environment) each frame is of; 0 to B - 1 when not given.

        Returns:
            ``(B, D)`` float32 on the encoder's device.

        Raises:
            ValueError: not such frames, of another size than before, or slots that are not B
                different numbers from 0.
            NonFiniteError: the embedding of a frame is NaN or infinite.
        """
        images = as_frames(frames)
        order = self._check(images, streams)
        encoder = self.encoder
        parts = list(encoder.layout.scales.values())
        tiles = encoder.tiles(images.to(encoder.device), parts)
        cached = [self._cached(part, new, order) for part, new in zip(parts, tiles, strict=True)]
        changed = [k.changed(new, order, self) for k, new in zip(cached, tiles, strict=True)]
        encode_some(encoder, cached, tiles, changed, order)
        self._count(parts, cached, changed, order)
        shape = images.shape[1], images.shape[2]
        pooled = [encoder.pool(k.of(order), p, shape) for p, k in zip(parts, cached, strict=True)]
        if not all_finite(pooled):
            raise non_finite(encoder, pooled, [k.tiles[:, order].flatten(0, 1) for k in cached])
        return encoder.merge({part.scale: p for part, p in zip(parts, pooled, strict=True)})

    def _check(self, images: Tensor, streams: Sequence[int] | None) -> Tensor:
        check_same_size(images, self._shape)
        order = checked_streams(len(images), streams)
        self._shape = tuple(images.shape[1:])
        return torch.tensor(order, device=self.encoder.device)

    def _cached(self, part: ScaleLayout, tiles: Tensor, order: Tensor) -> TileCache:
        streams = int(order.max()) + 1
        if part.scale not in self._scales:
            self._scales[part.scale] = TileCache(part.tiles, tiles)
        cached = self._scales[part.scale]
        cached.grow(streams)
        return cached

    def _count(
        self,
        parts: Sequence[ScaleLayout],
        cached: Sequence[TileCache],
        changed: Sequence[Tensor],
        order: Tensor,
    ) -> None:
        stats = self.stats
        stats.frames += len(order)
        for part, k, mask in zip(parts, cached, changed, strict=True):
            new = int(mask.sum())
            stats.tiles[part.scale] = stats.tiles.get(part.scale, 0) + mask.numel()
            stats.reused[part.scale] = stats.reused.get(part.scale, 0) + mask.numel() - new
            stats.oldest_age = max(stats.oldest_age, int(k.age[:, order].max()))
            stats.largest_drift = max(stats.largest_drift, k.drift)


def check_same_size(images: Tensor, before: Sequence[int] | None) -> None:
    """Refuse frames ``(B, H, W, 3)`` of another shape than ``before`` (H, W, 3), if any."""
    if before is not None and tuple(images.shape[1:]) != tuple(before):
        raise ValueError(
            f"frames of this stream were {before[0]} x {before[1]} and are now "
            f"{images.shape[1]} x {images.shape[2]}; give each camera size a stream of its "
            "own, or call reset()"
        )


def checked_streams(frames: int, streams: Sequence[int] | None) -> list[int]:
    """Which slot each of so many frames is of; 0, 1, ... when ``streams`` is not given.

    Raises:
        ValueError: not that many different numbers from 0.
    """
    order = list(range(frames)) if streams is None else list(streams)
    if len(order) != frames or len(set(order)) < len(order) or min(order) < 0:
        raise ValueError(f"slots {order} must be {frames} different numbers from 0, one a frame")
    return order


def encode_some(
    encoder: TileEncoder,
    cached: Sequence[TileCache],
    tiles: Sequence[Tensor],
    wanted: Sequence[Tensor],
    order: Tensor,
) -> None:
    """Encode some tiles of all scales in as few calls as the encoder would, and keep them.

    Args:
        encoder: that made the tiles.
        cached: what is kept of each scale.
        tiles: ``(n · B, 3, h, w)`` of each scale.
        wanted: ``(n, B)`` booleans of each scale: which to encode.
        order: slots ``(B,)`` of the frames.
    """
    new = [tile[mask.flatten()] for tile, mask in zip(tiles, wanted, strict=True)]
    some = [i for i, batch in enumerate(new) if len(batch)]
    tokens = map_tiles(encoder.tokens, [new[i] for i in some], encoder.max_tiles_per_batch)
    for i, found in zip(some, tokens, strict=True):
        cached[i].store(found, tiles[i], wanted[i], order)


class TileCache:
    """Tiles of one scale that were encoded, and their tokens, for each slot."""

    def __init__(self, tiles_per_frame: int, like: Tensor) -> None:
        self.tiles_per_frame = tiles_per_frame
        self.tiles = like.new_empty(tiles_per_frame, 0, *like.shape[1:])  # (n, slots, 3, h, w)
        self.known = torch.zeros(tiles_per_frame, 0, dtype=torch.bool, device=like.device)
        self.age = torch.zeros(tiles_per_frame, 0, dtype=torch.long, device=like.device)
        self.tokens: Tensor | None = None  # (n, slots, P + g, C)
        self.drift = 0.0
        """Largest difference of a pixel in the tiles last reused."""

    def grow(self, streams: int) -> None:
        """Make room for slots that were not there before."""
        more = streams - self.known.shape[1]
        if more <= 0:
            return
        self.tiles = _widened(self.tiles, more)
        self.known = _widened(self.known, more)
        self.age = _widened(self.age, more)
        if self.tokens is not None:
            self.tokens = _widened(self.tokens, more)

    def changed(self, tiles: Tensor, order: Tensor, stream: FrameStream) -> Tensor:
        """Which of ``tiles`` (n · B, 3, h, w) have to be encoded: ``(n, B)``."""
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
        """Mean absolute difference (0-255) of ``tiles`` (n · B, 3, h, w) to the kept: ``(n, B)``.

        0 where all pixels are equal and only there; infinite where none are kept.
        """
        self.grow(int(order.max()) + 1)
        new = tiles.unflatten(0, (self.tiles_per_frame, -1))  # (n, B, 3, h, w)
        mean = (new.float() - self.tiles[:, order].float()).abs().flatten(2).mean(dim=2)
        return torch.where(self.known[:, order], mean, torch.inf)

    def store(self, tokens: Tensor, tiles: Tensor, changed: Tensor, order: Tensor) -> None:
        """Keep the tokens of the changed tiles, and the tiles themselves."""
        if self.tokens is None:
            self.tokens = tokens.new_zeros(*self.known.shape, *tokens.shape[1:])
        rows, columns = changed.nonzero(as_tuple=True)
        self.tokens[rows, order[columns]] = tokens
        self.tiles[rows, order[columns]] = tiles.unflatten(0, changed.shape)[rows, columns]
        self.known[rows, order[columns]] = True

    def of(self, order: Tensor) -> Tensor:
        """Tokens of these slots' tiles ``(n · B, P + g, C)``, as the encoder orders them."""
        assert self.tokens is not None  # a slot's first frame is encoded whole
        return self.tokens[:, order].flatten(0, 1)


def _widened(cached: Tensor, more: int) -> Tensor:
    """``(n, slots, ...)`` with room for more slots."""
    return torch.cat([cached, cached.new_zeros(cached.shape[0], more, *cached.shape[2:])], dim=1)
