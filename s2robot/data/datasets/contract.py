"""Interface of a recorded data set: actions, low-dimensional observations and camera frames."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from s2robot.errors import CorruptFileError, unknown

CAMERA = "a camera is uint8 (T, H, W, 3), RGB"
"""What arrays of frames must be, for messages."""
LIKE_OTHERS = "write it like the other episodes', or leave that episode out"
OTHER_OBSERVATIONS = f"{LIKE_OTHERS}, or name the observations to use by low_dim="
OTHER_CAMERAS = f"{LIKE_OTHERS}, or name the cameras to use by cameras="
"""What to do about an episode that does not fit the others, for messages."""
PRIVILEGED = (
    *("object", "cube_pos", "cube_quat"),
    *("environment_state", "observation.environment_state"),
)
"""Observations of a simulator's objects, which no robot measures: policies get them only where they
are named. Names of robomimic, of this package's own files and of LeRobot."""


class EpisodeDataset(Protocol):
    """Recorded demonstrations: N frames of E episodes, one episode after another.

    Row t of actions and low-dimensional observations, and frame t of each camera, belong to the
    same moment: what was observed before action t. Actions have the units of whoever recorded them.
    Frames are decoded when they are asked for; everything else is read when the data set is opened.
    """

    @property
    def source(self) -> str:
        """Path as the user named it, for messages."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of the whole content, which names features and policies; not of paths and times.

        It covers all cameras and observations, so that it does not depend on those that are chosen.
        """
        ...

    @property
    def episode_ends(self) -> np.ndarray:
        """One past the last frame of each episode, ``(E,)`` int64."""
        ...

    @property
    def actions(self) -> np.ndarray:
        """Actions as recorded, ``(N, A)`` float32; A is 0 where there are none."""
        ...

    @property
    def action_names(self) -> tuple[str, ...]:
        """Names of the A entries of an action; ``a0``, ``a1``, ... where the file has none."""
        ...

    @property
    def low_dim_names(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the entries of each low-dimensional observation, by its key."""
        ...

    @property
    def cameras(self) -> Mapping[str, tuple[int, int]]:
        """Height and width of the frames [px], by the key of the camera."""
        ...

    @property
    def rate_hz(self) -> float | None:
        """Control steps per second; None where the file does not tell."""
        ...

    @property
    def masks(self) -> Mapping[str, np.ndarray]:
        """Divisions that the file has, such as ``train`` and ``valid``: indices of episodes."""
        ...

    @property
    def task(self) -> str | None:
        """What the demonstrations do, in a sentence; None where the file does not tell."""
        ...

    def low_dim(self, key: str) -> np.ndarray:
        """Return a low-dimensional observation ``(N, d)`` float32.

        Args:
            key: one of ``low_dim_names``.

        Raises:
            ValueError: there is no such observation.
        """
        ...

    def frames(self, camera: str, episode: int) -> Iterator[np.ndarray]:
        """Yield the frames ``(H, W, 3)`` uint8 RGB of an episode, upright and in order.

        Args:
            camera: one of ``cameras``.
            episode: index of the episode, from 0.

        Raises:
            ValueError: there is no such camera.
            CorruptFileError: a frame cannot be decoded, or some are missing.
        """
        ...

    def close(self) -> None:
        """Close the files; frames cannot be read afterwards."""
        ...


@runtime_checkable
class Simulated(Protocol):
    """What a data set of a simulator has besides: outcomes, and full states where it has any."""

    env_name: str
    """Name of the environment in files."""
    env_kwargs: Mapping[str, Any]
    """JSON-able arguments that build it."""
    privileged: tuple[str, ...]
    """Those of ``low_dim_names`` that only the simulator knows, besides ``PRIVILEGED``."""
    own_actions: bool
    """Whether actions have units of the environment's own, other than the task's [-1, 1]."""

    def success_of(self, episode: int) -> np.ndarray:
        """Return whether the task was solved after each action of an episode, ``(T,)`` bool."""
        ...

    def states_of(self, episode: int) -> np.ndarray | None:
        """Return the full states ``(T, D)`` before each action; None where there are none."""
        ...


def turned_over(data: EpisodeDataset) -> str | None:
    """Return a sentence that frames are turned upright; None where they are taken as stored.

    Args:
        data: a data set; of all layouts, only robomimic's says how its frames are stored.
    """
    if not getattr(data, "bottom_up", False) or not data.cameras:
        return None
    return (
        f"{data.source} stores its frames upside down (its macros_image_convention is opengl); "
        "they are turned upright"
    )


def episode_name(data: EpisodeDataset, episode: int) -> str:
    """Return the data's own name of an episode, such as ``demo_2``; LeRobot's is its number.

    Args:
        data: a data set; those of files and folders have ``episode_names``.
        episode: index of the episode, from 0.
    """
    names = getattr(data, "episode_names", None)
    return str(episode) if names is None else names[episode].removeprefix("data/")


def is_like_images(key: str, shape: Sequence[int]) -> bool:
    """Return whether an array that is no camera as it is was probably meant as one.

    Args:
        key: of the array.
        shape: of one frame.

    Examples:
        >>> is_like_images("front", (3, 32, 48)), is_like_images("depth", (32, 48, 1))
        (True, False)
    """
    if "depth" in key or len(shape) not in (2, 3):
        return False
    colors = len(shape) == 3 and bool({shape[0], shape[2]} & {3, 4})
    return colors or key.endswith("image")


def no_camera(where: str, dtype: object, shape: Sequence[int]) -> str:
    """Return a sentence that an array cannot be a camera, and how it becomes one.

    Args:
        where: file and name of the array.
        dtype: of the array.
        shape: of the array, with T in front.

    Examples:
        >>> no_camera("obs/depth", "uint8", (9, 8, 8, 1))
        'obs/depth is uint8 (9, 8, 8, 1); a camera is uint8 (T, H, W, 3), RGB'
    """
    kind, steps, scaled = str(dtype), "frames", ""
    if len(shape) == 4 and shape[1] in (3, 4) and shape[3] not in (3, 4):
        steps = "np.moveaxis(frames, 1, -1)"
    if len(shape) == 4 and 4 in (shape[1], shape[3]) and 3 not in (shape[1], shape[3]):
        steps = f"{steps}[..., :3]"
    if kind.startswith("float"):
        steps, scaled = f"np.rint(255 * {steps}).astype(np.uint8)", ", where it is in 0-1"
    elif kind != "uint8":
        steps = f"{steps}.astype(np.uint8)"
    remedy = "" if steps == "frames" else f". Write it as {steps}{scaled}"
    return f"{where} is {kind} {tuple(shape)}; {CAMERA}{remedy}"


def check_times(where: str, times_s: np.ndarray, remedy: str) -> None:
    """Refuse the times of an episode's rows unless each is later than the one before.

    Args:
        where: file and name of the times, for the message.
        times_s: ``(T,)`` [s].
        remedy: what to do, for the message.

    Raises:
        CorruptFileError: a time is not finite, or not later than that of the row before.
    """
    bad = np.flatnonzero(~np.isfinite(times_s))
    if len(bad):
        raise CorruptFileError(
            f"{where} is {times_s[bad[0]]} in row {bad[0]} ({len(bad)} of {len(times_s)} rows); "
            f"it must be a number of seconds; {remedy}"
        )
    back = np.flatnonzero(np.diff(times_s) <= 0)
    if len(back):
        row = int(back[0]) + 1
        raise CorruptFileError(
            f"{where} is {times_s[row]:.10g} in row {row} and {times_s[row - 1]:.10g} in the row "
            f"before ({len(back)} such of {len(times_s)} rows); each row must be later; {remedy}"
        )


def choose(
    kind: str, wanted: Iterable[str] | None, available: Iterable[str], source: object
) -> tuple[str, ...]:
    """Return the wanted keys of a data set; all of them, sorted, where none are named.

    Args:
        kind: what a key stands for, such as "camera".
        wanted: keys that the user names, in order; None for all.
        available: keys that the data set has.
        source: the data set's path, for messages.

    Raises:
        ValueError: there is no such key, or one is named twice.

    Examples:
        >>> choose("camera", None, ["wrist", "front"], "lift.hdf5")
        ('front', 'wrist')
        >>> choose("camera", ["side"], ["wrist", "front"], "lift.hdf5")
        Traceback (most recent call last):
        ValueError: unknown camera in lift.hdf5 'side'; available: front, wrist
    """
    keys = sorted(available)
    if wanted is None:
        return tuple(keys)
    chosen = tuple(wanted)
    for key in chosen:
        if key not in keys:
            if not keys:
                raise ValueError(f"{source} has no {kind} at all, so {key!r} cannot be used")
            raise unknown(f"{kind} in {source}", key, keys)
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"{kind} {list(chosen)} names one of them twice; name each once")
    return chosen


def unnamed(letter: str, count: int) -> tuple[str, ...]:
    """Return the names of entries that have none in the file.

    Args:
        letter: "a" for actions.
        count: number of entries.

    Examples:
        >>> unnamed("a", 3)
        ('a0', 'a1', 'a2')
    """
    return tuple(f"{letter}{number}" for number in range(count))


def checked_rows(
    where: str,
    values: np.ndarray,
    rows: int | None = None,
    entries: int | None = None,
    remedy: str = LIKE_OTHERS,
) -> np.ndarray:
    """Return a table of finite numbers as float32; one number a row becomes one column.

    Args:
        where: file and name of the table, for the message.
        values: the table as it was read.
        rows: expected number of rows; None for any.
        entries: expected number of entries in a row; None for any.
        remedy: what to do about another size, for the message.

    Returns:
        ``(T, d)`` float32.

    Raises:
        CorruptFileError: it is no table of numbers, has another size, or holds NaN or infinities.
    """
    table = values[:, None] if values.ndim == 1 else values
    if table.ndim != 2 or table.dtype.kind not in "fiub":
        raise CorruptFileError(
            f"{where} is {values.dtype} {values.shape}; it must be a table of numbers, one row for "
            "each frame"
        )
    if rows is not None and len(table) != rows:
        raise CorruptFileError(
            f"{where} has {len(table)} rows; the episode has {rows} actions; {remedy}"
        )
    if entries is not None and table.shape[1] != entries:
        raise CorruptFileError(
            f"{where} has {table.shape[1]} entries a row; the episodes before have {entries}; "
            f"{remedy}"
        )
    bad = np.flatnonzero(~np.isfinite(table.astype(np.float64)).all(axis=1))
    if len(bad):
        raise CorruptFileError(
            f"{where} has NaN or infinities in {len(bad)} rows, the first is row {bad[0]}; leave "
            "that episode out, or give the values that belong there"
        )
    return np.ascontiguousarray(table, dtype=np.float32)


def by_number(name: str) -> list[Any]:
    """Return a key that sorts names by the numbers in them.

    Args:
        name: of an episode or a frame.

    Examples:
        >>> sorted(["demo_10", "demo_9"], key=by_number)
        ['demo_9', 'demo_10']
    """
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", name))]
