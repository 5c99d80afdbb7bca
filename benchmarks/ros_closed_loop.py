"""Does a policy pick as often over ROS as in the rollouts that it was chosen by?

The same policy file on the same initial states, twice: by `s2robot eval`, and with the simulated
robot and the encoder node as processes of ROS 1 or ROS 2 that talk over topics. Outcomes are
compared state by state: difference with its interval, McNemar's test, and whether the rates are
shown to be less than 5 points apart (two one-sided tests: the 90 % interval lies inside the
margin).

In time (the default) frames come at 30 Hz, joints at 100 Hz and actions at the policy's rate. The
policy acts on the newest frame when its timer fires, while the robot moves on; in the rollouts the
world waits for it. So embeddings that are late on a busy computer change the result. `--speed 0.2`
slows the simulated clock, and with it counts a delay as a fifth.

With --synchronous the world waits for the action on each frame: what a busy computer changes then
is how long the run takes. What differs from the rollouts is the way: messages, proprioception by
way of joint states, the node's timer. Delays of a robot's are not in it.

A cube that is up at any moment within the episode's time counts over ROS; `eval` looks after each
step, as the synchronous world does. Each episode is a row in --rows as soon as it is over, and a
second call goes on behind the last one.

    make test-ros2   # once: the environment; make test-ros for that of ROS 1
    s2robot train level=easy demos.episodes=120 'scales=[1,2]'
    POLICY=runs/cells/NAME/policy.safetensors
    .venv-ros2/bin/python benchmarks/ros_closed_loop.py $POLICY -n 256 --synchronous --estimate
    .venv-ros2/bin/python benchmarks/ros_closed_loop.py $POLICY -n 256 --synchronous
    .venv-ros/bin/python benchmarks/ros_closed_loop.py $POLICY -n 256 --synchronous
    .venv-ros2/bin/python benchmarks/ros_closed_loop.py $POLICY -n 256     # on a quiet computer
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))

from support.ros1_rig import Process, Rig, free_port  # noqa: E402  # pyright: ignore

from s2robot.envs.controllers import CONTROL_DT_S  # noqa: E402
from s2robot.envs.levels import get_level  # noqa: E402
from s2robot.evaluation.initial_states import FIRST_SEEDS  # noqa: E402
from s2robot.plugins.ros.simulated_robot import PAUSE_S  # noqa: E402
from s2robot.policies.checkpoint import read_header  # noqa: E402
from s2robot.stats.intervals import wilson  # noqa: E402
from s2robot.stats.paired_tests import mcnemar, paired_difference  # noqa: E402
from s2robot.utils.io import write_json  # noqa: E402
from s2robot.utils.provenance import provenance  # noqa: E402

RESULTS = Path(__file__).parent / "results"
ROWS = ROOT / "runs" / "ros_closed_loop"
MARGIN = 0.05
LONGEST_S = 900.0
"""Longest time without a finished episode, the start of the processes among it [s]."""
START_S, WAITING_EPISODE_S = 60.0, 3.0
"""Guesses for --estimate where no row tells: to start the processes, and of an episode in a world
that waits [s]."""
PACKAGES = {1: "rospy", 2: "rclpy"}


class World(Protocol):
    """The processes of one version of ROS."""

    def start(self, policy: Path, parameters: dict[str, str], stale_s: float) -> Process:
        """Start the node and the robot; the process ends after the last episode."""
        ...

    def told(self) -> list[str]:
        """JSON of the episodes since the start."""
        ...

    def clear(self) -> None:
        """End the processes."""
        ...


class Ros1:
    """A master, and both nodes by roslaunch."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._heard: Any = None

    def start(self, policy: Path, parameters: dict[str, str], stale_s: float) -> Process:
        from std_msgs.msg import String  # pyright: ignore[reportMissingImports]

        self._heard = self._rig.subscribe("/episode", String)
        given = {"policy": str(policy), **parameters, "stale_s": str(stale_s)}
        words = [f"{name}:={value}" for name, value in given.items()]
        return self._rig.start("scene", "roslaunch", "s2robot_ros", "simulation.launch", *words)

    def told(self) -> list[str]:
        return [message.data for message in self._heard.messages]

    def clear(self) -> None:
        with contextlib.redirect_stdout(None):
            self._rig.clear()


class Ros2:
    """Both nodes as processes; the wheels have no launch."""

    def __init__(self, rig: Any) -> None:
        self._rig = rig
        self._heard: Any = None

    def start(self, policy: Path, parameters: dict[str, str], stale_s: float) -> Process:
        from std_msgs.msg import String  # pyright: ignore[reportMissingImports]

        from s2robot.plugins.ros.ros2_support import EPISODE_QOS

        self._heard = self._rig.subscribe("/episode", String, qos=EPISODE_QOS)
        shared = [f"policy:={policy}", "use_sim_time:=true"]
        self._rig.encoder(*shared, f"stale_s:={stale_s}", image="/image")
        return self._rig.simulator(*shared, *(f"{k}:={v}" for k, v in parameters.items()))

    def told(self) -> list[str]:
        return [message.data for message in self._heard.messages]

    def clear(self) -> None:
        with contextlib.redirect_stdout(None):
            self._rig.clear()


@contextlib.contextmanager
def opened(version: int, folder: Path) -> Iterator[World]:
    """This process as a node, and all its processes ended at the end."""
    if version == 1:
        rig = Rig(folder, free_port())
        os.environ.update(rig.variables)
        import rospy  # pyright: ignore[reportMissingImports]

        rospy.init_node("benchmark", disable_signals=True)
        world: World = Ros1(rig)
    else:
        from support.ros2_rig import Rig2, environment  # pyright: ignore[reportMissingImports]

        os.environ.update(environment(folder))
        rig = Rig2(folder)
        world = Ros2(rig)
    try:
        yield world
    finally:
        rig.close()


def rolled_out(policy: Path, count: int, folder: Path) -> list[dict[str, Any]]:
    """The rows of `s2robot eval`, which are kept."""
    rows = folder / "episodes.jsonl"
    words = [f"checkpoint={policy}", f"n={count}", f"out={folder}", "rollout.videos=0"]
    command = [sys.executable, "-m", "s2robot.cli.main", "eval", *words]
    if len(read_rows(rows)) < count:
        subprocess.run([*command, f"data_dir={folder.parent / 'data'}"], check=True)
    return read_rows(rows)[:count]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a file, or none; a last line that a stop has cut is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def over_ros(
    policy: Path, rows: Path, world: World, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Run the episodes that are missing, and write each as soon as it is told."""
    done = read_rows(rows)
    rows.parent.mkdir(parents=True, exist_ok=True)
    rows.write_text("".join(json.dumps(row) + "\n" for row in done), encoding="utf-8")
    missing = options.n - len(done)
    if missing <= 0:
        return done[: options.n]
    parameters = {
        "seed": str(FIRST_SEEDS["test"] + len(done)),
        "episodes": str(missing),
        "speed": str(options.speed),
        "synchronous": str(options.synchronous).lower(),
        "wait_s": str(options.wait_s),
    }
    stale_s = options.wait_s if options.synchronous else 0.5 / min(1.0, options.speed)
    robot = world.start(policy, parameters, stale_s)
    seen, last = 0, time.monotonic()
    with rows.open("a", encoding="utf-8") as out:
        while seen < missing:
            told = world.told()
            for text in told[seen:]:
                wall_s, last = time.monotonic() - last, time.monotonic()
                done.append({**json.loads(text), "wall_s": round(wall_s, 2)})
                out.write(json.dumps(done[-1]) + "\n")
                out.flush()
                tell_progress(done, options.n)
            seen = len(told)
            if time.monotonic() > last + LONGEST_S or (seen < missing and not robot.running):
                # What was told as it ended may still be on its way.
                time.sleep(2)
                if len(world.told()) == seen:
                    raise RuntimeError(f"the robot told nothing more:\n{robot.text[-3000:]}")
            time.sleep(0.05)
    return done


def tell_progress(done: list[dict[str, Any]], count: int) -> None:
    wins = sum(row["success"] for row in done)
    text = f"{wins} of {len(done)} lifted over ROS"
    if len(done) > 1:
        text += f", {(count - len(done)) * typical_s(done) / 60:.1f} min left"
    print(text, flush=True)


def typical_s(rows: list[dict[str, Any]]) -> float:
    """Time of an episode; the first holds the start of the processes, and is left out."""
    return statistics.median(row["wall_s"] for row in rows[1:])


def estimate_s(policy: Path, rows: Path, options: argparse.Namespace) -> float:
    """Longest time that the missing episodes take."""
    done = read_rows(rows)
    missing = max(0, options.n - len(done))
    level = get_level(str(read_header(policy).env_kwargs["level"]))
    each = (level.horizon * CONTROL_DT_S + PAUSE_S) / options.speed
    if options.synchronous:
        each = WAITING_EPISODE_S
    if len(done) > 3:
        each = typical_s(done)
    return START_S + missing * each if missing else 0.0


def compared(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    """Comparison of outcomes (policies, states), or (states,) of one policy."""
    test, gap = mcnemar(theirs, ours), paired_difference(theirs, ours)
    narrow = paired_difference(theirs, ours, confidence=0.9)
    equivalent = -MARGIN < narrow.low and narrow.high < MARGIN
    verdict = "equivalent" if equivalent else "not shown"
    if gap.excludes_zero():
        verdict = "better over ROS" if gap.estimate > 0 else "worse over ROS"
    return {
        "conditions": ours.shape[-1],
        "over_ros": _rate(ours),
        "by_eval": _rate(theirs),
        "difference": [gap.estimate, gap.low, gap.high],
        "difference_90": [narrow.low, narrow.high],
        "margin": MARGIN,
        "equivalent": equivalent,
        "verdict": verdict,
        "only_by_eval": test.only_first,
        "only_over_ros": test.only_second,
        "p_value": test.p_value,
    }


def _rate(won: np.ndarray) -> dict[str, Any]:
    interval = wilson(int(won.sum()), won.size)
    return {
        "successes": int(won.sum()),
        "rate": interval.estimate,
        "interval": [interval.low, interval.high],
    }


def steps_over_ros(row: dict[str, Any]) -> int | None:
    """Steps to success, as `eval` counts them."""
    return round(row["seconds"] / CONTROL_DT_S) if row["success"] else None


def measure(policy: Path, world: World, options: argparse.Namespace) -> dict[str, Any]:
    header = read_header(policy)
    episodes = over_ros(policy, rows_of(policy, options), world, options)
    world.clear()
    evaluated = rolled_out(policy, options.n, options.rows / f"{header.sha256[:12]}_eval")
    ours = np.array([row["success"] for row in episodes], bool)
    theirs = np.array([row["success_once"] for row in evaluated], bool)
    same = [
        steps_over_ros(a) == (b["steps_to_success"] if b["success_once"] else None)
        for a, b in zip(episodes, evaluated, strict=True)
    ]
    row = {
        "level": header.level,
        "encoder": header.encoder["backbone"],
        "scales": header.encoder["scales"],
        "seed": header.seed,
        "policy_sha256": header.sha256,
        **compared(ours, theirs),
        "same_steps_to_success": sum(same),
        "missed": sum(row["missed"] for row in episodes),
        "seconds_to_success": [r["seconds"] for r in episodes if r["success"]],
        "outcomes": [ours.astype(int).tolist(), theirs.astype(int).tolist()],
    }
    told = ("level", "over_ros", "by_eval", "difference", "difference_90", "verdict")
    print(json.dumps({key: row[key] for key in (*told, "same_steps_to_success", "missed")}))
    return row


def rows_of(policy: Path, options: argparse.Namespace) -> Path:
    mode = "synchronous" if options.synchronous else f"speed{options.speed:g}"
    return options.rows / f"{read_header(policy).sha256[:12]}_ros{options.ros}_{mode}.jsonl"


def ros_here() -> int:
    found = [number for number, name in PACKAGES.items() if importlib.util.find_spec(name)]
    if not found:
        sys.exit(
            f"{sys.executable} has neither rospy nor rclpy: use the environment of `make test-ros` "
            "(.venv-ros/bin/python) or of `make test-ros2` (.venv-ros2/bin/python)"
        )
    return found[-1]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("policy", type=Path, nargs="+", help="policy files")
    parser.add_argument("-n", type=int, default=64, help="initial states of each")
    parser.add_argument("--ros", type=int, choices=(1, 2), help="version; the one that is here")
    parser.add_argument("--synchronous", action="store_true", help="the world waits for actions")
    parser.add_argument("--wait-s", type=float, default=60.0, help="longest such wait")
    parser.add_argument("--speed", type=float, default=1.0, help="simulated seconds a second")
    parser.add_argument("--rows", type=Path, default=ROWS, help="folder of rows, which are kept")
    parser.add_argument("--estimate", action="store_true", help="tell the minutes, and end")
    parser.add_argument("--out", type=Path, help="results file")
    options = parser.parse_args()
    options.ros = options.ros or ros_here()
    options.policy = [policy.resolve() for policy in options.policy]
    options.rows = options.rows.resolve()
    return options


def main() -> int:
    options = parsed()
    seconds = sum(estimate_s(each, rows_of(each, options), options) for each in options.policy)
    print(f"over ROS {options.ros}: at most about {seconds / 60:.0f} min, then s2robot eval")
    if options.estimate:
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # or its processes would go on
    with tempfile.TemporaryDirectory() as name, opened(options.ros, Path(name)) as world:
        policies = [measure(policy, world, options) for policy in options.policy]
    record: dict[str, Any] = {
        "ros": options.ros,
        "synchronous": options.synchronous,
        "speed": None if options.synchronous else options.speed,
        "policies": policies,
    }
    if len(policies) > 1:
        ours, theirs = np.array([row["outcomes"] for row in policies], bool).swapaxes(0, 1)
        record["together"] = compared(ours, theirs)
        print(json.dumps(record["together"]))
    mode = "_synchronous" if options.synchronous else ""
    out = options.out or RESULTS / f"ros{options.ros}_closed_loop{mode}.json"
    write_json(out, {**record, "provenance": provenance()})
    print(f"wrote {out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
