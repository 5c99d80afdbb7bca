#!/usr/bin/env bash
# Pillow 13.0.0: the transparent value of a PNG in gray of 2 or 4 bits is not found.
#
# Expected: a PNG may name one gray value as transparent (chunk tRNS); convert("RGBA") gives such pixels an alpha of 0,
#   as it does for 1 and 8 bits.
# Seen: pixels of 2 and 4 bits are scaled to 0-255 on reading, and the transparent value is not. So value 3 of 15
#   is looked for among 0, 17, 34, 51, ... and all pixels come out opaque. Value 0 is the exception.
#   PNG optimizers write small gray pictures with 2 or 4 bits.
# Source: Pillow 13.0.0, PngImagePlugin.py, chunk_tRNS (mode "1" is scaled there, "L" is not).
# Here: the value is scaled before pictures are converted; checked by
#   tests/unit/preprocessing/test_picture_files.py::test_a_transparent_value_is_found_at_every_bit_depth
set -euo pipefail
source "$(dirname "$(readlink -f "$0")")/lib.sh"
install venv pillow==13.0.0
venv/bin/python - <<'CODE'
import io
import struct
import zlib

import PIL
from PIL import Image

print("Pillow", PIL.__version__)


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def alphas(bits):
    """Alpha of four pixels of value 1 where 1 is transparent, in gray of some bits."""
    row = bytes([0, *int("".join(f"{1:0{bits}b}" for _ in range(4)), 2).to_bytes(4, "big").lstrip(b"\0")])
    packed = row[:1] + (int.from_bytes(row[1:], "big") << (-4 * bits % 8)).to_bytes((4 * bits + 7) // 8, "big")
    header = struct.pack(">IIBBBBB", 4, 1, bits, 0, 0, 0, 0)
    chunks = (b"IHDR", header), (b"tRNS", b"\0\1"), (b"IDAT", zlib.compress(packed)), (b"IEND", b"")
    data = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in chunks)
    with Image.open(io.BytesIO(data)) as image:
        return list(image.convert("RGBA").getchannel("A").tobytes())


found = {bits: alphas(bits) for bits in (1, 2, 4, 8)}
for bits, values in found.items():
    print(f"{bits} bits: alpha {values}; expected [0, 0, 0, 0]")
assert found == {1: [0] * 4, 2: [255] * 4, 4: [255] * 4, 8: [0] * 4}
CODE
