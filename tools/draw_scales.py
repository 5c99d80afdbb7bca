"""Draw docs/pictures/scales.png: a camera frame and the tiles that S² makes of it.

python tools/draw_scales.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from s2robot import FrameEncoder
from s2robot.envs.pick_cube import PickCubeEnv

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "scales.png"
COLORS = {1: "#d95f02", 2: "#1f78b4"}
GAP = 10  # between drawn tiles [px]


def camera_frame(seed: int = 0) -> np.ndarray:
    """Return a start frame (384, 384, 3) of the level `precise`, seen by the camera `far`."""
    env = PickCubeEnv("precise", image_camera="far", image_size=384)
    observation, _ = env.reset(seed=seed)
    env.close()
    return observation["image"]


def encoder_tiles(frame: np.ndarray, scales: tuple[int, ...]) -> dict[int, np.ndarray]:
    """Return the tiles that the encoder receives, (n, n, 128, 128, 3) in [0, 1], by scale."""
    encoder = FrameEncoder.from_name("s2r-vitt16-128", scales=scales, device="cpu")
    batches = encoder.tiles(torch.from_numpy(frame)[None], list(encoder.layout.scales.values()))
    found = {}
    for scale, batch in zip(scales, batches, strict=True):
        pixels = batch.float().div(255).clamp(0, 1).permute(0, 2, 3, 1).numpy()
        found[scale] = pixels.reshape(scale, scale, *pixels.shape[1:])
    return found


def draw_tiles(axes: Axes, tiles: np.ndarray, color: str, title: str) -> None:
    """Draw a grid of tiles with gaps, each with a colored border, in the area of the frame."""
    rows = len(tiles)
    side = (384 - GAP * (rows - 1)) / rows
    for row in range(rows):
        for column in range(rows):
            left, top = column * (side + GAP), row * (side + GAP)
            extent = (left, left + side, top + side, top)
            axes.imshow(tiles[row, column], extent=extent, interpolation="nearest")
            box = Rectangle((left, top), side, side, fill=False, edgecolor=color, linewidth=2)
            axes.add_patch(box)
    _finish(axes, title)


def draw_frame(axes: Axes, frame: np.ndarray) -> None:
    """Draw the camera frame with the borders of the tiles of both scales."""
    axes.imshow(frame, extent=(0, 384, 384, 0))
    axes.add_patch(Rectangle((0, 0), 384, 384, fill=False, edgecolor=COLORS[1], linewidth=5))
    axes.plot([192, 192], [5, 379], [5, 379], [192, 192], color=COLORS[2], linewidth=2)
    _finish(axes, "camera image: 384 × 384 px")


def _finish(axes: Axes, title: str) -> None:
    axes.set_xlim(-4, 388)
    axes.set_ylim(388, -4)
    axes.set_title(title, fontsize=11)
    axes.axis("off")


def main() -> None:
    """Draw and save the picture."""
    matplotlib.use("Agg")
    frame = camera_frame()
    tiles = encoder_tiles(frame, (1, 2))
    figure, axes = plt.subplots(1, 3, figsize=(11, 4.1), facecolor="white")
    draw_frame(axes[0], frame)
    draw_tiles(axes[1], tiles[1], COLORS[1], "scale 1: one tile of 128 × 128 px")
    draw_tiles(axes[2], tiles[2], COLORS[2], "scale 2: four tiles of 128 × 128 px")
    figure.tight_layout(pad=0.6)
    figure.savefig(PICTURE, dpi=100, pil_kwargs={"optimize": True})
    print(f"wrote {PICTURE}, {PICTURE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
