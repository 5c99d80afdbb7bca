"""What is written of a replayed episode: a video, and a table of its steps."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from s2robot.data.config import frame_size
from s2robot.envs.tasks.contract import TaskEnv
from s2robot.errors import S2RobotError
from s2robot.evaluation.env_group import action_and_delay, carry_out
from s2robot.evaluation.episode_videos import even, replay
from s2robot.policies.checkpoint import PolicyHeader
from s2robot.policies.dataset import stack_proprio
from s2robot.utils.io import atomic_path

SIZE_PX = 384
_INFO = ("is_success", "reached", "grasped", "stage", "cube_height_m", "over")


def frames_of(
    env: TaskEnv,
    state: np.ndarray,
    actions: np.ndarray,
    camera: Mapping[str, Any] | None,
    view: str,
) -> list[np.ndarray]:
    """Return the frames of a video.

    Args:
        env: of the run.
        state: initial state (D,).
        actions: (T, A).
        camera: name and size [px] of the policy's camera, or ``cameras`` with those of several,
            which stand side by side; None for a policy without pixels.
        view: one of ``s2robot.experiments.replay.VIEWS``.

    Returns:
        T + 1 frames (H, W, 3) uint8 RGB.

    Raises:
        S2RobotError: a policy without pixels has no camera to show.
    """
    if view == "scene":
        return replay(env, state, actions, SIZE_PX)
    if camera is None:
        raise S2RobotError("this policy sees no pixels, so it has no camera; give --view scene")
    all_seen = [
        replay(env, state, actions, max(frame_size(each)), str(each["name"]))
        for each in camera.get("cameras", [camera])
    ]
    seen = [np.hstack(_of_one_height(frames)) for frames in zip(*all_seen, strict=True)]
    if view == "policy":
        return [even(frame) for frame in seen]
    scene = replay(env, state, actions, SIZE_PX)
    if len(all_seen) > 1:
        return [np.hstack(_of_one_height(both)) for both in zip(scene, seen, strict=True)]
    return [np.hstack([one, _resized(other)]) for one, other in zip(scene, seen, strict=True)]


def _of_one_height(frames: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return frames with black rows below those that are less high."""
    height = max(len(frame) for frame in frames)
    return [np.pad(frame, ((0, height - len(frame)), (0, 0), (0, 0))) for frame in frames]


def _resized(frame: np.ndarray) -> np.ndarray:
    size = (SIZE_PX, SIZE_PX)
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.NEAREST))


def step_rows(
    env: TaskEnv, state: np.ndarray, actions: np.ndarray, header: PolicyHeader | None
) -> Iterator[dict[str, Any]]:
    """Yield a row for each step: proprioception before it, the action, and what followed.

    Args:
        env: of the run.
        state: initial state (D,).
        actions: of each step (T, A), as in files.
        header: of the policy, whose proprioception is shown; None shows two of the task's.
    """
    keys = header.proprio_keys if header else env.proprio_keys()[:2]
    size = int(env.action_space.shape[0])
    meaning = header.action_space["meaning"] if header else range(size)
    obs, _ = env.reset(seed=0, options={"state": state})
    for number, row in enumerate(actions, start=1):
        action, delay_s = action_and_delay(env, row)
        before = {
            f"{key}_{i}": float(value)
            for key in keys
            for i, value in enumerate(stack_proprio({key: obs[key][None]}, [key])[0])
        }
        obs, reward, _, _, info = carry_out(env, row)
        named = {f"action_{m}": float(a) for m, a in zip(meaning, action, strict=True)}
        if delay_s is not None:
            named["action_delay_s"] = delay_s
        after = {name: info[name] for name in _INFO if name in info}
        yield {"step": number, **before, **named, "reward": reward, **after}


def write_steps(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    """Write rows of steps as CSV, atomically.

    Args:
        path: of the file.
        rows: of equal names, at least one.
    """
    listed = list(rows)
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, list(listed[0]))
    writer.writeheader()
    writer.writerows(listed)
    with atomic_path(path) as temporary:
        temporary.write_text(buffer.getvalue(), encoding="utf-8", newline="")
