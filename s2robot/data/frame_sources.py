"""Frames from rendered episodes, videos, folders of pictures, ROS bags, recorded data, or noise."""

from __future__ import annotations

import contextlib
import itertools
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from s2robot.data.bag_paths import BAGS, bag_and_topic
from s2robot.data.config import GENERATED
from s2robot.data.datasets.choice import DataChoice, cameras_to_take
from s2robot.data.datasets.opening import layout_of
from s2robot.errors import CorruptFileError
from s2robot.preprocessing.picture_files import PICTURES, read_picture
from s2robot.preprocessing.video_files import VIDEOS, read_video
from s2robot.utils.io import paths_below


def frames_from(source: str, height: int, width: int, count: int) -> np.ndarray:
    """Read frames from a source, or render or draw them.

    Args:
        source: "pick-cube" (the scripted expert, as the camera of the level `easy` sees it),
            "pick-cube/LEVEL", "noise", a video, a picture (an animated one gives its frames), a
            folder of pictures (see ``pictures_in``), or a bag: "PATH" if it has one topic of
            pictures, else "PATH:/topic".
        height: height of the frames [px]; pictures of another size are resized (area averages).
        width: width of the frames [px].
        count: largest number of frames.

    Returns:
        ``(T, height, width, 3)`` uint8, T at most ``count``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a folder without pictures, a file of an unknown kind, a picture or video that
            is refused (transparent, depth, HDR), an unknown level, or a bag without the topic or
            with several.
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


def frame_stream(source: str, height: int = 480, width: int = 640) -> Iterator[np.ndarray]:
    """Yield the frames ``(H, W, 3)`` uint8 RGB of a source once, in their own size.

    Args:
        source: as for ``frames_from``, without "noise"; "pick-cube" has no end.
        height: height of drawn frames [px].
        width: width of drawn frames [px].

    Raises:
        FileNotFoundError: as ``frames_from``, like ``ValueError`` and ``CorruptFileError``.
    """
    task, _, level = source.partition("/")
    rendered = task == "pick-cube"
    found = _episodes(level or "easy", height, width) if rendered else _read(source, ["pick-cube"])
    empty = True
    for frame in found:
        empty = False
        yield frame
    if empty:
        raise CorruptFileError(f"{source} holds no frame that can be read; give another source")


def is_recorded(source: str, choice: DataChoice) -> bool:
    """Return whether a source has episodes: recorded data, or demonstrations of this package.

    One bag is bare frames, as ``frames_from`` takes it, unless something is chosen of it.

    Args:
        source: name of the source.
        choice: what is taken of recorded data.
    """
    if source.partition("/")[0] in GENERATED:
        return False
    if bag_and_topic(source) is not None:
        return bool(choice.given)
    try:
        layout_of(Path(source))
    except (FileNotFoundError, ValueError):
        return False
    return True


def recorded_frames(
    source: str, choice: DataChoice, height: int, width: int, count: int, cache: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Read frames of episodes, spread evenly over them; each is decoded or drawn once.

    Args:
        source: file or folder, as ``open_chosen`` takes it: recorded data, or demonstrations of
            ``s2robot collect``.
        choice: the cameras, of which those of one moment belong to one episode.
        height: height of the frames [px]; others are resized (area averages).
        width: width of the frames [px].
        count: largest number of frames of each camera.
        cache: folder of drawn frames, and of decoded ones for the time of the call.

    Returns:
        ``(T, height, width, 3)`` uint8, camera after camera, and ``(T,)`` numbers of episodes.

    Raises:
        MismatchError: the task's module was not named by the user.
        ValueError: there are several cameras and none is named, or there is no such camera.
        CorruptFileError: the content is damaged.
    """
    from s2robot.data.rendered_demonstrations import frames_of, open_chosen

    with contextlib.closing(open_chosen(source, choice, cache)) as data:
        names = cameras_to_take(data, choice, "the study")
        total = int(data.episode_ends[-1])
        rows = np.linspace(0, total - 1, min(count, total)).round().astype(int)
        frames = [
            _fitted(reader.read(row, row + 1)[0], height, width)
            for reader in (frames_of(data, name, cache) for name in names)
            for row in rows.tolist()
        ]
        episodes = np.searchsorted(data.episode_ends, rows, side="right")
    return np.stack(frames), np.tile(episodes, len(names))


def frame_shape(source: str) -> tuple[int, int]:
    """Return the height and width of a source's first frame [px]; 480 x 640 for drawn ones.

    Args:
        source: as for ``frames_from``.

    Raises:
        FileNotFoundError: as ``frames_from``, like ``ValueError`` and ``CorruptFileError``.
    """
    if source.partition("/")[0] in GENERATED:
        return 480, 640
    for frame in _read(source):
        return frame.shape[0], frame.shape[1]
    raise CorruptFileError(f"{source} holds no frame that can be read; give another source")


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


def _read(source: str, generated: Sequence[str] = GENERATED) -> Iterator[np.ndarray]:
    bag = bag_and_topic(source)
    if bag:
        from s2robot.data.rosbag import bag_frames

        return bag_frames(*bag)
    path = Path(source)
    if path.is_dir():
        files = pictures_in(path)
        _warn_of_numbers(files, path)
        return map(read_picture, files)
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such picture, video, bag or folder of pictures; without any, use "
            f"{' or '.join(generated)}"
        )
    if path.suffix.lower() not in (*PICTURES, *VIDEOS):
        raise ValueError(
            f"{path} is neither a picture nor a folder of pictures ({', '.join(PICTURES)}) nor a "
            f"video ({', '.join(VIDEOS)}) nor a bag ({', '.join(BAGS)})"
        )
    return read_video(path)


def pictures_in(folder: Path) -> list[Path]:
    """Return the pictures in a folder and its subfolders, in the order of their names as text.

    Hidden files and folders, such as the "._NAME.jpg" that macOS adds, are left out.

    Args:
        folder: folder to search.

    Raises:
        ValueError: there are no pictures.
    """
    files = sorted(p for p in paths_below(folder) if p.suffix.lower() in PICTURES and p.is_file())
    shown = [p for p in files if not any(n.startswith(".") for n in p.relative_to(folder).parts)]
    if not shown:
        raise ValueError(f"{folder} holds no pictures; looked for {', '.join(PICTURES)}")
    return shown


def _warn_of_numbers(files: Sequence[Path], folder: Path) -> None:
    """Warn if the order of the names as text is not that of the numbers in them."""
    counted = sorted(files, key=lambda path: _with_numbers(str(path.relative_to(folder))))
    for path, expected in zip(files, counted, strict=True):
        if path != expected:
            warnings.warn(
                f"{folder}: pictures are taken in the order of their names as text, so {path.name} "
                f"comes before {expected.name}; if their order in time matters, rename them to "
                "numbers of equal length (009, 010)",
                stacklevel=4,
            )
            return


def _with_numbers(name: str) -> list[str | int]:
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", name))]


def _fitted(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    if frame.shape[:2] == (height, width):
        return np.ascontiguousarray(frame)
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BOX))
