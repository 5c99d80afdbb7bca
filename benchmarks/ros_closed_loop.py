"""Does a policy pick as often over ROS as in the rollouts that it was chosen by?

The same policy file on the same initial conditions, twice: by `s2robot eval`, and with the
simulated robot and the encoder node as ROS 1 nodes by roslaunch (simulated time; frames at 30 Hz,
joints at 100 Hz, actions at the policy's rate as embeddings arrive). Over ROS the policy acts on
the newest frame when its timer fires, while the robot moves on; in the rollouts the world waits for
it. A cube that is up at any moment within the episode's time counts over ROS; `eval` looks after
each step.

    make ros1-test   # once: the environment
    s2robot train level=easy demos.episodes=120 'scales=[1,2]'
    .venv-ros/bin/python benchmarks/ros_closed_loop.py runs/cells/NAME/policy.safetensors
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))

from support.ros1_rig import (  # noqa: E402  # pyright: ignore[reportMissingImports]
    Rig,
    free_port,
)

from s2robot.policies.checkpoint import read_header  # noqa: E402
from s2robot.stats.intervals import wilson  # noqa: E402
from s2robot.stats.paired_tests import mcnemar, paired_difference  # noqa: E402
from s2robot.utils.io import write_json  # noqa: E402
from s2robot.utils.provenance import provenance  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "ros_closed_loop.json"
SECONDS_AN_EPISODE = 60.0


def rolled_out(policy: Path, count: int, folder: Path) -> np.ndarray:
    """Whether each condition was solved by `s2robot eval`."""
    words = [f"checkpoint={policy}", f"n={count}", f"out={folder / 'eval'}"]
    command = [
        sys.executable,
        "-m",
        "s2robot.cli.main",
        "eval",
        *words,
        f"data_dir={folder / 'data'}",
    ]
    subprocess.run([*command, "rollout.videos=0"], check=True)
    rows = [json.loads(line) for line in (folder / "eval" / "episodes.jsonl").open()]
    return np.array([row["success_once"] for row in rows], bool)


def over_ros(policy: Path, count: int, rig: Rig) -> list[dict[str, Any]]:
    """What the simulated robot tells of each episode."""
    from std_msgs.msg import String  # pyright: ignore[reportMissingImports]

    heard = rig.subscribe("/episode", String)
    words = (f"policy:={policy}", f"episodes:={count}")
    scene = rig.start("scene", "roslaunch", "s2robot_ros", "simulation.launch", *words)
    while len(heard.messages) < count:
        rows = [json.loads(message.data) for message in heard.after(1, SECONDS_AN_EPISODE)]
        print(f"{sum(row['success'] for row in rows)} of {len(rows)} lifted over ROS", flush=True)
    scene.wait()
    return [json.loads(message.data) for message in heard.messages]


def compared(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    test, gap = mcnemar(theirs, ours), paired_difference(theirs, ours)
    return {
        "conditions": len(ours),
        "over_ros": _rate(ours),
        "by_eval": _rate(theirs),
        "difference": [gap.estimate, gap.low, gap.high],
        "only_by_eval": test.only_first,
        "only_over_ros": test.only_second,
        "p_value": test.p_value,
    }


def _rate(won: np.ndarray) -> dict[str, Any]:
    interval = wilson(int(won.sum()), len(won))
    return {
        "successes": int(won.sum()),
        "rate": interval.estimate,
        "interval": [interval.low, interval.high],
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("policy", type=Path, nargs="+", help="policy files")
    parser.add_argument("-n", type=int, default=64, help="conditions of each")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    record: dict[str, Any] = {"policies": []}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # or its processes would go on
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rig = Rig(folder, free_port())
        os.environ.update(rig.variables)
        import rospy  # pyright: ignore[reportMissingImports]

        rospy.init_node("benchmark", disable_signals=True)
        try:
            for i, policy in enumerate(options.policy):
                record["policies"].append(
                    measure(policy.resolve(), options.n, rig, folder / str(i))
                )
        finally:
            rig.close()
    write_json(options.out, {**record, "provenance": provenance()})
    return 0


def measure(policy: Path, count: int, rig: Rig, folder: Path) -> dict[str, Any]:
    header = read_header(policy)
    theirs = rolled_out(policy, count, folder)
    episodes = over_ros(policy, count, rig)
    rig.clear()
    ours = np.array([row["success"] for row in episodes], bool)
    row = {
        "level": header.level,
        "encoder": header.encoder["backbone"],
        "scales": header.encoder["scales"],
        "seed": header.seed,
        "policy_sha256": header.sha256,
        **compared(ours, theirs),
        "seconds_to_success": [r["seconds"] for r in episodes if r["success"]],
    }
    print(json.dumps({key: row[key] for key in ("level", "over_ros", "by_eval", "p_value")}))
    return row


if __name__ == "__main__":
    raise SystemExit(main())
