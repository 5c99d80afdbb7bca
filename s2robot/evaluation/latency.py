"""Latencies of an evaluation: of batched steps, and of a single frame as on one robot."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.evaluation.rollout import Agent
from s2robot.evaluation.vector_env import CameraView, VectorStep

SINGLE_FRAME_REPEATS = 30
SINGLE_FRAME_WARMUP = 3


def batch_latency(timing: Sequence[Mapping[str, Sequence[float]]], num_envs: int) -> dict[str, Any]:
    """Return p50 and p95 [ms] over steps, without each batch's first step, which may warm up.

    Args:
        timing: rows of ``timing.jsonl``: milliseconds of each step's parts, a row per batch.
        num_envs: environments of a batch.
    """
    parts = {
        key: np.concatenate([batch[key][1:] or batch[key] for batch in timing])
        for key in ("encode", "policy", "env", "render")
    }
    parts["per_frame"] = (parts["encode"] + parts["policy"]) / num_envs
    return {"num_envs": num_envs} | {key: _quantiles(values) for key, values in parts.items()}


def single_frame_latency(
    agent: Agent, env: PickCubeEnv, view: CameraView | None
) -> dict[str, dict[str, float]]:
    """Return p50 and p95 [ms] of encoder, policy and both on one frame, the delay of one robot.

    Args:
        agent: is reset to one environment.
        env: gives an observation.
        view: size of the frame, which is noise; None for an agent without an encoder.
    """
    step = _single_step(env, view)
    agent.policy.reset(1)
    encode_ms, policy_ms = [], []
    for _ in range(SINGLE_FRAME_WARMUP + SINGLE_FRAME_REPEATS):
        start = time.perf_counter()
        embedding = agent.encode(step)
        encoded = time.perf_counter()
        agent.select_action(embedding, step)
        encode_ms.append(1000 * (encoded - start))
        policy_ms.append(1000 * (time.perf_counter() - encoded))
    encode, policy = (np.array(series[SINGLE_FRAME_WARMUP:]) for series in (encode_ms, policy_ms))
    series = {"encode": encode, "policy": policy, "total": encode + policy}
    return {key: _quantiles(values) for key, values in series.items()}


def _single_step(env: PickCubeEnv, view: CameraView | None) -> VectorStep:
    obs, _ = env.reset(seed=0)
    batched = {key: value[None] for key, value in obs.items()}
    frames = None
    if view is not None:
        rng = np.random.default_rng(0)
        frames = rng.integers(0, 256, (1, view.height, view.width, 3), np.uint8)
    return VectorStep(batched, {}, frames, 0.0, 0.0)


def _quantiles(values: np.ndarray) -> dict[str, float]:
    median, tail = np.quantile(values, [0.5, 0.95])
    return {"p50": round(float(median), 3), "p95": round(float(tail), 3)}
