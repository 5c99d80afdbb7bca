"""Pre-training: it learns, resumes exactly, and exports an encoder that loads by its card."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from s2robot.errors import CorruptFileError, MismatchError
from s2robot.files import read_jsonl, sha256_file
from s2robot.mae import (
    MaskedAutoencoder,
    normalise_patches,
    patchify,
    unpatchify,
    visible_patches,
)
from s2robot.pretrain import (
    DivergedError,
    ModelConfig,
    PretrainConfig,
    Trainer,
    export,
    learning_rate,
    pretrain,
)
from s2robot.views import FramePool, ViewConfig, ViewSampler

TINY = ModelConfig(
    img_size=32,
    embed_dim=24,
    depth=2,
    num_heads=2,
    decoder_dim=16,
    decoder_depth=1,
    decoder_heads=2,
)


class Squares:
    """Frames with one bright square, cheap to draw."""

    def frame(self, i: int) -> np.ndarray:
        rng = np.random.default_rng(i)
        frame = np.full((96, 96, 3), rng.integers(0, 120), dtype=np.uint8)
        top, left = rng.integers(0, 64, size=2)
        frame[top : top + 32, left : left + 32] = rng.integers(120, 255, size=3)
        return frame


def tiny(out, **changes) -> PretrainConfig:
    defaults = PretrainConfig(
        out=out,
        frames=16,
        frame_size=96,
        views=16 * 12,
        batch_size=16,
        checkpoint_every=4,
        device="cpu",
        model=TINY,
    )
    return dataclasses.replace(defaults, **changes)


@pytest.fixture
def squares(monkeypatch):
    from s2robot.envs import randomize

    monkeypatch.setattr(randomize, "RandomScenes", lambda seed, size: Squares())


def test_patches_round_trip():
    images = torch.rand(2, 3, 32, 48 - 16)
    assert torch.equal(unpatchify(patchify(images, 16), 16), images)


def test_first_patch_is_the_top_left_corner():
    images = torch.rand(1, 3, 32, 32)
    first = patchify(images, 16)[0, 0].reshape(16, 16, 3)
    assert torch.equal(first, images[0, :, :16, :16].permute(1, 2, 0))


def test_normalised_patches_have_unit_variance_unless_flat():
    patches = torch.cat([torch.randn(1, 1, 768) * 5 + 3, torch.full((1, 1, 768), 2.0)], dim=1)
    normalised = normalise_patches(patches)
    assert normalised[0, 0].std().item() == pytest.approx(1, abs=0.01)
    assert normalised[0, 1].abs().max().item() < 1e-6


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
    target = normalise_patches(patchify(images, 16))
    error = (predicted - target).square().mean(-1)
    expected = torch.cat([error[0, 1:], error[1, :3]]).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_encoding_all_patches_is_what_timm_computes():
    model = MaskedAutoencoder(TINY.build(), 16, 1, 2).eval()
    images = torch.randn(2, 3, 32, 32)
    everything = torch.arange(4).expand(2, -1)
    ours = model.encode(images, everything)
    torch.testing.assert_close(ours, model.encoder.forward_features(images))


def test_learning_rate_is_a_trapezoid():
    config = PretrainConfig(views=1000, batch_size=1, warmup=0.1, cooldown=0.2, lr=1.0)
    rates = [learning_rate(step, config) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[500] == 1.0
    assert rates[-1] == pytest.approx(1 / 200)


def test_views_depend_on_seed_and_step_only(tmp_path):
    pool = FramePool.render(tmp_path, 8, Squares, 96)
    one = ViewSampler(pool, 32, ViewConfig(), seed=0)
    assert torch.equal(one.batch(3, 4), ViewSampler(pool, 32, ViewConfig(), seed=0).batch(3, 4))
    assert not torch.equal(one.batch(3, 4), one.batch(4, 4))
    assert one.batch(0, 4).shape == (4, 3, 32, 32)
    assert one.batch(0, 4).dtype == torch.uint8


def test_a_truncated_frame_shard_is_refused(tmp_path):
    FramePool.render(tmp_path, 8, Squares, 96)
    shard = next(tmp_path.glob("*.npy"))
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(CorruptFileError, match="delete it"):
        FramePool.render(tmp_path, 8, Squares, 96)


def test_training_lowers_the_loss_and_exports_a_verified_card(tmp_path, squares):
    config = tiny(tmp_path, views=16 * 60, lr=3e-3)
    card = json.loads(pretrain(config).read_text())
    losses = [row["loss"] for row in read_jsonl(tmp_path / "loss.jsonl")]
    assert len(losses) == 60
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])
    assert card["sha256"] == sha256_file(tmp_path / "encoder.safetensors")
    assert card["views"] == 960
    assert (tmp_path / "loss.png").stat().st_size > 1000
    assert (tmp_path / "reconstructions.png").stat().st_size > 1000
    weights = load_file(tmp_path / "encoder.safetensors")
    missing, unexpected = TINY.build().load_state_dict(weights, strict=False)
    assert not missing
    assert not unexpected


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, squares):
    whole, parts = tiny(tmp_path / "whole"), tiny(tmp_path / "parts")
    pretrain(whole)
    trainer = Trainer(parts)
    pool = FramePool.render(tmp_path / "pool", parts.frames, Squares, 96)
    sampler = ViewSampler(pool, 32, parts.sampling, parts.seed)
    for step in range(6):  # killed at step 6, after the checkpoint of step 4
        trainer.update(sampler.batch(step, parts.batch_size))
        if trainer.step == 4:
            trainer.save(parts.out / "checkpoint.pt")
    pretrain(parts)
    ours = load_file(parts.out / "encoder.safetensors")
    theirs = load_file(whole.out / "encoder.safetensors")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_another_recipe_does_not_resume(tmp_path, squares):
    pretrain(tiny(tmp_path))
    with pytest.raises(MismatchError, match="lr is 0.001 there and 0.1 here"):
        pretrain(tiny(tmp_path, lr=0.1))


def test_more_views_resume(tmp_path, squares):
    pretrain(tiny(tmp_path))
    card = json.loads(pretrain(tiny(tmp_path, views=16 * 16)).read_text())
    assert card["steps"] == 16


def test_a_nan_loss_stops_and_names_the_batch(tmp_path):
    trainer = Trainer(tiny(tmp_path))
    with torch.no_grad():
        trainer.model.decoder_head.bias.fill_(float("nan"))
    with pytest.raises(DivergedError, match="batch 0"):
        trainer.update(torch.zeros(4, 3, 32, 32, dtype=torch.uint8))


def test_export_is_the_average_in_half_precision(tmp_path):
    trainer = Trainer(tiny(tmp_path))
    trainer.update(torch.randint(0, 255, (8, 3, 32, 32), dtype=torch.uint8))
    weights = load_file(export(trainer).with_name("encoder.safetensors"))
    name = "blocks.0.attn.qkv.weight"
    average = trainer.average.encoder.state_dict()[name]
    assert weights[name].dtype == torch.float16
    assert torch.equal(weights[name], average.half())
