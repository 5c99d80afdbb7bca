#!/usr/bin/env bash
# timm 1.0.31 and Meta's dinov2: the same weights and the same 224-px image give different tokens.
#
# Expected: timm's vit_small_patch14_dinov2 loads Meta's state dict, agrees with Meta's model at the size of
#   training (518 px), and therefore agrees at any other size.
# Seen: at 518 px both agree to rounding. At 224 px both shrink the table of positions from 37 x 37 to
#   16 x 16 by bicubic interpolation, but Meta's code scales by (16 + 0.1) / 37 without antialiasing, and timm
#   names the size and antialiases. Weights here are random, positions too; published positions are smoother, and the
#   difference is smaller.
# Source: dinov2/models/vision_transformer.py, interpolate_pos_encoding; timm/layers/pos_embed.py.
# Here: the card resamples as Meta does; checked by
#   tests/unit/backbones/test_general_models.py::test_dinov2
set -euo pipefail
source "$(dirname "$(readlink -f "$0")")/lib.sh"
install env torch==2.14.1 torchvision==0.29.1 numpy==2.2.6 timm==1.0.31
install env --no-deps dinov2==0.0.1.dev2  # the model file needs torch alone
env/bin/python -W ignore - <<'CODE'
import importlib.metadata
import logging

import timm
import torch
from timm.models.vision_transformer import checkpoint_filter_fn

logging.disable(logging.WARNING)
from dinov2.models.vision_transformer import vit_small

torch.manual_seed(0)
meta = vit_small(img_size=518, patch_size=14, init_values=1.0, block_chunks=0).eval()
torch.nn.init.normal_(meta.pos_embed, std=0.2)
state = meta.state_dict()
print("timm", timm.__version__, "dinov2", importlib.metadata.version("dinov2"))
difference = {}
for side in (518, 224):
    other = timm.create_model("vit_small_patch14_dinov2", img_size=side).eval()
    other.load_state_dict(checkpoint_filter_fn(dict(state), other))
    image = torch.randn(1, 3, side, side)
    with torch.no_grad():
        theirs = meta.forward_features(image)["x_norm_patchtokens"]
        tokens = other.forward_features(image)[:, 1:]
    difference[side] = ((theirs - tokens).abs().max() / theirs.std()).item()
    cosine = torch.nn.functional.cosine_similarity(theirs, tokens, dim=-1).min().item()
    print(f"{side} px: largest difference {difference[side]:.1e} of the std, least cosine {cosine:.4f}")
assert difference[518] < 1e-4 and difference[224] > 0.1
CODE
