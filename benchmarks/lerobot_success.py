"""Success of LeRobot's ACT, whose ResNet-18 is trained along, and of the policy `s2robot`.

Both are trained by `lerobot-train` on one exported data set of pick-cube, with equal batches, steps
and seeds, and rolled out by `lerobot-eval` from equal initial states, those of our split `test`:

    OMP_NUM_THREADS=1 .venv-lerobot/bin/python benchmarks/lerobot_success.py runs/lerobot --estimate
    OMP_NUM_THREADS=1 .venv-lerobot/bin/python benchmarks/lerobot_success.py runs/lerobot \\
        --out benchmarks/results/lerobot_success.json

`--estimate` times a few steps of each, in seconds of the processor, and tells the hours that the
whole takes where a core is free. A stopped call goes on: finished trainings and evaluations are
kept, a training continues from its last checkpoint. Both policies predict chunks of 8 actions and
average those of past steps. ACT begins with random weights; `--pretrained` takes torchvision's
weights of ImageNet, which it downloads.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.envs.levels import get_level
from s2robot.evaluation.initial_states import FIRST_SEEDS
from s2robot.stats.clustered import Outcomes, clustered_difference, clustered_rate
from s2robot.utils.io import read_json, write_json
from s2robot.utils.provenance import provenance

CHUNK = 8
KEYS = ("ee_pos", "gripper_width")
POLICIES = ("s2robot", "act")
_RESUME = "checkpoints/last/pretrained_model/train_config.json"


@dataclass(frozen=True)
class Settings:
    """What is trained and evaluated; a folder of runs holds one of it."""

    level: str = "easy"
    demos: int = 60
    size: int = 96
    """Height and width of the frames [px]."""
    steps: int = 3000
    batch: int = 8
    seeds: int = 3
    conditions: int = 64
    scales: str = "[1,2]"
    readout: str = "spatial_softmax"
    pretrained: bool = False


def options_of(policy: str, settings: Settings, work: Path) -> list[str]:
    """Return the options of `lerobot-train` for a policy."""
    common = ["--policy.device=cpu", "--policy.push_to_hub=false", f"--policy.type={policy}"]
    if policy == "s2robot":
        return [
            *common,
            f"--policy.scales={settings.scales}",
            f"--policy.readout={settings.readout}",
            "--policy.runtime=eager",
            f"--policy.features_dir={work / 'features'}",
            "--policy.head.kind=act",
            "--policy.head.context=1",
            f"--policy.head.chunk={CHUNK}",
        ]
    weights = "ResNet18_Weights.IMAGENET1K_V1" if settings.pretrained else "null"
    return [
        *common,
        f"--policy.chunk_size={CHUNK}",
        "--policy.n_action_steps=1",
        "--policy.temporal_ensemble_coeff=0.01",
        f"--policy.pretrained_backbone_weights={weights}",
    ]


def run(*words: str) -> None:
    """Run a module of this Python; what it prints is shown."""
    print("+", *words, flush=True)
    subprocess.run([sys.executable, "-m", *words], check=True)


def write_data(work: Path, settings: Settings) -> Path:
    """Collect and export the data set, unless it is there; return its folder."""
    root, demos = work / "data_set", work / "demos.hdf5"
    if root.exists():
        return root
    if not demos.exists():
        level = f"level={settings.level}"
        run("s2robot.cli.main", "collect", level, f"episodes={settings.demos}", f"out={demos}")
    size = str(settings.size)
    names = ("--size", size, "--low-dim", *KEYS)
    run("s2robot.cli.main", "export-dataset", str(demos), str(root), *names)
    return root


def train(policy: str, seed: int, root: Path, work: Path, settings: Settings) -> Path:
    """Train a policy, or go on with its training; return LeRobot's folder of it."""
    out = work / f"{policy}-{seed}"
    done, last = out / "trained.json", out / "checkpoints/last/pretrained_model"
    if done.exists():
        return last
    if (out / _RESUME).exists():
        words = [f"--config_path={out / _RESUME}", "--resume=true"]
    else:
        shutil.rmtree(out, ignore_errors=True)  # stopped before the first checkpoint
        words = [
            *options_of(policy, settings, work),
            "--dataset.repo_id=benchmark/pick_cube",
            f"--dataset.root={root}",
            f"--output_dir={out}",
            f"--seed={seed}",
            f"--steps={settings.steps}",
            f"--batch_size={settings.batch}",
            "--num_workers=0",
            "--env_eval_freq=0",
            f"--save_freq={max(1, settings.steps // 6)}",
        ]
    begun = time.perf_counter()
    run("lerobot.scripts.lerobot_train", *words)
    write_json(done, {"seconds_of_last_call": round(time.perf_counter() - begun, 1)})
    return last


def _training_s(policy: str, seed: int, work: Path) -> float:
    """Return the seconds of a training, or of its last part where it was interrupted."""
    done = read_json(work / f"{policy}-{seed}" / "trained.json")
    return float(done["seconds_of_last_call"])


def evaluate(folder: Path, settings: Settings) -> list[bool]:
    """Return the successes of a policy by initial state."""
    out = folder.parents[2] / "eval"
    if not (out / "eval_info.json").exists():
        shutil.rmtree(out, ignore_errors=True)
        run(
            "lerobot.scripts.lerobot_eval",
            f"--policy.path={folder}",
            "--policy.device=cpu",
            "--env.type=s2robot_pick_cube",
            f"--env.level={settings.level}",
            f"--env.image_size={settings.size}",
            f"--env.state_keys=[{','.join(KEYS)}]",
            f"--eval.n_episodes={settings.conditions}",
            f"--eval.batch_size={min(8, settings.conditions)}",
            "--eval.use_async_envs=false",
            f"--seed={FIRST_SEEDS['test']}",
            f"--output_dir={out}",
        )
    info = read_json(out / "eval_info.json", "delete the folder and call again")
    found = info["per_task"][0]["metrics"]["successes"]
    return [bool(each) for each in found[: settings.conditions]]


def estimate(work: Path, root: Path, settings: Settings, count: int) -> dict[str, Any]:
    """Return seconds of a training step and of a rollout of each, and the hours of the whole."""
    found: dict[str, Any] = {}
    for policy in POLICIES:
        step_s, encode_s = _seconds_a_step(policy, work, root, settings, count)
        episode_s = _seconds_an_episode(policy, work, root, settings, min(2, count))
        one = step_s * settings.steps + episode_s * settings.conditions
        found[policy] = {
            "training_step_s": round(step_s, 4),
            "encoding_once_s": round(encode_s, 1),
            "episode_s": round(episode_s, 2),
            "hours": round((settings.seeds * one + encode_s) / 3600, 2),
        }
        print(policy, found[policy], flush=True)
    return found


def _made(policy: str, work: Path, root: Path, settings: Settings) -> tuple[Any, Any, Any, Any]:
    """Return configuration, data set, policy and processors as `lerobot-train` makes them."""
    import draccus
    import lerobot_policy_s2robot  # noqa: F401
    import torch
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata
    from lerobot.datasets.factory import resolve_delta_timestamps
    from lerobot.datasets.lerobot_dataset import LeRobotDataset
    from lerobot.policies.factory import make_policy, make_pre_post_processors

    options = [word.replace("--policy.", "--") for word in options_of(policy, settings, work)]
    words = [word for word in options if not word.startswith("--type=")]
    config: Any = draccus.parse(PreTrainedConfig.get_choice_class(policy), args=words)
    meta = LeRobotDatasetMetadata("benchmark/pick_cube", root=root)
    steps = resolve_delta_timestamps(config, meta)
    data = LeRobotDataset("benchmark/pick_cube", root=root, delta_timestamps=steps)
    torch.manual_seed(0)
    made: Any = make_policy(config, ds_meta=data.meta)
    stats: Any = data.meta.stats
    return config, data, made, make_pre_post_processors(config, dataset_stats=stats)


def _seconds_a_step(
    policy: str, work: Path, root: Path, settings: Settings, count: int
) -> tuple[float, float]:
    """Return the median seconds of a training step, and those of the first one beyond it."""
    from torch.utils.data import DataLoader

    config, data, made, (pre, _) = _made(policy, work, root, settings)
    optimizer = config.get_optimizer_preset().build(made.get_optim_params())
    made.train()
    seconds: list[float] = []
    begun = time.process_time()
    while len(seconds) <= count:
        for rows in DataLoader(data, batch_size=settings.batch, shuffle=True, drop_last=True):
            loss, _ = made(pre(rows))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            seconds.append(time.process_time() - begun)
            begun = time.process_time()
            if len(seconds) > count:
                break
    middle = float(np.median(seconds[1:]))
    return middle, max(0.0, seconds[0] - middle)


def _seconds_an_episode(
    policy: str, work: Path, root: Path, settings: Settings, count: int
) -> float:
    """Return the seconds of a rollout, from some of its steps."""
    import torch
    from lerobot.envs import preprocess_observation
    from lerobot.envs.factory import make_env
    from lerobot_env_s2robot import S2RobotPickCubeEnvConfig

    _, _, made, (pre, post) = _made(policy, work, root, settings)
    task = S2RobotPickCubeEnvConfig(level=settings.level, image_size=settings.size, state_keys=KEYS)
    env: Any = make_env(task, 1, False)["s2robot_pick_cube"][0]
    made.eval().reset()
    seen = env.reset(seed=[0])[0]
    begun = time.process_time()
    for _ in range(count):
        batch = pre({**preprocess_observation(seen), "task": [""]})
        with torch.inference_mode():
            action = post(made.select_action(batch))
        seen = env.step(action.numpy())[0]
    env.close()
    return (time.process_time() - begun) / count * get_level(settings.level).horizon


def compared(success: dict[str, list[list[bool]]]) -> dict[str, Any]:
    """Return rates of both, and their difference, over seeds and initial states."""
    outcomes = {policy: Outcomes.from_matrix(np.array(rows)) for policy, rows in success.items()}
    rates = {policy: asdict(clustered_rate(each)) for policy, each in outcomes.items()}
    gap = clustered_difference(outcomes["act"], outcomes["s2robot"])
    kept = ("estimate", "low", "high", "p_value")
    return {"rates": rates, "s2robot_minus_act": {name: getattr(gap, name) for name in kept}}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="folder of the data set and the runs")
    parser.add_argument("--estimate", action="store_true", help="time a few steps alone")
    parser.add_argument("--count", type=int, default=3, help="steps that are timed")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--note", default="", help="on what else the machine did")
    for name, value in asdict(Settings()).items():
        kind = {"action": "store_true"} if value is False else {"type": type(value)}
        parser.add_argument(f"--{name}", default=value, **kind)
    given = vars(parser.parse_args())
    settings = Settings(**{name: given[name] for name in asdict(Settings())})
    work = given["work"].resolve()
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "settings.json").exists():
        write_json(work / "settings.json", asdict(settings))
    before = read_json(work / "settings.json", "delete the folder")
    if before != asdict(settings):
        parser.error(f"{work} holds runs of {before}; give these settings, or another folder")
    root = write_data(work, settings)
    if given["estimate"]:
        with tempfile.TemporaryDirectory() as beside:  # encode as the first training does
            result: dict[str, Any] = estimate(Path(beside), root, settings, given["count"])
    else:
        success: dict[str, list[list[bool]]] = {policy: [] for policy in POLICIES}
        for seed in range(settings.seeds):
            for policy in POLICIES:
                success[policy].append(
                    evaluate(train(policy, seed, root, work, settings), settings)
                )
                print(policy, seed, f"{sum(success[policy][-1])} of {settings.conditions}")
        seconds = {
            policy: [_training_s(policy, seed, work) for seed in range(settings.seeds)]
            for policy in POLICIES
        }
        result = {**compared(success), "success": success, "seconds_of_last_training": seconds}
    versions = {name: importlib.metadata.version(name) for name in ("lerobot", "torch")}
    record = {
        "settings": asdict(settings),
        **result,
        "note": given["note"],
        "versions": versions,
        "provenance": provenance(),
    }
    print(json.dumps(record, indent=1))
    if given["out"]:
        write_json(given["out"], record)


if __name__ == "__main__":
    main()
