"""Scale-selective processing: only some tiles of the higher scales, under a fixed budget.

S² spends as much on every part of a frame; its authors name choosing as future work (arXiv
2403.13043, Section 6). Here the base scale is encoded whole, and of the other scales' tiles at most
``budget`` a frame. A tile without features of its own takes those of the next lower scale: the same
place of its grid, enlarged; so with budget 0 all scales show the base scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from s2robot.encoder.nonfinite import all_finite, non_finite
from s2robot.encoder.streaming import TileCache, check_same_size, checked_streams, encode_some
from s2robot.encoder.tile_encoder import TileEncoder
from s2robot.encoder.tiling import ScaleLayout, tiles_of_frame
from s2robot.errors import unknown
from s2robot.multiscale import mean_over_tiles, merge_tiles, resize_grid, split_tiles
from s2robot.preprocessing.image_pyramid import as_frames
from s2robot.utils.deprecation import renamed_keywords

CHOICES = ("motion", "attention", "region", "random")
STALE = ("keep", "lower")
_by_old_names = renamed_keywords({"slots": "streams"})
Region = Sequence[float] | np.ndarray
"""A box (left, top, right, bottom) in fractions of the image, or a boolean mask (h, w) over it."""


@dataclass
class SelectionStats:
    """What a selective encoder has done since it was made or reset."""

    frames: int = 0
    encoded: dict[float, np.ndarray] = field(default_factory=dict)
    """How often each tile was encoded, (rows, columns) by scale."""
    tiles: dict[float, int] = field(default_factory=dict)
    """Tiles of the frames, by scale."""
    gflops: float = 0.0
    """10⁹ floating-point operations of what was encoded."""
    full_gflops: float = 0.0
    """Those that the encoder itself would have spent."""
    oldest_age: int = 0
    """Most frames in a row that features of changed pixels were kept for."""

    @property
    def encoded_tiles(self) -> dict[float, int]:
        """Tiles that were encoded, by scale."""
        return {scale: int(counts.sum()) for scale, counts in self.encoded.items()}

    @property
    def gflops_per_frame(self) -> float:
        """10⁹ floating-point operations a frame, on average."""
        return self.gflops / self.frames if self.frames else 0.0

    @property
    def cost_share(self) -> float:
        """What was spent as a share of the encoder's own cost."""
        return self.gflops / self.full_gflops if self.full_gflops else 0.0


class SelectiveEncoder:
    """Frames to embeddings, of which the higher scales are encoded in part.

    Tiles whose pixels are those last encoded for their slot keep their features, which is exact,
    and cost nothing, at the base scale too. Of the changed tiles of the other scales the first
    ``budget`` are encoded in the order of

    - "motion": the mean absolute difference of their pixels (0-255) to those last encoded; tiles
      never encoded come first. Tiles that have waited for ``refresh_every`` frames go before all
      others, the longest wait first: with n tiles, one that stays changed is encoded at the latest
      in the frame of number ``refresh_every + ceil(n / budget)``.
    - "attention": the mass that ``look_at``'s map has in them; a map counts until the next one.
      Before the first, all places weigh alike.
    - "region": the mass of ``region`` in them. The rest of the budget goes to tiles outside.
    - "random": chance, as a control.

    Equals are ranked by motion, then from coarse to fine and row by row. A large tile holds more
    mass than a small one inside it, so a coarse scale goes first where a map is wide.

    With the budget of all tiles, embeddings are the encoder's own, bit for bit wherever
    ``FrameStream``'s are. One object belongs to one thread. It may be called wherever the encoder
    is, but what it returns depends on the frames before; call ``forget`` between episodes whose
    results must not depend on their order.

    Args:
        encoder: what computes the embeddings, with two scales or more.
        budget: most tiles of scales above the smallest that a frame may cost.
        choose: one of ``CHOICES``.
        region: for "region": see ``Region``; of the image that the encoder sees, which is the
            whole frame unless its backbone's rule crops it.
        stale: what a changed tile shows that misses the budget: "keep" its last features, if any,
            or "lower" scale's. "keep" for motion and "lower" for the others when not given.
        refresh_every: frames [1 or more] that a changed tile waits at most before others; see
            "motion".
        seed: of "random".

    Raises:
        ValueError: an argument is out of its range, or the encoder has a single scale.
    """

    def __init__(
        self,
        encoder: TileEncoder,
        budget: int,
        choose: str = "motion",
        region: Region | None = None,
        stale: str | None = None,
        refresh_every: int = 16,
        seed: int = 0,
    ) -> None:
        if choose not in CHOICES:
            raise unknown("choice of tiles", choose, CHOICES)
        stale = stale or ("keep" if choose == "motion" else "lower")
        if stale not in STALE:
            raise unknown("stale", stale, STALE)
        if refresh_every < 1:
            raise ValueError(f"refresh_every must be at least 1 frame; got {refresh_every}")
        if (region is None) == (choose == "region"):
            raise ValueError(
                f"choose={choose!r} with region={'None' if region is None else 'given'}: a region "
                "is needed for choose='region' and for nothing else"
            )
        self.encoder = encoder
        self._parts = _ascending(encoder)
        self.budget = _checked_budget(budget, sum(part.tiles for part in self._parts[1:]))
        self.choose, self.stale, self.refresh_every = choose, stale, refresh_every
        self._region = None if region is None else self._in_tiles(*_map_of(region))
        self._generator = torch.Generator().manual_seed(seed)
        self.reset()

    def reset(self) -> None:
        """Forget all frames, maps and counts."""
        self.forget()
        self.stats = SelectionStats()

    def forget(self) -> None:
        """Forget all frames and maps, and go on counting."""
        self._cached: list[TileCache] = []
        self._shape: tuple[int, ...] | None = None
        self._mass: dict[int, Tensor] = {}

    @_by_old_names
    def look_at(self, weights: np.ndarray | Tensor, streams: Sequence[int] | None = None) -> None:
        """Say where the next frames matter.

        Args:
            weights: maps ``(B, gh, gw)`` from 0 over the image, such as ``Policy.attention``'s on
                the embedding's grid; any number of rows and columns. Only ratios count.
            streams: which slot each map is of; 0 to B - 1 when not given.

        Raises:
            ValueError: not such maps or slots, or tiles are chosen by something else.
        """
        if self.choose != "attention":
            raise ValueError(f"look_at is for choose='attention'; this one has {self.choose!r}")
        maps = torch.as_tensor(weights).float().cpu()
        if maps.ndim != 3 or 0 in maps.shape or not (maps.isfinite() & (maps >= 0)).all():
            raise ValueError(
                "weights must be maps (B, gh, gw) of finite numbers from 0; got shape "
                f"{tuple(maps.shape)} with values from {_smallest(maps)}"
            )
        for stream_index, one in zip(checked_streams(len(maps), streams), maps, strict=True):
            self._mass[stream_index] = self._in_tiles(
                one, _edges(one.shape[0]), _edges(one.shape[1])
            )

    @_by_old_names
    @torch.no_grad()
    def __call__(self, frames: np.ndarray | Tensor, streams: Sequence[int] | None = None) -> Tensor:
        """Embed one frame of each of several cameras.

        Arguments, result and errors are those of ``FrameStream``: frames ``(B, H, W, 3)`` or
        ``(H, W, 3)`` uint8 RGB of ``streams`` to embeddings ``(B, D)`` float32.
        """
        images, encoder = as_frames(frames), self.encoder
        check_same_size(images, self._shape)
        streams = checked_streams(len(images), streams)
        self._shape = tuple(images.shape[1:])
        order = torch.tensor(streams, device=encoder.device)
        tiles = encoder.tiles(images.to(encoder.device), self._parts)
        if not self._cached:
            self._cached = [TileCache(p.tiles, t) for p, t in zip(self._parts, tiles, strict=True)]
        changes = [k.change(t, order) for k, t in zip(self._cached, tiles, strict=True)]
        wanted = self._wanted(changes, streams, order)
        encode_some(encoder, self._cached, tiles, wanted, order)
        self._count(changes, wanted, order)
        return self._embed(changes, wanted, order)

    # ---------------------------------------------------------------------------- which tiles
    def _wanted(self, changes: list[Tensor], streams: list[int], order: Tensor) -> list[Tensor]:
        """Which tiles to encode, ``(n, B)`` of each scale."""
        change = torch.cat(changes[1:])  # (n of all higher scales, B)
        changed = change > 0
        keys = (change, self._weights(changed, streams, order), changed.float())
        first = _ranked(keys)[: self.budget]
        chosen = torch.zeros_like(changed).scatter_(0, first, True) & changed
        higher = chosen.split([part.tiles for part in self._parts[1:]])
        wanted = [changes[0] > 0, *higher]
        for cached, change, mask in zip(self._cached, changes, wanted, strict=True):
            waits = (change > 0) & ~mask
            cached.age[:, order] = torch.where(waits, cached.age[:, order] + 1, 0)
        return wanted

    def _weights(self, like: Tensor, streams: list[int], order: Tensor) -> Tensor:
        """What ranks tiles before their motion does, ``(n, B)``."""
        if self.choose == "motion":
            age = torch.cat([cached.age[:, order] for cached in self._cached[1:]])
            return torch.where(age >= self.refresh_every, age, 0).float()
        if self.choose == "random":
            return torch.rand(like.shape, generator=self._generator).to(like.device)
        if self.choose == "region":
            assert self._region is not None
            return self._region[:, None].expand(like.shape).to(like.device)
        nowhere = torch.ones(1, 1)
        uniform = self._in_tiles(nowhere, _edges(1), _edges(1))
        return torch.stack([self._mass.get(s, uniform) for s in streams], dim=1).to(like.device)

    def _in_tiles(self, weights: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """Share of a map ``(gh, gw)`` with cells between ``y`` and ``x`` in each tile: ``(n,)``."""
        total = weights.sum().clamp(min=1e-30)
        masses = [
            (_overlap(part.rows, y) @ weights @ _overlap(part.columns, x).T / total).flatten()
            for part in self._parts[1:]
        ]
        return torch.cat(masses).mul(1e6).round()  # equals are equal, whatever the rounding

    # ------------------------------------------------------------------------- what they show
    def _embed(self, changes: list[Tensor], wanted: list[Tensor], order: Tensor) -> Tensor:
        encoder, parts = self.encoder, self._parts
        tokens = self._cached[0].of(order)
        assert self._shape is not None
        shape = self._shape[0], self._shape[1]
        pooled = [encoder.pool(tokens, parts[0], shape)]
        for i in range(1, len(parts)):
            own = (changes[i] == 0) | wanted[i]
            if self.stale == "keep":
                own |= self._cached[i].known[:, order]
            if own.all():
                tokens = self._cached[i].of(order)
            else:
                lower = self._from_lower(tokens, parts[i - 1], parts[i])
                tokens = self._filled(parts[i], self._cached[i], lower, own, order)
            pooled.append(encoder.pool(tokens, parts[i], shape))
        if not all_finite(pooled):
            shown = [cached.tiles[:, order].flatten(0, 1) for cached in self._cached]
            raise non_finite(encoder, pooled, shown)
        return encoder.merge({part.scale: p for part, p in zip(parts, pooled, strict=True)})

    def _filled(
        self, part: ScaleLayout, cached: TileCache, lower: Tensor, own: Tensor, order: Tensor
    ) -> Tensor:
        """Tokens ``(n · B, P + g, C)``: a tile's own where it has some, else the lower scale's.

        Prefix tokens are averaged over tiles later on: a tile without any of its own shows the
        mean of those that have.
        """
        if cached.tokens is None:
            return lower.flatten(0, 1)
        tokens, mask = cached.tokens[:, order], own[..., None, None]  # (n, B, P + g, C)
        prefix, shown = self._prefix, mask[self._of_frame(part)]
        some, own_prefix = shown.any(dim=0), tokens[self._of_frame(part), :, :prefix]
        mean = (own_prefix * shown).sum(dim=0) / shown.sum(dim=0).clamp(min=1)
        lower[:, :, :prefix] = torch.where(some, mean, lower[:, :, :prefix])
        return torch.where(mask, tokens, lower).flatten(0, 1)

    def _from_lower(self, tokens: Tensor, lower: ScaleLayout, part: ScaleLayout) -> Tensor:
        """A lower scale's tokens ``(n' · B, P + g', C)`` as a higher one's ``(n, B, P + g, C)``."""
        prefix, grid = tokens.tensor_split([self._prefix], dim=1)
        prefix = mean_over_tiles(prefix, lower.tiles, self._of_frame(lower))
        prefix = prefix.expand(part.tiles, -1, -1, -1)
        if not grid.shape[1]:
            return prefix.clone()
        side, wanted = (self.encoder.layout.card.grid_side(p.tile_size) for p in (lower, part))
        whole = merge_tiles(grid.unflatten(1, (side, side)), lower.rows, lower.columns)
        large = resize_grid(whole, (part.rows * wanted, part.columns * wanted))
        cells = split_tiles(large.permute(0, 3, 1, 2), part.rows, part.columns)
        rows = cells.flatten(2).transpose(1, 2).unflatten(0, (part.tiles, -1))  # (n, B, g, C)
        return torch.cat([prefix, rows], dim=2)

    def _of_frame(self, part: ScaleLayout) -> list[int]:
        """Tiles that are not all padding: those whose prefix tokens count."""
        assert self._shape is not None
        coverage = self.encoder.layout.frame_coverage(part, (self._shape[0], self._shape[1]))
        return list(range(part.tiles)) if coverage is None else tiles_of_frame(coverage, part)

    @property
    def _prefix(self) -> int:
        layout = self.encoder.layout
        return 1 if layout.pooling == "head" else layout.card.num_prefix_tokens

    def _count(self, changes: list[Tensor], wanted: list[Tensor], order: Tensor) -> None:
        stats, frames = self.stats, len(order)
        stats.frames += frames
        for part, cached, change, mask in zip(
            self._parts, self._cached, changes, wanted, strict=True
        ):
            each = self.encoder.backbone.gflops(1, part.tile_size)
            counts = mask.sum(dim=1).cpu().numpy().reshape(part.rows, part.columns)
            stats.encoded[part.scale] = stats.encoded.get(part.scale, 0) + counts
            stats.tiles[part.scale] = stats.tiles.get(part.scale, 0) + mask.numel()
            stats.gflops += each * int(mask.sum())
            stats.full_gflops += each * mask.numel()
            old = cached.age[:, order][cached.known[:, order] & (change > 0) & ~mask]
            if self.stale == "keep" and old.numel():
                stats.oldest_age = max(stats.oldest_age, int(old.max()))


def _ascending(encoder: TileEncoder) -> list[ScaleLayout]:
    """The encoder's scales from the smallest image to the largest."""
    parts = sorted(
        encoder.layout.scales.values(), key=lambda p: p.image_shape[0] * p.image_shape[1]
    )
    if len(parts) < 2:
        raise ValueError(
            f"the encoder has one scale, {parts[0].scale:g}, which is always encoded: nothing is "
            "left to choose; give two scales or more, such as scales=(1, 2)"
        )
    return parts


def _checked_budget(budget: int, tiles: int) -> int:
    if isinstance(budget, bool) or not isinstance(budget, int) or not 0 <= budget <= tiles:
        raise ValueError(
            f"budget is {budget!r}; allowed: an integer from 0 to {tiles}, the tiles of a frame "
            "above the smallest scale"
        )
    return budget


def _map_of(region: Region) -> tuple[Tensor, Tensor, Tensor]:
    """A region as weights (h, w) and the edges of their cells from top and from left."""
    if isinstance(region, np.ndarray) and region.ndim != 1:
        if region.ndim != 2 or region.dtype != bool or not region.any():
            raise ValueError(
                f"a region given as a mask must be boolean (h, w), with any True; got "
                f"{region.dtype} of shape {region.shape}"
            )
        return torch.from_numpy(region).float(), _edges(region.shape[0]), _edges(region.shape[1])
    box = [float(value) for value in region]
    if len(box) != 4 or not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
        raise ValueError(
            f"region {tuple(box)} must be (left, top, right, bottom) in fractions of the image, "
            "0 <= left < right <= 1 and 0 <= top < bottom <= 1, or a boolean mask (h, w)"
        )
    left, top, right, bottom = box
    return torch.ones(1, 1), torch.tensor([top, bottom]), torch.tensor([left, right])


def _edges(cells: int) -> Tensor:
    return torch.linspace(0, 1, cells + 1)


def _overlap(tiles: int, edges: Tensor) -> Tensor:
    """Share of each cell between ``edges`` (m + 1) that lies in each of n tiles: ``(n, m)``."""
    borders = _edges(tiles)
    low = torch.maximum(borders[:-1, None], edges[None, :-1])
    high = torch.minimum(borders[1:, None], edges[None, 1:])
    return (high - low).clamp(min=0) / edges.diff()


def _ranked(keys: Sequence[Tensor]) -> Tensor:
    """Rows of (n, B) from high to low, by the last key first: ``(n, B)`` indices; ties in order."""
    order = torch.arange(keys[0].shape[0], device=keys[0].device)[:, None].expand(keys[0].shape)
    for key in keys:
        places = key.gather(0, order).argsort(dim=0, descending=True, stable=True)
        order = order.gather(0, places)
    return order


def _smallest(values: Tensor) -> float:
    return float(values.min()) if values.numel() else float("nan")
