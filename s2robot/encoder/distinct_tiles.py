"""Tiles that are equal pixel for pixel are encoded once, where that gives the same bits.

Frames of one camera share tiles: those of the environments of a rollout and successive frames of an
episode show the same table wherever neither arm nor cube is. The tiles of S² do not attend to each
other, so equal tiles have equal tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

Encode = Callable[[Tensor], Tensor]
_STRIDE = 509
"""Every so many numbers of a tile are compared first; prime, so that they are of all columns."""


class DistinctTiles:
    """Encodes each distinct tile of a batch once, where that gives the bits of the whole batch.

    Most backbones compute a tile alike whatever else is in the batch, in float32 on processors.
    Some do not (the depthwise convolutions of EfficientNet in PyTorch), and it depends on the
    processor. So the first batch with equal tiles is encoded both ways, for each runtime and tile
    size; where a bit differs, all tiles are encoded from then on.
    """

    def __init__(self) -> None:
        self._alike: dict[tuple[str, torch.Size], bool] = {}

    def encode(self, tiles: Tensor, encode: Encode, runtime: str) -> Tensor:
        """Return the tokens of tiles.

        Args:
            tiles: ``(N, 3, h, w)`` on the CPU, in one memory layout.
            encode: maps tiles ``(n, 3, h, w)`` to tokens ``(n, P + g, C)``.
            runtime: name of what ``encode`` runs; each is checked for itself.

        Returns:
            ``(N, P + g, C)``, the same bits as ``encode(tiles)``.
        """
        first, places = distinct(tiles)
        if len(first) == len(tiles):
            return encode(tiles)
        key = runtime, tiles.shape[-2:]
        if key not in self._alike:
            whole = encode(tiles)
            alone, some = encode(tiles[:1]), encode(tiles[first])
            same = torch.equal(alone, whole[:1]) and torch.equal(some[places], whole)
            self._alike[key] = same
            return whole
        return encode(tiles[first])[places] if self._alike[key] else encode(tiles)


def distinct(tiles: Tensor) -> tuple[list[int], list[int]]:
    """Find the tiles of a batch that differ from each other in a pixel.

    Args:
        tiles: ``(N, ...)`` on the CPU.

    Returns:
        Index of each distinct tile's first place, in order, and, for each of the N tiles, the
        number of its distinct tile: ``tiles[first][places]`` is ``tiles``.

    Examples:
        >>> distinct(torch.tensor([[7], [8], [7]]))
        ([0, 1], [0, 1, 0])
    """
    numbers: dict[bytes, int] = {}  # compares all bytes where hashes are equal
    first: list[int] = []
    places: list[int] = []
    samples = [sample.tobytes() for sample in tiles.flatten(1)[:, ::_STRIDE].contiguous().numpy()]
    alike = Counter(samples)
    for index, sample in enumerate(samples):
        # A tile whose sample nobody shares is equal to no other one: the rest is not compared.
        key = sample if alike[sample] == 1 else tiles[index].numpy().tobytes()
        number = numbers.setdefault(key, len(numbers))
        if number == len(first):
            first.append(index)
        places.append(number)
    return first, places
