"""Write the golden embedding of the encoder that ships: run after its weights were replaced.

PYTHONPATH=tests python tests/support/make_golden.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from s2robot.backbones.backbone import packaged_card
from s2robot.backbones.card_files import weights_path
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.utils.io import sha256_file, write_json

GOLDEN = Path(__file__).parents[1] / "golden" / "s2r-vitt16-128.json"


def golden_frame(size: int = 300) -> np.ndarray:
    """A picture from a formula ``(size, size, 3)`` uint8: waves that grow finer to the right."""
    y, x = np.mgrid[:size, :size] / size
    waves = [np.sin(40 * x * x + phase + 9 * y) for phase in (0.0, 1.0, 2.0)]
    return np.round(127.5 + 127.5 * np.stack(waves, axis=-1)).astype(np.uint8)


def golden_embedding() -> list[float]:
    """Mean-pooled tokens at scales 1 and 2, rounded."""
    encoder = FrameEncoder.from_name(
        "s2r-vitt16-128",
        scales=(1, 2),
        readout="mean",
        device="cpu",
        dtype="float32",
        runtime="eager",
    )
    return [round(value, 5) for value in encoder(golden_frame())[0].tolist()]


if __name__ == "__main__":
    sha256 = sha256_file(weights_path(packaged_card()))
    write_json(GOLDEN, {"sha256": sha256, "embedding": golden_embedding()})
    print(f"wrote {GOLDEN}")
