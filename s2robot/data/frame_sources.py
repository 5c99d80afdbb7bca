"""Frames from rendered episodes, videos, folders of pictures, ROS bags, or noise."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from PIL import Image

from s2robot.data.bag_paths import BAGS, bag_and_topic
from s2robot.errors import CorruptFileError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".gif")
GENERATED = ("pick-cube", "noise")
"""Sources that need no file."""


def frames_from(source: str, height: int, width: int, count: int) -> np.ndarray:
    """Read frames from a source, or render or draw them.

    Args:
        source: "pick-cube" (the scripted expert, as the camera of the level `easy` sees it),
            "pick-cube/LEVEL", "noise", a video file, a folder of pictures (in the order of
            their names), or a bag: "PATH" if it has one topic of pictures, else "PATH:/topic".
        height: height of the frames [px]; pictures of another size are resized (area averages).
        width: width of the frames [px].
        count: largest number of frames.

    Returns:
        ``(T, height, width, 3)`` uint8, T at most ``count``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a folder without pictures, a file of an unknown kind, an unknown level, or a
            bag without the topic or with several.
        CorruptFileError: a file cannot be read.

    Examples:
        >>> frames = frames_from("noise", height=48, width=64, count=2)
        >>> frames.shape, frames.dtype
        ((2, 48, 64, 3), dtype('uint8'))
    """
    if source == "noise":
        shape = (count, height, width, 3)
        return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    task, _, level = source.partition("/")
    rendered = task == "pick-cube"
    found = _episodes(level or "easy", height, width) if rendered else _read(source)
    frames = [_fitted(frame, height, width) for frame, _ in zip(found, range(count), strict=False)]
    if not frames:
        raise CorruptFileError(f"{source} holds no frame that can be read; give another source")
    return np.stack(frames)


def _episodes(level: str, height: int, width: int) -> Iterator[np.ndarray]:
    """Yield the frames of one episode after another, as the level's own camera sees them."""
    from s2robot.envs.levels import get_level

    for seed in itertools.count():
        yield from expert_episode(level, get_level(level).camera, (height, width), seed)


def expert_episode(
    level: str, camera: str, shape: tuple[int, int], seed: int
) -> Iterator[np.ndarray]:
    """Yield frames ``(*shape, 3)`` uint8 of one episode of the scripted expert, until it succeeds.

    Args:
        level: name of the level.
        camera: name of the camera.
        shape: height and width of the frames [px].
        seed: seed of the episode.

    Raises:
        ValueError: the level or the camera is unknown, or the shape is below 1 px.
    """
    from s2robot.envs.expert import ScriptedExpert
    from s2robot.envs.pick_cube import PickCubeEnv

    env = PickCubeEnv(level=level, image_camera=camera, image_size=shape)
    try:
        expert = ScriptedExpert(env.level)
        observation, _ = env.reset(seed=seed)
        yield observation["image"]
        ended = False
        while not ended:
            observation, _, _, truncated, info = env.step(expert.action(observation))
            yield observation["image"]
            ended = truncated or bool(info["is_success"])
    finally:
        env.close()


def _read(source: str) -> Iterator[np.ndarray]:
    bag = bag_and_topic(source)
    if bag:
        from s2robot.data.rosbag import bag_frames

        return bag_frames(*bag)
    path = Path(source)
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURES)
        if not files:
            raise ValueError(f"{path} holds no pictures; looked for {', '.join(PICTURES)}")
        return (_picture(file) for file in files)
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such video, bag or folder of pictures; without any, use "
            f"{' or '.join(GENERATED)}"
        )
    if path.suffix.lower() not in VIDEOS:
        raise ValueError(
            f"{path} is neither a folder of pictures nor a video ({', '.join(VIDEOS)}) nor a bag "
            f"({', '.join(BAGS)})"
        )
    return video_frames(path)


def _picture(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise CorruptFileError(f"{path} cannot be read as a picture ({error})") from None


def video_frames(path: Path) -> Iterator[np.ndarray]:
    """Yield the frames (H, W, 3) uint8 RGB of a video, one after another.

    Raises:
        CorruptFileError: the video cannot be read.
    """
    try:
        yield from (frame[..., :3] for frame in iio.imiter(path))
    except (OSError, RuntimeError, ValueError) as error:
        raise CorruptFileError(f"{path} cannot be read as a video ({error})") from None


def _fitted(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    if frame.shape[:2] == (height, width):
        return np.ascontiguousarray(frame)
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BOX))
