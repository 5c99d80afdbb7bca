"""Evaluated runs of random policies: a few steps of a few episodes, real files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.evaluation.baselines import baseline_shape
from s2robot.evaluation.config import EvalConfig
from s2robot.experiments.jobs import EvalJob
from s2robot.experiments.pipeline import evaluate_policy
from s2robot.policies.checkpoint import save_policy
from s2robot.policies.config import PolicyConfig
from s2robot.policies.policy import Policy
from support.expert_policies import PROPRIO, header
from support.tiny_models import write_tiny_model

STEPS, EPISODES, BATCH = 5, 5, 2


def small_run(
    folder: Path, name: str = "run", *, pixels: bool = False, seed: int = 0, **rollout: Any
) -> Path:
    """Evaluate a random policy on the ground truth, or on pixels; returns the run's folder."""
    run = folder / "cells" / name
    run.mkdir(parents=True)
    torch.manual_seed(seed)
    changes: dict[str, Any] = {"encoder": {"backbone": "state"}}
    shape = baseline_shape("state")
    if pixels:
        encoder = FrameEncoder.from_name(f"file:{write_tiny_model(run)}", (1.0,), "mean")
        shape = (24,)
        changes = {
            "encoder": encoder.spec.to_dict(),
            "frames": {"camera": {"name": "front", "size": 32}},
        }
    config = PolicyConfig(hidden=(8,))
    policy = Policy(config, shape, len(PROPRIO) + 2, 4).eval()
    made = header("state", policy_config=config, embedding_shape=shape, **changes)
    save_policy(run / "policy.safetensors", policy, made)
    options = {"num_envs": BATCH, "workers": 0, "horizon": STEPS, "videos": 0, **rollout}
    job = EvalJob(
        run / "policy.safetensors",
        n=EPISODES,
        rollout=EvalConfig(**options),
        device="cpu",
        runtime="eager",
        data_dir=folder / "data",
    )
    evaluate_policy(job)
    return run
