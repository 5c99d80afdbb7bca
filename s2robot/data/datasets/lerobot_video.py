"""Frames of a video at the times that a LeRobot table names, decoded in order; needs PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.data.datasets.lerobot_tables import REMEDY, library
from s2robot.errors import CorruptFileError

SHARE = 0.25
"""Part of the time between two frames by which the time of a frame may differ from the table's."""


def video_frames(path: Path, times_s: np.ndarray, fps: float) -> Iterator[np.ndarray]:
    """Yield the frames that a video shows at some times.

    The file is sought once, to the key frame before the first time; then each frame is decoded
    once, in order.

    Args:
        path: the video.
        times_s: times in the video [s], ascending, (T,).
        fps: frames per second of the data set.

    Yields:
        ``(H, W, 3)`` uint8 RGB.

    Raises:
        CorruptFileError: the video is damaged, ends too early, or has no frame at a time.
    """
    av = library("av")
    tolerance = SHARE / fps
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise CorruptFileError(f"{path} has no video stream; {REMEDY}")
            decoded = _from(container, float(times_s[0]), tolerance)
            time_s, picture, shown = -np.inf, None, None
            for wanted in times_s:
                while time_s < wanted - tolerance:
                    time_s, picture = next(decoded, (np.inf, None))
                    shown = None
                if picture is None or time_s > wanted + tolerance:
                    raise CorruptFileError(_no_frame(path, wanted, time_s))
                shown = picture.to_ndarray(format="rgb24") if shown is None else shown
                yield shown
    except av.FFmpegError as error:
        text = str(error).splitlines()[0][:120]
        raise CorruptFileError(
            f"{path} cannot be decoded ({text}); it is truncated or damaged; {REMEDY}"
        ) from None


def _from(container: Any, start_s: float, tolerance: float) -> Iterator[tuple[float, Any]]:
    """Yield times [s] and pictures from a key frame at or before a time."""
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    origin = int(stream.start_time or 0)
    if start_s > tolerance:
        container.seek(origin + int(start_s / stream.time_base), stream=stream, backward=True)
    decoded = container.decode(stream)
    first = next(decoded, None)
    if start_s > tolerance and (first is None or _time(first) > start_s + tolerance):
        # Containers are sought by decoding times, so it may land behind the wanted frame.
        container.seek(origin, stream=stream, backward=True)
        decoded = container.decode(stream)
        first = next(decoded, None)
    if first is not None:
        yield _time(first), first
        for frame in decoded:
            yield _time(frame), frame


def _time(frame: Any) -> float:
    return float(frame.pts * frame.time_base) if frame.pts is not None else np.inf


def _no_frame(path: Path, wanted: float, seen: float) -> str:
    if np.isinf(seen):
        return f"{path} ends before {wanted:.3f} s, where the table has a frame; {REMEDY}"
    return (
        f"{path} has no frame at {wanted:.3f} s, where the table has one; the next is at "
        f"{seen:.3f} s; {REMEDY}"
    )
