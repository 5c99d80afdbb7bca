"""Encode the frames of several cameras together.

`encode_cameras` puts the tiles of all cameras into the same calls of the backbone.
Frame sizes may differ. The result equals one call of the encoder per camera.

    python examples/multi_camera.py

Expected output:

    front: frames (480, 640, 3) -> embedding (1, 384)
    wrist: frames (240, 320, 3) -> embedding (1, 384)
    both cameras joined: (1, 768)
    largest difference from one call per camera: 0.0e+00
"""

import argparse

import torch

from s2robot import FrameEncoder
from s2robot.envs.pick_cube import PickCubeEnv

SHAPES = {"front": (480, 640), "wrist": (240, 320)}  # (height, width) [px]


def main() -> None:
    """Render one moment with two cameras and encode both pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the scene")
    args = parser.parse_args()

    env = PickCubeEnv(level="easy")
    env.reset(seed=args.seed)
    frames = {name: env.render_frame(name, *shape) for name, shape in SHAPES.items()}
    env.close()

    encoder = FrameEncoder.from_name("s2r-vitt16-128", scales=(1, 2))
    embeddings = encoder.encode_cameras(frames)  # {camera: (1, D)}
    for name, frame in frames.items():
        print(f"{name}: frames {frame.shape} -> embedding {tuple(embeddings[name].shape)}")
    joined = torch.cat([embeddings[name] for name in SHAPES], dim=1)
    print(f"both cameras joined: {tuple(joined.shape)}")

    difference = max(
        float((encoder(frames[name]) - embeddings[name]).abs().max()) for name in SHAPES
    )
    print(f"largest difference from one call per camera: {difference:.1e}")


if __name__ == "__main__":
    main()
