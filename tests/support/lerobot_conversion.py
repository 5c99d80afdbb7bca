"""A small policy file as `s2robot-lerobot to-policy` writes it, without LeRobot."""

from __future__ import annotations

from pathlib import Path

import torch

from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.plugins.lerobot.policy_file import TrainedPolicy
from s2robot.policies.config import PolicyConfig
from s2robot.policies.policy import Policy
from support.tiny_models import write_tiny_model

HEAD = PolicyConfig(
    kind="act", context=1, chunk=4, transformer_width=16, transformer_layers=1, dropout=0.0
)
SIDE = 32
STATS = {
    "observation.state": {
        "mean": torch.tensor([0.5, 0.0, 0.3, 0.05]),
        "std": torch.tensor([0.1, 0.1, 0.1, 0.02]),
    },
    "action": {
        "min": torch.tensor([-0.5, -0.4, -0.3, -1.0]),
        "max": torch.tensor([0.6, 0.4, 0.5, 1.0]),
    },
}


def trained_policy(folder: Path) -> TrainedPolicy:
    """Return a random policy on a tiny encoder, with statistics of pick-cube's demonstrations."""
    encoder = FrameEncoder.from_name(f"file:{write_tiny_model(folder)}", (1.0,), "mean")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        policy = Policy(HEAD, (24,), 4, 4).eval()
    cameras = {"observation.images.front": (SIDE, SIDE)}
    return TrainedPolicy(policy, encoder.spec.to_dict(), cameras, STATS, train={"seed": 5})


def converted_policy(folder: Path) -> Path:
    """Write such a policy for pick-cube and return the path of its file."""
    path = folder / "policy.safetensors"
    trained_policy(folder).write(path, "easy", ("ee_pos", "gripper_width"))
    return path
