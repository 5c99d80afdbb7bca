#!/usr/bin/env bash
# torch 2.14.1: an antialiased resize to a width of one pixel is wrong, unless the tensor lies channels last.
#
# Expected: F.interpolate(antialias=True) works on each axis by itself, so a column of H pixels that is resized to
#   H' pixels has what the same column has beside a copy of itself; and the order in memory changes no value.
# Seen: with contiguous float32 tensors (N, C, H, W) the result has wrong rows as soon as the new width is 1 and
#   the height changes, for instance 6 x 1 to 12 x 1: rows of one place stand in others. The same tensor in
#   torch.channels_last gives the right values, and so does any width but 1. A tensor one pixel wide is contiguous
#   in both orders, and the second pass takes its input for the other one. No error, no warning, on processors
#   with and without AVX2, also in 2.13.0. It is met where a signal is resampled as an image of width 1.
# Source: aten/src/ATen/native/cpu/UpSampleKernel.cpp, separable_upsample_generic_Nd_kernel_impl.
# Here: such images are brought to channels last, or resized in whole numbers; checked by
#   tests/unit/preprocessing/test_resize.py::test_one_row_or_column_is_right_in_every_order_of_memory
set -euo pipefail
source "$(dirname "$(readlink -f "$0")")/lib.sh"
install env torch==2.14.1 numpy==2.2.6
env/bin/python -W ignore - <<'CODE'
import torch
from torch.nn.functional import interpolate

print("torch", torch.__version__)
column = torch.rand(1, 3, 6, 1, generator=torch.Generator().manual_seed(0))
options = {"mode": "bilinear", "antialias": True}
beside_itself = interpolate(column.expand(-1, -1, -1, 2).contiguous(), size=(12, 2), **options)[..., :1]
error = {}
for order in (torch.contiguous_format, torch.channels_last):
    alone = interpolate(column.contiguous(memory_format=order), size=(12, 1), **options)
    error[order] = float((alone - beside_itself).abs().max())
    print(f"6 x 1 to 12 x 1, {order}: largest error {error[order]:.3f} of values in 0-1")
    print("  first channel", [round(v, 2) for v in alone[0, 0, :, 0].tolist()])
print("  right        ", [round(v, 2) for v in beside_itself[0, 0, :, 0].tolist()])
changed = error[torch.contiguous_format] < 0.1 or error[torch.channels_last] > 1e-5
raise SystemExit("the behavior has changed" if changed else 0)
CODE
