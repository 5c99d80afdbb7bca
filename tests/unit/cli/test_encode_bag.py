"""The command that encodes bags."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from support.bags import CAMERA, FRAMES, make_bag, one_camera, with_depth

from s2robot.cli import encode_bag as encode_bag_command
from s2robot.cli import main as cli
from s2robot.data.rosbag import read_embeddings
from s2robot.encoder.frame_encoder import FrameEncoder


def test_the_command(tmp_path, capsys):
    bag = make_bag(tmp_path / "in_mcap", with_depth)
    words = ["encode-bag", str(bag), str(tmp_path / "out.mcap"), "--encoder", "random/vitt16-128"]
    words += ["--scales", "1", "--readout", "mean", "--end", "0.45"]
    assert cli.main(words) == 0
    printed = capsys.readouterr().out
    assert "192 numbers a frame" in printed
    assert "/depth: 3 of 5 messages left out" in printed
    found = read_embeddings(tmp_path / "out.mcap", f"{CAMERA}/embedding")
    assert found.values.shape == (5, 192)
    assert found.encoder is not None
    same = FrameEncoder.from_name("random/vitt16-128", (1,), "mean", device="cpu")
    assert found.encoder == same.spec.to_dict()
    assert np.array_equal(found.values, same(FRAMES[:5]).numpy())
    assert cli.main(words) == 2
    assert "exists already" in capsys.readouterr().err


def test_the_command_takes_the_encoder_of_a_policy(tmp_path, monkeypatch):
    bag = make_bag(tmp_path / "in.bag", one_camera)
    same = FrameEncoder.from_name("random/vitt16-128", (1, 2), "mean", device="cpu")
    header = SimpleNamespace(encoder=same.spec.to_dict())
    monkeypatch.setattr(encode_bag_command, "read_header", lambda path: header)
    words = ["encode-bag", str(bag), str(tmp_path / "out.bag"), "--policy", "p", "--end", "0.2"]
    assert cli.main([*words, "--device", "cpu"]) == 0
    found = read_embeddings(tmp_path / "out.bag")
    assert found.encoder == header.encoder
    assert np.array_equal(found.values, same(FRAMES[:3]).numpy())
    header.encoder = {"backbone": "state"}
    assert cli.main([*words, "--force"]) == 2


def test_the_command_refuses_what_a_policy_has_decided(tmp_path, capsys):
    bag = make_bag(tmp_path / "in.bag", one_camera)
    words = ["encode-bag", str(bag), str(tmp_path / "out.bag"), "--policy", "p.safetensors"]
    assert cli.main([*words, "--scales", "1"]) == 2
    assert "--scales: the policy file fixes this" in capsys.readouterr().err


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit):
        cli.main(["encode-bag", "--help"])
    printed = capsys.readouterr().out
    assert "s2robot encode-bag run.mcap run.embeddings.mcap" in printed
    assert "read_embeddings" in printed
