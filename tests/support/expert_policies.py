"""Policies for evaluations (the scripted expert, a function of pixels), and policy headers."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from s2robot.envs.expert import ScriptedExpert
from s2robot.envs.levels import get_level
from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.evaluation.baselines import baseline_shape, is_baseline
from s2robot.policies.checkpoint import PolicyHeader, action_space_record
from s2robot.policies.config import PolicyConfig

ENV_KWARGS = PickCubeEnv(level="easy").env_kwargs()
PROPRIO = ("ee_pos", "gripper_width")
SIZE = 32


class ExpertPolicy:
    """The scripted expert on the ground-truth position; environments in `fails` idle."""

    def __init__(self, fails: tuple[int, ...] = ()) -> None:
        self.expert = ScriptedExpert(get_level("easy"))
        self.fails = fails
        self.batches: list[int] = []

    def reset(self, batch_size: int) -> None:
        self.batches.append(batch_size)

    def act(self, embedding: torch.Tensor, proprio: torch.Tensor) -> torch.Tensor:
        actions = np.zeros((len(embedding), 4), np.float32)
        for index, (cube, hand) in enumerate(zip(embedding.numpy(), proprio.numpy(), strict=True)):
            if index not in self.fails:
                obs = {"cube_pos": cube, "ee_pos": hand[:3], "gripper_width": hand[3:]}
                actions[index] = self.expert.action(obs)
        return torch.from_numpy(actions)


class PixelPolicy:
    """A smooth function of embedding and proprioception: sensitive to every pixel."""

    def reset(self, batch_size: int) -> None:
        del batch_size

    def act(self, embedding: torch.Tensor, proprio: torch.Tensor) -> torch.Tensor:
        return torch.sin(40 * embedding[:, :4] + 10 * proprio)


def pixel_encoder(frames: Any) -> torch.Tensor:
    assert frames.shape[1:] == (SIZE, SIZE, 3)
    return torch.from_numpy(frames).float().mean(dim=2)[:, :, 0] / 255  # (B, H)


def header(backbone: str, **changes: Any) -> PolicyHeader:
    env = PickCubeEnv(**ENV_KWARGS)
    shape = baseline_shape(backbone) if is_baseline(backbone) else (SIZE,)
    made = PolicyHeader(
        policy_config=PolicyConfig(),
        encoder={"backbone": backbone},
        embedding_shape=shape,
        proprio_keys=PROPRIO,
        action_space=action_space_record(env.action_space, "ee_delta", 5.0),  # pyright: ignore[reportArgumentType]
        env_kwargs=ENV_KWARGS,
        frames={} if is_baseline(backbone) else {"camera": {"name": "front", "size": SIZE}},
        demos_digest="d",
        train={},
        seed=0,
        head={},
        provenance={},
        sha256="policy-1",
    )
    return dataclasses.replace(made, **changes)
