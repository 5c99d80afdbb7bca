"""Pre-training: it learns, resumes exactly, and exports an encoder that loads by its card."""

from __future__ import annotations

import dataclasses
import errno
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file

from s2robot import FrameEncoder
from s2robot.errors import DiskFullError, DivergedError, MismatchError
from s2robot.pretraining.augmentation import CropConfig, CropSampler
from s2robot.pretraining.config import ModelConfig, PretrainConfig, learning_rate
from s2robot.pretraining.export import export
from s2robot.pretraining.frame_dataset import FrameDataset, write_shard
from s2robot.pretraining.frame_sources import open_dataset
from s2robot.pretraining.hardware import plain_attention
from s2robot.pretraining.masked_autoencoder import (
    SEGMENT_WEIGHTS,
    MaskedAutoencoder,
    normalize_patches,
    patchify,
    unpatchify,
    visible_patches,
)
from s2robot.pretraining.run import pretrain
from s2robot.pretraining.trainer import Trainer
from s2robot.utils.config import from_config
from s2robot.utils.distributed import ALONE, DistributedContext, count_processes
from s2robot.utils.io import read_json, read_jsonl, sha256_file

TINY = ModelConfig(
    img_size=32,
    embed_dim=24,
    depth=2,
    num_heads=2,
    decoder_dim=16,
    decoder_depth=1,
    decoder_heads=2,
)


EVERY_SCALE = CropConfig()


def square(i: int) -> np.ndarray:
    """A frame with one bright square, cheap to draw."""
    rng = np.random.default_rng(i)
    frame = np.full((96, 96, 3), rng.integers(0, 120), dtype=np.uint8)
    top, left = rng.integers(0, 64, size=2)
    frame[top : top + 32, left : left + 32] = rng.integers(120, 255, size=3)
    return frame


@pytest.fixture(scope="session")
def squares(tmp_path_factory) -> Path:
    """A folder of 64 pictures."""
    folder = tmp_path_factory.mktemp("squares")
    for i in range(64):
        Image.fromarray(square(i)).save(folder / f"{i:03d}.png")
    return folder


@pytest.fixture(scope="session")
def pool(tmp_path_factory) -> FrameDataset:
    path = tmp_path_factory.mktemp("pool") / "frames.npy"
    write_shard(path, map(square, range(8)), (8, 96, 96, 3))
    return FrameDataset([path])


@pytest.fixture
def tiny(tmp_path, squares):
    """Makes tiny recipes on the pictures."""

    def make(out="run", **changes) -> PretrainConfig:
        defaults = PretrainConfig(
            out=tmp_path / out,
            source=(str(squares),),
            cache=tmp_path / "frames",
            frame_size=96,
            views=16 * 12,
            batch_size=16,
            checkpoint_every=4,
            device="cpu",
            processes=1,
            model=TINY,
        )
        return dataclasses.replace(defaults, **changes)

    return make


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


def test_learning_rate_rises_and_falls_by_a_cosine():
    config = PretrainConfig(views=1000, batch_size=1, warmup=0.1, lr=1.0)
    rates = [learning_rate(step, config) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[99] == pytest.approx(1.0)
    assert rates[550] == pytest.approx(0.5)
    assert rates[-1] == pytest.approx(0, abs=1e-5)


def sampler(pool, *, seed=0, batch=4, context=ALONE, config=EVERY_SCALE) -> CropSampler:
    return CropSampler(pool, 32, config, seed, batch, context)


def test_views_depend_on_seed_and_step_only(pool):
    views = sampler(pool)[3][0]
    assert torch.equal(views, sampler(pool)[3][0])
    assert not torch.equal(views, sampler(pool)[4][0])
    assert not torch.equal(views, sampler(pool, seed=1)[3][0])
    assert views.shape == (4, 3, 32, 32)
    assert views.dtype == torch.uint8


def test_a_pool_travels_to_other_processes_without_its_frames(pool):
    assert len(pickle.dumps(pool)) < 2000
    assert np.array_equal(pickle.loads(pickle.dumps(pool))[3], pool[3])


def test_processes_share_the_views_out(pool):
    whole = sampler(pool, batch=6)[5][0]
    parts = [sampler(pool, batch=6, context=DistributedContext(rank, 2))[5][0] for rank in range(2)]
    assert torch.equal(parts[0], whole[0::2])
    assert torch.equal(parts[1], whole[1::2])
    assert torch.equal(DistributedContext(1, 2).share(whole), parts[1])


def test_views_span_the_share_of_the_frame_that_their_scale_says(tmp_path):
    ramp = np.broadcast_to(np.linspace(0, 240, 96)[None, :, None], (96, 96, 3)).astype(np.uint8)
    write_shard(tmp_path / "ramp.npy", [ramp], (1, 96, 96, 3))
    pool = FrameDataset([tmp_path / "ramp.npy"])
    for scale in (1.0, 3.0):
        config = CropConfig(scales=(scale,), weights=(1.0,), jitter=0.0, flip=0.0)
        views = sampler(pool, batch=8, config=config)[0][0].float()
        spans = views.amax(dim=(1, 2, 3)) - views.amin(dim=(1, 2, 3))
        assert spans.mean().item() == pytest.approx(240 / scale, rel=0.1)


def test_scales_are_drawn_with_their_weights(pool):
    config = CropConfig(scales=(1.0, 3.0), weights=(0.0, 1.0), jitter=0.0)
    only = CropConfig(scales=(3.0,), weights=(1.0,), jitter=0.0)
    assert torch.equal(sampler(pool, config=config)[0][0], sampler(pool, config=only)[0][0])


def test_segments_are_cut_and_flipped_with_their_views(tmp_path):
    classes = np.zeros((96, 96), dtype=np.uint8)
    classes[:, 40:] = 2
    classes[60:, :50] = 5
    frame = np.repeat(classes[..., None] * 50, 3, axis=2)  # its colour tells its class
    write_shard(tmp_path / "f.npy", [frame], (1, 96, 96, 3))
    write_shard(tmp_path / "s.npy", [classes[::2, ::2]], (1, 48, 48))
    pool = FrameDataset([tmp_path / "f.npy"], [tmp_path / "s.npy"])
    views, segments = CropSampler(pool, 32, EVERY_SCALE, 0, 64, cells=16)[0]
    seen = torch.nn.functional.avg_pool2d(views[:, :1].float(), 2)[:, 0] / 50
    agree = (seen - segments).abs() < 0.5
    assert segments.shape == (64, 16, 16)
    assert {0, 2, 5} <= set(segments.unique().tolist())
    assert agree.float().mean() > 0.93  # all but cells on an edge


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"weights": (0.0, 0.0, 0.0)}, "nor all zero"),
        ({"weights": (1.0,)}, "must have the same length"),
        ({"jitter": 1.0}, "jitter"),
        ({"flip": 2.0}, "flip"),
    ],
)
def test_wrong_views_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        CropConfig(**settings)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"precision": "float8"}, "unknown precision 'float8'"),
        ({"compile": "maybe"}, "unknown compile"),
        ({"source": ()}, "source is empty"),
        ({"frame_size": 64}, "below the model's img_size 128"),
        ({"warmup": 1.0}, "warmup is 1.0"),
        ({"lr": 0.0}, "lr is 0.0; it must be positive"),
        ({"segments_weight": 1.0, "source": ("photos",)}, "only 'rendered' frames have"),
    ],
)
def test_wrong_recipes_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PretrainConfig(**settings)


def test_as_many_processes_as_share_the_batch_evenly():
    assert count_processes(3, "cpu", 12) == 3
    assert count_processes(0, "cpu", 1) == 1
    with pytest.raises(ValueError, match="batch_size 10 is not a multiple of processes 3"):
        count_processes(3, "cpu", 10)


def test_training_lowers_the_loss_and_exports_a_verified_card(tiny):
    config = tiny(views=16 * 60, lr=3e-3)
    card = read_json(pretrain(config))
    losses = [row["loss"] for row in read_jsonl(config.out / "loss.jsonl")]
    assert len(losses) == 60
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])
    assert card["sha256"] == sha256_file(config.out / "encoder.safetensors")
    assert card["views"] == 960
    page = (config.out / "index.html").read_text()
    assert card["sha256"] in page
    assert page.count("data:image/png;base64,") == 2
    weights = load_file(config.out / "encoder.safetensors")
    missing, unexpected = TINY.build().load_state_dict(weights, strict=False)
    assert not missing
    assert not unexpected


def test_the_card_is_an_encoder_at_once(tiny):
    card = pretrain(tiny())
    encoder = FrameEncoder.from_name(f"file:{card}", scales=(1, 2), readout="mean")
    assert encoder(np.stack([square(0), square(1)])).shape == (2, 2 * TINY.embed_dim)


def test_a_resumed_run_equals_an_uninterrupted_one(tiny, pool):
    whole, parts = tiny("whole"), tiny("parts")
    pretrain(whole)
    trainer = Trainer(parts)
    views = CropSampler(
        open_dataset(parts, Console(quiet=True)), 32, parts.sampling, parts.seed, parts.batch_size
    )
    for step in range(6):  # killed at step 6, after the checkpoint of step 4
        trainer.update(*views[step])
        if trainer.step == 4:
            trainer.save(parts.out / "checkpoint.pt")
    pretrain(parts)
    ours = load_file(parts.out / "encoder.safetensors")
    theirs = load_file(whole.out / "encoder.safetensors")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


_COMMAND = """
import sys
from pathlib import Path
from s2robot.pretraining.run import pretrain
from s2robot.pretraining.config import ModelConfig, PretrainConfig

out, source, cache, processes = sys.argv[1:]
if __name__ == "__main__":
    model = ModelConfig(32, 16, 24, 2, 2, 16, 1, 2)
    pretrain(PretrainConfig(
        out=Path(out), source=(source,), cache=Path(cache), frame_size=96, views=16 * 40,
        batch_size=16, checkpoint_every=3, device="cpu", processes=int(processes), model=model,
    ))
"""


@pytest.fixture
def command(tmp_path, squares):
    """Starts a tiny run as a process of its own."""
    script = tmp_path / "run.py"
    script.write_text(_COMMAND)

    def start(out: Path, processes: int) -> subprocess.Popen:
        words = [script, out, squares, tmp_path / "frames", processes]
        return subprocess.Popen([sys.executable, *map(str, words)], start_new_session=True)

    return start


def losses(out: Path) -> list[float]:
    rows = read_jsonl(out / "loss.jsonl")
    assert [row["step"] for row in rows] == list(range(len(rows)))
    return [row["loss"] for row in rows]


@pytest.mark.slow
def test_killed_and_resumed_runs_have_the_loss_curve_of_a_whole_one(tmp_path, command):
    assert command(tmp_path / "whole", 1).wait() == 0
    process = command(tmp_path / "killed", 1)
    log = tmp_path / "killed" / "loss.jsonl"
    while not log.exists() or len(read_jsonl(log)) < 6:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert len(read_jsonl(log)) < 40
    assert command(tmp_path / "killed", 1).wait() == 0
    np.testing.assert_allclose(losses(tmp_path / "killed"), losses(tmp_path / "whole"), rtol=1e-5)


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path, command):
    for processes in (1, 2):
        assert command(tmp_path / str(processes), processes).wait() == 0
    # bfloat16 rounds halves of a batch apart in another way than the whole.
    np.testing.assert_allclose(losses(tmp_path / "2"), losses(tmp_path / "1"), rtol=0.01)


def test_segments_are_learnt_and_left_out_of_the_encoder(tiny):
    config = tiny(source=("rendered",), frames=4, frame_size=32, segments_weight=1.0, views=16 * 60)
    config = dataclasses.replace(config, lr=3e-3)
    pretrain(config)
    curve = losses(config.out)
    assert np.mean(curve[-10:]) < 0.9 * np.mean(curve[:10])
    assert curve[0] > 2  # some 1.8 for six classes is in it
    assert not any("segment" in key for key in load_file(config.out / "encoder.safetensors"))
    assert "MultiMAE" in read_json(config.out / "encoder.json")["method"]


def test_another_recipe_does_not_resume(tiny):
    pretrain(tiny())
    with pytest.raises(MismatchError, match="lr is 0.001 there and 0.1 here"):
        pretrain(tiny(lr=0.1))


def test_more_views_resume(tiny):
    pretrain(tiny())
    assert read_json(pretrain(tiny(views=16 * 16)))["steps"] == 16


def test_a_nan_loss_stops_and_names_the_batch(tiny):
    trainer = Trainer(tiny())
    with torch.no_grad():
        trainer.model.decoder_head.bias.fill_(float("nan"))
    with pytest.raises(DivergedError, match="the loss is nan in batch 0"):
        trainer.update(torch.zeros(16, 3, 32, 32, dtype=torch.uint8))


def test_an_infinite_gradient_leaves_the_weights_as_they_are(tiny):
    trainer = Trainer(tiny())
    trainer.model.decoder_head.weight.register_hook(lambda gradient: gradient * float("inf"))
    before = [p.clone() for p in trainer.model.parameters()]
    with pytest.raises(DivergedError, match="a gradient is"):
        trainer.update(torch.randint(0, 255, (16, 3, 32, 32), dtype=torch.uint8))
    after = trainer.model.parameters()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_divergence_keeps_the_last_checkpoint(tiny, monkeypatch):
    config = tiny()
    loss = Trainer._loss

    def bad(self, views, segments):
        return loss(self, views, segments) * (float("nan") if self.step == 6 else 1.0)

    monkeypatch.setattr(Trainer, "_loss", bad)
    with pytest.raises(DivergedError, match="batch 6"):
        pretrain(config)
    monkeypatch.undo()
    trainer = Trainer(config)
    trainer.load(config.out / "checkpoint.pt")
    assert trainer.step == 4
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())


def test_a_full_disk_is_told_and_keeps_the_last_checkpoint(tiny, monkeypatch):
    config = tiny()
    pretrain(config)
    before = (config.out / "checkpoint.pt").read_bytes()

    def full(state, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(DiskFullError, match="checkpoint.pt could not be written"):
        pretrain(tiny(views=16 * 16))
    assert (config.out / "checkpoint.pt").read_bytes() == before
    monkeypatch.undo()
    assert read_json(pretrain(tiny(views=16 * 16)))["steps"] == 16
    assert len(losses(config.out)) == 16


def test_export_is_the_average_in_half_precision(tiny):
    trainer = Trainer(tiny())
    trainer.update(torch.randint(0, 255, (16, 3, 32, 32), dtype=torch.uint8))
    weights = load_file(export(trainer).with_name("encoder.safetensors"))
    name = "blocks.0.attn.qkv.weight"
    average = trainer.average.encoder.state_dict()[name]
    assert weights[name].dtype == torch.float16
    assert torch.equal(weights[name], average.half())


@pytest.mark.parametrize("recipe, width", [("vitt", 192), ("vits", 384), ("vitb", 768)])
def test_the_ladder_differs_in_size_and_learning_rate_only(recipe, width):
    with initialize_config_module("s2robot.configs", version_base="1.3"):
        config = from_config(PretrainConfig, compose("pretrain", overrides=[f"recipe={recipe}"]))
    assert config.model.embed_dim == width
    same = dataclasses.replace(
        config, name="", lr=1.0, model=dataclasses.replace(config.model, embed_dim=192, num_heads=3)
    )
    assert same == PretrainConfig(name="", lr=1.0)
