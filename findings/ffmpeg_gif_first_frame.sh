#!/usr/bin/env bash
# ffmpeg 9.0.2: of an animated GIF that Pillow writes with its defaults, only the first frame is read.
#
# Expected: four frames, as Pillow reads and viewers show, or an error. The graphic control extension of a
#   GIF frame is optional; a frame without one has no delay.
# Seen: without `duration`, Pillow 13 writes no such extension. ffmpeg then takes all frames for one packet,
#   decodes the first image in it and ends with status 0 and without a message. Small files (30 x 20) are read
#   whole, so a trial looks right. With any `duration` all frames are read.
# Source: FFmpeg, libavcodec/gif_parser.c: a packet ends only where an extension was seen before it (the same
#   with ffmpeg 7.0.2); Pillow 13.0.0, GifImagePlugin.py.
# Here: animated GIFs are read by Pillow, not by ffmpeg as other videos are; checked by
#   tests/unit/preprocessing/test_video_files.py::test_a_gray_gif_has_three_channels
set -euo pipefail
source "$(dirname "$(readlink -f "$0")")/lib.sh"
install venv pillow==13.0.0 imageio-ffmpeg==0.8.1 numpy==2.2.6
venv/bin/python - <<'CODE'
import subprocess

import imageio_ffmpeg
import numpy as np
import PIL
from PIL import Image

ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
print("Pillow", PIL.__version__, "ffmpeg", imageio_ffmpeg.get_ffmpeg_version())


def frames_read(height, width, **options):
    pixels = np.random.default_rng(0).integers(0, 256, (4, height, width), dtype=np.uint8)
    images = [Image.fromarray(frame) for frame in pixels]
    images[0].save("a.gif", save_all=True, append_images=images[1:], **options)
    with Image.open("a.gif") as image:
        by_pillow = image.n_frames
    command = [ffmpeg, "-v", "error", "-i", "a.gif", "-fps_mode", "passthrough"]
    run = subprocess.run(
        [*command, "-pix_fmt", "gray", "-f", "rawvideo", "-"], capture_output=True, check=True
    )
    found = by_pillow, len(run.stdout) // (height * width)
    print(f"{width} x {height}, {options}: Pillow {found[0]} frames, ffmpeg {found[1]}, {run.stderr!r}")
    return found


assert frames_read(192, 256) == (4, 1)
assert frames_read(192, 256, duration=100) == (4, 4)
assert frames_read(20, 30) == (4, 4)
CODE
