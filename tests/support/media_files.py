"""Small pictures and videos of every kind, made with Pillow, ffmpeg, or byte by byte."""

from __future__ import annotations

import struct
import subprocess
import zlib
from collections.abc import Sequence
from pathlib import Path

import imageio_ffmpeg
import numpy as np

FFMPEG = (imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y")
_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def quarter(height: int = 40, width: int = 80) -> np.ndarray:
    """Return a black picture ``(H, W, 3)`` uint8 whose upper left quarter is white."""
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    picture[: height // 2, : width // 2] = 255
    return picture


def write_png(
    path: Path, samples: np.ndarray, bits: int = 16, transparent: Sequence[int] = ()
) -> Path:
    """Write a PNG of 2, 4, 8 or 16 bits a sample, which Pillow does not write.

    Args:
        path: file to write.
        samples: ``(H, W, channels)``; 1 to 4 channels.
        bits: bits of a sample.
        transparent: the transparent color, for the chunk tRNS.
    """
    height, width, channels = samples.shape
    header = struct.pack(">IIBBBBB", width, height, bits, _COLOR_TYPES[channels], 0, 0, 0)
    rows = b"".join(b"\0" + _row(row.reshape(-1), bits) for row in samples)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    if transparent:
        chunks.insert(1, (b"tRNS", b"".join(struct.pack(">H", value) for value in transparent)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks))
    return path


def _row(samples: np.ndarray, bits: int) -> bytes:
    if bits == 16:
        return samples.astype(">u2").tobytes()
    digits = np.unpackbits(samples.astype(np.uint8)[:, None], axis=1)[:, -bits:]
    return np.packbits(digits.reshape(-1)).tobytes()


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def write_video(path: Path, frames: np.ndarray, *options: str) -> Path:
    """Write frames ``(T, H, W, 3)`` uint8 with ffmpeg; without options they are kept exactly.

    Args:
        path: file to write.
        frames: the frames, 10 in a second.
        options: of ffmpeg, for the output.
    """
    _, height, width, _ = frames.shape
    given = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "10")
    options = options or ("-c:v", "ffv1", "-pix_fmt", "bgr0")
    command = [*FFMPEG, *given, "-i", "-", *options, str(path)]
    subprocess.run(command, input=frames.tobytes(), check=True)
    return path


def ramp(count: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Return frames ``(count, H, W, 3)`` uint8, each of one gray level: 0, 8, 16, ..."""
    levels = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.uint8(8)
    return np.broadcast_to(levels, (count, height, width, 3)).copy()
