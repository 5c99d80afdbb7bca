"""Token grids of many frames, read in chunks, and how they are brought to the labels' size."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from s2robot.errors import NonFiniteError
from s2robot.policies.pooling import Normalizer

_CHUNK_NUMBERS = 16_000_000
"""Most float32 numbers of a chunk: 64 MB."""


class TokenGrids:
    """Embeddings as token grids, each channel standardised by its training frames.

    They stay in half precision as they came; only a chunk at a time is widened.

    Args:
        embeddings: ``(N, D)``, half or single precision.
        shape: ``(gh, gw, C)``, see ``FrameEncoder.output_shape``.
        training: numbers of the frames whose statistics count.

    Raises:
        ValueError: shapes that do not fit each other.
        NonFiniteError: features are NaN or infinite; frames are named.
    """

    def __init__(self, embeddings: Tensor, shape: tuple[int, ...], training: np.ndarray) -> None:
        if len(shape) != 3 or embeddings.ndim != 2 or embeddings.shape[1] != np.prod(shape):
            raise ValueError(
                f"dense probes read grids: embeddings (N, gh·gw·C) of shape (gh, gw, C); got "
                f"{tuple(embeddings.shape)} of shape {tuple(shape)}. Take readout spatial_softmax"
            )
        self.shape = (int(shape[0]), int(shape[1]), int(shape[2]))
        self._grids = embeddings.unflatten(1, (-1, self.channels))  # (N, T, C)
        self._require_finite()
        self._normalizer = Normalizer(self.channels)
        self._normalizer.fit(self._grids[torch.from_numpy(training)])

    def __len__(self) -> int:
        return len(self._grids)

    @property
    def tokens(self) -> int:
        """T = gh · gw."""
        return self.shape[0] * self.shape[1]

    @property
    def channels(self) -> int:
        """C, of all scales together."""
        return self.shape[2]

    def chunks(self, frames: np.ndarray) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Some of the numbers ``frames`` and their tokens ``(n, T, C)`` float32, until all."""
        step = max(1, _CHUNK_NUMBERS // (self.tokens * self.channels))
        for start in range(0, len(frames), step):
            part = frames[start : start + step]
            yield part, self._normalizer(self._grids[torch.from_numpy(part)])

    def column_chunks(self) -> Iterator[Tensor]:
        """All frames' numbers, some tokens at a time: ``(N, t · C)`` float32."""
        step = max(1, _CHUNK_NUMBERS // (len(self) * self.channels))
        for start in range(0, self.tokens, step):
            yield self._normalizer(self._grids[:, start : start + step]).flatten(1)

    def means(self) -> Tensor:
        """Tokens averaged over the grid: ``(N, C)`` float32."""
        everyone = np.arange(len(self))
        return torch.cat([tokens.mean(dim=1) for _, tokens in self.chunks(everyone)])

    def _require_finite(self) -> None:
        broken = [
            start + i
            for start in range(0, len(self), 256)
            for i in (~self._grids[start : start + 256].isfinite().all(dim=2).all(dim=1))
            .nonzero()
            .flatten()
            .tolist()
        ]
        if broken:
            some = ", ".join(map(str, broken[:8])) + ", ..." * (len(broken) > 8)
            raise NonFiniteError(
                f"features of frames {some} (counted from 0) are NaN or infinite; delete them from "
                "the feature store and encode again, with dtype=float32 if they were not"
            )


def upsampling(grid: tuple[int, int], size: int) -> Tensor:
    """Weights ``(size · size, gh · gw)`` float32 of tokens in each label: bilinear, rows sum to 1.

    As ``interpolate(mode="bilinear", align_corners=False)``, written out as a matrix.
    """
    rows, columns = grid
    single = torch.eye(rows * columns).view(rows * columns, 1, rows, columns)
    maps = functional.interpolate(single, (size, size), mode="bilinear", align_corners=False)
    return maps.flatten(1).T.contiguous()
