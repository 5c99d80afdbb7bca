"""Frames of a camera that is connected to this machine, through FFmpeg."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from s2robot.errors import S2RobotError

FORMAT = "v4l2"
"""FFmpeg's name of the cameras of Linux."""


def webcam_frames(
    device: str, hz: float | None = None, source_format: str = FORMAT
) -> Generator[np.ndarray, None, None]:
    """Yield the frames of a camera as they come, until it ends.

    Args:
        device: path of the camera, such as "/dev/video0".
        hz: rate that the camera is asked for [Hz]; its own when not given.
        source_format: FFmpeg's name of the kind of device.

    Yields:
        ``(H, W, 3)`` uint8 RGB.

    Raises:
        FileNotFoundError: there is no such camera.
        S2RobotError: the camera cannot be read.
    """
    if source_format == FORMAT and not Path(device).exists():
        there = ", ".join(sorted(map(str, Path("/dev").glob("video*")))) or "none"
        raise FileNotFoundError(f"{device}: no such camera; cameras of this machine: {there}")
    given = ["-f", source_format, *([] if hz is None else ["-framerate", f"{hz:g}"])]
    reader = imageio_ffmpeg.read_frames(device, pix_fmt="rgb24", input_params=given)
    try:
        width, height = next(reader)["size"]
        for data in reader:
            yield np.frombuffer(data, np.uint8).reshape(height, width, 3)
    except OSError as error:  # of imageio, with all that FFmpeg said
        reason = " ".join(str(error).split())[-400:]
        raise S2RobotError(
            f"{device} cannot be read: {reason}. Does another program use it, and may this user "
            "read it (group video)?"
        ) from None
    finally:
        reader.close()
