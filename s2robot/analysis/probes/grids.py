"""Token grids of many frames, read in chunks, and their upsampling to the size of the labels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from s2robot.errors import NonFiniteError
from s2robot.policies.pooling import Normalizer

_CHUNK_NUMBERS = 16_000_000
"""Largest number of float32 values in a chunk: 64 MB."""


class TokenGrids:
    """Embeddings as token grids, each channel normalized by its statistics on training frames.

    The embeddings stay in their precision; one chunk at a time is converted to float32.

    Args:
        embeddings: ``(N, D)``, half or single precision.
        shape: ``(gh, gw, C)``, see ``FrameEncoder.output_shape``.
        training: indices of the training frames.

    Raises:
        ValueError: the shapes do not match.
        NonFiniteError: features are NaN or infinite; the message names the frames.
    """

    def __init__(self, embeddings: Tensor, shape: tuple[int, ...], training: np.ndarray) -> None:
        if len(shape) != 3 or embeddings.ndim != 2 or embeddings.shape[1] != np.prod(shape):
            raise ValueError(
                f"dense probes need grids: embeddings (N, gh·gw·C) of shape (gh, gw, C); got "
                f"{tuple(embeddings.shape)} of shape {tuple(shape)}. Use readout spatial_softmax"
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
        """Number of tokens, T = gh · gw."""
        return self.shape[0] * self.shape[1]

    @property
    def channels(self) -> int:
        """Number of channels C of all scales together."""
        return self.shape[2]

    def chunks(self, frames: np.ndarray) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Yield indices and tokens ``(n, T, C)`` float32 of a few frames at a time."""
        step = max(1, _CHUNK_NUMBERS // (self.tokens * self.channels))
        for start in range(0, len(frames), step):
            part = frames[start : start + step]
            yield part, self._normalizer(self._grids[torch.from_numpy(part)])

    def column_chunks(self) -> Iterator[Tensor]:
        """Yield a few tokens of all frames at a time: ``(N, t · C)`` float32."""
        step = max(1, _CHUNK_NUMBERS // (len(self) * self.channels))
        for start in range(0, self.tokens, step):
            yield self._normalizer(self._grids[:, start : start + step]).flatten(1)

    def means(self) -> Tensor:
        """Return the mean tokens over the grid: ``(N, C)`` float32."""
        every = np.arange(len(self))
        return torch.cat([tokens.mean(dim=1) for _, tokens in self.chunks(every)])

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
            listed = ", ".join(map(str, broken[:8])) + ", ..." * (len(broken) > 8)
            raise NonFiniteError(
                f"features of frames {listed} (counted from 0) are NaN or infinite; delete them "
                "from the feature store and encode again with dtype float32"
            )


def upsampling(grid: tuple[int, int], size: int) -> Tensor:
    """Return bilinear upsampling as a matrix; its rows sum to 1.

    It is ``interpolate(mode="bilinear", align_corners=False)``.

    Args:
        grid: (gh, gw) of the tokens.
        size: side of the label maps.

    Returns:
        ``(size · size, gh · gw)`` float32.

    Examples:
        >>> upsampling((1, 2), 2)
        tensor([[1., 0.],
                [0., 1.],
                [1., 0.],
                [0., 1.]])
    """
    rows, columns = grid
    single = torch.eye(rows * columns).view(rows * columns, 1, rows, columns)
    maps = functional.interpolate(single, (size, size), mode="bilinear", align_corners=False)
    return maps.flatten(1).T.contiguous()
