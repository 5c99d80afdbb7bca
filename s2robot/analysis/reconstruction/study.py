"""A reconstruction on frames: both passes over them, and the rows of a table.

Training frames become ``Moments``, one of each source with the target; the maps of all its scale
sets are solved from it, since a scale set is a choice of channels. Test frames then become sums of
squares a block. So each frame goes through each encoder once. With a folder both are kept there as
they grow, and a killed study goes on.
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

_FORMAT = 1


@dataclass(frozen=True)
class StudyConfig:
    """How frames are split and the maps fitted."""

    ridge: float = RIDGE
    """See ``fit_linear_map``."""
    per_place: bool = False
    """Whether each place of the grid has a bias and a baseline of its own; see ``Moments``."""
    test_share: float = 0.25
    """Of the blocks."""
    seed: int = 0
    """Of the split."""
    batch: int = 16
    """Frames that are encoded at once."""
    save_every_s: float = 60.0
    """Time between two writes into the folder [s]; a kill loses at most so much work."""

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
    """Channels that are mapped from."""
    gflops: float
    """Of the source, a frame."""
    train_loss: float
    train_information: float
    train_ratio: float | None
    test_loss: float
    test_information: Interval
    test_ratio: Interval | None
    more_than_first: Interval
    """Information on test frames less that of the first row."""

    @property
    def label(self) -> str:
        """Such as "vits (1, 2)"."""
        return f"{self.source} ({', '.join(f'{scale:g}' for scale in self.scales)})"

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values."""
        return asdict(self)


@dataclass(frozen=True)
class Study:
    """What came out, and on how much."""

    rows: tuple[Recovery, ...]
    grid: tuple[int, int] | None
    """(rows, columns) of the tokens of a frame."""
    train_frames: int
    test_frames: int
    train_tokens: int
    test_blocks: int
    train_baseline: float
    """l0 of the training tokens."""
    test_baseline: float
    """l0 of the test tokens: that of the training tokens' mean."""


def reconstruct(
    frames: np.ndarray,
    blocks: np.ndarray,
    target: FrameEncoder,
    sources: Sequence[Source],
    config: StudyConfig = StudyConfig(),
    folder: str | Path | None = None,
    progress: bool = False,
) -> Study:
    """Map each source's tokens at each scale set to the target's; see ``source_of``.

    Args:
        frames: ``(N, H, W, 3)`` uint8.
        blocks: ``(N,)``: episode, or block of a video, that a frame is of; blocks are split into
            training and test whole.
        target: whose tokens are reconstructed.
        sources: from which; at most one of them is the reference, of one scale set.
        config: of the split and the fit.
        folder: keeps what was encoded, by content; without it a killed call starts anew.
        progress: show a bar.

    Raises:
        ValueError: too few blocks, several references, or a target that does not vary.
        MismatchError: encoders that cannot be compared.
        NonFiniteError: NaN or infinite features.
        CorruptFileError: a kept file is damaged.
    """
    if len(blocks) != len(frames):
        raise ValueError(f"{len(frames)} frames need as many numbers of blocks; got {len(blocks)}")
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
    """Both passes over the frames, with what they share."""

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
            "target": target.spec.to_dict(),
            "grid": self.grid,
        }

    def moments(self, learnt: np.ndarray) -> list[Moments]:
        """Of each source and the target on the frames of these numbers.

        They are kept by place, from which those of all places follow.
        """
        places = math.prod(self.grid or (1,))
        kept = [
            KeptMoments(self._place, self._key_of(s, learnt), s.total_width, self._outputs, places)
            for s in self._sources
        ]
        self._encode("training frames", learnt, kept)
        found = [part.moments for part in kept]
        return found if self._config.per_place else [part.pooled() for part in found]

    def losses(
        self,
        judged: np.ndarray,
        numbers: np.ndarray,
        moments: Sequence[Moments],
        maps: Sequence[Sequence[ChosenMap]],
    ) -> list[list[BlockLosses]]:
        """Of each map of each source on the frames of these numbers, in blocks so numbered."""
        config = {
            "blocks": numbers.tolist(),
            "ridge": self._config.ridge,
            "per_place": self._config.per_place,
        }
        kept = [
            KeptLosses(
                self._place,
                {**self._key_of(s, judged), **config, "sets": s.scale_sets},
                numbers,
                part.mean[:, -self._outputs :],
                of_sets,
            )
            for s, part, of_sets in zip(self._sources, moments, maps, strict=True)
        ]
        self._encode("test frames", judged, kept)
        return [part.losses() for part in kept]

    def _key_of(self, source: Source, numbers: np.ndarray) -> dict[str, Any]:
        return {**self._key, "source": source.encoder.spec.to_dict(), "numbers": numbers.tolist()}

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


def _digest(frames: np.ndarray) -> str:
    digest = hashlib.sha256(str(frames.shape).encode())
    for frame in frames:
        digest.update(np.ascontiguousarray(frame).tobytes())
    return digest.hexdigest()


def _maps(source: Source, moments: Moments, ridge: float) -> list[ChosenMap]:
    """The fitted map of each scale set."""
    chosen = [source.channels(scales) for scales in source.scale_sets]
    return [ChosenMap(c, fit_linear_map(moments.of_inputs(c), ridge)) for c in chosen]


def _trained(moments: Moments, maps: Sequence[ChosenMap]) -> list[tuple[float, float]]:
    """Loss and information of each map on the training tokens."""
    baseline, found = baseline_on(moments), []
    for chosen in maps:
        loss = loss_on(chosen.fitted, moments.of_inputs(chosen.channels))
        loss = max(loss, RESOLUTION * baseline)
        found.append((loss, information(loss, baseline)))
    return found


@dataclass(frozen=True)
class _Found:
    """One source at one scale set, before it is compared with others."""

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
