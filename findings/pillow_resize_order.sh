#!/usr/bin/env bash
# Pillow 13.0.0: the same resize of the same picture gives other bytes than with Pillow 12.3.0.
#
# Expected: Image.resize with a fixed filter is arithmetic on 8-bit pixels; a new release changes its speed,
#   not its result, and if it did, it would do so for all pictures.
# Seen: a resize is two passes, and the picture between them is rounded to 8 bits. Up to 12 the horizontal
#   pass came first; 13 begins with the vertical one where the height is reduced much more than the width.
#   So a frame of a camera in portrait format changes (1280 x 720 to 224 x 224) and the same camera in
#   landscape format, or at 1920 x 1080, does not. Features of a frozen encoder change with it.
# Source: python-pillow/Pillow pull request 9549, src/libImaging/Resample.c.
# Here: the order of the installed Pillow is measured before its arithmetic is repeated on a GPU; checked by
#   tests/unit/preprocessing/test_resize.py::test_the_installed_pillows_order_is_found
set -euo pipefail
source "$(dirname "$(readlink -f "$0")")/lib.sh"
cat >resize.py <<'CODE'
import sys

import numpy as np
import PIL
from PIL import Image

results = {}
for height, width in ((1280, 720), (640, 360), (720, 1280), (480, 640)):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels).resize((224, 224), Image.Resampling.BICUBIC)
    results[f"{height} x {width}"] = np.asarray(picture)
np.savez(sys.argv[1], **results)
print("Pillow", PIL.__version__)
CODE
for version in 12.3.0 13.0.0; do
  install "pillow$version" "pillow==$version" numpy==2.2.6
  "pillow$version/bin/python" resize.py "$version.npz"
done
pillow13.0.0/bin/python - <<'CODE'
import numpy as np

old, new = np.load("12.3.0.npz"), np.load("13.0.0.npz")
changed = {}
for name in old:
    difference = np.abs(old[name].astype(int) - new[name])
    changed[name] = bool(difference.any())
    print(f"{name} to 224 x 224: {(difference > 0).mean():.1%} of the values differ, at most by {difference.max()}")
assert changed == {"1280 x 720": True, "640 x 360": True, "720 x 1280": False, "480 x 640": False}
CODE
