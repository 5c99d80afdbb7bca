"""A policy and a robot for tests of the ROS nodes' core."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box

from s2robot.plugins.ros.core import (
    EmbeddingResult,
    Level,
    NodeConfig,
    PolicyRunner,
    Timings,
    build_encoder,
)
from s2robot.policies.checkpoint import PolicyHeader, action_space_record, save_policy
from s2robot.policies.config import PolicyConfig
from s2robot.policies.policy import Policy
from support.ros_doubles import (
    Clock,
    header,
)

ENV_KWARGS = {"level": "easy", "arm_path": None}
PANDA = [f"panda_joint{i}" for i in range(1, 8)] + ["panda_finger_joint1", "panda_finger_joint2"]


def make_policy(
    kind: str = "mlp",
    dim: int = 5,
    keys: Sequence[str] = ("ee_pos", "gripper_width"),
    width: int = 4,
) -> tuple[Policy, PolicyHeader]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy = Policy(PolicyConfig(kind=kind, hidden=(8,)), (dim,), width, 4).eval()
    space = Box(-1.0, 1.0, (4,), np.float32)
    return policy, PolicyHeader(
        policy_config=policy.config,
        encoder={"backbone": "tiny", "weights_digest": ""},
        embedding_shape=(dim,),
        proprio_keys=tuple(keys),
        action_space=action_space_record(space, "ee_delta", 5.0),  # pyright: ignore
        env_kwargs=dict(ENV_KWARGS),
        frames={},
        demos_digest="",
        train={},
        seed=0,
        head={},
        provenance={},
    )


def write_policy(encoder: str, folder: Path) -> str:
    """Write a policy on an encoder by its name, and return the file's path."""
    encode = build_encoder(NodeConfig(encoder, scales=(1,), readout="mean", device="cpu"))
    policy, head = make_policy(dim=encode.embedding_dim)
    path = folder / "policy.safetensors"
    save_policy(path, policy, dataclasses.replace(head, encoder=encode.spec.to_dict()))
    return str(path)


def joint_state(stamp: int, positions: Iterable[float], names: Sequence[str] = PANDA) -> Any:
    return SimpleNamespace(
        header=header(stamp), name=list(names), position=list(positions), velocity=[], effort=[]
    )


HOME = [0.0, -0.04, 0.0, -2.33, 0.0, 2.29, 0.785, 0.03, 0.03]


class Agent:
    """Policy runner on a clock that the test moves."""

    def __init__(self, kind: str = "mlp", **policy: Any) -> None:
        self.clock = Clock()
        self.log: list[tuple[Level, str]] = []
        self.policy, self.header = make_policy(kind, **policy)
        self.runner = PolicyRunner(
            self.policy,
            self.header,
            0.5,
            self.clock.ros,
            lambda level, text: self.log.append((level, text)),
            clock=self.clock,
        )
        self.sequence = 0

    def see(self, stamp: int | None = None, value: float = 1.0) -> EmbeddingResult:
        self.sequence += 1
        stamp = self.clock.ros() if stamp is None else stamp
        embedding = np.full(5, value, np.float32) * np.arange(1, 6, dtype=np.float32)
        top = header(stamp, sequence=self.sequence)
        timings = Timings(0, 0, 0, 0, 0)
        result = EmbeddingResult("image", top, {}, embedding, (5,), stamp, self.clock.s, timings)
        self.runner.take_embedding(result)
        return result

    def feel(
        self, positions: Sequence[float] = HOME, stamp: int | None = None, **more: Any
    ) -> None:
        stamp = self.clock.ros() if stamp is None else stamp
        self.runner.take_joints(joint_state(stamp, positions, **more))

    def step(self, seconds: float = 0.2) -> Any:
        """Let time pass, deliver a frame and joints, and return the policy's action."""
        self.clock.forward(seconds)
        self.feel()
        self.see()
        return self.runner.tick()


READS_ALL = ("gripper_width", "ee_quat", "joint_pos", "joint_vel", "ee_pos")
