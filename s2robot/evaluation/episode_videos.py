"""Videos and strips of single episodes, replayed from their actions: only these are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
from PIL import Image

from s2robot.utils.io import atomic_path

CAMERA = "front"  # near the cube, whatever camera the policy looks through
STRIP_FRAMES = 8
STRIP_HEIGHT_PX = 192


def replay(env: Any, state: np.ndarray, actions: np.ndarray, size: int) -> list[np.ndarray]:
    """Render an episode from its first state and actions (T, A): T + 1 frames (size, size, 3)."""
    env.reset(seed=0, options={"state": state})
    frames = [env.render_frame(CAMERA, size, size)]
    for action in actions:
        env.step(action)
        frames.append(env.render_frame(CAMERA, size, size))
    return frames


def write_video(path: Path, frames: Sequence[np.ndarray], fps: float) -> None:
    """Write frames (H, W, 3) uint8 with even H and W as H.264, atomically."""
    with atomic_path(path) as temporary:
        imageio.imwrite(
            temporary,
            np.stack(frames),
            plugin="FFMPEG",
            fps=fps,
            codec="libx264",
            pixelformat="yuv420p",
            macro_block_size=2,
            ffmpeg_log_level="error",
        )


def write_strip(path: Path, frames: Sequence[np.ndarray]) -> None:
    """Write evenly spaced frames of an episode side by side as PNG, atomically."""
    picks = np.linspace(0, len(frames) - 1, min(STRIP_FRAMES, len(frames))).round().astype(int)
    size = (STRIP_HEIGHT_PX, STRIP_HEIGHT_PX)
    small = [Image.fromarray(frames[i]).resize(size, Image.Resampling.BOX) for i in picks]
    with atomic_path(path) as temporary:
        Image.fromarray(np.concatenate([np.asarray(image) for image in small], axis=1)).save(
            temporary, "PNG"
        )


def pick_episodes(rows: Sequence[Mapping[str, Any]], count: int) -> list[tuple[str, int]]:
    """Return the first `count` successes and failures: ("success" | "failure", index) pairs."""
    picked = []
    for kind, wanted in (("success", True), ("failure", False)):
        indices = [int(row["index"]) for row in rows if bool(row["success_once"]) is wanted]
        picked += [(kind, index) for index in sorted(indices)[:count]]
    return picked
