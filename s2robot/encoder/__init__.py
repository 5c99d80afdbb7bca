"""Encoders of camera frames: whole frames, streams, selected tiles and single frames.

- ``spec``, ``options``: the options of an encoder, each declared once
- ``layout``, ``scale_layout``, ``readout``: shapes of tiles, grids and embeddings; token pooling
- ``tile_encoder``: cuts frames into tiles, runs the backbone, joins the scales
- ``frame_encoder``: frames to embeddings; ``multi_camera`` for several cameras
- ``distinct_tiles``: equal tiles of a batch are encoded once
- ``streaming``: reuses tiles of the frame before; ``tile_selection``, ``regions``: a tile budget
- ``single_frame``: one frame at a time; ``nonfinite``: names the cause of NaN
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "FrameEncoder": "s2robot.encoder.frame_encoder",
}
"""Modules of the names that this package had when it was a module; imported on first use."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
