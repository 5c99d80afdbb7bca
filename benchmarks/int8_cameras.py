"""Does an int8 encoder keep its calibration, and does it notice frames of another camera?

For each camera of pick-cube, a new encoder is calibrated on 14 of its frames, one after the other
on one machine. Then frames of other episodes are embedded one by one: the error is that of the
embeddings against float32, and a tile is out of range as the runtime counts it. The error of the
first camera's encoder is measured before and after the others are calibrated.

    python benchmarks/int8_cameras.py
"""

from __future__ import annotations

import argparse
import itertools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from s2robot import FrameEncoder
from s2robot.data.frame_sources import expert_episode
from s2robot.errors import CalibrationWarning
from s2robot.preprocessing.frame_input import as_frames
from s2robot.runtimes.calibrations import kept
from s2robot.runtimes.live_check import LiveCheck, Ranges
from s2robot.utils.io import write_json
from s2robot.utils.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "int8_cameras.json"
LEVEL, CAMERAS, SHAPE = "easy", ("front", "wrist", "far"), (192, 256)
CALIBRATION_FRAMES, CALIBRATION_SEEDS, TEST_SEEDS = 14, (0, 1), (2, 3)
RUNTIME = "openvino-int8"


def frames_of(camera: str, seeds: tuple[int, ...]) -> np.ndarray:
    """Frames of the expert's episodes ``(T, H, W, 3)`` uint8."""
    episodes = (expert_episode(LEVEL, camera, SHAPE, seed) for seed in seeds)
    return np.stack(list(itertools.chain.from_iterable(episodes)))


def error(found: Tensor, expected: Tensor) -> float:
    """Mean distance of an embedding from float32's, as a share of its length."""
    return float(((found - expected).norm(dim=-1) / expected.norm(dim=-1)).mean())


def out_of_range(encoder: FrameEncoder, frames: np.ndarray) -> float:
    """Share of the tiles of frames that the live check counts as out of range."""
    int8 = encoder.with_runtime(f"{RUNTIME}:{encoder.calibrations[0]}")
    base = encoder.backbone.card.preprocessing.image_size
    folder, record = kept(encoder.token_model, (base, base), encoder.calibrations[0])
    check = LiveCheck(Ranges.load(folder / "ranges.safetensors"), record.outside, "{} {}".format)
    tiles = [t for frame in frames for t in encoder.tiles(as_frames(frame), encoder.scale_layouts)]
    shares = [check.ranges.outside(int8.tokens(batch)) > check.limit for batch in tiles]
    return float(np.concatenate([share.numpy() for share in shares]).mean())


def row(encoder: FrameEncoder, calibrated: str, camera: str, expected: Tensor) -> dict[str, Any]:
    frames = frames_of(camera, TEST_SEEDS)
    int8 = encoder.with_runtime(RUNTIME)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", CalibrationWarning)
        for frame in frames:
            int8(frame)
    warned = [each for each in told if each.category is CalibrationWarning]
    return {
        "calibrated_on": calibrated,
        "frames_of": camera,
        "frames": len(frames),
        "error": error(int8(frames), expected),
        "tiles_out_of_range": out_of_range(encoder, frames),
        "warnings": len(warned),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    warnings.simplefilter("ignore", CalibrationWarning)

    def encoder() -> FrameEncoder:
        return FrameEncoder.from_name(
            "s2r-vitt16-128", (1, 2), "spatial_softmax", device="cpu", runtime="eager"
        )

    expected = {camera: encoder()(frames_of(camera, TEST_SEEDS)) for camera in CAMERAS}
    encoders, first = {}, []
    for camera in CAMERAS:
        encoders[camera] = encoder()
        encoders[camera].calibrate(frames_of(camera, CALIBRATION_SEEDS)[:CALIBRATION_FRAMES])
        int8 = encoders[CAMERAS[0]].with_runtime(RUNTIME)
        frames = frames_of(CAMERAS[0], TEST_SEEDS)
        first.append({"after": camera, "error": error(int8(frames), expected[CAMERAS[0]])})
    rows = [
        row(encoders[calibrated], calibrated, camera, expected[camera])
        for calibrated in CAMERAS
        for camera in CAMERAS
    ]
    for each in [*first, *rows]:
        print(each, flush=True)
    record = {
        "level": LEVEL,
        "frame": SHAPE,
        "encoder": encoder().spec.to_dict(),
        "calibration_frames": CALIBRATION_FRAMES,
        "episode_seeds": {"calibration": CALIBRATION_SEEDS, "test": TEST_SEEDS},
        "first_camera": first,
        "rows": rows,
    }
    write_json(options.out, {**record, "provenance": provenance()})


if __name__ == "__main__":
    main()
