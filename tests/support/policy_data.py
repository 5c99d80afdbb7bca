"""Small synthetic demonstrations for the tests of policies and training."""

from __future__ import annotations

import math

import torch

from s2robot.policies.dataset import TrajectoryData


def make_data(
    shape: tuple[int, ...] = (4, 4, 6), episodes: int = 6, steps: int = 8, seed: int = 0
) -> TrajectoryData:
    """Episodes of ``steps`` frames whose actions follow from embedding and proprioception."""
    generator = torch.Generator().manual_seed(seed)
    frames = episodes * steps
    embedding = torch.randn(frames, math.prod(shape), generator=generator)
    proprio = torch.randn(frames, 4, generator=generator) * 0.05 + 0.3
    motion = torch.tanh(embedding[:, :3]) if embedding.shape[1] else (proprio[:, :3] - 0.3) * 5
    gripper = torch.where(proprio[:, 3:] > 0.3, 1.0, -1.0)
    return TrajectoryData(
        embedding=embedding.half(),
        embedding_shape=shape,
        proprio=proprio,
        actions=torch.cat([motion, gripper], dim=1).clamp(-1, 1),
        episode_ends=torch.arange(1, episodes + 1) * steps,
        train_episodes=torch.arange(episodes - 1),
        valid_episodes=torch.tensor([episodes - 1]),
    )
