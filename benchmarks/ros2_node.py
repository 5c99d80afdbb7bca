"""The ROS 2 node on rclpy and FastDDS: rate, overhead by image encoding, age of embeddings, memory.

A camera process publishes rendered pick-cube frames of 640 x 480 at 30 Hz as `s2robot ros2-camera`
does (reliable, with shared memory for images), the node is a process, this one receives embeddings;
all on this machine. `ros1_node.py` does the same for ROS 1.

(a) keeps up: the shipped encoder at scales (1, 2) with tile reuse, eager, in OpenVINO, and there in
    bfloat16. How many of the camera's frames come back as embeddings, and how old they are on
    arrival. Target: 29.9 Hz. In OpenVINO also with other cameras: with the shared memory that Fast
    DDS has by itself, 512 KiB, and offering best effort.
(b) overhead, from a message's arrival to the end of its publication less encoding, with an encoder
    that costs nothing, for rgb8, Bayer and YUV 4:2:2. Targets: a median of 1.5 ms for rgb8, else 3.
(c) an encoder of exactly 100 ms that leaves the processor alone. Target: a median age of 153 ms,
    1.15 times that and a period.
(d) with --soak: an hour's messages (108,000) as fast as they go, and the node's memory meanwhile.
    Target: flat within 2 %.

    make test-ros2   # once: the environment
    OMP_WAIT_POLICY=PASSIVE .venv-ros2/bin/python benchmarks/ros2_node.py              # 14 minutes
    OMP_WAIT_POLICY=PASSIVE .venv-ros2/bin/python benchmarks/ros2_node.py --soak
    OMP_WAIT_POLICY=PASSIVE .venv-ros2/bin/python benchmarks/ros2_node.py --seconds 5 --out try.json
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))

from ros_node_measures import (  # noqa: E402
    ENCODINGS,
    HOUR_MESSAGES,
    SLOW_S,
    TARGETS,
    Arrivals,
    Sleeps,
    listened,
    node_values,
    soaked,
    tell,
)
from support.ros1_rig import rendered_frames, statuses  # noqa: E402
from support.ros2_rig import IMAGE, Rig2, environment, eventually  # noqa: E402

from s2robot.plugins.ros.fast_dds import use_large_segment  # noqa: E402
from s2robot.utils.io import write_json  # noqa: E402
from s2robot.utils.provenance import provenance  # noqa: E402

RESULTS = Path(__file__).parent / "results"
SHIPPED = ("encoder:=s2r-vitt16-128", "scales:=[1.0, 2.0]")


@contextlib.contextmanager
def embeddings(rig: Rig2) -> Iterator[Arrivals]:
    """Arrivals of the node's embeddings, the first ones among them."""
    from s2robot_msgs.msg import EmbeddingStamped

    found = Arrivals()

    def take(message: Any) -> None:
        stamp = message.header.stamp
        found.take(stamp.sec + stamp.nanosec / 1e9)

    subscription = rig.node.create_subscription(EmbeddingStamped, "/embedding", take, 100)
    eventually("embeddings", lambda: len(found.rows) > 5)
    yield found
    rig.node.destroy_subscription(subscription)


def told_by(rig: Rig2) -> Mapping[str, str]:
    """The newest values of the node's encoder on /diagnostics."""
    from diagnostic_msgs.msg import DiagnosticArray

    health = rig.subscribe("/diagnostics", DiagnosticArray)
    found = statuses(health.after(1)[-1])
    health.close()
    return next(values for name, values in found.items() if name.startswith("encoder "))


@dataclass(frozen=True)
class Offer:
    """How a camera offers its frames."""

    reliable: bool = True
    large_segment: bool = True


def camera(rig: Rig2, frames: Path, offer: Offer, *words: str) -> Path:
    """Start a camera, and return the file that gets the stamps of its frames."""
    record = rig.folder / "sent.txt"
    record.unlink(missing_ok=True)
    given = ["--record", str(record), *words, *(["--reliable"] if offer.reliable else [])]
    before = dict(os.environ)
    if offer.large_segment:
        assert use_large_segment()
    rig.camera(str(frames), *given)
    for name in os.environ.keys() - before.keys():
        del os.environ[name]  # the node does not have it
    return record


def measured(
    rig: Rig2, frames: Path, seconds: float, *words: str, offer: Offer = Offer()
) -> dict[str, Any]:
    """The node with an encoder of its own for some seconds."""
    record = camera(rig, frames, offer, "--hz", "30")
    rig.encoder(*words)
    return heard(rig, record, seconds)


def sleeping(
    rig: Rig2, frames: Path, seconds: float, encode_s: float, encoding: str = "rgb8"
) -> dict[str, Any]:
    """The node with an encoder of exactly so many seconds."""
    record = camera(rig, frames, Offer(), "--hz", "30", "--encoding", encoding)
    words = ("--ros-args", "-r", f"image:={IMAGE}")
    rig.start("sleeping", str(Path(__file__)), "--sleeping", str(encode_s), *words)
    return heard(rig, record, seconds)


def heard(rig: Rig2, record: Path, seconds: float) -> dict[str, Any]:
    """What arrives here, and what the node tells of itself."""
    with embeddings(rig) as arrivals:
        row = listened(arrivals, record, seconds)
        row["node"] = node_values(told_by(rig))
    with contextlib.redirect_stdout(None):
        rig.clear()
    return row


def run_sleeping(seconds: float, words: list[str]) -> int:
    """The node itself, with an encoder that takes so many seconds."""
    from s2robot.plugins.ros import ros2

    channels = {"image": Sleeps(seconds)}
    ros2.NodeCore = functools.partial(ros2.NodeCore, channels=channels)  # pyright: ignore
    return ros2.main(["encoder", *words])


def rates(rig: Rig2, frames: Path, seconds: float) -> dict[str, Any]:
    rows: dict[str, Any] = {}

    def keep(name: str, row: dict[str, Any]) -> None:
        rows[name] = row
        tell(name, row)

    openvino = ("runtime:=openvino",)
    for name, words in (
        ("eager", ("runtime:=eager",)),
        ("openvino", openvino),
        ("openvino, bfloat16", (*openvino, "dtype:=bfloat16")),
    ):
        keep(f"shipped, {name}", measured(rig, frames, seconds, *SHIPPED, *words))
    for name, offer in (
        ("best effort", Offer(reliable=False)),
        ("reliable, 512 KiB", Offer(large_segment=False)),
        ("best effort, 512 KiB", Offer(reliable=False, large_segment=False)),
    ):
        row = measured(rig, frames, seconds, *SHIPPED, *openvino, offer=offer)
        keep(f"shipped, openvino, camera {name}", row)
    for encoding in ENCODINGS:
        keep(f"free, {encoding}", sleeping(rig, frames, seconds, 0.0, encoding))
    keep("100 ms, processor free", sleeping(rig, frames, seconds, SLOW_S))
    return {"targets": TARGETS, "seconds": seconds, "frame": [480, 640], "rows": rows}


def soak(rig: Rig2, frames: Path, messages: int) -> dict[str, Any]:
    camera(rig, frames, Offer(), "--hz", "1000")
    node = rig.encoder(*SHIPPED)
    with embeddings(rig) as arrivals:
        found = soaked(lambda: told_by(rig), node.pid, messages)
    with contextlib.redirect_stdout(None):
        rig.clear()
    print(f"growth over {messages} messages: {found['growth_mib']:+.2f} MiB")
    return {**found, "embeddings": len(arrivals.rows)}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="of each measurement")
    parser.add_argument("--soak", action="store_true", help="only (d)")
    parser.add_argument("--messages", type=int, default=HOUR_MESSAGES, help="of --soak")
    parser.add_argument("--sleeping", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="results file")
    options, others = parser.parse_known_args()  # a node's own words are rclpy's
    if options.sleeping is not None:
        return run_sleeping(options.sleeping, others)
    if others:
        parser.error(f"unknown arguments: {' '.join(others)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # or its processes would go on
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(environment(Path(folder)))
        frames = Path(folder) / "frames.npy"
        np.save(frames, rendered_frames(28, 6))
        rig = Rig2(Path(folder))
        try:
            if options.soak:
                record = soak(rig, frames, options.messages)
            else:
                record = rates(rig, frames, options.seconds)
        finally:
            rig.close()
    out = options.out or RESULTS / ("ros2_soak.json" if options.soak else "ros2_node.json")
    write_json(out, {**record, "provenance": provenance()})
    print(f"wrote {out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
