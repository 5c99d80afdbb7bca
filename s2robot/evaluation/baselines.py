"""Controls: embeddings that need no pixels and bound what any encoder can add.

``none`` is blind (proprioception only) and ``state`` reads the cube's true position, so a sweep
holds both ends of the scale as ordinary choices of encoder.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from s2robot.errors import unknown

CONTROL_TITLES = {"none": "blind", "state": "ground-truth position"}
CONTROL_NAMES = tuple(CONTROL_TITLES)


def is_control(name: str) -> bool:
    """Return whether an encoder's name is a control's."""
    return name in CONTROL_NAMES


def control_shape(name: str, yaw: bool = False) -> tuple[int, ...]:
    """Return the shape of one control embedding; `yaw`: the level turns the cube."""
    if name == "none":
        return (0,)
    if name == "state":
        return (5,) if yaw else (3,)
    raise unknown("control", name, CONTROL_NAMES)


def control_embedding(name: str, obs: Mapping[str, np.ndarray], yaw: bool = False) -> np.ndarray:
    """Return what a control sees of `obs`, arrays of (B, ·): (B, D) float32.

    `state` gives the cube's position [m] in the robot's base frame and, with `yaw`, sine and cosine
    of four times its yaw, since a cube looks the same after a quarter turn. It reads the privileged
    observations `cube_pos` (B, 3) and `cube_quat` (B, 4, wxyz).
    """
    if name == "none":
        batch = len(next(iter(obs.values())))
        return np.zeros((batch, 0), np.float32)
    if name != "state":
        raise unknown("control", name, CONTROL_NAMES)
    parts = [obs["cube_pos"]]
    if yaw:
        angle = 4 * _yaw(obs["cube_quat"])  # (B,)
        parts.append(np.stack([np.sin(angle), np.cos(angle)], axis=-1))
    return np.concatenate(parts, axis=-1).astype(np.float32)


def _yaw(quat: np.ndarray) -> np.ndarray:
    """Rotation about z [rad] of unit quaternions (B, 4), wxyz."""
    w, x, y, z = np.moveaxis(quat, -1, 0)
    return np.arctan2(2 * (w * z + x * y), 1 - 2 * (y**2 + z**2))
