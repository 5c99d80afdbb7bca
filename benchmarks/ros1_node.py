"""The ROS 1 node on a real master: overhead, age of embeddings, and whether it keeps up at 30 Hz.

A camera process publishes rendered pick-cube frames of 640 x 480 at 30 Hz, the node runs by
roslaunch, a third process (this one) receives embeddings; all on this machine.

(a) keeps up: the shipped encoder at scales (1, 2) with crop reuse, eager, in OpenVINO, and in its
    int8 (approximate; calibrated on the very frames that are shown). How many of the camera's
    frames come back as embeddings, and how old they are on arrival here. The node's own overhead
    (from a message's arrival to the end of its publication, less encoding) is what it tells on
    /diagnostics. Targets: 29.9 Hz, 1.5 ms. The same with an encoder that costs nothing, for rgb8,
    Bayer and YUV 4:2:2 (3 ms).
(b) slow encoders at 30 Hz: a ViT-S on the processor, and some of exactly 10 and 100 ms that leave
    the processor alone, as on a GPU. Target for the last: a median age of 153 ms. Beside them what
    a user would otherwise write: a rospy callback that encodes, with `queue_size=1`, once as rospy
    comes and once with a receive buffer larger than a frame (`buff_size=2**24`).
(c) with --soak: an hour's messages (108,000) as fast as they go, and the node's memory meanwhile.

    make ros1-test   # once: the environment
    OMP_WAIT_POLICY=PASSIVE .venv-ros/bin/python benchmarks/ros1_node.py
    OMP_WAIT_POLICY=PASSIVE .venv-ros/bin/python benchmarks/ros1_node.py --soak
"""

from __future__ import annotations

import argparse
import functools
import os
import signal
import sys
import tempfile
import time
import xmlrpc.client
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))

from ros_node_measures import (  # noqa: E402
    ENCODINGS,
    HOUR_MESSAGES,
    TARGETS,
    Arrivals,
    Sleeps,
    listened,
    node_values,
    soaked,
    tell,
)
from support.ros1_rig import (  # noqa: E402  # pyright: ignore[reportMissingImports]
    IMAGE,
    Rig,
    free_port,
    rendered_frames,
    statuses,
    wait_for,
)

from s2robot.utils.io import write_json  # noqa: E402
from s2robot.utils.provenance import provenance  # noqa: E402

RESULTS = Path(__file__).parent / "results"
NODE = "/s2robot_encoder"
SHIPPED = ("encoder:=s2r-vitt16-128", "scales:=[1,2]")
SLOW = ("encoder:=random/vits16-224", "scales:=[1]", "reuse:=false")


class Ages(Arrivals):
    """Ages of embeddings on arrival, from now on."""

    def __init__(self) -> None:
        import rospy  # pyright: ignore[reportMissingImports]

        from s2robot.plugins.ros.ros1_messages import message_class

        super().__init__()
        self._subscriber = rospy.Subscriber(
            "/embedding",
            message_class("EmbeddingStamped"),
            lambda message: self.take(message.header.stamp.to_sec()),
            queue_size=100,
            buff_size=2**24,
            tcp_nodelay=True,
        )

    def close(self) -> None:
        self._subscriber.unregister()


def told_by(rig: Rig) -> dict[str, str]:
    """The newest values of the node's encoder on /diagnostics."""
    from diagnostic_msgs.msg import DiagnosticArray  # pyright: ignore[reportMissingImports]

    health = rig.subscribe("/diagnostics", DiagnosticArray)
    found = statuses(health.after(1)[-1])[f"encoder {IMAGE}"]
    health.close()
    return found


def measured(rig: Rig, frames: Path, seconds: float, *words: str) -> dict[str, Any]:
    """The node for some seconds, after three of warm-up."""
    record = rig.folder / "sent.txt"
    record.unlink(missing_ok=True)
    rig.camera(str(frames), IMAGE, "--record", str(record))
    rig.launch("encoder", "encoder.launch", f"image:={IMAGE}", *words)
    row = {**heard(record, seconds), "node": node_values(told_by(rig))}
    rig.clear()
    return row


def heard(record: Path, seconds: float) -> dict[str, Any]:
    """Embeddings that arrive here against frames that the camera sent meanwhile."""
    ages = Ages()
    wait_for("embeddings", lambda: len(ages.rows) > 5)
    row = listened(ages, record, seconds)
    ages.close()
    return row


def plain(
    rig: Rig, frames: Path, seconds: float, buffer: int, encode_s: float = 0.0
) -> dict[str, Any]:
    """A callback that encodes, in a process of its own; ``encode_s`` of sleep, or the ViT-S."""
    record = rig.folder / "sent.txt"
    record.unlink(missing_ok=True)
    rig.camera(str(frames), IMAGE, "--record", str(record))
    words = ("--plain", str(buffer), "--sleeping", str(encode_s))
    rig.start("plain", sys.executable, str(Path(__file__)), *words)
    row = {"buff_size": buffer, **heard(record, seconds)}
    rig.clear()
    return row


def run_plain(buffer: int, encode_s: float) -> int:
    """What a user would write without this package's node, with the same encoder and message."""
    import rospy  # pyright: ignore[reportMissingImports]
    import torch
    from sensor_msgs.msg import Image  # pyright: ignore[reportMissingImports]

    from s2robot.encoder.frame_encoder import FrameEncoder
    from s2robot.plugins.ros.ros1_messages import message_class

    vit = FrameEncoder.from_name("random/vits16-224", (1,), "spatial_softmax")

    def encode(frame: np.ndarray) -> torch.Tensor:
        if not encode_s:
            return vit(frame)
        time.sleep(encode_s)
        return torch.zeros(1, 384)

    kind = message_class("EmbeddingStamped")
    rospy.init_node("plain")
    publisher = rospy.Publisher("/embedding", kind, queue_size=1)

    def take(message: Any) -> None:
        frame = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
        found = encode(frame)
        publisher.publish(
            kind(
                header=message.header,
                model="plain",
                shape=found.shape,
                data=found.flatten().tolist(),
            )
        )

    rospy.Subscriber(IMAGE, Image, take, queue_size=1, buff_size=buffer)
    rospy.spin()
    return 0


def run_sleeping(seconds: float) -> int:
    """The node itself, with an encoder that takes so many seconds."""
    from s2robot.plugins.ros import ros1

    channels = {IMAGE: Sleeps(seconds)}
    ros1.NodeCore = functools.partial(ros1.NodeCore, channels=channels)  # pyright: ignore
    return ros1.main()


def sleeping(
    rig: Rig, frames: Path, seconds: float, encode_s: float, encoding: str = "rgb8"
) -> dict[str, Any]:
    """The node with an encoder of exactly so many seconds."""
    record = rig.folder / "sent.txt"
    record.unlink(missing_ok=True)
    rig.camera(str(frames), IMAGE, "--record", str(record), "--encoding", encoding)
    words = (f"_image_topics:=['{IMAGE}']", "--sleeping", str(encode_s))
    rig.start("sleeping", sys.executable, str(Path(__file__)), *words)
    row = {**heard(record, seconds), "node": node_values(told_by(rig))}
    rig.clear()
    return row


def soak(rig: Rig, frames: Path, messages: int) -> dict[str, Any]:
    """Memory of the node over so many messages, sent as fast as they go."""
    record = rig.folder / "sent.txt"
    rig.camera(str(frames), IMAGE, "--hz", "1000", "--record", str(record))
    rig.launch("encoder", "encoder.launch", f"image:={IMAGE}", *SHIPPED)
    ages = Ages()
    wait_for("embeddings", lambda: len(ages.rows) > 5)
    server: Any = xmlrpc.client.ServerProxy(node_uri())
    pid = server.getPid("/benchmark")[2]
    found = soaked(lambda: told_by(rig), pid, messages)
    rig.clear()
    return {**found, "embeddings": len(ages.rows)}


def node_uri() -> str:
    import rosgraph  # pyright: ignore[reportMissingImports]

    return rosgraph.Master("/benchmark").lookupNode(NODE)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=40.0, help="of each measurement")
    parser.add_argument("--soak", action="store_true", help="only (c)")
    parser.add_argument("--messages", type=int, default=HOUR_MESSAGES, help="of --soak")
    parser.add_argument("--plain", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--sleeping", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="results file")
    options, _ = parser.parse_known_args()  # a node's own words are rospy's
    if options.plain:
        return run_plain(options.plain, options.sleeping or 0.0)
    if options.sleeping is not None:
        return run_sleeping(options.sleeping)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # or its processes would go on
    with tempfile.TemporaryDirectory() as folder:
        os.environ["S2ROBOT_HOME"] = str(Path(folder) / "home")
        rig = Rig(Path(folder), free_port())
        os.environ.update(rig.variables)
        import rospy  # pyright: ignore[reportMissingImports]

        rospy.init_node("benchmark", disable_signals=True)
        frames = Path(folder) / "frames.npy"
        np.save(frames, rendered_frames(28, 6))
        try:
            record = (
                soak_record(rig, frames, options) if options.soak else rates(rig, frames, options)
            )
        finally:
            rig.close()
    name = "ros1_soak.json" if options.soak else "ros1_node.json"
    write_json(options.out or RESULTS / name, {**record, "provenance": provenance()})
    return 0


def rates(rig: Rig, frames: Path, options: argparse.Namespace) -> dict[str, Any]:
    from s2robot.encoder.frame_encoder import FrameEncoder

    rows: dict[str, Any] = {}
    seconds = options.seconds
    FrameEncoder.from_name("s2r-vitt16-128", (1, 2), "spatial_softmax").calibrate(np.load(frames))
    for name, words in (
        ("shipped, eager", (*SHIPPED,)),
        ("shipped, openvino", (*SHIPPED, "runtime:=openvino")),
        ("shipped, openvino-int8", (*SHIPPED, "runtime:=openvino-int8")),
        ("slow", SLOW),
    ):
        rows[name] = measured(rig, frames, seconds, *words)
        tell(name, rows[name])
    for encoding in ENCODINGS:
        name = f"free, {encoding}"
        rows[name] = sleeping(rig, frames, seconds, 0.0, encoding)
        tell(name, rows[name])
    for encode_s in (0.01, 0.1):
        name = f"{1000 * encode_s:.0f} ms, processor free"
        rows[name] = sleeping(rig, frames, seconds, encode_s)
        tell(name, rows[name])
    for buffer, words in ((65536, "plain callback"), (2**24, "plain callback, large buffer")):
        for encoder, encode_s in (("slow", 0.0), ("100 ms, processor free", 0.1)):
            name = f"{encoder}, {words}"
            rows[name] = plain(rig, frames, seconds, buffer, encode_s)
            tell(name, rows[name])
    return {"targets": TARGETS, "seconds": seconds, "frame": [480, 640], "rows": rows}


def soak_record(rig: Rig, frames: Path, options: argparse.Namespace) -> dict[str, Any]:
    found = soak(rig, frames, options.messages)
    print(f"growth over {options.messages} messages: {found['growth_mib']:+.2f} MiB")
    return found


if __name__ == "__main__":
    raise SystemExit(main())
