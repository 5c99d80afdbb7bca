"""Frames and low-dimensional observations as a policy takes them, or an error that names them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from s2robot.data.config import frame_size, short_camera, short_observation

Size = tuple[int, int]
"""Height and width of a frame [px]."""


def camera_sizes(frames: Mapping[str, Any]) -> dict[str, Size | None]:
    """Return the sizes of the frames that a policy was trained on, by camera.

    Args:
        frames: source of the frames, from the header of the policy.

    Returns:
        Height and width by camera, in the policy's order; None where the header does not tell the
        size. One camera without a name is ``camera``.
    """
    if "cameras" in frames:
        return {str(camera["name"]): frame_size(camera) for camera in frames["cameras"]}
    camera = frames.get("camera")
    described: Mapping[str, Any] = camera if isinstance(camera, Mapping) else {}
    size = frame_size(described)
    name = str(described.get("name") or "camera")
    return {name: size if all(isinstance(side, int) and side for side in size) else None}


def checked_frames(frames: Any, sizes: Mapping[str, Size | None]) -> dict[str, np.ndarray]:
    """Return the frames of a policy's cameras; further cameras are left out.

    Args:
        frames: ``(H, W, 3)`` or ``(B, H, W, 3)`` uint8 RGB of the only camera, or by camera, whose
            name may be short (``front`` for ``front_image`` or ``observation.images.front``).
        sizes: of the policy's cameras.

    Raises:
        KeyError: a camera is missing.
        ValueError: frames have another size or type, or the cameras' numbers differ.
    """
    if not isinstance(frames, Mapping):
        if frames is None or len(sizes) > 1:
            given = "no frames" if frames is None else "one array of frames"
            raise ValueError(f"got {given}; the policy reads {_listed(sizes)}: {_how(sizes)}")
        frames = dict.fromkeys(sizes, frames)
    given = frames
    frames = {**given, **_by_whole_names(given, sizes, short_camera)}
    missing = [name for name in sizes if name not in frames]
    if missing:
        raise KeyError(
            f"no frames of {_listed(missing)}; got {_listed(given)}. The policy reads "
            f"{_listed(sizes)}"
        )
    found = {name: _frame(name, frames[name], size) for name, size in sizes.items()}
    if len({array.shape[:-3] for array in found.values()}) > 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in found.items())
        raise ValueError(f"cameras have different numbers of frames: {shapes}")
    return found


def _by_whole_names(
    given: Mapping[str, Any], wanted: Iterable[str], short: Callable[[str], str]
) -> dict[str, Any]:
    """Return what goes by other names than the wanted ones, where one alone can be meant."""
    names, found = list(wanted), {}
    for name in names:
        if name in given:
            continue
        alike = [key for key in given if key not in names and short(str(key)) == short(name)]
        others = [each for each in names if short(each) == short(name)]
        if len(alike) == len(others) == 1:
            found[name] = given[alike[0]]
    return found


def _how(sizes: Mapping[str, Size | None]) -> str:
    return f"give a dictionary of arrays (H, W, 3) by the names {', '.join(sizes)}"


def _listed(cameras: Iterable[str]) -> str:
    names = [repr(name) for name in cameras]
    return f"camera{'s' if len(names) > 1 else ''} {', '.join(names)}" if names else "no camera"


def _frame(name: str, frame: Any, size: Size | None) -> np.ndarray:
    array = np.asarray(frame)
    wanted = "(H, W, 3)" if size is None else f"({size[0]}, {size[1]}, 3)"
    if array.dtype != np.uint8:
        raise ValueError(
            f"camera {name!r}: frames are {array.dtype}; the policy takes uint8 RGB in 0-255. "
            "Floats in 0-1 become that with np.rint(255 * frame).astype(np.uint8)"
        )
    fits = array.ndim in (3, 4) and array.shape[-1] == 3 and array.size > 0
    if fits and (size is None or array.shape[-3:-1] == size):
        return array
    advice = "Crop and resize the camera's pictures to that, or train on frames of this size"
    if array.ndim in (3, 4) and array.shape[-3] == 3 and array.shape[-1] != 3:
        advice = "Put the channels last: np.moveaxis(frame, -3, -1)"
    raise ValueError(
        f"camera {name!r}: frames have the shape {array.shape}; the policy was trained on "
        f"{wanted}, RGB, also as a batch (B, ...). {advice}"
    )


def checked_proprio(proprio: Any, keys: Iterable[str], batch: int | None) -> dict[str, np.ndarray]:
    """Return low-dimensional observations ``(B, d)`` by key; others are left out.

    Args:
        proprio: ``(d,)`` or ``(B, d)`` by key; a number ``()`` or ``(B,)`` is one entry. A key may
            be short (``state`` for ``observation.state``).
        keys: the observations that are needed.
        batch: B; None for one episode without an axis for it.

    Raises:
        KeyError: a key is missing.
        ValueError: an array has another length than B, or holds NaN or infinite values.
    """
    keys = list(keys)
    found = {**proprio, **_by_whole_names(proprio, keys, short_observation)}
    missing = [key for key in keys if key not in found]
    if missing:
        raise KeyError(f"proprio lacks {', '.join(missing)}; it has {', '.join(map(str, proprio))}")
    return {key: _rows(key, found[key], batch) for key in keys}


def checked_vector(proprio: Any, width: int, keys: Iterable[str], batch: int | None) -> np.ndarray:
    """Return the whole proprioception ``(B, P)`` float32.

    Args:
        proprio: ``(P,)`` or ``(B, P)`` in the policy's order.
        width: P.
        keys: that it is made of, for the message.
        batch: B; None for one episode without an axis for it.

    Raises:
        ValueError: it has another shape, or holds NaN or infinite values.
    """
    rows = _rows("proprio", proprio, batch)
    if rows.shape[1] != width:
        raise wrong_width({"proprio": rows}, width, keys)
    return rows.astype(np.float32)


def wrong_width(parts: Mapping[str, np.ndarray], width: int, keys: Iterable[str]) -> ValueError:
    """Return the error for proprioception with another number of entries than the policy's.

    Args:
        parts: arrays ``(B, d)`` by key.
        width: entries that the policy takes.
        keys: that they are made of.
    """
    seen = ", ".join(f"{key} {array.shape[1]}" for key, array in parts.items())
    return ValueError(
        f"proprio has the sizes {seen}; the policy takes {width} numbers, made of "
        f"{', '.join(keys)} in this order (a key that ends in _quat counts 6)"
    )


def _rows(key: str, value: Any, batch: int | None) -> np.ndarray:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"proprio {key!r} is {value!r}; allowed: numbers") from None
    if batch is not None and (array.ndim == 0 or len(array) != batch):
        raise ValueError(
            f"proprio {key!r} has the shape {array.shape}; the frames and the other observations "
            f"are a batch of {batch}: give ({batch}, d)"
        )
    if batch is None and (array.ndim > 2 or (array.ndim == 2 and len(array) != 1)):
        raise ValueError(
            f"proprio {key!r} has the shape {array.shape}, but there is one frame; give (d,), or "
            "a batch of frames (B, H, W, 3)"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"proprio {key!r} holds NaN or infinite values: {array.tolist()}")
    return array.reshape(1 if batch is None else batch, -1)
