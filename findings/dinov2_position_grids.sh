#!/usr/bin/env bash
# timm 1.0.31, transformers 5.24.0 and Meta's dinov2: the same weights and the same 224-px image give three outputs.
#
# Expected: timm's vit_small_patch14_dinov2 and transformers' Dinov2Model load Meta's weights, agree with Meta's model at
#   the size of training (518 px), and therefore agree at any other size.
# Seen: at 518 px all agree to rounding. At 224 px all shrink the table of positions from 37 x 37 to 16 x 16 by bicubic
#   interpolation, but Meta's code scales by (16 + 0.1) / 37 without antialiasing, transformers names the size without
#   antialiasing, and timm names the size and antialiases. Weights here are random, positions too; published positions
#   are smoother, and the differences are smaller.
# Source: dinov2/models/vision_transformer.py, interpolate_pos_encoding; transformers/models/dinov2/modeling_dinov2.py,
#   interpolate_pos_encoding; timm/layers/pos_embed.py.
# Here: the cards resample as Meta does; checked by tests/unit/backbones/test_general_models.py::test_dinov2. A user's
#   card names the rule: tests/unit/backbones/test_card_files.py.
set -euo pipefail
source "$(dirname "$(readlink -f "$0")")/lib.sh"
install env torch==2.14.1 torchvision==0.29.1 numpy==2.2.6 timm==1.0.31 transformers==5.24.0
install env --no-deps dinov2==0.0.1.dev2  # the model file needs torch alone
env/bin/python -W ignore - <<'CODE'
import importlib.metadata
import logging

import timm
import torch
import transformers
from timm.models.vision_transformer import checkpoint_filter_fn

logging.disable(logging.WARNING)
transformers.utils.logging.disable_progress_bar()
from dinov2.models.vision_transformer import vit_small


def renamed(state):
    """Meta's tensors under transformers' names, as of the files on the hub."""
    tensors = {
        "embeddings.cls_token": state["cls_token"],
        "embeddings.position_embeddings": state["pos_embed"],
        "embeddings.mask_token": state["mask_token"],
    }
    for part in ("weight", "bias"):
        tensors[f"embeddings.patch_embeddings.projection.{part}"] = state[f"patch_embed.proj.{part}"]
        tensors[f"layernorm.{part}"] = state[f"norm.{part}"]
        for i in range(12):
            layer, block = f"encoder.layer.{i}", f"blocks.{i}"
            qkv = state[f"{block}.attn.qkv.{part}"].chunk(3)
            for name, tensor in zip(("query", "key", "value"), qkv, strict=True):
                tensors[f"{layer}.attention.attention.{name}.{part}"] = tensor
            tensors[f"{layer}.attention.output.dense.{part}"] = state[f"{block}.attn.proj.{part}"]
            for name in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                tensors[f"{layer}.{name}.{part}"] = state[f"{block}.{name}.{part}"]
            for k in (1, 2):
                tensors[f"{layer}.layer_scale{k}.lambda1"] = state[f"{block}.ls{k}.gamma"]
    return tensors


torch.manual_seed(0)
meta = vit_small(img_size=518, patch_size=14, init_values=1.0, block_chunks=0).eval()
torch.nn.init.normal_(meta.pos_embed, std=0.2)
state = meta.state_dict()
config = transformers.Dinov2Config(
    hidden_size=384, num_attention_heads=6, image_size=518, patch_size=14
)
hugging = transformers.Dinov2Model.from_pretrained(None, config=config, state_dict=renamed(state)).eval()
versions = {name: importlib.metadata.version(name) for name in ("dinov2", "timm", "transformers")}
print(", ".join(f"{name} {version}" for name, version in versions.items()))
difference = {}
for side in (518, 224):
    other = timm.create_model("vit_small_patch14_dinov2", img_size=side).eval()
    other.load_state_dict(checkpoint_filter_fn(dict(state), other))
    image = torch.randn(1, 3, side, side)
    with torch.no_grad():
        theirs = meta.forward_features(image)["x_norm_patchtokens"]
        found = {
            "timm": other.forward_features(image)[:, 1:],
            "transformers": hugging(image).last_hidden_state[:, 1:],
        }
    for name, tokens in found.items():
        difference[name, side] = ((theirs - tokens).abs().max() / theirs.std()).item()
        cosine = torch.nn.functional.cosine_similarity(theirs, tokens, dim=-1).min().item()
        print(
            f"{side} px, {name}: largest difference from Meta {difference[name, side]:.1e} of the std, "
            f"least cosine {cosine:.4f}"
        )
    between = (found["timm"] - found["transformers"]).abs().max() / theirs.std()
    difference["both", side] = between.item()
assert all(difference[name, 518] < 1e-4 for name in ("timm", "transformers", "both"))
assert all(difference[name, 224] > 0.05 for name in ("timm", "transformers", "both"))
CODE
