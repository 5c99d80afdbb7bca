"""Runtime of an evaluation's encoder, and its latencies in batches and on a single frame.

All rows of a run have one runtime, also with runtime "auto"; a single frame, as on one robot, has
the one that suits it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from s2robot.encoder.tile_encoder import TileEncoder
from s2robot.envs.tasks.contract import TaskEnv
from s2robot.errors import MismatchError
from s2robot.evaluation.agents.camera_encoders import CameraEncoders
from s2robot.evaluation.env_group import Views, as_views, by_camera
from s2robot.evaluation.episode_rows import RunFolder
from s2robot.evaluation.identity import exact_runtime
from s2robot.evaluation.rollout import Agent, Encoder
from s2robot.evaluation.vector_env import VectorStep
from s2robot.runtimes import AUTO, RUNTIMES, RuntimeFailedError, RuntimeMissingError
from s2robot.utils.io import read_json

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


def single_frame_latency(agent: Agent, env: TaskEnv, view: Views) -> dict[str, dict[str, float]]:
    """Return p50 and p95 [ms] of encoder, policy and both on one frame, the delay of one robot.

    Of several cameras it is one frame of each.

    Args:
        agent: is reset to one environment.
        env: gives an observation.
        view: camera of the frame, or several; None for an agent without an encoder.
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


def _single_step(env: TaskEnv, view: Views) -> VectorStep:
    obs, _ = env.reset(seed=0)
    batched = {key: value[None] for key, value in obs.items()}
    frames = [  # pictures of the task: int8 watches for frames that are unlike it
        env.render_frame(each.camera, each.height, each.width)[None] for each in as_views(view)
    ]
    return VectorStep(batched, {}, by_camera(view, frames), 0.0, 0.0)


def _quantiles(values: np.ndarray) -> dict[str, float]:
    median, tail = np.quantile(values, [0.5, 0.95])
    return {"p50": round(float(median), 3), "p95": round(float(tail), 3)}


def encoder_of_run(encoder: Encoder | None, folder: RunFolder, fresh: bool) -> Encoder | None:
    """Return the encoder with the one runtime of a run's rows.

    With runtime "auto" that is the runtime of the rows that the folder holds, even where another
    one would be chosen today; in an empty folder, the fastest for the frames of a step.

    Args:
        encoder: of the policy; None for a baseline.
        folder: of the run.
        fresh: whether its rows are deleted first.

    Raises:
        MismatchError: the rows' runtime cannot be used on this machine.
    """
    if isinstance(encoder, CameraEncoders):
        first: Any = encoder_of_run(encoder.first, folder, fresh)
        return encoder.with_runtime_of(first)
    if not isinstance(encoder, TileEncoder) or encoder.runtime.name != AUTO:
        return encoder
    there = None if fresh else _runtime_in(folder)
    if there is None:
        chosen = encoder.for_batches_of(folder.num_envs)
    else:
        try:
            chosen = encoder.with_runtime(there)
        except (RuntimeMissingError, RuntimeFailedError) as error:
            raise MismatchError(
                f"{folder.path} holds episodes that were made with runtime {there}, and all rows "
                f"of a run are made with one: {error}. Or give another folder (out= of eval, "
                "runs_dir= of sweep), or start over with fresh=true of eval"
            ) from error
    chosen.chosen_by_auto = True
    return chosen


def _runtime_in(folder: RunFolder) -> str | None:
    """Return the name of the exact runtime in ``run.json``, if there is one.

    What else is wrong with the file is found when the folder is claimed.
    """
    path = folder.path / "run.json"
    record: Any = read_json(path) if path.exists() else None
    name = exact_runtime(record) if isinstance(record, dict) else None
    return name if name in RUNTIMES else None


def for_one_frame(encoder: Encoder | None) -> Encoder | None:
    """Return the encoder as a robot would run it, on one frame at a time.

    Args:
        encoder: as ``encoder_of_run`` returns it.
    """
    if isinstance(encoder, CameraEncoders):
        first: Any = for_one_frame(encoder.first)
        return encoder.with_runtime_of(first)
    if not isinstance(encoder, TileEncoder) or not encoder.chosen_by_auto:
        return encoder
    return encoder.with_runtime(AUTO).for_batches_of(1)
