"""A reconstruction study: two passes over the frames, and the rows of a table.

The first pass reduces the training frames to ``Moments`` of each source and the target. The maps of
all scale sets are solved from them, because a scale set is a selection of channels. The second pass
reduces the test frames to sums of squares for each block. So each encoder sees each frame once.
With a folder, both passes save their progress, and an interrupted study continues.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.analysis.reconstruction.passes import (
    ChosenMap,
    Kept,
    KeptLosses,
    KeptMoments,
    ReadsTokens,
    encode_into,
    held,
)
from s2robot.analysis.reconstruction.regression import (
    RESOLUTION,
    RIDGE,
    BlockLosses,
    Moments,
    baseline_on,
    fit_linear_map,
    held_out,
    information,
    loss_on,
    ratio,
)
from s2robot.analysis.reconstruction.sources import Source, common_grid, tokens_of
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.stats.intervals import Interval
from s2robot.utils.provenance import deciding_versions

_FORMAT = 1


@dataclass(frozen=True)
class StudyConfig:
    """Settings of the split into training and test frames, and of the fit."""

    ridge: float = RIDGE
    """See ``fit_linear_map``."""
    per_place: bool = False
    """True for a bias and a baseline for each place of the grid; see ``Moments``."""
    test_share: float = 0.25
    """Share of the blocks that are test blocks."""
    seed: int = 0
    """Seed of the split."""
    batch: int = 16
    """Number of frames that are encoded together."""
    save_every_s: float = 60.0
    """Time between two writes into the folder [s]; an interruption loses at most this much work."""

    def __post_init__(self) -> None:
        if not 0 <= self.ridge < math.inf:
            raise ValueError(f"ridge must be a number from 0, such as {RIDGE}; got {self.ridge}")
        if not 0 < self.test_share < 1:
            raise ValueError(f"test_share must lie between 0 and 1; got {self.test_share}")
        if self.batch < 1 or not self.save_every_s >= 0:
            raise ValueError(
                f"batch must be at least 1 frame and save_every_s not negative; got {self.batch} "
                f"and {self.save_every_s}"
            )


@dataclass(frozen=True)
class Recovery:
    """One source at one scale set: a row of the paper's Table 2, with intervals over blocks."""

    source: str
    scales: tuple[float, ...]
    reference: bool
    width: int
    """Number of input channels of the map."""
    gflops: float
    """Cost of the source for one frame [10⁹ operations]."""
    train_loss: float
    train_information: float
    train_ratio: float | None
    test_loss: float
    test_information: Interval
    test_ratio: Interval | None
    more_than_first: Interval
    """Information on test frames minus that of the first row."""

    @property
    def label(self) -> str:
        """Source and scales, such as "vits (1, 2)"."""
        return f"{self.source} ({', '.join(f'{scale:g}' for scale in self.scales)})"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Study:
    """Result of a study: rows, and the numbers of frames, tokens and blocks behind them."""

    rows: tuple[Recovery, ...]
    grid: tuple[int, int] | None
    """(rows, columns) of the tokens of a frame; None for one token a frame."""
    train_frames: int
    test_frames: int
    train_tokens: int
    test_blocks: int
    train_baseline: float
    """The loss l0 on the training tokens."""
    test_baseline: float
    """The loss l0 on the test tokens, with the training tokens' mean as constant."""


def reconstruct(
    frames: np.ndarray,
    blocks: np.ndarray,
    target: FrameEncoder,
    sources: Sequence[Source],
    config: StudyConfig = StudyConfig(),
    folder: str | Path | None = None,
    progress: bool = False,
) -> Study:
    """Fit maps from the tokens of each source, at each scale set, to the tokens of the target.

    Args:
        frames: ``(N, H, W, 3)`` uint8.
        blocks: ``(N,)``: number of the episode, or block of a video, of each frame; all frames of a
            block are training frames or all are test frames.
        target: encoder whose tokens are reconstructed.
        sources: encoders to reconstruct from; see ``source_of``. At most one of them is the
            reference, and it has one scale set.
        config: settings of the split and the fit.
        folder: folder for intermediate results; an interrupted call continues from there. Without
            it nothing is saved.
        progress: show a progress bar.

    Returns:
        One row for each source and scale set, in their order.

    Raises:
        ValueError: there are too few blocks or several references, or the target does not vary.
        MismatchError: the encoders cannot be compared.
        NonFiniteError: features are NaN or infinite.
        CorruptFileError: a file in the folder is damaged.
    """
    if len(blocks) != len(frames):
        raise ValueError(
            f"blocks must have one number for each of {len(frames)} frames; got {len(blocks)}"
        )
    if not sources or sum(len(s.scale_sets) for s in sources if s.reference) > 1:
        raise ValueError("give at least one source, and at most one reference with one scale set")
    tested = held_out(blocks, config.test_share, config.seed)
    with held(folder) as place:
        work = _Work(frames, target, sources, config, place, progress)
        moments = work.moments(np.flatnonzero(~tested))
        maps = [_maps(s, part, config.ridge) for s, part in zip(sources, moments, strict=True)]
        trained = [_trained(part, each) for part, each in zip(moments, maps, strict=True)]
        numbers = np.unique(blocks[tested], return_inverse=True)[1]
        losses = work.losses(np.flatnonzero(tested), numbers, moments, maps)
    found = [
        _Found(source, scales, *of_set, test)
        for source, of_sets, tests in zip(sources, trained, losses, strict=True)
        for scales, of_set, test in zip(source.scale_sets, of_sets, tests, strict=True)
    ]
    return Study(
        rows=_recoveries(found),
        grid=work.grid,
        train_frames=int((~tested).sum()),
        test_frames=int(tested.sum()),
        train_tokens=moments[0].count,
        test_blocks=int(numbers.max()) + 1,
        train_baseline=baseline_on(moments[0]),
        test_baseline=found[0].test.baseline,
    )


class _Work:
    """Both passes over the frames, and the data that they share."""

    def __init__(
        self,
        frames: np.ndarray,
        target: FrameEncoder,
        sources: Sequence[Source],
        config: StudyConfig,
        place: Path | None,
        progress: bool,
    ) -> None:
        self._frames, self._target, self._sources = frames, target, sources
        self._config, self._place, self._progress = config, place, progress
        self._outputs = target.layout.output_shape[-1]
        self.grid = common_grid([target, *(source.encoder for source in sources)])
        self._key = {
            "format": _FORMAT,
            "frames": _digest(frames),
            "target": _identity(target),
            "grid": self.grid,
            "versions": deciding_versions(),
        }

    def moments(self, trained: np.ndarray) -> list[Moments]:
        """Return the moments of each source and the target on the frames with these indices.

        Saved moments have a mean for each place; one mean of all places follows from them.
        """
        places = math.prod(self.grid or (1,))
        kept = [
            KeptMoments(self._place, self._key_of(s, trained), s.total_width, self._outputs, places)
            for s in self._sources
        ]
        self._encode("training frames", trained, kept)
        found = [part.moments for part in kept]
        return found if self._config.per_place else [part.pooled() for part in found]

    def losses(
        self,
        tested: np.ndarray,
        numbers: np.ndarray,
        moments: Sequence[Moments],
        maps: Sequence[Sequence[ChosenMap]],
    ) -> list[list[BlockLosses]]:
        """Return the losses of each map of each source on the frames ``tested``, by block."""
        config = {
            "blocks": numbers.tolist(),
            "ridge": self._config.ridge,
            "per_place": self._config.per_place,
        }
        kept = [
            KeptLosses(
                self._place,
                {**self._key_of(s, tested), **config, "sets": s.scale_sets},
                numbers,
                part.mean[:, -self._outputs :],
                of_sets,
            )
            for s, part, of_sets in zip(self._sources, moments, maps, strict=True)
        ]
        self._encode("test frames", tested, kept)
        return [part.losses() for part in kept]

    def _key_of(self, source: Source, numbers: np.ndarray) -> dict[str, Any]:
        return {**self._key, "source": _identity(source.encoder), "numbers": numbers.tolist()}

    def _encode(self, name: str, numbers: np.ndarray, kept: Sequence[Kept]) -> None:
        def reader(encoder: FrameEncoder) -> ReadsTokens:
            return lambda i, j: tokens_of(encoder, self._frames[numbers[i:j]], self.grid)

        encode_into(
            kept,
            len(numbers),
            reader(self._target),
            [reader(source.encoder) for source in self._sources],
            self._config.batch,
            self._config.save_every_s,
            name if self._progress else "",
        )


def _identity(encoder: FrameEncoder) -> dict[str, Any]:
    return {**encoder.spec.to_dict(), "inference": encoder.inference}


def _digest(frames: np.ndarray) -> str:
    digest = hashlib.sha256(str(frames.shape).encode())
    for frame in frames:
        digest.update(np.ascontiguousarray(frame).tobytes())
    return digest.hexdigest()


def _maps(source: Source, moments: Moments, ridge: float) -> list[ChosenMap]:
    """Return the fitted map of each scale set."""
    chosen = [source.channels(scales) for scales in source.scale_sets]
    return [ChosenMap(c, fit_linear_map(moments.of_inputs(c), ridge)) for c in chosen]


def _trained(moments: Moments, maps: Sequence[ChosenMap]) -> list[tuple[float, float]]:
    """Return the loss and information of each map on the training tokens."""
    baseline, found = baseline_on(moments), []
    for chosen in maps:
        loss = loss_on(chosen.fitted, moments.of_inputs(chosen.channels))
        loss = max(loss, RESOLUTION * baseline)
        found.append((loss, information(loss, baseline)))
    return found


@dataclass(frozen=True)
class _Found:
    """Results of one source at one scale set, before it is compared with others."""

    source: Source
    scales: tuple[float, ...]
    train_loss: float
    train_information: float
    test: BlockLosses


def _recoveries(found: Sequence[_Found]) -> tuple[Recovery, ...]:
    reference = next((row for row in found if row.source.reference), None)
    return tuple(_recovery(row, found[0], reference) for row in found)


def _recovery(row: _Found, first: _Found, reference: _Found | None) -> Recovery:
    most = reference.train_information if reference else 0.0
    return Recovery(
        source=row.source.name,
        scales=row.scales,
        reference=row.source.reference,
        width=len(row.source.channels(row.scales)),
        gflops=row.source.gflops(row.scales),
        train_loss=row.train_loss,
        train_information=row.train_information,
        train_ratio=ratio(row.train_information, most) if most > 0 else None,
        test_loss=row.test.loss,
        test_information=row.test.information(),
        test_ratio=row.test.ratio_to(reference.test) if reference else None,
        more_than_first=row.test.more_than(first.test),
    )
