"""Recordings of ``Reach`` in the layouts that are read: actions in the environment's own units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image

from support.own_tasks import ReachEnv

LENGTH = 12
CAMERA, STATE = "top_image", "agent_pos"


def reach_episodes(count: int, scale: float = 1.0):
    """Yield for each episode actions (T, 2), positions (T, 2) and frames (T, 32, 40, 3).

    Args:
        count: of the episodes.
        scale: factor of the actions, as of another unit.
    """
    env = ReachEnv()
    for seed in range(count):
        observation, _ = env.reset(seed=seed)
        actions, positions, frames = [], [], []
        for _ in range(LENGTH):
            action = np.clip(env.goal - env.tool, -0.2, 0.1)
            actions.append(scale * action)
            positions.append(observation["agent_pos"])
            frames.append(observation["pixels"]["top"])
            observation = env.step(action)[0]
        yield np.array(actions), np.array(positions), np.array(frames)


def write_reach(
    path: Path,
    episodes: int = 6,
    scale: float = 1.0,
    camera: str = CAMERA,
    state: str = STATE,
    entries: int = 2,
) -> Path:
    """Write a robomimic file with the frames of one camera.

    Args:
        path: of the file.
        episodes: their number.
        scale: factor of the actions.
        camera: key of the frames.
        state: key of the positions.
        entries: of an action; more than two are zeros.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["total"] = episodes * LENGTH
        data.attrs["env_args"] = '{"env_name": "Reach", "type": 1, "env_kwargs": {}}'
        for number, (actions, positions, frames) in enumerate(reach_episodes(episodes, scale)):
            group = data.create_group(f"demo_{number}")
            group.attrs["num_samples"] = LENGTH
            group["actions"] = np.pad(actions, ((0, 0), (0, entries - 2)))
            group[f"obs/{state}"] = positions
            group[f"obs/{camera}"] = frames
    return path


def write_reach_folder(folder: Path, episodes: int = 6, positions_too: bool = True) -> Path:
    """Write a folder of episodes with the names of the task itself.

    Args:
        folder: of the episodes.
        episodes: their number.
        positions_too: False leaves frames alone.
    """
    for number, (actions, positions, frames) in enumerate(reach_episodes(episodes)):
        own = folder / f"episode_{number}"
        (own / "render").mkdir(parents=True)
        for step, frame in enumerate(frames):
            Image.fromarray(frame).save(own / "render" / f"{step}.png")
        if positions_too:
            np.savez(own / "table.npz", action=actions, agent_pos=positions)
        else:
            np.savez(own / "table.npz", action=actions)
    return folder


class Towards:
    """A policy in batches that reaches goals in one half of the table, and no others."""

    batched = True

    def reset(self) -> None:
        """Do nothing."""

    def __call__(self, frames: Any, proprio: Any) -> np.ndarray:
        """Return actions of one robot or several."""
        return np.where(proprio["goal"][:, :1] > 0.5, self._actions(proprio), -1.0)

    @staticmethod
    def _actions(proprio: Any) -> np.ndarray:
        own = np.clip(proprio["goal"] - proprio["agent_pos"], -0.2, 0.1)
        return 2.0 * (own + 0.2) / 0.3 - 1.0
