"""Where frames to pre-train on come from: scenes, pictures, videos, bags, demonstrations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from rich.console import Console
from rich.progress import track

from s2robot.data.bag_paths import BAGS, bag_and_topic
from s2robot.data.frame_sources import PICTURES, VIDEOS, video_frames
from s2robot.errors import CorruptFileError, unknown
from s2robot.pretraining.config import RENDERED, PretrainConfig
from s2robot.pretraining.frame_dataset import FrameDataset, kept_shards, rendered_shards
from s2robot.utils.io import digest_of

DEMONSTRATIONS = (".hdf5", ".h5")
_SIDEWAYS = (5, 6, 7, 8)  # values of EXIF's orientation that swap width and height
_ORIENTATION = 0x0112


def open_dataset(config: PretrainConfig, console: Console) -> FrameDataset:
    """Frames of all of a recipe's sources, prepared where they are not yet.

    Raises:
        FileNotFoundError: a source that does not exist.
        ValueError: a source of an unknown kind, or a bag without the topic or with several.
        CorruptFileError: pictures, a video, a bag or demonstrations that cannot be read.
        S2RobotError: too few frames.
    """
    segments: list[Path] = []
    if config.segments_weight:
        rendered = config.cache, config.frames, config.seed, config.frame_size
        segments = rendered_shards(*rendered, kind="segments")
    shards = [_shards(source, config, console) for source in config.source]
    pool = FrameDataset([path for paths in shards for path in paths], segments)
    console.print(f"{len(pool)} frames from {', '.join(config.source)}", highlight=False)
    return pool


def _shards(source: str, config: PretrainConfig, console: Console) -> list[Path]:
    if source == RENDERED:
        return rendered_shards(config.cache, config.frames, config.seed, config.frame_size)
    bag = bag_and_topic(source)
    path = bag[0] if bag else Path(source)
    if not path.exists():
        raise FileNotFoundError(
            f"source {source}: no such folder, video, bag or file of demonstrations; "
            f"without one give {RENDERED!r}"
        )
    settings = {"size": config.frame_size, "every": config.every}
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
    if kind in VIDEOS:
        return kept_shards(config.cache, key, lambda: _video(path, config), source)
    if kind in DEMONSTRATIONS:
        return kept_shards(config.cache, key, lambda: _demonstrations(path, config), source)
    known = (*VIDEOS, *BAGS, *DEMONSTRATIONS, "a folder of pictures")
    raise unknown("kind of source", path.suffix, known)


def _identity(path: Path) -> tuple[str, int, int]:
    """What tells a file from its later versions: place, size [bytes], time of change [ns]."""
    facts = path.stat()
    return str(path.resolve()), facts.st_size, facts.st_mtime_ns


def _identities(bag: Path) -> list[tuple[str, int, int]]:
    """Those of a bag's files: one, or all that lie in its folder."""
    return [_identity(p) for p in (sorted(bag.iterdir()) if bag.is_dir() else [bag])]


# -------------------------------------------------------------------------------------- pictures
@dataclass(frozen=True)
class Picture:
    """A picture file and its size [px] as it is to be looked at."""

    path: Path
    height: int
    width: int


def find_pictures(
    folder: Path, least: int, skip_unreadable: bool, console: Console
) -> list[Picture]:
    """Pictures of a folder and of the folders in it that can be read and are large enough.

    Raises:
        ValueError: there are none.
        CorruptFileError: some cannot be used, and ``skip_unreadable`` is not set.
    """
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURES)
    if not files:
        raise ValueError(f"{folder} holds no pictures; looked for {', '.join(PICTURES)}")
    good, bad = [], []
    for file in track(files, description="reading pictures", transient=True):
        try:
            good.append(_inspect(file, least))
        except (OSError, ValueError, SyntaxError) as error:
            bad.append(f"{file.relative_to(folder)} ({error})")
    if bad and not skip_unreadable:
        raise CorruptFileError(
            f"{len(bad)} of {len(files)} pictures in {folder} cannot be used: {_first(bad)}. "
            "Mend or remove them, or set skip_unreadable=true"
        )
    if bad:
        console.print(f"left out {len(bad)} of {len(files)} pictures: {_first(bad)}", markup=False)
    return good


def _first(lines: Sequence[str], count: int = 5) -> str:
    more = f" and {len(lines) - count} more" if len(lines) > count else ""
    return "; ".join(lines[:count]) + more


def _inspect(file: Path, least: int) -> Picture:
    """Decode a picture once; one with a whole header may still break off later."""
    with Image.open(file) as image:
        width, height = image.size
        if image.getexif().get(_ORIENTATION) in _SIDEWAYS:
            width, height = height, width
        if min(width, height) < least:
            raise ValueError(f"{width}x{height} px; the model takes {least} px")
        image.load()
    return Picture(file, height, width)


def common_shape(sizes: Sequence[tuple[int, int]], short_side: int) -> tuple[int, int]:
    """The (height, width) [px] in all pictures once each is scaled to ``short_side``."""
    scaled = [_scaled(height, width, short_side) for height, width in sizes]
    return min(height for height, _ in scaled), min(width for _, width in scaled)


def _scaled(height: int, width: int, short_side: int) -> tuple[int, int]:
    factor = short_side / min(height, width)
    return round(height * factor), round(width * factor)


def _fitted(pictures: Sequence[Picture], short_side: int, console: Console) -> Iterator[np.ndarray]:
    sizes = Counter((p.height, p.width) for p in pictures)
    shape = common_shape(list(sizes), short_side)
    if len(sizes) > 1:
        told = [f"{w}x{h} ({n})" for (h, w), n in sizes.most_common()]
        console.print(
            f"pictures of {len(sizes)} sizes: {_first(told)}; each is scaled to a short side of "
            f"{short_side} px and cut in its middle to {shape[1]}x{shape[0]}",
            highlight=False,
        )
    for picture in track(pictures, description="preparing pictures", transient=True):
        with Image.open(picture.path) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
        yield fit(upright, shape, short_side)


def fit(image: Image.Image, shape: tuple[int, int], short_side: int) -> np.ndarray:
    """Scale a picture to ``short_side`` and cut its middle to ``shape`` (height, width)."""
    height, width = _scaled(image.height, image.width, short_side)
    if (height, width) != (image.height, image.width):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    top, left = (height - shape[0]) // 2, (width - shape[1]) // 2
    return np.asarray(image)[top : top + shape[0], left : left + shape[1]]


# --------------------------------------------------------------- videos, bags and demonstrations
def _video(path: Path, config: PretrainConfig) -> Iterator[np.ndarray]:
    for frame in islice(video_frames(path), 0, None, config.every):
        yield _whole(frame, config.frame_size)


def _bag(path: Path, topic: str | None, config: PretrainConfig) -> Iterator[np.ndarray]:
    from s2robot.data.rosbag import bag_frames

    for frame in bag_frames(path, topic, config.every):
        yield _whole(np.ascontiguousarray(frame), config.frame_size)


def _whole(frame: np.ndarray, short_side: int) -> np.ndarray:
    """A frame at its own aspect ratio."""
    image = Image.fromarray(frame)
    return fit(image, _scaled(image.height, image.width, short_side), short_side)


def _demonstrations(path: Path, config: PretrainConfig) -> Iterator[np.ndarray]:
    from s2robot.data.demonstrations import Demonstrations
    from s2robot.data.rendered_frames import CameraConfig, RenderedFrames
    from s2robot.envs.levels import get_level

    demos = Demonstrations(path)
    camera = CameraConfig(get_level(demos.level).camera, config.frame_size)
    frames = RenderedFrames(demos, camera, config.cache / "demonstrations")
    for i in range(0, len(frames), config.every):
        yield frames.read(i, i + 1)[0]
