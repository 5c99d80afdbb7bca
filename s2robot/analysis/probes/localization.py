"""Rendered frames with the position of the cube, stored on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from s2robot.analysis.probes.intervals import split_episodes
from s2robot.data.collection import record_episode
from s2robot.data.rendered_frames import drawn_with
from s2robot.envs.levels import get_level
from s2robot.envs.tasks.pick_cube import PickCubeTaskEnv
from s2robot.utils.io import atomic_path, digest_of, locked
from s2robot.utils.records import damaged, read_arrays

FIRST_SEED = 880_000
"""Seed of the first environment; demonstrations and evaluations use other seeds."""
_HOLD_STEPS = 4  # frames of an episode after the cube is lifted


@dataclass(frozen=True)
class LocalizationData:
    """Frames and positions of the cube; the frames of an episode are consecutive."""

    frames: np.ndarray
    """(N, S, S, 3) uint8 RGB."""
    cube_xy_m: np.ndarray
    """(N, 2) float64, in the robot's base frame."""
    episode: np.ndarray
    """(N,) int64: episode of each frame."""

    def __len__(self) -> int:
        return len(self.frames)

    def of_episodes(self, episodes: np.ndarray) -> LocalizationData:
        """Return the frames of some episodes."""
        mask = np.isin(self.episode, episodes)
        return LocalizationData(self.frames[mask], self.cube_xy_m[mask], self.episode[mask])

    def split(
        self, test_share: float = 0.25, seed: int = 0
    ) -> tuple[LocalizationData, LocalizationData]:
        """Return training and test frames; no episode is in both.

        Args:
            test_share: fraction of the episodes for testing.
            seed: of the draw.

        Raises:
            ValueError: one of them would be empty.
        """
        episodes = np.unique(self.episode)
        rest, held_out = split_episodes(episodes, test_share, seed)
        return self.of_episodes(rest), self.of_episodes(held_out)


def localization_data(
    level: str = "precise",
    camera: str | None = None,
    size: int = 384,
    episodes: int = 60,
    resets: int = 1200,
    seed: int = FIRST_SEED,
    folder: str | Path = "data/localisation",
) -> LocalizationData:
    """Render frames with the position of the cube, or read them from ``folder``.

    Args:
        level: of the task.
        camera: to render; default that of the level.
        size: side of a square frame [px].
        episodes: number of episodes of the expert with execution noise; every frame is used.
        resets: number of further frames of random scenes: the arm near home, the cube anywhere.
        seed: of the first episode; the others follow.
        folder: for the files, one for each setting.

    Raises:
        ValueError: unknown level or camera, or nothing to render.
        CorruptFileError: the stored file is damaged.
    """
    if min(episodes, resets) < 0 or episodes + resets < 1:
        raise ValueError(
            f"episodes {episodes} and resets {resets} must not be negative, nor both zero"
        )
    camera = camera or get_level(level).camera
    env = PickCubeTaskEnv(level=level, image_camera=camera, image_size=size)
    recipe = {"env": env.env_kwargs(), "episodes": episodes, "resets": resets, "seed": seed}
    key = digest_of({**recipe, **drawn_with()})[:16]
    path = Path(folder) / f"{level}-{camera}-{size}-{key}.npz"
    try:
        with locked(path):
            if not path.exists():
                _save(path, _render(env, episodes, resets, seed))
    finally:
        env.close()
    return _load(path)


def _render(env: PickCubeTaskEnv, episodes: int, resets: int, seed: int) -> LocalizationData:
    frames, spots, numbers = [], [], []
    camera, shape = env.image_camera, env.image_shape
    assert camera is not None
    plain = PickCubeTaskEnv(**{**env.env_kwargs(), "image_camera": None})  # does not render
    for number in range(episodes + resets):
        for state, spot in moments(plain, seed + number, moving=number < episodes):
            plain.set_state(state)
            frames.append(plain.render_frame(camera, *shape))
            spots.append(spot)
            numbers.append(number)
    plain.close()
    return LocalizationData(np.stack(frames), np.stack(spots), np.array(numbers))


def moments(
    env: PickCubeTaskEnv, seed: int, moving: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield states and cube positions [m] of an episode.

    Args:
        env: the environment.
        seed: of the episode.
        moving: True for an episode of the expert, False for its first state alone.
    """
    if moving:
        episode = record_episode(env, seed, _HOLD_STEPS)
        yield from zip(episode.states, episode.obs["cube_pos"][:, :2].astype(float), strict=False)
    else:
        observation, _ = env.reset(seed=seed)
        yield env.get_state(), observation["cube_pos"][:2].astype(float)


def _save(path: Path, data: LocalizationData) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, frames=data.frames, cube_xy_m=data.cube_xy_m, episode=data.episode)


def _load(path: Path) -> LocalizationData:
    remedy, names = "delete it and run again", ("frames", "cube_xy_m", "episode")
    arrays = read_arrays(path, remedy)
    if any(name not in arrays or len(arrays[name]) != len(arrays["episode"]) for name in names):
        raise damaged(path, f"it lacks one of {names}, or they have different lengths", remedy)
    return LocalizationData(*(arrays[name] for name in names))
