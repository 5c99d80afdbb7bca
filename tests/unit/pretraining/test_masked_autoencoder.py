"""The masked autoencoder: patches, loss, segments."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.tiny_pretraining import TINY

from s2robot.pretraining.hardware import plain_attention
from s2robot.pretraining.masked_autoencoder import (
    SEGMENT_WEIGHTS,
    MaskedAutoencoder,
    normalize_patches,
    patchify,
    unpatchify,
    visible_patches,
)


def test_patches_round_trip():
    images = torch.rand(2, 3, 32, 48 - 16)
    assert torch.equal(unpatchify(patchify(images, 16), 16), images)


def test_first_patch_is_the_top_left_corner():
    images = torch.rand(1, 3, 32, 32)
    first = patchify(images, 16)[0, 0].reshape(16, 16, 3)
    assert torch.equal(first, images[0, :, :16, :16].permute(1, 2, 0))


def test_normalized_patches_have_unit_variance_unless_flat():
    patches = torch.cat([torch.randn(1, 1, 768) * 5 + 3, torch.full((1, 1, 768), 2.0)], dim=1)
    normalized = normalize_patches(patches)
    assert normalized[0, 0].std().item() == pytest.approx(1, abs=0.01)
    assert normalized[0, 1].abs().max().item() < 1e-6


def test_visible_patches_are_distinct_and_as_many_as_the_ratio_leaves():
    keep = visible_patches(50, 64, 0.75, torch.Generator().manual_seed(0))
    assert keep.shape == (50, 16)
    assert all(len(set(row.tolist())) == 16 for row in keep)
    with pytest.raises(ValueError, match="mask_ratio"):
        visible_patches(1, 64, 1.0, torch.Generator())


def test_loss_counts_only_masked_patches():
    model = MaskedAutoencoder(TINY.build(), 16, 1, 2).eval()
    images = torch.randn(2, 3, 32, 32)
    keep = torch.tensor([[0], [3]])
    loss, predicted = model(images, keep)
    target = normalize_patches(patchify(images, 16))
    error = (predicted - target).square().mean(-1)
    expected = torch.cat([error[0, 1:], error[1, :3]]).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_encoding_all_patches_is_what_timm_computes():
    model = MaskedAutoencoder(TINY.build(), 16, 1, 2).eval()
    images = torch.randn(2, 3, 32, 32)
    everything = torch.arange(4).expand(2, -1)
    ours = model.encode(images, everything)
    torch.testing.assert_close(ours, model.encoder.forward_features(images))


def test_segments_of_all_patches_add_their_weighted_cross_entropy():
    model = MaskedAutoencoder(TINY.build(), 16, 1, 2, segments_weight=0.7).eval()
    images, keep = torch.randn(2, 3, 32, 32), torch.tensor([[0], [3]])
    segments = torch.randint(0, 6, (2, 16, 16), dtype=torch.uint8)
    added = model(images, keep, segments)[0] - model(images, keep)[0]
    told = model.segment_head(model.decode_tokens(model.encode(images, keep), keep))
    total = weight = 0.0
    for b, patch, y, x in np.ndindex(2, 4, 8, 8):
        true = int(segments[b, patch // 2 * 8 + y, patch % 2 * 8 + x])
        odds = told[b, patch].reshape(8, 8, 6)[y, x].log_softmax(0)
        total -= SEGMENT_WEIGHTS[true] * odds[true].item()
        weight += SEGMENT_WEIGHTS[true]
    assert added.item() == pytest.approx(0.7 * total / weight, rel=1e-4)


def test_plain_attention_is_the_fused_one():
    model = MaskedAutoencoder(TINY.build(), 16, 1, 2).eval()
    images, keep = torch.randn(2, 3, 32, 32), torch.tensor([[0, 2], [1, 3]])
    fused = model(images, keep)[1]
    plain_attention(model)
    assert not any(getattr(m, "fused_attn", False) for m in model.modules())
    torch.testing.assert_close(model(images, keep)[1], fused)
