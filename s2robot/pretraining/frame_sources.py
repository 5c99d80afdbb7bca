"""Sources of frames for pre-training: scenes, images, videos, bags, demonstrations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console

from s2robot.data.bag_paths import BAGS, bag_and_topic
from s2robot.data.frame_sources import pictures_in
from s2robot.data.rendered_frames import CameraConfig, RenderedFrames, drawn_with
from s2robot.errors import CorruptFileError, unknown
from s2robot.preprocessing.picture_files import (
    PICTURES,
    READER_VERSION,
    PictureError,
    read_picture,
)
from s2robot.preprocessing.video_files import VIDEOS, read_video
from s2robot.pretraining.config import RENDERED, PretrainConfig
from s2robot.pretraining.frame_dataset import FrameDataset, kept_shards, rendered_shards
from s2robot.utils.io import digest_of
from s2robot.utils.progress import tracked

DEMONSTRATIONS = (".hdf5", ".h5")


def open_dataset(config: PretrainConfig, console: Console) -> FrameDataset:
    """Return the frames of all sources of a run; frames that are not prepared yet are prepared.

    Args:
        config: settings of the run.
        console: console for messages.

    Raises:
        FileNotFoundError: a source does not exist.
        ValueError: the kind of a source is unknown, a bag has no such topic or several topics, or
            a video is refused (transparent, depth, HDR).
        CorruptFileError: images, a video, a bag or demonstrations cannot be read.
        S2RobotError: there are too few frames.
    """
    segments: list[Path] = []
    if config.segments_weight:
        rendered = config.cache, config.frames, config.seed, config.frame_size
        segments = rendered_shards(*rendered, kind="segments")
    shards = [_shards(source, config, console) for source in config.source]
    dataset = FrameDataset([path for paths in shards for path in paths], segments)
    console.print(f"{len(dataset)} frames from {', '.join(config.source)}")
    return dataset


def _shards(source: str, config: PretrainConfig, console: Console) -> list[Path]:
    if source == RENDERED:
        return rendered_shards(config.cache, config.frames, config.seed, config.frame_size)
    bag = bag_and_topic(source)
    path = bag[0] if bag else Path(source)
    if not path.exists():
        raise FileNotFoundError(
            f"source {source}: no such folder, video, bag or file of demonstrations; "
            f"to render frames instead, give {RENDERED!r}"
        )
    settings = {"size": config.frame_size, "every": config.every, "reader": READER_VERSION}
    if bag:
        key = digest_of({"bag": _identities(path), "topic": bag[1], **settings})[:16]
        return kept_shards(config.cache, key, lambda: _bag(*bag, config), source)
    if path.is_dir():
        pictures = find_pictures(path, config.model.img_size, config.skip_unreadable, console)
        key = digest_of({"pictures": [_identity(p.path) for p in pictures], **settings})[:16]
        size = config.frame_size
        return kept_shards(config.cache, key, lambda: _fitted(pictures, size, console), source)
    key = digest_of({"file": _identity(path), **settings})[:16]
    kind = path.suffix.lower()
    if kind in (*VIDEOS, *PICTURES):
        return kept_shards(config.cache, key, lambda: _video(path, config), source)
    if kind in DEMONSTRATIONS:
        key = digest_of({"file": _identity(path), **settings, **drawn_with()})[:16]
        return kept_shards(config.cache, key, lambda: _demonstrations(path, config), source)
    known = (*VIDEOS, *BAGS, *DEMONSTRATIONS, "a folder of pictures")
    raise unknown("kind of source", path.suffix, known)


def _identity(path: Path) -> tuple[str, int, int]:
    """Return what identifies a version of a file: path, size [bytes], modification time [ns]."""
    facts = path.stat()
    return str(path.resolve()), facts.st_size, facts.st_mtime_ns


def _identities(bag: Path) -> list[tuple[str, int, int]]:
    """Return the identities of a bag's files: one file, or all files in its folder."""
    return [_identity(p) for p in (sorted(bag.iterdir()) if bag.is_dir() else [bag])]


# ---------------------------------------------------------------------------------------- images
@dataclass(frozen=True)
class Picture:
    """An image file and its size [px] in upright orientation."""

    path: Path
    height: int
    width: int


def find_pictures(
    folder: Path, least: int, skip_unreadable: bool, console: Console
) -> list[Picture]:
    """Return the images in a folder and its subfolders that can be read and are large enough.

    Args:
        folder: folder to search.
        least: minimum length of the shorter side [px].
        skip_unreadable: skip images that cannot be used; otherwise raise an error.
        console: console for messages.

    Raises:
        ValueError: there are no images.
        CorruptFileError: some cannot be used, and ``skip_unreadable`` is not set.
    """
    files = pictures_in(folder)
    good, bad = [], []
    for file in tracked(files, "reading images"):
        try:
            good.append(_inspect(file, least))
        except (CorruptFileError, PictureError) as error:
            bad.append(str(error).replace(str(file), str(file.relative_to(folder)), 1))
    if bad and not skip_unreadable:
        raise CorruptFileError(
            f"{len(bad)} of {len(files)} images in {folder} cannot be used: {_first(bad)}. "
            "Fix or remove them, or set skip_unreadable=true"
        )
    if bad:
        console.print(f"skipped {len(bad)} of {len(files)} images: {_first(bad)}")
    return good


def _first(lines: Sequence[str], count: int = 5) -> str:
    more = f" and {len(lines) - count} more" if len(lines) > count else ""
    return "; ".join(lines[:count]) + more


def _inspect(file: Path, least: int) -> Picture:
    """Decode an image once, because a file with a complete header may still be truncated."""
    height, width, _ = read_picture(file).shape
    if min(width, height) < least:
        raise PictureError(f"{file}: {width}x{height} px; the model needs {least} px")
    return Picture(file, height, width)


def common_shape(sizes: Sequence[tuple[int, int]], short_side: int) -> tuple[int, int]:
    """Return the largest (height, width) [px] that fits into all images after scaling.

    Args:
        sizes: (height, width) of each image [px].
        short_side: shorter side that each image is scaled to [px].
    """
    scaled = [_scaled(height, width, short_side) for height, width in sizes]
    return min(height for height, _ in scaled), min(width for _, width in scaled)


def _scaled(height: int, width: int, short_side: int) -> tuple[int, int]:
    factor = short_side / min(height, width)
    return round(height * factor), round(width * factor)


def _fitted(pictures: Sequence[Picture], short_side: int, console: Console) -> Iterator[np.ndarray]:
    sizes = Counter((p.height, p.width) for p in pictures)
    shape = common_shape(list(sizes), short_side)
    if len(sizes) > 1:
        listed = [f"{w}x{h} ({n})" for (h, w), n in sizes.most_common()]
        console.print(
            f"images of {len(sizes)} sizes: {_first(listed)}; each is scaled to a shorter side of "
            f"{short_side} px and center-cropped to {shape[1]}x{shape[0]}",
        )
    for picture in tracked(pictures, "preparing images"):
        yield fit(Image.fromarray(read_picture(picture.path)), shape, short_side)


def fit(image: Image.Image, shape: tuple[int, int], short_side: int) -> np.ndarray:
    """Return an image after scaling and center crop.

    Args:
        image: RGB image.
        shape: (height, width) of the result [px].
        short_side: shorter side that the image is scaled to [px].

    Returns:
        ``(height, width, 3)`` uint8.
    """
    height, width = _scaled(image.height, image.width, short_side)
    if (height, width) != (image.height, image.width):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    top, left = (height - shape[0]) // 2, (width - shape[1]) // 2
    return np.asarray(image)[top : top + shape[0], left : left + shape[1]]


# --------------------------------------------------------------- videos, bags and demonstrations
def _video(path: Path, config: PretrainConfig) -> Iterator[np.ndarray]:
    for frame in islice(read_video(path), 0, None, config.every):
        yield _whole(frame, config.frame_size)


def _bag(path: Path, topic: str | None, config: PretrainConfig) -> Iterator[np.ndarray]:
    from s2robot.data.rosbag import bag_frames

    for frame in bag_frames(path, topic, config.every):
        yield _whole(np.ascontiguousarray(frame), config.frame_size)


def _whole(frame: np.ndarray, short_side: int) -> np.ndarray:
    """Return a scaled frame with its original aspect ratio."""
    image = Image.fromarray(frame)
    return fit(image, _scaled(image.height, image.width, short_side), short_side)


def _demonstrations(path: Path, config: PretrainConfig) -> Iterator[np.ndarray]:
    from s2robot.data.demonstrations import Demonstrations
    from s2robot.envs.levels import get_level

    demos = Demonstrations(path)
    camera = CameraConfig(get_level(demos.level).camera, config.frame_size)
    frames = RenderedFrames(demos, camera, config.cache / "demonstrations")
    for i in range(0, len(frames), config.every):
        yield frames.read(i, i + 1)[0]
