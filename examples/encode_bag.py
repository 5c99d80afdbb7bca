"""Turn a bag of camera images into a bag of embeddings, and read the embeddings.

Needs the extra `ros` (the package rosbags) and no ROS. Bags of ROS 1 work in the same
way. Without --bag, the example writes a small bag itself.

    python examples/encode_bag.py
    python examples/encode_bag.py --bag run.mcap --out run.embeddings.mcap

Expected output:

    /camera/image_raw/embedding: 5 embeddings of 5 messages
    read (5, 384) of model s2r-vitt16-128@5b0820d1268b2f3a, first stamp 1700000000000000000 ns
"""

import argparse
from pathlib import Path

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from s2robot import FrameEncoder
from s2robot.data.rosbag import read_embeddings
from s2robot.plugins.ros.encode_bag import encode_bag


def write_bag(folder: Path, frames: np.ndarray) -> None:
    """Write frames (T, H, W, 3) uint8 RGB as a ROS 2 bag, ten per second."""
    store, kind = get_typestore(Stores.ROS2_HUMBLE), "sensor_msgs/msg/Image"
    image, header = store.types[kind], store.types["std_msgs/msg/Header"]
    time = store.types["builtin_interfaces/msg/Time"]
    with Writer(folder, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        topic = writer.add_connection("/camera/image_raw", kind, typestore=store)
        for i, frame in enumerate(frames):
            height, width, _ = frame.shape
            stamp = header(time(1_700_000_000, 100_000_000 * i), "camera")
            message = image(stamp, height, width, "rgb8", 0, 3 * width, frame.reshape(-1))
            log_time = 1_700_000_000 * 10**9 + 100_000_000 * i
            writer.write(topic, log_time, store.serialize_cdr(message, kind))


def main() -> None:
    """Encode a bag and read what was written."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bag", type=Path, help="of ROS 1 or ROS 2, with camera images")
    parser.add_argument("--out", type=Path, default=Path("embeddings.mcap"))
    args = parser.parse_args()
    if args.bag is None:
        args.bag = Path("example_bag")
        if not args.bag.exists():
            pixels = np.random.default_rng(0).integers(0, 256, (5, 120, 160, 3), dtype=np.uint8)
            write_bag(args.bag, pixels)

    encoder = FrameEncoder.from_name("s2r-vitt16-128", scales=(1, 2))
    encoded = encode_bag(args.bag, args.out, encoder, force=True)
    for topic in encoded.topics:
        print(
            f"{topic.embeddings_topic}: {topic.embeddings} embeddings of {topic.messages} messages"
        )

    found = read_embeddings(args.out, encoded.topics[0].embeddings_topic)
    print(f"read {found.values.shape} of model {found.model}, first stamp {found.stamps_ns[0]} ns")


if __name__ == "__main__":
    main()
