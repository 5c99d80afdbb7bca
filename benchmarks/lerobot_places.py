"""Actions of one policy of LeRobot in its three places: LeRobot, Python and the ROS 1 node.

Two commands, since LeRobot and ROS 1 need different Pythons. The first one steps pick-cube with the
scripted expert and gives frame and joints of each step to the ROS 1 node, in a process of its own,
and to `s2robot.load_policy`, which `s2robot eval` rolls out. The second one gives LeRobot's policy,
within its processors, the same frames and measurements:

    s2robot-lerobot to-policy out/checkpoints/last/pretrained_model policy.safetensors \\
        --level easy --proprio ee_pos gripper_width
    .venv-ros/bin/python benchmarks/lerobot_places.py ros policy.safetensors steps.npz
    OMP_NUM_THREADS=1 .venv-lerobot/bin/python benchmarks/lerobot_places.py lerobot \\
        out/checkpoints/last/pretrained_model steps.npz --out benchmarks/results/lerobot_places.json

The node resets a policy that it could not call in time; the others are reset at the same steps.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from s2robot.envs.expert import ScriptedExpert
from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.evaluation.agents.loaded_policy import load_policy
from s2robot.evaluation.initial_states import FIRST_SEEDS
from s2robot.policies.checkpoint import read_header
from s2robot.utils.io import write_json
from s2robot.utils.provenance import provenance


def over_ros(policy: Path, out: Path, steps: int) -> None:
    """Write frames, measurements and actions of the node and of `load_policy` to a file."""
    import rospy  # pyright: ignore[reportMissingImports]
    from support.ros1_policy import PolicyNode
    from support.ros1_rig import Rig, free_port

    header, own = read_header(policy), load_policy(policy, device="cpu", runtime="eager")
    camera = header.frames["camera"]
    env = PickCubeEnv(**header.env_kwargs)
    expert = ScriptedExpert(env.level)
    env.reset(seed=FIRST_SEEDS["test"])
    rows: dict[str, list[Any]] = {k: [] for k in ("frames", "states", "ros", "python", "anew")}
    with tempfile.TemporaryDirectory() as name:
        rig = Rig(Path(name), free_port())
        os.environ.update(rig.variables)
        rospy.init_node("benchmark", disable_signals=True)
        try:
            node = PolicyNode(rig, policy.resolve())
            for _ in range(steps):
                seen = env.observe()
                frame = env.render_frame(camera["name"], camera["size"], camera["size"])
                action, anew = node.act(frame, env.joints()[0].tolist())
                if anew:
                    own.reset()
                state = np.concatenate([seen[key] for key in header.proprio_keys])
                for key, value in zip(
                    rows, (frame, state, action, own(frame, seen), anew), strict=True
                ):
                    rows[key].append(value)
                env.step(expert.action(seen))
        finally:
            rig.close()
    np.savez_compressed(out, **{key: np.stack(values) for key, values in rows.items()})
    print(f"{out}: {steps} steps, {sum(rows['anew'])} resets")


def in_lerobot(folder: Path, steps: Path, out: Path | None, note: str) -> None:
    """Compare the actions of a file with those of LeRobot's policy on the same frames."""
    import importlib.metadata

    import torch
    from lerobot.envs import preprocess_observation
    from lerobot.policies.factory import make_pre_post_processors
    from lerobot_policy_s2robot.modeling_s2robot import S2robotPolicy

    with np.load(steps) as content:
        rows = dict(content)
    policy = S2robotPolicy.from_pretrained(folder).eval()
    pre, post = make_pre_post_processors(policy.config, str(folder))
    (camera,) = (key.removeprefix("observation.images.") for key in policy.config.image_features)
    found = []
    for frame, state, anew in zip(rows["frames"], rows["states"], rows["anew"], strict=True):
        if anew:
            policy.reset()
        seen = {"pixels": {camera: frame[None]}, "agent_pos": state[None].astype(np.float32)}
        with torch.inference_mode():
            action = post(policy.select_action(pre({**preprocess_observation(seen), "task": [""]})))
        found.append(action.numpy()[0].clip(-1, 1))
    lerobot = np.stack(found)
    result = {
        "steps": len(lerobot),
        "resets": int(rows["anew"].sum()),
        "largest_difference": {
            "python_from_lerobot": float(np.abs(rows["python"] - lerobot).max()),
            "ros_from_lerobot": float(np.abs(rows["ros"] - lerobot).max()),
            "ros_from_python": float(np.abs(rows["ros"] - rows["python"]).max()),
        },
        "range_of_actions": np.ptp(lerobot, axis=0).tolist(),
        "encoder": {name: policy.config.encoder_spec[name] for name in ("backbone", "scales")},
        "head": policy.config.head.kind,
        "note": note,
        "versions": {name: importlib.metadata.version(name) for name in ("lerobot", "torch")},
        "provenance": provenance(),
    }
    print(result["steps"], "steps:", result["largest_difference"])
    if out:
        write_json(out, result)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    first = commands.add_parser("ros", help="in the environment with ROS 1")
    first.add_argument("policy", type=Path, help="policy file of s2robot-lerobot to-policy")
    first.add_argument("steps", type=Path, help=".npz to write")
    first.add_argument("--count", type=int, default=30, help="control steps")
    second = commands.add_parser("lerobot", help="in the environment with LeRobot")
    second.add_argument("folder", type=Path, help="pretrained_model of lerobot-train")
    second.add_argument("steps", type=Path, help=".npz of the first command")
    second.add_argument("--out", type=Path)
    second.add_argument("--note", default="", help="on the policy, or what else the machine did")
    given = parser.parse_args()
    if given.command == "ros":
        over_ros(given.policy, given.steps, given.count)
    else:
        in_lerobot(given.folder, given.steps, given.out, given.note)


if __name__ == "__main__":
    main()
