"""Frozen vision encoders with S² (Scaling on Scales) for robot manipulation policies.

``FrameEncoder`` turns camera frames into embeddings; ``load_policy`` returns a trained policy that
turns them into actions; ``multiscale_forward`` is the S² operator alone. Names are imported on
first use, so ``import s2robot`` stays light.

Examples:
    >>> import numpy as np
    >>> from s2robot import FrameEncoder
    >>> encoder = FrameEncoder.from_name("s2r-vitt16-128", scales=(1, 2), device="cpu")
    >>> tuple(encoder(np.zeros((480, 640, 3), np.uint8)).shape)
    (1, 384)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from s2robot._moved import install as _install_old_names
from s2robot._version import __version__

if TYPE_CHECKING:
    from s2robot.data.feature_store import FeatureStore
    from s2robot.encoder.frame_encoder import FrameEncoder
    from s2robot.encoder.spec import EncoderSpec
    from s2robot.evaluation.agents.loaded_policy import load_policy
    from s2robot.multiscale.forward import multiscale_forward

_HOMES = {
    "EncoderSpec": "s2robot.encoder.spec",
    "FrameEncoder": "s2robot.encoder.frame_encoder",
    "FeatureStore": "s2robot.data.feature_store",
    "load_policy": "s2robot.evaluation.agents.loaded_policy",
    "multiscale_forward": "s2robot.multiscale.forward",
}

__all__ = [
    "EncoderSpec",
    "FeatureStore",
    "FrameEncoder",
    "__version__",
    "load_policy",
    "multiscale_forward",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 's2robot' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


_install_old_names()
