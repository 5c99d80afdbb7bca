"""Frozen vision encoders with S² (Scaling on Scales) for robot manipulation policies.

``FrameEncoder`` turns camera frames into embeddings; ``multiscale_forward`` is the S² operator
alone. Names are imported on first use, so ``import s2robot`` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from s2robot.encoder import FrameEncoder
    from s2robot.features import FeatureStore
    from s2robot.scaling import multiscale_forward
    from s2robot.spec import EncoderSpec

_HOMES = {
    "EncoderSpec": "s2robot.spec",
    "FrameEncoder": "s2robot.encoder",
    "FeatureStore": "s2robot.features",
    "multiscale_forward": "s2robot.scaling",
}

__all__ = ["EncoderSpec", "FeatureStore", "FrameEncoder", "multiscale_forward"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 's2robot' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
