"""Baselines: embeddings that need no pixels and bound what any encoder can add.

``blind`` sees nothing (proprioception only) and ``privileged_state`` reads the cube's true
position, so a sweep holds both ends of the scale as ordinary choices of encoder. Policy files,
runs and reports store them under their first names, ``none`` and ``state``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from s2robot.errors import unknown
from s2robot.utils.deprecation import warn_renamed

BASELINE_TITLES = {"none": "blind", "state": "ground-truth position"}
BASELINE_NAMES = tuple(BASELINE_TITLES)
STORED_NAMES = {"blind": "none", "privileged_state": "state"}
"""Name in files by the name that users type."""


def current_name(encoder: str) -> str:
    """Return an encoder's name with a baseline's first name replaced, which warns.

    Example:
        >>> current_name("blind"), current_name("r3m-resnet18")
        ('blind', 'r3m-resnet18')
    """
    if encoder not in BASELINE_NAMES:
        return encoder
    new = next(name for name, stored in STORED_NAMES.items() if stored == encoder)
    warn_renamed(f"encoder={encoder}", f"encoder={new}", stacklevel=4)
    return new


def stored_name(encoder: str) -> str:
    """Return the name of an encoder or baseline as files hold it.

    Example:
        >>> stored_name("blind"), stored_name("r3m-resnet18")
        ('none', 'r3m-resnet18')
    """
    return STORED_NAMES.get(encoder, encoder)


def is_baseline(name: str) -> bool:
    """Return whether the stored name of an encoder is a baseline's."""
    return name in BASELINE_NAMES


def baseline_shape(name: str, yaw: bool = False) -> tuple[int, ...]:
    """Return the shape of one baseline embedding; `yaw`: the level turns the cube."""
    if name == "none":
        return (0,)
    if name == "state":
        return (5,) if yaw else (3,)
    raise unknown("baseline", name, BASELINE_NAMES)


def baseline_embedding(name: str, obs: Mapping[str, np.ndarray], yaw: bool = False) -> np.ndarray:
    """Return what a baseline sees of `obs`, arrays of (B, ·): (B, D) float32.

    `state` gives the cube's position [m] in the robot's base frame and, with `yaw`, sine and cosine
    of four times its yaw, since a cube looks the same after a quarter turn. It reads the privileged
    observations `cube_pos` (B, 3) and `cube_quat` (B, 4, wxyz).
    """
    if name == "none":
        batch = len(next(iter(obs.values())))
        return np.zeros((batch, 0), np.float32)
    if name != "state":
        raise unknown("baseline", name, BASELINE_NAMES)
    parts = [obs["cube_pos"]]
    if yaw:
        angle = 4 * _yaw(obs["cube_quat"])  # (B,)
        parts.append(np.stack([np.sin(angle), np.cos(angle)], axis=-1))
    return np.concatenate(parts, axis=-1).astype(np.float32)


def _yaw(quat: np.ndarray) -> np.ndarray:
    """Rotation about z [rad] of unit quaternions (B, 4), wxyz."""
    w, x, y, z = np.moveaxis(quat, -1, 0)
    return np.arctan2(2 * (w * z + x * y), 1 - 2 * (y**2 + z**2))
