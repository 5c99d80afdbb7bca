"""Frames of videos and animated pictures: each stored frame once, upright, in RGB, or refused."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import imageio_ffmpeg
import numpy as np

from s2robot.errors import CorruptFileError, S2RobotError
from s2robot.preprocessing.picture_files import (
    DEEP_GRAY,
    PICTURES,
    PictureError,
    read_animation,
    require_opaque,
)

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".gif", ".apng")
"""Endings of videos; ``read_video`` reads the files of ``PICTURES`` too."""

_STREAM = re.compile(r"Stream #0:\d+.*?: Video: [^,]*, (\w+)")
_ALPHA = re.compile(r"yuva|rgba|argb|bgra|abgr|gbrap|ya8|pal8|ayuv|vuya|uyva")
_DEEP = re.compile(r"gray(?!$|8)|ya16|y16|yaf")
_PICTURE = re.compile(
    r"Input #0, (\w*_pipe|image2\w*|ico|webp_anim)\b"
    r"|major_brand\s*: (hei\w|hev\w|mi[af]\w|msf1|avi[fs])\b"
)
"""Containers of pictures: ffmpeg would take one tile of a large one, or one of several sizes."""
_HDR = re.compile(r"smpte2084|arib-std-b67")
_TO_SDR = (
    "ffmpeg -i IN -vf zscale=t=linear:npl=100,tonemap=hable,zscale=p=bt709:t=bt709:m=bt709,"
    "format=yuv420p OUT.mp4"
)
_LOCAL = ("-hide_banner", "-nostdin", "-protocol_whitelist", "file,pipe")
"""A file may name others to open; no address on a network is opened."""
_STRICT = ("-v", "error", "-xerror", "-err_detect", "explode")
# "passthrough" repeats and drops no frame for a constant rate; frames are numbered anew, because
# times closer than the rate that a file claims would be an error. Without "accurate_rnd" colors
# depend on the processor.
_OUTPUT = (
    *("-map", "0:V:0", "-fps_mode", "passthrough"),
    *("-vf", "settb=1/1000,setpts=N", "-enc_time_base", "1:1000"),
    *(
        "-sws_flags",
        "bicubic+accurate_rnd+full_chroma_int+bitexact",
        "-c:v",
        "pam",
        "-f",
        "image2pipe",
    ),
)


def read_video(path: str | Path) -> Iterator[np.ndarray]:
    """Yield the frames of a video or of an animated picture, upright and in RGB.

    Each stored frame comes once, whatever the times at which it is shown. Rotation in the metadata
    is applied. Of 10 and 12 bits, 8 are kept. Damage is an error, at the latest after the last good
    frame, so use the frames only when all have come. Transparency, HDR (PQ and HLG) and gray of
    more than 8 bits are refused.

    Args:
        path: the file. A file of ``PICTURES`` gives its frames, or its only picture.

    Yields:
        ``(H, W, 3)`` uint8 RGB, all of one size.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: it is a folder.
        CorruptFileError: the file is truncated or not a video.
        PictureError: the frames have no certain meaning in RGB, or it is a picture of another
            format.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no video {path}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the path of one video or picture")
    if path.suffix.lower() in (*PICTURES, ".apng"):
        yield from read_animation(path)
        return
    pixels = "rgba" if _may_be_transparent(path) else "rgb24"
    shape = None
    for frame in _decoded(path, pixels):
        if frame.shape != (shape or frame.shape):
            raise PictureError(f"{path} changes its size from {shape} to {frame.shape}; split it")
        shape = frame.shape
        if frame.shape[2] == 4:
            _require_opaque(frame, path)
        yield np.ascontiguousarray(frame[..., :3])
    if shape is None:
        raise _damaged(path, "it holds no frame")


def _require_opaque(frame: np.ndarray, path: Path) -> None:
    try:
        require_opaque(frame[..., 3])
    except PictureError as error:
        raise PictureError(f"{path}: {error}") from None


def _may_be_transparent(path: Path) -> bool:
    """Return whether a video has an alpha channel.

    Raises:
        CorruptFileError: there is no video in the file.
        PictureError: the video is of a kind that is refused, or a picture.
    """
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *_LOCAL, "-i", f"file:{path}"]
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    text = run.stderr.decode(errors="replace")  # its exit status is 1, as there is no output
    _refuse_pictures(path, text)
    found = [_STREAM.search(line) for line in text.splitlines() if "attached pic" not in line]
    stream = next(filter(None, found), None)
    if stream is None:
        raise _damaged(path, "it holds no video" if "Input #0" in text else text)
    curve, pixels = _HDR.search(stream.string), stream[1]
    if curve:
        raise PictureError(f"{path} is HDR ({curve[0]}); convert it first, for example: {_TO_SDR}")
    if _DEEP.match(pixels):
        raise PictureError(f"{path}: the video is {DEEP_GRAY} (pixel format {pixels})")
    if re.search(r"alpha_mode\s*: 1", text):
        raise PictureError(f"{path} has an alpha channel that is not decoded; save it without")
    return bool(_ALPHA.match(pixels))


def _refuse_pictures(path: Path, text: str) -> None:
    found = _PICTURE.search(text)
    if found:
        raise PictureError(
            f"{path} holds a picture ({found[1] or found[2]}), not a video; pictures are read from "
            f"PNG, JPEG, BMP, WebP and GIF files that end in {', '.join(PICTURES)}: save it as one "
            "of these, or give it its ending"
        )


def _decoded(path: Path, pixels: str) -> Iterator[np.ndarray]:
    """Yield the frames ``(H, W, 3 or 4)`` uint8 as ffmpeg converts them."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *_LOCAL, *_STRICT, "-i", f"file:{path}"]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [*command, *_OUTPUT, "-pix_fmt", pixels, "-"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        assert process.stdout is not None
        try:
            while (frame := _next_frame(process.stdout)) is not None:
                yield frame
            status = process.wait()
        finally:
            process.kill()  # the rest is not wanted
            process.stdout.close()
            process.wait()
        errors.seek(0)
        text = errors.read().decode(errors="replace")
        if status or text.strip():
            raise _damaged(path, text)


def _next_frame(pipe: IO[bytes]) -> np.ndarray | None:
    """Return the next picture in PAM, ``(H, W, channels)`` uint8, or None at the end."""
    fields: dict[bytes, bytes] = {}
    while (line := pipe.readline().strip()) != b"ENDHDR":
        if not line:
            return None
        name, _, value = line.partition(b" ")
        fields[name] = value
    shape = int(fields[b"HEIGHT"]), int(fields[b"WIDTH"]), int(fields[b"DEPTH"])
    data = pipe.read(shape[0] * shape[1] * shape[2])
    whole = len(data) == shape[0] * shape[1] * shape[2]
    return np.frombuffer(data, np.uint8).reshape(shape) if whole else None


def _damaged(path: Path, text: str) -> S2RobotError:
    if "Unrecognized option" in text:
        return S2RobotError(
            f"ffmpeg {imageio_ffmpeg.get_ffmpeg_version()} does not know an option that reading "
            f"needs ({text.splitlines()[0]}); allowed: 5.1 or later. Update imageio-ffmpeg, or "
            "unset IMAGEIO_FFMPEG_EXE"
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return CorruptFileError(
        f"{path} cannot be read as a video (ffmpeg: {lines[0]}). If players show it, write it "
        "anew: ffmpeg -i IN -c:v libx264 -crf 10 OUT.mp4"
    )
