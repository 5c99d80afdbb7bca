"""Rendered frames with their labels: position of the cube, grasp, segmentation and depth."""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import dataclasses
import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.analysis.probes import EPISODES, LINEAR_TASKS, RESETS
from s2robot.analysis.probes.intervals import split_episodes
from s2robot.analysis.probes.localization import FIRST_SEED, moments
from s2robot.data.rendered_frames import drawn_with
from s2robot.envs.levels import CAMERAS, get_level
from s2robot.envs.scene import SEGMENTS, segment_of_geom
from s2robot.envs.tasks.pick_cube import PickCubeTaskEnv
from s2robot.errors import unknown
from s2robot.utils.io import atomic_path, digest_of, locked
from s2robot.utils.progress import tracked
from s2robot.utils.records import damaged, read_arrays
from s2robot.utils.validation import require_at_least

FARTHEST_M = 10.0
"""Largest depth: pixels farther away, or empty, get this value (as in NYUv2)."""
FORMAT = 1
"""Version of the stored files."""


@dataclass(frozen=True)
class SceneConfig:
    """A task level, a camera, and the number of frames to render."""

    level: str = "precise"
    camera: str = ""
    """``front``, ``far`` or ``wrist``; empty for that of the level."""
    size: int = 384
    """Side of a square frame [px]."""
    label_size: int = 96
    """Side of the label maps [px]; it divides ``size``."""
    episodes: int = EPISODES
    """Number of episodes of the expert with execution noise; every frame is used."""
    resets: int = RESETS
    """Number of further frames of random scenes: the arm near home, the cube anywhere."""
    seed: int = FIRST_SEED
    """Seed of the first episode; the others follow."""

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
                f"label_size {self.label_size} does not divide the frame size {self.size}; "
                f"use one of {divisors}"
            )
        if self.episodes + self.resets < 1:
            raise ValueError("episodes and resets are both 0; at least one must be above 0")

    tasks = (*LINEAR_TASKS, "localization-head")
    """Names of the tasks that there are labels for."""

    def load(self, data_dir: Path, progress: bool = False) -> SceneData:
        """Render the frames, or read them; see ``scene_data``.

        Args:
            data_dir: folder of frames.
            progress: show a bar.
        """
        return scene_data(self, data_dir / "probes", progress)

    def key(self) -> str:
        """Return the digest of all settings that decide the content, and of what draws it."""
        level = dataclasses.asdict(get_level(self.level))
        made_with = {"task": level, "format": FORMAT, **drawn_with()}
        return digest_of({**dataclasses.asdict(self), **made_with})[:16]


@dataclass(frozen=True)
class SceneData:
    """Frames and their labels; the frames of an episode are consecutive."""

    frames: np.ndarray
    """(N, S, S, 3) uint8 RGB."""
    cube_xy_m: np.ndarray
    """(N, 2) float64, in the robot's base frame."""
    grasped: np.ndarray
    """(N,) bool: a finger presses on the cube from the side."""
    segments: np.ndarray
    """(N, L, L) uint8: the most frequent class of ``SEGMENTS`` in each block of pixels."""
    depth_m: np.ndarray
    """(N, L, L) float32: median depth of each block of pixels, at most ``FARTHEST_M``."""
    episode: np.ndarray
    """(N,) int64: episode of each frame."""
    digest: str
    """SHA-256 of the frames; the key in a feature store."""

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def num_frames(self) -> int:
        """Number of frames N."""
        return len(self.frames)

    @property
    def frame_size(self) -> int:
        """Side of the frames [px]."""
        return self.frames.shape[1]

    @property
    def source(self) -> dict[str, Any]:
        """Description of the frames for a feature store."""
        return {"kind": "probe scenes", "size": self.frames.shape[1]}

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return the frames ``(stop - start, S, S, 3)`` uint8 RGB."""
        return self.frames[start:stop]

    def split(self, test_share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices of training and test frames; no episode is in both.

        Args:
            test_share: fraction of the episodes for testing.
            seed: of the draw.

        Raises:
            ValueError: there are too few episodes.
        """
        return split_frames(self.episode, test_share, seed)


def split_frames(episode: np.ndarray, share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the frames of two sets of episodes.

    Moving episodes and single frames are split separately, so that both sets have some of each.

    Args:
        episode: ``(N,)`` episode of each frame.
        share: fraction of the episodes in the second set.
        seed: of the draw.

    Raises:
        ValueError: there are too few episodes.
    """
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
    """Render labeled frames, or read them from ``folder``.

    Args:
        config: of the frames.
        folder: for the files, one for each configuration, of about ``3 · size²`` bytes a frame.
        progress: show a bar.

    Raises:
        CorruptFileError: the stored file is damaged.
    """
    name = f"{config.level}-{config.camera}-{config.size}-{config.label_size}-{config.key()}.npz"
    path = Path(folder) / name
    with locked(path):
        if not path.exists():
            _save(path, _render(config, progress))
    return _load(path)


def majority(segments: np.ndarray, size: int) -> np.ndarray:
    """Return the most frequent class of each block of pixels; of equals the first.

    The nearest pixel instead would flicker along edges.

    Args:
        segments: ``(S, S)`` classes.
        size: number of blocks along a side.

    Returns:
        ``(size, size)`` uint8.
    """
    blocks = _blocks(segments, size)
    counts = np.stack([(blocks == number).sum(axis=-1) for number in range(len(SEGMENTS))])
    return counts.argmax(axis=0).astype(np.uint8)


def lower_median(depth_m: np.ndarray, size: int) -> np.ndarray:
    """Return the lower median depth of each block of pixels.

    It is the depth of a visible surface, not a value between two surfaces.

    Args:
        depth_m: ``(S, S)`` [m].
        size: number of blocks along a side.

    Returns:
        ``(size, size)`` [m].
    """
    blocks = _blocks(depth_m, size)
    middle = (blocks.shape[-1] - 1) // 2
    return np.partition(blocks, middle, axis=-1)[..., middle]


def _blocks(image: np.ndarray, size: int) -> np.ndarray:
    """Return (size, size, pixels of a block) of an image (S, S)."""
    side = len(image) // size
    blocks = image.reshape(size, side, size, side).swapaxes(1, 2)
    return blocks.reshape(size, size, side * side)


def _render(config: SceneConfig, progress: bool) -> SceneData:
    env = PickCubeTaskEnv(level=config.level)
    try:
        states, episode = _states(env, config, progress)
        classes = np.append(segment_of_geom(env.model), 0).astype(np.uint8)  # -1: background
        render = functools.partial(_render_labeled, env, config, classes)
        frames = np.empty((len(states), config.size, config.size, 3), dtype=np.uint8)
        labels = []
        for index in tracked(range(len(states)), "rendering", progress):
            frames[index], found = render(states[index])
            labels.append(found)
    finally:
        env.close()
    columns = [np.stack(column) for column in zip(*labels, strict=True)]
    return SceneData(
        frames, *columns, episode=episode, digest=hashlib.sha256(frames.data).hexdigest()
    )


def _states(
    env: PickCubeTaskEnv, config: SceneConfig, progress: bool
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the states of all frames, and the episode of each (N,)."""
    states, numbers = [], []
    total = config.episodes + config.resets
    for number in tracked(range(total), "simulating", progress):
        found = [s for s, _ in moments(env, config.seed + number, number < config.episodes)]
        states += found
        numbers += [number] * len(found)
    return states, np.array(numbers)


def _render_labeled(
    env: PickCubeTaskEnv, config: SceneConfig, classes: np.ndarray, state: np.ndarray
) -> tuple[np.ndarray, tuple[Any, ...]]:
    """Return the frame of a state, and its labels in the order of the fields of ``SceneData``."""
    observation, info = env.reset(options={"state": state})
    frame = env.render_frame(config.camera, config.size, config.size)
    labels = env.render_labels(config.camera, config.size, config.size)
    return frame, (
        observation["cube_pos"][:2].astype(float),
        bool(info["grasped"]),
        majority(classes[labels.geom_id], config.label_size),
        lower_median(labels.depth_m, config.label_size).clip(max=FARTHEST_M),
    )


def _save(path: Path, data: SceneData) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        arrays = {field.name: getattr(data, field.name) for field in dataclasses.fields(data)}
        np.savez(file, **arrays)


def _load(path: Path) -> SceneData:
    """Read a whole file; the zip format has a checksum of every array."""
    names = [field.name for field in dataclasses.fields(SceneData)]
    remedy = "delete it and run again"
    arrays = read_arrays(path, remedy)
    missing = [name for name in names if name not in arrays]
    if missing:
        raise damaged(path, f"it lacks {', '.join(missing)}", remedy)
    if len({len(arrays[name]) for name in names if name != "digest"}) > 1:
        raise damaged(path, "its arrays have different lengths", remedy)
    if hashlib.sha256(arrays["frames"].data).hexdigest() != str(arrays["digest"]):
        raise damaged(path, "its frames do not have the recorded digest", remedy)
    content = {name: arrays[name] for name in names}
    return SceneData(**{**content, "digest": str(content["digest"])})
