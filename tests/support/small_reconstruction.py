"""Small encoders to reconstruct features with, and helpers of plain least squares."""

from __future__ import annotations

from typing import Any

import numpy as np

from s2robot.analysis.reconstruction.sources import Source
from support.small_encoders import encoder_of

FULL: dict[str, Any] = {"geometry": "full", "readout": "spatial_softmax"}


def source(kind: str = "one prefix", *sets: tuple[float, ...], **settings: Any) -> Source:
    sets = sets or ((1,),)
    scales = tuple(sorted({scale for each in sets for scale in each}))
    return Source(kind, encoder_of(kind, scales=scales, **FULL), sets, **settings)


def all_sources() -> list[Source]:
    return [source("one prefix", (1,), (1, 2), (2,)), source("registers", (1,), reference=True)]


def with_ones(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)
