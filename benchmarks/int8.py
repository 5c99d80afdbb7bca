"""What does int8 cost in precision?

Cube localization (``s2robot.analysis.probes``) from the shipped encoder's embeddings: one head is
fitted on float32 embeddings and judges float32 and int8 embeddings of the same test frames; another
is fitted on int8 ones. Calibration frames, training frames and test frames are of different
episodes. A difference is given as a share of the float32 error with a 95 % interval over episodes.

    python benchmarks/int8.py
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from s2robot import FrameEncoder
from s2robot.analysis.probes import error_summary, fit_localizer, localization_data, mean_difference
from s2robot.envs.levels import get_level
from s2robot.utils.io import write_json
from s2robot.utils.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "int8.json"
ENCODER = "s2r-vitt16-128"
CALIBRATION_EPISODES, CALIBRATION_SEED = 12, 990_000


def embeddings(encoder: FrameEncoder, frames: np.ndarray) -> torch.Tensor:
    """Embeddings ``(N, D)`` of frames."""
    return torch.cat([encoder(part) for part in np.array_split(frames, len(frames) // 32 + 1)])


def case(
    level: str, scales: tuple[int, ...], options: argparse.Namespace, folder: str
) -> dict[str, Any]:
    """Errors of both precisions on one level with one scale set."""
    camera = get_level(level).camera
    data = localization_data(
        level, camera, episodes=options.episodes, resets=options.resets, folder=folder
    )
    known = localization_data(
        level, camera, episodes=CALIBRATION_EPISODES, resets=0, seed=CALIBRATION_SEED, folder=folder
    )
    train, test = data.split()
    float32 = FrameEncoder.from_name(
        ENCODER, scales, "spatial_softmax", device="cpu", runtime="eager"
    )
    float32.use_runtime("openvino")
    calibration = float32.calibrate(known.frames)
    int8 = float32.with_runtime("openvino-int8")
    given = {"float32": embeddings(float32, train.frames), "int8": embeddings(int8, train.frames)}
    tested = {"float32": embeddings(float32, test.frames), "int8": embeddings(int8, test.frames)}
    cosine = torch.nn.functional.cosine_similarity(
        tested["float32"].double(), tested["int8"].double(), dim=-1
    )
    rows = []
    for seed in range(options.seeds):
        heads = {
            name: fit_localizer(e, float32.output_shape, train.cube_xy_m, train.episode, seed=seed)
            for name, e in given.items()
        }
        plain = heads["float32"].errors_mm(tested["float32"], test.cube_xy_m)
        same = heads["float32"].errors_mm(tested["int8"], test.cube_xy_m)
        own = heads["int8"].errors_mm(tested["int8"], test.cube_xy_m)
        rows.append({"seed": seed, "float32": plain, "int8": same, "int8_own_head": own})
    return {
        "level": level,
        "scales": list(scales),
        "train_frames": len(train),
        "test_frames": len(test),
        "calibration": {k: vars(v) for k, v in calibration.items()},
        "cosine_min": float(cosine.min()),
        "cosine_mean": float(cosine.mean()),
        **_pooled(rows, test.episode),
    }


def _pooled(rows: list[dict[str, Any]], episode: np.ndarray) -> dict[str, Any]:
    """Errors averaged over the heads' seeds frame by frame, and their relative change."""
    names = ("float32", "int8", "int8_own_head")
    mean = {name: np.mean([row[name] for row in rows], axis=0) for name in names}
    base = mean["float32"].mean()
    changes = {}
    for name in names[1:]:
        change = mean_difference(mean["float32"], mean[name], episode)
        values = (change.estimate, change.low, change.high)
        changes[name] = dict(
            zip(("estimate", "low", "high"), (v / base for v in values), strict=True)
        )
    return {
        "seeds": len(rows),
        "errors": {name: error_summary(mean[name], episode).to_dict() for name in names},
        "relative_change": changes,
    }


def show(row: dict[str, Any]) -> None:
    scales = ",".join(str(scale) for scale in row["scales"])
    errors = {name: e["mean_mm"]["estimate"] for name, e in row["errors"].items()}
    same, own = row["relative_change"]["int8"], row["relative_change"]["int8_own_head"]
    print(
        f"{row['level']} ({scales}): float32 {errors['float32']:.2f} mm, "
        f"int8 {errors['int8']:.2f} mm ({100 * same['estimate']:+.1f} % "
        f"[{100 * same['low']:+.1f}, {100 * same['high']:+.1f}]), "
        f"own head {errors['int8_own_head']:.2f} mm ({100 * own['estimate']:+.1f} %), "
        f"embeddings' cosine at least {row['cosine_min']:.5f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--episodes", type=int, default=60)
    parser.add_argument("--resets", type=int, default=900)
    parser.add_argument("--seeds", type=int, default=3, help="heads that errors are averaged over")
    parser.add_argument("--levels", nargs="+", default=["precise"])
    parser.add_argument("--folder", help="keeps the rendered frames")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for level in options.levels:
            for scales in ((1,), (1, 2), (1, 2, 3)):
                rows.append(case(level, scales, options, options.folder or temporary))
                show(rows[-1])
    write_json(options.out, {"encoder": ENCODER, "rows": rows, "provenance": provenance()})


if __name__ == "__main__":
    main()
