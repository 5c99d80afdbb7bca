"""Train a policy: demonstrations, embeddings of their frames, behavior cloning.

Each step keeps its result under `data/` and `runs/`, so a second run finds it there.
The defaults are small and the policy will fail often; `s2robot train` without `budget=quick`
uses 120 demonstrations and 60 epochs.

    python examples/train_policy.py
    python examples/run_policy.py policy.safetensors

Expected output (besides progress bars):

    demonstrations: 16 episodes, 215 frames
    embeddings: (215, 12288), one frame is (8, 8, 192)
    wrote policy.safetensors; action error on held-out demonstrations: 6.5 mm
"""

import argparse
import json
import shutil

from s2robot.encoder.spec import scale_set
from s2robot.experiments.pipeline import TrainJob, train_run
from s2robot.experiments.variant import CameraChoice, DemosChoice, Variant, VariantConfig
from s2robot.policies.config import PolicyConfig
from s2robot.training.trainer import TrainConfig


def main() -> None:
    """Make the training data, train the policy and copy its file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--episodes", type=int, default=16, help="number of demonstrations")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--size", type=int, default=256, help="edge of a camera frame [px]")
    parser.add_argument("--scales", nargs="+", default=[1], help="such as '[1,2]'")
    parser.add_argument("--out", default="policy.safetensors")
    args = parser.parse_args()

    config = VariantConfig(
        level="easy",
        encoder="s2r-vitt16-128",
        scales=scale_set(args.scales),
        camera=CameraChoice(size=args.size),
        demos=DemosChoice(episodes=args.episodes),
    )
    variant = Variant(config)
    print(f"demonstrations: {args.episodes} episodes, {variant.demos.num_frames} frames")
    data = variant.data  # renders and encodes what is missing
    print(f"embeddings: {tuple(data.embedding.shape)}, one frame is {data.embedding_shape}")

    training = TrainConfig(epochs=args.epochs)
    job = TrainJob(config, PolicyConfig(kind="mlp"), training, search=None, seed=0)
    path = train_run(job, variant)
    shutil.copy(path, args.out)
    last = json.loads((path.parent / "history.json").read_text(encoding="utf-8"))[-1]
    error_mm = 1000 * last["motion_error"]
    print(f"wrote {args.out}; action error on held-out demonstrations: {error_mm:.1f} mm")


if __name__ == "__main__":
    main()
