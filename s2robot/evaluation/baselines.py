"""Baselines: embeddings without pixels, which bound the success that an encoder can reach.

``blind`` has an empty embedding, so that the policy gets proprioception only;
``privileged_state`` is the cube's true position. A sweep lists them like encoders. Policy files,
runs and reports store them under their first names, ``none`` and ``state``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from s2robot.errors import unknown
from s2robot.utils.deprecation import warn_renamed

BASELINE_TITLES = {"none": "blind", "state": "ground-truth position"}
"""Titles in reports by the name in files."""
BASELINE_NAMES = tuple(BASELINE_TITLES)
"""Names in files."""
STORED_NAMES = {"blind": "none", "privileged_state": "state"}
"""Names in files by the current name."""


def current_name(encoder: str) -> str:
    """Return the name of an encoder, or a baseline's current name, with a warning for its old one.

    Args:
        encoder: name of an encoder or a baseline, as users type it.

    Examples:
        >>> current_name("blind"), current_name("r3m-resnet18")
        ('blind', 'r3m-resnet18')
    """
    new = displayed_name(encoder)
    if new == encoder:
        return encoder
    warn_renamed(f"encoder={encoder}", f"encoder={new}", stacklevel=5)
    return new


def stored_name(encoder: str) -> str:
    """Return the name of an encoder or a baseline in files.

    Examples:
        >>> stored_name("blind"), stored_name("r3m-resnet18")
        ('none', 'r3m-resnet18')
    """
    return STORED_NAMES.get(encoder, encoder)


def displayed_name(encoder: str) -> str:
    """Return the name of an encoder or a baseline in messages, from its name in files.

    Examples:
        >>> displayed_name("state"), displayed_name("r3m-resnet18")
        ('privileged_state', 'r3m-resnet18')
    """
    current = {stored: name for name, stored in STORED_NAMES.items()}
    return current.get(encoder, encoder)


def is_baseline(name: str) -> bool:
    """Return whether a name, current or as in files, is a baseline's.

    Examples:
        >>> is_baseline("blind"), is_baseline("none"), is_baseline("r3m-resnet18")
        (True, True, False)
    """
    return stored_name(name) in BASELINE_NAMES


def baseline_shape(name: str, yaw: bool = False) -> tuple[int, ...]:
    """Return the shape of one embedding of a baseline.

    Args:
        name: of the baseline, current or as in files.
        yaw: whether the level turns the cube.

    Raises:
        ValueError: the name is unknown.
    """
    name = _checked(name)
    if name == "none":
        return (0,)
    return (5,) if yaw else (3,)


def baseline_embedding(name: str, obs: Mapping[str, np.ndarray], yaw: bool = False) -> np.ndarray:
    """Return the embeddings of a baseline: (B, D) float32.

    The embedding of ``privileged_state`` is the cube's position [m] in the robot's base frame and,
    with `yaw`, sine and cosine of four times its yaw, since a cube looks the same after a quarter
    turn.

    Args:
        name: of the baseline, current or as in files.
        obs: observations by key, (B, d) each; ``privileged_state`` needs ``cube_pos`` (B, 3) and
            ``cube_quat`` (B, 4), wxyz.
        yaw: whether the level turns the cube.

    Raises:
        ValueError: the name is unknown.

    Examples:
        >>> obs = {"cube_pos": np.array([[0.5, 0.25, 0.02]])}
        >>> baseline_embedding("blind", obs).shape
        (1, 0)
        >>> baseline_embedding("privileged_state", obs)
        array([[0.5 , 0.25, 0.02]], dtype=float32)
    """
    if _checked(name) == "none":
        batch = len(next(iter(obs.values())))
        return np.zeros((batch, 0), np.float32)
    parts = [obs["cube_pos"]]
    if yaw:
        angle = 4 * _yaw(obs["cube_quat"])  # (B,)
        parts.append(np.stack([np.sin(angle), np.cos(angle)], axis=-1))
    return np.concatenate(parts, axis=-1).astype(np.float32)


def _checked(name: str) -> str:
    """Return a baseline's name in files, or raise a ValueError."""
    stored = stored_name(name)
    if stored not in BASELINE_NAMES:
        raise unknown("baseline", name, STORED_NAMES)
    return stored


def _yaw(quat: np.ndarray) -> np.ndarray:
    """Return the rotations about z [rad] of unit quaternions (B, 4), wxyz."""
    w, x, y, z = np.moveaxis(quat, -1, 0)
    return np.arctan2(2 * (w * z + x * y), 1 - 2 * (y**2 + z**2))
