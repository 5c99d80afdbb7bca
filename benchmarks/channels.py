"""How much does each channel of demonstrations vary? The normalizer's floors lie in the gaps.

A channel with less than the floor is centered and not scaled to unit variance. What a task moves
has to lie above, and what a controller or a rounding leaves behind below.

    python benchmarks/channels.py --episodes 20
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch

from s2robot import FrameEncoder
from s2robot.data.collection import record_episode
from s2robot.envs.tasks.pick_cube import PickCubeTaskEnv
from s2robot.policies.dataset import default_proprio_keys, stack_proprio
from s2robot.policies.pooling import SMALLEST_MEASURED_STD, SMALLEST_STD
from s2robot.utils.io import write_json
from s2robot.utils.provenance import provenance

LEVELS = ("easy", "precise")
CONTROLS = ("ee_delta", "joint_delta")
YAWS_RAD = (0.0, 0.1, 0.5)
ENCODERS = ("s2r-vitt16-128", "random/vitt16-128")
READOUTS = ("cls", "mean", "spatial_softmax")
HOLD_STEPS = 4
SEED = 880_000
RESULTS = Path(__file__).parent / "results" / "channels.json"


def measured(level: str, control: str, yaw_rad: float, episodes: int) -> dict[str, Any]:
    """The std of each channel of proprioception [m, rad, cosines] and of the actions."""
    env = PickCubeTaskEnv(level=level, control=control, yaw_range_rad=yaw_rad)
    keys = default_proprio_keys(control, yaw_rad > 0)
    recorded = [record_episode(env, SEED + i, HOLD_STEPS) for i in range(episodes)]
    env.close()
    obs = {key: np.concatenate([e.obs[key][:-1] for e in recorded]) for key in keys}
    proprio = {key: stack_proprio({key: obs[key]}, (key,)).std(axis=0).tolist() for key in keys}
    actions = np.concatenate([episode.actions for episode in recorded])
    return {
        "level": level,
        "control": control,
        "yaw_range_rad": yaw_rad,
        "frames": len(actions),
        "proprio_std": proprio,
        "actions_std": actions.std(axis=0).tolist(),
    }


def frames_of(level: str, episodes: int) -> np.ndarray:
    """Frames ``(N, 128, 128, 3)`` along the states of some episodes."""
    env = PickCubeTaskEnv(level=level)
    frames = []
    for i in range(episodes):
        for state in record_episode(env, SEED + i, HOLD_STEPS).states:
            env.set_state(state)
            frames.append(env.render_frame("front", 128, 128))
    env.close()
    return np.stack(frames)


@torch.no_grad()
def embedded(name: str, readout: str, frames: np.ndarray) -> dict[str, Any]:
    """The smallest std of a channel, as stored in float16, alone and over its root mean square."""
    encoder = FrameEncoder.from_name(name, (1, 2), readout, device="cpu", runtime="eager")
    values = encoder(frames).reshape(-1, encoder.output_shape[-1]).half().double()
    std, rms = values.std(dim=0, correction=0), values.square().mean(dim=0).sqrt()
    return {
        "encoder": name,
        "readout": readout,
        "channels": len(std),
        "frames": len(frames),
        "smallest_std": float(std.min()),
        "smallest_std_over_rms": float((std / rms).min()),
    }


def main() -> None:
    """Measure, print and write all cells."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    cells = itertools.product(LEVELS, CONTROLS, YAWS_RAD)
    rows = [measured(*cell, options.episodes) for cell in cells]
    frames = frames_of("easy", max(1, options.episodes // 5))
    embeddings = [embedded(*pair, frames) for pair in itertools.product(ENCODERS, READOUTS)]
    for row in (*rows, *embeddings):
        print(row, flush=True)
    floors = {
        "proprioception": SMALLEST_MEASURED_STD,
        "embeddings": SMALLEST_STD,
        "embeddings_over_rms": torch.finfo(torch.float16).eps / 2,
    }
    record = {"seed": SEED, "episodes": options.episodes, "floors": floors, "rows": rows}
    write_json(options.out, {**record, "embeddings": embeddings, "provenance": provenance()})


if __name__ == "__main__":
    main()
