"""Do policies pick as often with bfloat16 features and rollouts as with float32 ones?

Policies are trained on features of each precision, with the same seeds and demonstrations, and each
is rolled out in its own precision on the same initial states. The clustered test of ``s2robot
compare`` tells whether the rates are the same to within 5 points. A processor with bfloat16
instructions computes them; any other emulates them in float32 (``bf16_emulation.py``). Features,
policies and episodes that exist are reused, so run it again after a kill, or with more seeds.

    python benchmarks/bf16_success.py --out runs/bf16
"""

from __future__ import annotations

import argparse
import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from bf16_emulation import EmulatedRuntime

from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.errors import PrecisionWarning
from s2robot.evaluation.evaluate import EvalConfig, evaluate
from s2robot.experiments.jobs import EvalJob, TrainJob
from s2robot.experiments.pipeline import initial_states_for, train_run
from s2robot.experiments.variant import Variant, VariantConfig
from s2robot.policies.checkpoint import load_policy
from s2robot.stats.clustered import (
    ClusteredDifference,
    Outcomes,
    clustered_difference,
    clustered_rate,
    equivalence_p,
)
from s2robot.utils.io import read_jsonl, write_json
from s2robot.utils.provenance import cpu_flags, provenance

RESULTS = Path(__file__).parent / "results" / "bf16_success.json"
INSTRUCTIONS = {"avx512_bf16", "amx_bf16", "bf16"}
MARGIN = 0.05
ARMS = ("float32", "bfloat16")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/bf16"), help="folder of the runs")
    parser.add_argument("--level", default="easy")
    parser.add_argument("--scales", default="1", help="such as 1 or 1,2")
    parser.add_argument("--seeds", type=int, default=16, help="training seeds a precision")
    parser.add_argument("--n", type=int, default=32, help="initial states a policy")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    native = bool(INSTRUCTIONS & set(cpu_flags()))
    arms = {dtype: Arm(dtype, native, options) for dtype in ARMS}
    for arm in arms.values():
        arm.train()
    for done in range(1, options.seeds + 1):
        for arm in arms.values():
            arm.roll_out(done - 1)
        record = {"native": native, **compared(arms, options)}
        write_json(options.results, {**record, "provenance": provenance()})
        print(f"{done} of {options.seeds} seeds: {record['text']}", flush=True)


class Arm:
    """Policies of one precision: its features, trainings and rollouts.

    Args:
        dtype: "float32" or "bfloat16".
        native: whether the processor computes bfloat16; else it is emulated.
        options: of the command line.
    """

    def __init__(self, dtype: str, native: bool, options: argparse.Namespace) -> None:
        self.options = options
        scales = tuple(float(scale) for scale in options.scales.split(","))
        config = VariantConfig(
            level=options.level,
            scales=scales,
            dtype=dtype,
            device="cpu",
            runtime="eager",
            data_dir=options.out / "data",
        )
        self.variant = Variant(config)
        self.job = TrainJob(config, search=None, runs_dir=options.out / dtype)
        self.encoder = self._encoder(native)
        self.variant.__dict__["encoder"] = self.encoder
        self.outcomes: list[list[bool]] = []
        self.difference = self._agreement()

    def _encoder(self, native: bool) -> FrameEncoder:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PrecisionWarning)
            encoder = self.variant.encoder
        if encoder is None:
            raise SystemExit("bfloat16 needs an encoder, not a baseline")
        if encoder.spec.dtype == "bfloat16" and not native:
            encoder.runtime = EmulatedRuntime(encoder.token_model)
        return encoder

    def _agreement(self) -> dict[str, float]:
        """Return how far embeddings are from float32 on frames of the demonstrations."""
        full = FrameEncoder(
            dataclasses.replace(self.encoder.spec, dtype="float32"), self.encoder.backbone, "cpu"
        )
        frames = self.variant.frames
        chosen = np.linspace(0, len(frames) - 1, 16).astype(int)
        read = np.concatenate([frames.read(i, i + 1) for i in chosen.tolist()])
        found, expected = self.encoder(read), full(read)
        gap = (found - expected).norm(dim=1) / expected.norm(dim=1)
        return {"frames": len(read), "mean": float(gap.mean()), "largest": float(gap.max())}

    def train(self) -> None:
        """Train all seeds that are missing, together."""
        seeds = tuple(range(self.options.seeds))
        for seed in seeds:
            train_run(dataclasses.replace(self.job, seed=seed), self.variant, seeds)

    def roll_out(self, seed: int) -> None:
        """Roll one seed's policy out, unless its episodes exist, and keep the outcomes."""
        path = train_run(dataclasses.replace(self.job, seed=seed), self.variant)
        policy, header = load_policy(path)
        job = EvalJob(path, n=self.options.n, data_dir=self.variant.config.data_dir)
        states = initial_states_for(job, header.env_kwargs)
        config = EvalConfig(videos=0)
        evaluate(policy, self.encoder, states, config, path.parent, header=header, progress=False)
        rows = read_jsonl(path.parent / "episodes.jsonl")[: self.options.n]
        self.outcomes.append([row["success_once"] for row in rows])


def compared(arms: dict[str, Arm], options: argparse.Namespace) -> dict[str, Any]:
    """Return rates, difference and test of equivalence of the seeds that are done."""
    full, low = (Outcomes.from_matrix(np.array(arm.outcomes)) for arm in arms.values())
    rates = [clustered_rate(side) for side in (full, low)]
    difference = clustered_difference(full, low)
    p_value = equivalence_p(difference, MARGIN)
    return {
        "level": options.level,
        "scales": options.scales,
        "seeds": len(arms["float32"].outcomes),
        "n": options.n,
        "arms": {
            name: {
                "rate": [rate.estimate, rate.low, rate.high],
                "embeddings_from_float32": arm.difference,
                "runtime": arm.encoder.runtime.name,
                "outcomes": ["".join(str(int(o)) for o in row) for row in arm.outcomes],
            }
            for (name, arm), rate in zip(arms.items(), rates, strict=True)
        },
        **_tested(difference, p_value),
        "text": f"{rates[0].estimate:.1%} against {rates[1].estimate:.1%}, p = {p_value:.3f}",
    }


def _tested(difference: ClusteredDifference, p_value: float) -> dict[str, Any]:
    narrow = difference.confidence_interval(0.9)
    return {
        "difference": difference.estimate,
        "interval_90": [narrow.low, narrow.high],
        "interval_95": [difference.low, difference.high],
        "margin": MARGIN,
        "equivalence_p": p_value,
        "equivalent": p_value < 0.05,
    }


if __name__ == "__main__":
    main()
