"""Does an int8 encoder pick as often, and what if it was calibrated on another camera's frames?

Policies of ``make demo`` at (1,2) are rolled out on the same conditions with their encoder in
float32 (OpenVINO), in int8 calibrated on the task's own camera, and in int8 calibrated on frames of
`easy`, camera `front`. McNemar's test compares each int8 with float32, seeds pooled.

    python benchmarks/int8_success.py --demo runs/demo/full
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from s2robot import FrameEncoder
from s2robot.data.frame_sources import expert_episode
from s2robot.encoder.spec import EncoderSpec
from s2robot.evaluation.evaluate import EvalConfig
from s2robot.experiments.jobs import EvalJob
from s2robot.experiments.pipeline import evaluate_policy
from s2robot.policies.checkpoint import load_policy
from s2robot.stats.intervals import wilson
from s2robot.stats.paired_tests import mcnemar
from s2robot.utils.io import read_jsonl, write_json
from s2robot.utils.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "int8_success.json"
CAMERAS = {"int8, own camera": ("precise", "far"), "int8, another camera": ("easy", "front")}
FIRST_SEED, EPISODES, SIZE = 5000, 20, 384


def calibrated(spec: EncoderSpec, level: str, camera: str) -> dict[str, Any]:
    """Calibrate the encoder on the expert's episodes; returns what was measured."""
    seeds = range(FIRST_SEED, FIRST_SEED + EPISODES)
    episodes = [expert_episode(level, camera, (SIZE, SIZE), seed) for seed in seeds]
    frames = np.stack([frame for episode in episodes for frame in episode])
    made = FrameEncoder.from_spec(spec, device="cpu", runtime="eager").calibrate(frames)
    return {shape: vars(record) for shape, record in made.items()}


def successes(policy: Path, runtime: str, options: argparse.Namespace) -> list[bool]:
    """One outcome a condition."""
    with tempfile.TemporaryDirectory() as out:
        job = EvalJob(
            policy,
            n=options.n,
            rollout=EvalConfig(videos=0),
            out=Path(out),
            runtime=runtime,
            device="cpu",
            data_dir=options.demo / "data",
        )
        evaluate_policy(job)
        return [row["success_once"] for row in read_jsonl(Path(out) / "episodes.jsonl")]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--demo", type=Path, default=Path("runs/demo/full"))
    parser.add_argument("--n", type=int, default=64, help="conditions a policy")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    cells = options.demo / "runs" / "cells"
    policies = sorted(cells.glob("precise_s2r-vitt16-128_s12_*/policy.safetensors"))
    if not policies:
        raise SystemExit(f"{options.demo} holds no policies at (1,2); run `make demo` first")
    spec = EncoderSpec.from_dict(load_policy(policies[0])[1].encoder)
    outcomes = {"float32": [successes(policy, "openvino", options) for policy in policies]}
    calibrations = {}
    for name, (level, camera) in CAMERAS.items():
        calibrations[name] = calibrated(spec, level, camera)
        (identity,) = {record["identity"] for record in calibrations[name].values()}
        runtime = f"openvino-int8:{identity}"
        outcomes[name] = [successes(policy, runtime, options) for policy in policies]
    rows = [_row(name, found, outcomes["float32"]) for name, found in outcomes.items()]
    for row in rows:
        print(row, flush=True)
    record = {"n": options.n, "calibrations": calibrations, "rows": rows}
    write_json(options.out, {**record, "provenance": provenance()})


def _row(name: str, found: list[list[bool]], expected: list[list[bool]]) -> dict[str, Any]:
    pooled, base = np.concatenate(found), np.concatenate(expected)
    rate = wilson(int(pooled.sum()), len(pooled))
    test = None if name == "float32" else mcnemar(base, pooled)
    return {
        "encoder": name,
        "successes": [sum(outcome) for outcome in found],
        "rate": [rate.estimate, rate.low, rate.high],
        "mcnemar": None if test is None else dataclasses.asdict(test),
    }


if __name__ == "__main__":
    main()
