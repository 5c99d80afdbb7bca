"""Small recorded data sets in the layouts that ``s2robot.data.datasets`` reads."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import imageio.v2 as imageio
import numpy as np
from PIL import Image

CAMERAS = ("agentview_image", "robot0_eye_in_hand_image")


def recorded_arrays(episodes: int, length: int, size: int = 32, seed: int = 0):
    """Yield for each episode actions (T, 3), positions (T, 2) and frames (T, S, S, 3) of a target.

    A bright square is at the target; the first action moves the gripper to it, in millimeters, the
    second along y, the third is constant.
    """
    rng = np.random.default_rng(seed)
    for _ in range(episodes):
        target, gripper = rng.uniform(0.2, 0.8, 2), rng.uniform(0.2, 0.8, 2)
        actions, positions = np.zeros((length, 3)), np.zeros((length, 2))
        frames = np.full((length, size, size, 3), 40, np.uint8)
        for step in range(length):
            move = np.clip(0.3 * (target - gripper), -0.05, 0.05)
            actions[step] = [*(1000 * move), 7.0]
            positions[step] = gripper
            for (x, y), color in ((target, (250, 30, 30)), (gripper, (30, 250, 30))):
                column, row = int(x * size), int(y * size)
                frames[step, row - 2 : row + 3, column - 2 : column + 3] = color
            gripper = gripper + move
        yield actions, positions, frames


def write_robomimic(
    path: Path,
    episodes: int = 4,
    length: int = 6,
    size: int = 32,
    valid: int | None = 1,
    compression: str | None = "gzip",
    images: bool = True,
    observations: bool = True,
) -> Path:
    """Write a robomimic file with two cameras, as ``dataset_states_to_obs.py`` does.

    The second camera sees the first one's frames with rows and columns exchanged. ``valid`` is the
    number of episodes in mask/valid, the last ones; None writes no masks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["total"] = episodes * length
        data.attrs["env_args"] = (
            '{"env_name": "Reach", "type": 1, "env_kwargs": {"control_freq": 20}}'
        )
        arrays = recorded_arrays(episodes, length, size)
        for number, (actions, positions, frames) in enumerate(arrays):
            group = data.create_group(f"demo_{number}")
            group.attrs["num_samples"] = length
            group.attrs["model_file"] = "<mujoco/>"
            group["actions"] = actions
            group["states"] = np.zeros((length, 5))
            if observations:
                group["obs/robot0_eef_pos"] = positions
                group["obs/object"] = positions + 1
            group["obs/depth"] = np.zeros((length, size, size, 1), np.float32)
            both = (frames, frames.swapaxes(1, 2)) if images else ()
            for key, pictures in zip(CAMERAS, both, strict=False):
                group.create_dataset(
                    f"obs/{key}",
                    data=pictures,
                    compression=compression,
                    chunks=(1, size, size, 3) if compression else None,
                )
        if valid is not None:
            names = [f"demo_{number}" for number in range(episodes)]
            file["mask/train"] = np.array(names[: episodes - valid], dtype="S16")
            file["mask/valid"] = np.array(names[episodes - valid :], dtype="S16")
    return path


def write_folder(
    folder: Path, episodes: int = 3, length: int = 5, size: int = 32, table: str = "csv"
) -> Path:
    """Write a folder of episodes: pictures of "front", a video "side", and a table of a kind."""
    for number, (actions, positions, frames) in enumerate(recorded_arrays(episodes, length, size)):
        own = folder / f"episode_{number}"
        (own / "front").mkdir(parents=True)
        for step, frame in enumerate(frames):
            Image.fromarray(frame).save(own / "front" / f"{step}.png")
        imageio.mimwrite(own / "side.mp4", list(frames), fps=10, quality=10, macro_block_size=1)
        _write_table(own / f"table.{table}", actions, positions)
    return folder


def _write_table(path: Path, actions: np.ndarray, positions: np.ndarray) -> None:
    times = 0.1 * np.arange(len(actions))
    if path.suffix == ".npz":
        np.savez(path, action=actions, gripper=positions, time_s=times)
        return
    lines = ["time_s,action.dx,action.dy,action.close,gripper.x,gripper.y"]
    for time_s, action, position in zip(times, actions, positions, strict=True):
        if path.suffix == ".csv":
            lines.append(",".join(map(repr, map(float, (time_s, *action, *position)))))
            continue
        row = {
            "time_s": float(time_s),
            "action": dict(zip(("dx", "dy", "close"), map(float, action), strict=True)),
            "gripper": [float(value) for value in position],
        }
        lines.append(json.dumps(row))
    path.write_text("\n".join(lines[path.suffix != ".csv" :]) + "\n")
