#!/usr/bin/env bash
# imageio 2.38.1: a video of a variable rate gives frames that are not in it.
#
# Expected: iterating over a video yields each stored frame once; a phone's or a screen recorder's variable rate
#   affects timestamps, not the number of frames.
# Seen: 16 stored frames come as more, the excess repeating the one before, evenly spaced at the rate that the
#   file's header suggests. Nothing in the array or the metadata tells which. Indices no longer match
#   labels or timestamps recorded per frame, and repeated frames look like a camera at rest.
# Source: imageio-ffmpeg 0.8.1, _io.py read_frames: it writes rawvideo without -fps_mode, for which ffmpeg assumes
#   a constant rate.
# Here: videos are read with -fps_mode passthrough; checked by
#   tests/unit/preprocessing/test_video_files.py::test_a_variable_rate_repeats_and_drops_nothing
set -euo pipefail
source "$(dirname "$(readlink -f "$0")")/lib.sh"
install venv imageio==2.38.1 imageio-ffmpeg==0.8.1 numpy==2.2.6
venv/bin/python - <<'CODE'
import subprocess

import imageio
import imageio.v3 as iio
import imageio_ffmpeg
import numpy as np

ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
print("imageio", imageio.__version__, "ffmpeg", imageio_ffmpeg.get_ffmpeg_version())
frames = np.repeat(np.arange(16, dtype=np.uint8) * 8, 48 * 64).reshape(16, 48, 64)
source = [ffmpeg, "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "gray", "-s", "64x48", "-r", "10", "-i", "-"]
times = ["-vf", "setpts='if(lt(N,8),N,2*N)/10/TB'", "-fps_mode", "passthrough"]
subprocess.run([*source, *times, "-c:v", "ffv1", "a.mkv"], input=frames.tobytes(), check=True)
levels = [int(frame.mean()) for frame in iio.imiter("a.mkv")]
repeats = sum(a == b for a, b in zip(levels, levels[1:]))
print(f"16 frames stored; {len(levels)} read, {repeats} of them repeats: {levels}")
assert len(set(levels)) == 16
assert len(levels) > 16
assert repeats == len(levels) - 16
CODE
