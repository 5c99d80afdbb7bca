"""Selective encoding: only some tiles of the larger scales, at a fixed cost for each frame.

S² spends as much on every part of a frame; its authors name selection as future work (arXiv
2403.13043, Section 6). Here all tiles of the smallest scale are encoded, and at most ``budget``
tiles of the other scales. A tile without features of its own takes those of the next smaller scale
at the same place, enlarged. With budget 0 all scales show the smallest scale.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from s2robot.encoder.nonfinite import all_finite, non_finite
from s2robot.encoder.regions import Region, cell_edges, region_map, tile_overlap
from s2robot.encoder.scale_layout import ScaleLayout, tiles_of_frame
from s2robot.encoder.streaming import TileCache, check_same_size, checked_streams, encode_some
from s2robot.encoder.tile_encoder import TileEncoder
from s2robot.errors import unknown
from s2robot.multiscale.resizing import resize_grid
from s2robot.multiscale.tiles import mean_over_tiles, merge_tiles, split_tiles
from s2robot.preprocessing.frame_input import Frames, as_frames
from s2robot.utils.deprecation import renamed_keywords

CHOICES = ("motion", "attention", "region", "random")
STALE = ("keep", "lower")
_by_old_names = renamed_keywords({"slots": "streams"})


@dataclass
class SelectionStats:
    """Counts of a selective encoder since it was made or reset."""

    frames: int = 0
    encoded: dict[float, np.ndarray] = field(default_factory=dict)
    """How often each tile was encoded, (rows, columns) by scale."""
    tiles: dict[float, int] = field(default_factory=dict)
    """Tiles of the frames, by scale."""
    gflops: float = 0.0
    """10⁹ floating-point operations of what was encoded."""
    full_gflops: float = 0.0
    """10⁹ floating-point operations of the same frames without selection."""
    oldest_age: int = 0
    """Most frames in a row for which a changed tile kept its old features."""

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
        """Share of the cost without selection that was spent."""
        return self.gflops / self.full_gflops if self.full_gflops else 0.0


class SelectiveEncoder:
    """Encoder of frames that encodes only some tiles of the larger scales.

    Tiles whose pixels have not changed since they were encoded keep their features. This is exact
    and costs nothing, at the smallest scale too. Of the changed tiles of the other scales, the
    first ``budget`` are encoded in the order of

    - "motion": the mean absolute difference of their pixels (0-255) to those last encoded; tiles
      never encoded come first. Tiles that have waited for ``refresh_every`` frames go before all
      others, the longest wait first: with n tiles, one that stays changed is encoded at the latest
      in the frame of number ``refresh_every + ceil(n / budget)``.
    - "attention": the mass that ``look_at``'s map has in them; a map counts until the next one.
      Before the first, all places weigh alike.
    - "region": the mass of ``region`` in them. The rest of the budget goes to tiles outside.
    - "random": a random order, as a baseline.

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

    Examples:
        >>> from s2robot import FrameEncoder
        >>> encoder = FrameEncoder.from_name("random/vitt16-128", (1, 2), "mean", device="cpu")
        >>> selective = encoder.selective(budget=1)
        >>> frame = np.zeros((256, 256, 3), np.uint8)
        >>> tuple(selective(frame).shape)
        (1, 384)
        >>> selective.stats.encoded_tiles  # of the 4 tiles of scale 2
        {1: 1, 2: 1}
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
                f"choose is {choose!r} and region is {'None' if region is None else 'given'}: a "
                "region is needed for choose 'region' and for nothing else"
            )
        self.encoder = encoder
        self._scale_layouts = _ascending(encoder)
        self.budget = _checked_budget(
            budget, sum(scale_layout.tiles for scale_layout in self._scale_layouts[1:])
        )
        self.choose, self.stale, self.refresh_every = choose, stale, refresh_every
        self._region = None if region is None else self._in_tiles(*region_map(region))
        self._generator = torch.Generator().manual_seed(seed)
        self.reset()

    def reset(self) -> None:
        """Forget all frames, maps and counts."""
        self.forget()
        self.stats = SelectionStats()

    def forget(self) -> None:
        """Forget all frames and maps; the counts continue."""
        self._cached: list[TileCache] = []
        self._runtime = self._named = self.encoder.runtime
        self._shape: tuple[int, ...] | None = None
        self._mass: dict[int, Tensor] = {}

    @_by_old_names
    def look_at(self, weights: Frames, streams: Sequence[int] | None = None) -> None:
        """Set the maps of importance that rank the tiles of the next frames.

        Args:
            weights: maps ``(B, gh, gw)`` from 0 over the image, such as ``Policy.attention``'s on
                the embedding's grid; any number of rows and columns. Only ratios count.
            streams: camera of each map, by index; 0 to B - 1 when not given.

        Raises:
            ValueError: the maps or streams are invalid, or ``choose`` is not "attention".
        """
        if self.choose != "attention":
            raise ValueError(f"look_at is for choose 'attention'; this one has {self.choose!r}")
        maps = torch.as_tensor(weights).float().cpu()
        if maps.ndim != 3 or 0 in maps.shape or not (maps.isfinite() & (maps >= 0)).all():
            raise ValueError(
                "weights must be maps (B, gh, gw) of finite numbers from 0; got shape "
                f"{tuple(maps.shape)} with values from {_smallest(maps)}"
            )
        for stream_index, one in zip(checked_streams(len(maps), streams), maps, strict=True):
            self._mass[stream_index] = self._in_tiles(
                one, cell_edges(one.shape[0]), cell_edges(one.shape[1])
            )

    @_by_old_names
    @torch.inference_mode(False)  # what is cached in it could not be written outside of it
    @torch.no_grad()  # inside, as the line above turns gradients on
    def __call__(self, frames: Frames, streams: Sequence[int] | None = None) -> Tensor:
        """Embed one frame of each of several cameras.

        Arguments, result and errors are those of ``FrameStream``: frames ``(B, H, W, 3)`` or
        ``(H, W, 3)`` uint8 RGB of ``streams`` to embeddings ``(B, D)`` float32.
        """
        images, encoder = as_frames(frames), self.encoder
        if not len(images):
            return encoder.merge(encoder.no_features(encoder.scale_layouts))
        check_same_size(images, self._shape)
        streams = checked_streams(len(images), streams)
        self._shape = tuple(images.shape[1:])
        order = torch.tensor(streams, device=encoder.device)
        tiles = encoder.tiles(images.to(encoder.device), self._scale_layouts)
        if not self._cached or encoder.runtime is not self._runtime:
            self._runtime = encoder.runtime  # another runtime's tokens may differ
            self._named = encoder.runtime_for(len(images))
            self._cached = [
                TileCache(p.tiles, t) for p, t in zip(self._scale_layouts, tiles, strict=True)
            ]
        changes = [k.change(t, order) for k, t in zip(self._cached, tiles, strict=True)]
        wanted = self._wanted(changes, streams, order)
        tokens = functools.partial(encoder.tokens_of_batches, runtime=self._named)
        encode_some(tokens, self._cached, tiles, wanted, order)
        self._count(changes, wanted, order)
        return self._embed(changes, wanted, order)

    # ---------------------------------------------------------------------------- which tiles
    def _wanted(self, changes: list[Tensor], streams: list[int], order: Tensor) -> list[Tensor]:
        """Select the tiles to encode: booleans ``(n, B)`` of each scale."""
        change = torch.cat(changes[1:])  # (n of all higher scales, B)
        changed = change > 0
        keys = (change, self._weights(changed, streams, order), changed.float())
        first = _ranked(keys)[: self.budget]
        chosen = torch.zeros_like(changed).scatter_(0, first, True) & changed
        higher = chosen.split([scale_layout.tiles for scale_layout in self._scale_layouts[1:]])
        wanted = [changes[0] > 0, *higher]
        for cached, change, mask in zip(self._cached, changes, wanted, strict=True):
            waits = (change > 0) & ~mask
            cached.age[:, order] = torch.where(waits, cached.age[:, order] + 1, 0)
        return wanted

    def _weights(self, like: Tensor, streams: list[int], order: Tensor) -> Tensor:
        """Return the key ``(n, B)`` that ranks tiles before their motion does."""
        if self.choose == "motion":
            age = torch.cat([cached.age[:, order] for cached in self._cached[1:]])
            return torch.where(age >= self.refresh_every, age, 0).float()
        if self.choose == "random":
            return torch.rand(like.shape, generator=self._generator).to(like.device)
        if self.choose == "region":
            assert self._region is not None
            return self._region[:, None].expand(like.shape).to(like.device)
        nowhere = torch.ones(1, 1)
        uniform = self._in_tiles(nowhere, cell_edges(1), cell_edges(1))
        return torch.stack([self._mass.get(s, uniform) for s in streams], dim=1).to(like.device)

    def _in_tiles(self, weights: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """Return the share ``(n,)`` of a map ``(gh, gw)`` in each tile; ``y`` and ``x``: edges."""
        total = weights.sum().clamp(min=1e-30)
        masses = [
            (
                tile_overlap(scale_layout.rows, y)
                @ weights
                @ tile_overlap(scale_layout.columns, x).T
                / total
            ).flatten()
            for scale_layout in self._scale_layouts[1:]
        ]
        return torch.cat(masses).mul(1e6).round()  # equals are equal, whatever the rounding

    # ------------------------------------------------------------------------- what they show
    def _embed(self, changes: list[Tensor], wanted: list[Tensor], order: Tensor) -> Tensor:
        encoder, scale_layouts = self.encoder, self._scale_layouts
        tokens = self._cached[0].of(order)
        assert self._shape is not None
        shape = self._shape[0], self._shape[1]
        features = [encoder.pool(tokens, scale_layouts[0], shape)]
        for i in range(1, len(scale_layouts)):
            own = (changes[i] == 0) | wanted[i]
            if self.stale == "keep":
                own |= self._cached[i].known[:, order]
            if own.all():
                tokens = self._cached[i].of(order)
            else:
                lower = self._from_lower(tokens, scale_layouts[i - 1], scale_layouts[i])
                tokens = self._filled(scale_layouts[i], self._cached[i], lower, own, order)
            features.append(encoder.pool(tokens, scale_layouts[i], shape))
        if not all_finite(features):
            shown = [cached.tiles[:, order].flatten(0, 1) for cached in self._cached]
            raise non_finite(encoder, features, shown)
        scales = [scale_layout.scale for scale_layout in scale_layouts]
        return encoder.merge(dict(zip(scales, features, strict=True)))

    def _filled(
        self,
        scale_layout: ScaleLayout,
        cached: TileCache,
        lower: Tensor,
        own: Tensor,
        order: Tensor,
    ) -> Tensor:
        """Return tokens ``(n · B, P + g, C)``: a tile's own if it has any, else the lower scale's.

        Prefix tokens are averaged over tiles later on: a tile without any of its own shows the
        mean of those that have.
        """
        if cached.tokens is None:
            return lower.flatten(0, 1)
        tokens, mask = cached.tokens[:, order], own[..., None, None]  # (n, B, P + g, C)
        prefix, shown = self._prefix, mask[self._of_frame(scale_layout)]
        some, own_prefix = shown.any(dim=0), tokens[self._of_frame(scale_layout), :, :prefix]
        mean = (own_prefix * shown).sum(dim=0) / shown.sum(dim=0).clamp(min=1)
        lower[:, :, :prefix] = torch.where(some, mean, lower[:, :, :prefix])
        return torch.where(mask, tokens, lower).flatten(0, 1)

    def _from_lower(self, tokens: Tensor, lower: ScaleLayout, scale_layout: ScaleLayout) -> Tensor:
        """Turn tokens ``(n' · B, P + g', C)`` of a lower scale to ``(n, B, P + g, C)``."""
        prefix, grid = tokens.tensor_split([self._prefix], dim=1)
        prefix = mean_over_tiles(prefix, lower.tiles, self._of_frame(lower))
        prefix = prefix.expand(scale_layout.tiles, -1, -1, -1)
        if not grid.shape[1]:
            return prefix.clone()
        side, wanted = (
            self.encoder.layout.card.grid_side(p.tile_size) for p in (lower, scale_layout)
        )
        whole = merge_tiles(grid.unflatten(1, (side, side)), lower.rows, lower.columns)
        large = resize_grid(whole, (scale_layout.rows * wanted, scale_layout.columns * wanted))
        cells = split_tiles(large.permute(0, 3, 1, 2), scale_layout.rows, scale_layout.columns)
        rows = (
            cells.flatten(2).transpose(1, 2).unflatten(0, (scale_layout.tiles, -1))
        )  # (n, B, g, C)
        return torch.cat([prefix, rows], dim=2)

    def _of_frame(self, scale_layout: ScaleLayout) -> list[int]:
        """Return the indices of tiles with any of the frame; only their prefix tokens count."""
        assert self._shape is not None
        coverage = self.encoder.layout.frame_coverage(
            scale_layout, (self._shape[0], self._shape[1])
        )
        return (
            list(range(scale_layout.tiles))
            if coverage is None
            else tiles_of_frame(coverage, scale_layout)
        )

    @property
    def _prefix(self) -> int:
        layout = self.encoder.layout
        return 1 if layout.pooling == "head" else layout.card.num_prefix_tokens

    def _count(self, changes: list[Tensor], wanted: list[Tensor], order: Tensor) -> None:
        stats, frames = self.stats, len(order)
        stats.frames += frames
        for scale_layout, cached, change, mask in zip(
            self._scale_layouts, self._cached, changes, wanted, strict=True
        ):
            each = self.encoder.backbone.gflops(1, scale_layout.tile_size)
            counts = mask.sum(dim=1).cpu().numpy().reshape(scale_layout.rows, scale_layout.columns)
            stats.encoded[scale_layout.scale] = stats.encoded.get(scale_layout.scale, 0) + counts
            stats.tiles[scale_layout.scale] = stats.tiles.get(scale_layout.scale, 0) + mask.numel()
            stats.gflops += each * int(mask.sum())
            stats.full_gflops += each * mask.numel()
            old = cached.age[:, order][cached.known[:, order] & (change > 0) & ~mask]
            if self.stale == "keep" and old.numel():
                stats.oldest_age = max(stats.oldest_age, int(old.max()))


def _ascending(encoder: TileEncoder) -> list[ScaleLayout]:
    """Return the encoder's scales from the smallest image to the largest."""
    scale_layouts = sorted(encoder.scale_layouts, key=lambda s: s.image_shape[0] * s.image_shape[1])
    if len(scale_layouts) < 2:
        raise ValueError(
            f"the encoder has one scale, {scale_layouts[0].scale:g}, which is always "
            "encoded: nothing is left to choose; give two scales or more, such as (1, 2)"
        )
    return scale_layouts


def _checked_budget(budget: int, tiles: int) -> int:
    if isinstance(budget, bool) or not isinstance(budget, int) or not 0 <= budget <= tiles:
        raise ValueError(
            f"budget is {budget!r}; allowed: an integer from 0 to {tiles}, the tiles of a frame "
            "above the smallest scale"
        )
    return budget


def _ranked(keys: Sequence[Tensor]) -> Tensor:
    """Return the rows of (n, B) from high to low, by the last key first; ties stay in order."""
    order = torch.arange(keys[0].shape[0], device=keys[0].device)[:, None].expand(keys[0].shape)
    for key in keys:
        places = key.gather(0, order).argsort(dim=0, descending=True, stable=True)
        order = order.gather(0, places)
    return order


def _smallest(values: Tensor) -> float:
    return float(values.min()) if values.numel() else float("nan")
