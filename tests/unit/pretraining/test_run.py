"""Whole runs: they learn, resume exactly, and export an encoder that loads by its card."""

from __future__ import annotations

import dataclasses
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from support.forked import ForkedProcess
from support.tiny_pretraining import TINY, square

from s2robot import FrameEncoder
from s2robot.errors import DiskFullError, DivergedError, MismatchError
from s2robot.pretraining.augmentation import CropSampler
from s2robot.pretraining.frame_sources import open_dataset
from s2robot.pretraining.run import pretrain
from s2robot.pretraining.trainer import Trainer
from s2robot.utils.io import read_json, read_jsonl, sha256_file


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


def test_a_resumed_run_equals_an_uninterrupted_one(tiny):
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

    def start(out: Path, processes: int) -> ForkedProcess | subprocess.Popen[bytes]:
        words = [sys.executable, script, out, squares, tmp_path / "frames", processes]
        if processes > 1:  # it starts fresh Pythons itself
            return subprocess.Popen(list(map(str, words)), start_new_session=True)
        return ForkedProcess(words, start_new_session=True)

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


@pytest.mark.render
def test_segments_are_learned_and_left_out_of_the_encoder(tiny):
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


def test_more_crops_resume(tiny):
    pretrain(tiny())
    assert read_json(pretrain(tiny(views=16 * 16)))["steps"] == 16


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


def test_a_full_disk_is_an_error_and_keeps_the_last_checkpoint(tiny, monkeypatch):
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
