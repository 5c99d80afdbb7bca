"""Frames of several cameras, of any sizes and numbers, in batches for shared calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from s2robot.preprocessing.frame_input import Frames, as_frames


def as_cameras(frames: Mapping[str, Frames]) -> dict[str, Tensor]:
    """Return the frames of each camera as checked tensors; see ``as_frames``.

    Returns:
        ``{camera: (B, H, W, 3) uint8}``

    Raises:
        ValueError: there are no cameras, or frames are invalid; the message names the camera.
    """
    if not isinstance(frames, Mapping) or not frames:
        raise ValueError(
            "frames of cameras must be a mapping from the name of each, at least one, to its "
            f"frames; got {type(frames).__name__} of {len(frames)}"
        )
    return {name: _named(name, pictures) for name, pictures in frames.items()}


def _named(name: str, frames: Frames) -> Tensor:
    try:
        return as_frames(frames)
    except ValueError as error:
        raise ValueError(f"camera {name!r}: {error}") from None


def packs(cameras: Mapping[str, Tensor], most: int) -> Iterator[dict[str, Tensor]]:
    """Yield the frames of all cameras, one camera after the other, in packs of ``most`` frames.

    Args:
        cameras: frames ``(B, H, W, 3)`` by camera.
        most: most frames of a pack.
    """
    pack: dict[str, Tensor] = {}
    room = most
    for name, frames in cameras.items():
        start = 0
        while start < len(frames):
            pack[name] = frames[start : start + room]
            start += len(pack[name])
            room -= len(pack[name])
            if not room:
                yield pack
                pack, room = {}, most
    if pack:
        yield pack
