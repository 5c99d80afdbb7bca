"""One optimizer step, divergence, and export of the averaged weights."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from s2robot.errors import DivergedError
from s2robot.pretraining.export import export
from s2robot.pretraining.trainer import Trainer


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


def test_export_is_the_average_in_half_precision(tiny):
    trainer = Trainer(tiny())
    trainer.update(torch.randint(0, 255, (16, 3, 32, 32), dtype=torch.uint8))
    weights = load_file(export(trainer).with_name("encoder.safetensors"))
    name = "blocks.0.attn.qkv.weight"
    average = trainer.average.encoder.state_dict()[name]
    assert weights[name].dtype == torch.float16
    assert torch.equal(weights[name], average.half())
