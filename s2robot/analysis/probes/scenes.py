"""Rendered frames with all that the simulator knows of them: cube, grasp, segments and depth."""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import dataclasses
import functools
import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from s2robot.analysis.probes.intervals import split_episodes
from s2robot.analysis.probes.localization import FIRST_SEED, moments
from s2robot.envs.levels import CAMERAS, get_level
from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.envs.rendering import renderer
from s2robot.envs.segmentation import SEGMENTS, segment_of_geom
from s2robot.errors import CorruptFileError, unknown
from s2robot.utils.io import atomic_path, digest_of, locked
from s2robot.utils.provenance import versions
from s2robot.utils.validation import require_at_least

FARTHEST_M = 10.0
"""What is farther away, or empty, counts as this far (NYUv2 is judged alike)."""
FORMAT = 1


@dataclass(frozen=True)
class SceneConfig:
    """What is rendered: a task level through one camera."""

    level: str = "precise"
    camera: str = ""
    """``front``, ``far`` or ``wrist``; empty for the level's own."""
    size: int = 384
    """Side of a square frame [px]."""
    label_size: int = 96
    """Side of the label maps [px]; it divides ``size``."""
    episodes: int = 120
    """Of the expert with execution noise, every frame."""
    resets: int = 500
    """Further episodes of one frame: the arm near home, the cube anywhere."""
    seed: int = FIRST_SEED
    """Of the first episode's environment; the others follow."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "camera", self.camera or get_level(self.level).camera)
        get_level(self.level)
        if self.camera not in CAMERAS:
            raise unknown("camera", self.camera, CAMERAS)
        require_at_least(self, 1, "size", "label_size")
        require_at_least(self, 0, "episodes", "resets", "seed")
        if self.size % self.label_size:
            divisors = [n for n in range(16, self.size + 1) if self.size % n == 0]
            raise ValueError(
                f"label_size {self.label_size} does not divide the frames' size {self.size}; "
                f"take one of {divisors}"
            )
        if self.episodes + self.resets < 1:
            raise ValueError("episodes and resets are both 0; nothing would be rendered")

    def key(self) -> str:
        """Digest of all that decides the content, MuJoCo's version included."""
        level = dataclasses.asdict(get_level(self.level))
        made_with = {"task": level, "format": FORMAT, "mujoco": versions()["mujoco"]}
        return digest_of({**dataclasses.asdict(self), **made_with})[:16]


@dataclass(frozen=True)
class SceneData:
    """Frames and their labels; the frames of an episode follow each other."""

    frames: np.ndarray
    """(N, S, S, 3) uint8 RGB."""
    cube_xy_m: np.ndarray
    """(N, 2) float64, in the robot's base frame."""
    grasped: np.ndarray
    """(N,) bool: either finger presses on the cube sideways."""
    segments: np.ndarray
    """(N, L, L) uint8: the class of ``SEGMENTS`` that most of the pixels show."""
    depth_m: np.ndarray
    """(N, L, L) float32: median distance along the camera's axis, at most ``FARTHEST_M``."""
    episode: np.ndarray
    """(N,) int64: which episode a frame is of."""
    digest: str
    """SHA-256 of the frames; a feature store knows them by it."""

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def num_frames(self) -> int:
        """N, as a feature store asks for it."""
        return len(self.frames)

    @property
    def source(self) -> dict[str, Any]:
        """What decides the pixels besides the digest, for a feature store."""
        return {"kind": "probe scenes", "size": self.frames.shape[1]}

    def read(self, start: int, stop: int) -> np.ndarray:
        """Frames ``(stop - start, S, S, 3)`` uint8 RGB, for a feature store."""
        return self.frames[start:stop]

    def split(self, test_share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the training and of the test frames; no episode is in both.

        Episodes that move and single frames are split apart, so that both parts have their share.

        Raises:
            ValueError: too few episodes for two parts.
        """
        return split_frames(self.episode, test_share, seed)


def split_frames(episode: np.ndarray, share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the frames without, and with, a share of the episodes (N,), as ``split`` does."""
    numbers, lengths = np.unique(episode, return_counts=True)
    kinds = [numbers[lengths > 1], numbers[lengths == 1]]
    held_out = [split_episodes(kind, share, seed)[1] for kind in kinds if len(kind)]
    mask = np.isin(episode, np.concatenate(held_out))
    return np.flatnonzero(~mask), np.flatnonzero(mask)


def scene_data(
    config: SceneConfig = SceneConfig(),
    folder: str | Path = "data/probes",
    progress: bool = False,
) -> SceneData:
    """Render labelled frames; kept in ``folder``, where they are found again.

    Args:
        config: what to render.
        folder: for one file a setting, of about ``3 · size²`` bytes a frame.
        progress: show a bar.

    Raises:
        CorruptFileError: the kept file is damaged.
    """
    name = f"{config.level}-{config.camera}-{config.size}-{config.label_size}-{config.key()}.npz"
    path = Path(folder) / name
    with locked(path):
        if not path.exists():
            _save(path, _render(config, progress))
    return _load(path)


def majority(segments: np.ndarray, size: int) -> np.ndarray:
    """Classes (S, S) to the most frequent one of each of size x size blocks; of equals the first.

    A block's class is a label's whole truth: nearest pixels would flicker along edges.
    """
    blocks = _blocks(segments, size)
    counts = np.stack([(blocks == number).sum(axis=-1) for number in range(len(SEGMENTS))])
    return counts.argmax(axis=0).astype(np.uint8)


def lower_median(depth_m: np.ndarray, size: int) -> np.ndarray:
    """Depths (S, S) to one of the two middle values of each block, the nearer.

    So it is the depth of something seen, not of the air between two surfaces.
    """
    blocks = _blocks(depth_m, size)
    middle = (blocks.shape[-1] - 1) // 2
    return np.partition(blocks, middle, axis=-1)[..., middle]


def _blocks(picture: np.ndarray, size: int) -> np.ndarray:
    """(S, S) to (size, size, pixels of a block)."""
    side = len(picture) // size
    cut = picture.reshape(size, side, size, side).swapaxes(1, 2)
    return cut.reshape(size, size, side * side)


def _render(config: SceneConfig, progress: bool) -> SceneData:
    env = PickCubeEnv(level=config.level)
    try:
        states, episode = _states(env, config, progress)
        classes = np.append(segment_of_geom(env.model), 0).astype(np.uint8)  # -1: background
        look = functools.partial(_look, env, config, classes)
        frames = np.empty((len(states), config.size, config.size, 3), dtype=np.uint8)
        labels = []
        for index in _bar(range(len(states)), "rendering", progress):
            frames[index], found = look(states[index])
            labels.append(found)
    finally:
        env.close()
    columns = [np.stack(column) for column in zip(*labels, strict=True)]
    return SceneData(
        frames, *columns, episode=episode, digest=hashlib.sha256(frames.data).hexdigest()
    )


def _states(
    env: PickCubeEnv, config: SceneConfig, progress: bool
) -> tuple[list[np.ndarray], np.ndarray]:
    """States of all frames, and the episode of each (N,)."""
    states, numbers = [], []
    total = config.episodes + config.resets
    for number in _bar(range(total), "simulating", progress):
        found = [s for s, _ in moments(env, config.seed + number, number < config.episodes)]
        states += found
        numbers += [number] * len(found)
    return states, np.array(numbers)


def _look(
    env: PickCubeEnv, config: SceneConfig, classes: np.ndarray, state: np.ndarray
) -> tuple[np.ndarray, tuple[Any, ...]]:
    """The frame of a state, and its labels in the order of ``SceneData``'s fields."""
    observation, info = env.reset(options={"state": state})
    # Labels come second: where appearances vary, drawing the frame moves the data's cameras.
    frame = env.render_frame(config.camera, config.size, config.size)
    seen = renderer().render_labels(env.model, env.data, config.camera, config.size, config.size)
    return frame, (
        observation["cube_pos"][:2].astype(float),
        bool(info["grasped"]),
        majority(classes[seen.geom_id], config.label_size),
        lower_median(seen.depth_m, config.label_size).clip(max=FARTHEST_M),
    )


def _bar(items: range, text: str, shown: bool) -> Any:
    return track(items, text, console=Console(stderr=True), disable=not shown, transient=True)


def _save(path: Path, data: SceneData) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        arrays = {field.name: getattr(data, field.name) for field in dataclasses.fields(data)}
        np.savez(file, **arrays)


def _load(path: Path) -> SceneData:
    """Read a file whole; its zip format carries a checksum of every array."""
    names = [field.name for field in dataclasses.fields(SceneData)]
    try:
        with np.load(path, allow_pickle=False) as arrays:
            content = {name: arrays[name] for name in names}
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise CorruptFileError(f"{path} is damaged ({error}); delete it and rerun") from None
    return SceneData(**{**content, "digest": str(content["digest"])})
