"""Videos and strips of some episodes, which are replayed from their actions to draw them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
from PIL import Image

from s2robot.evaluation.env_group import carry_out
from s2robot.utils.io import atomic_path
from s2robot.utils.progress import tracked

CAMERA = "front"  # near the cube, whatever the policy's camera
STRIP_FRAMES = 8
STRIP_HEIGHT_PX = 192


def replay(
    env: Any, state: np.ndarray, actions: np.ndarray, size: int, camera: str = CAMERA
) -> list[np.ndarray]:
    """Render an episode from its first state and its actions.

    Args:
        env: of the episode's task.
        state: initial state, as the environment's ``get_state`` returns it.
        actions: of each step (T, A), as in files.
        size: edge of the frames [px].
        camera: of the frames.

    Returns:
        T + 1 frames (size, size, 3) uint8 RGB; of a task whose frames have a size of their own, or
        whose cameras have other names, those of its own camera.
    """
    if camera not in env.cameras:
        camera = env.cameras[0]
    env.reset(seed=0, options={"state": state})
    shape = env.frame_shape(camera) or (size, size)
    frames = [env.render_frame(camera, *shape)]
    for row in actions:
        carry_out(env, row)
        frames.append(env.render_frame(camera, *shape))
    return frames


def even(frame: np.ndarray) -> np.ndarray:
    """Return a frame with even sides, as H.264 takes them; its last row and column may double."""
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def write_video(path: Path, frames: Sequence[np.ndarray], fps: float) -> None:
    """Write a video as H.264, atomically.

    Args:
        path: of the video.
        frames: (H, W, 3) uint8 RGB each.
        fps: frames per second.
    """
    with atomic_path(path) as temporary:
        imageio.imwrite(
            temporary,
            np.stack([even(frame) for frame in frames]),
            plugin="FFMPEG",
            fps=fps,
            codec="libx264",
            pixelformat="yuv420p",
            macro_block_size=2,
            ffmpeg_log_level="error",
        )


def write_strip(path: Path, frames: Sequence[np.ndarray]) -> None:
    """Write evenly spaced frames of an episode side by side as PNG, atomically.

    Args:
        path: of the picture.
        frames: (H, W, 3) uint8 RGB each.
    """
    picks = np.linspace(0, len(frames) - 1, min(STRIP_FRAMES, len(frames))).round().astype(int)
    height, width = frames[0].shape[:2]
    size = (round(STRIP_HEIGHT_PX * width / height), STRIP_HEIGHT_PX)
    small = [Image.fromarray(frames[i]).resize(size, Image.Resampling.BOX) for i in picks]
    with atomic_path(path) as temporary:
        Image.fromarray(np.concatenate([np.asarray(image) for image in small], axis=1)).save(
            temporary, "PNG"
        )


def pick_episodes(rows: Sequence[Mapping[str, Any]], count: int) -> list[tuple[str, int]]:
    """Return the first successes and the first failures.

    Args:
        rows: of ``episodes.jsonl``.
        count: of each kind.

    Returns:
        Pairs ("success" or "failure", index of the episode).
    """
    picked = []
    for kind, wanted in (("success", True), ("failure", False)):
        indices = [int(row["index"]) for row in rows if bool(row["success_once"]) is wanted]
        picked += [(kind, index) for index in sorted(indices)[:count]]
    return picked


def record_episodes(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    count: int,
    replay_frames: Callable[[int], Sequence[np.ndarray]],
    fps: float,
    progress: bool = False,
) -> dict[str, tuple[str, ...]]:
    """Write videos of the first successes and failures, and strips of the failures.

    Args:
        folder: gets the folders ``videos`` and ``strips``; files that exist are not drawn again.
        rows: of ``episodes.jsonl``.
        count: of each kind.
        replay_frames: index of an episode to its frames.
        fps: frames per second of the videos.
        progress: show a progress bar.

    Returns:
        "videos" and "strips": paths relative to `folder`.
    """
    videos, strips = [], []
    picked = list(pick_episodes(rows, count))
    for kind, index in tracked(picked, "recording videos", progress and bool(picked)):
        video = folder / "videos" / f"{kind}_{index:05d}.mp4"
        strip = folder / "strips" / f"{kind}_{index:05d}.png"
        if not video.exists() or (kind == "failure" and not strip.exists()):
            frames = replay_frames(index)
            write_video(video, frames, fps)
            if kind == "failure":
                write_strip(strip, frames)
        videos.append(str(video.relative_to(folder)))
        strips += [str(strip.relative_to(folder))] if kind == "failure" else []
    return {"videos": tuple(videos), "strips": tuple(strips)}
