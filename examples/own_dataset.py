"""Train a policy on your own frames and actions, and measure its error on held-out episodes.

Your data are arrays: frames, proprioception, actions in [-1, 1], the ends of episodes.
Here they are generated: a red square moves to a green one. The result is an error of
actions. It is not a success rate: only rollouts in an environment measure success.

    python examples/own_dataset.py

Expected output:

    16 episodes, 320 frames, embeddings [320, 12288]
    held-out action error: 0.16; of always the mean action: 0.29
"""

import argparse

import numpy as np
import torch

from s2robot import FrameEncoder
from s2robot.policies.config import PolicyConfig
from s2robot.policies.dataset import TrajectoryData
from s2robot.training.trainer import TrainConfig, fit


def own_arrays(episodes: int, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return frames (N, 128, 128, 3) uint8, positions (N, 2) and actions (N, 3)."""
    rng = np.random.default_rng(0)
    frames, positions, actions = [], [], []
    for _ in range(episodes):
        tool, goal = rng.uniform(16, 112, (2, 2))  # (row, column) [px]
        for _ in range(steps):
            frame = np.full((128, 128, 3), 90, np.uint8)
            for (row, column), color in ((goal, (0, 200, 0)), (tool, (200, 0, 0))):
                frame[int(row) - 6 : int(row) + 6, int(column) - 6 : int(column) + 6] = color
            move = np.clip((goal - tool) / 8, -1, 1)  # 1 means 8 px
            frames.append(frame)
            positions.append(tool / 128)
            actions.append([*move, 1.0])  # the last entry is the gripper: open
            tool = tool + 8 * move
    return np.stack(frames), np.array(positions, "f4"), np.array(actions, "f4")


def main() -> None:
    """Encode the frames, train on all episodes but three, print the error on those three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=30)
    args = parser.parse_args()

    frames, proprio, actions = own_arrays(args.episodes, steps=20)
    encoder = FrameEncoder.from_name("s2r-vitt16-128", readout="spatial_softmax")
    data = TrajectoryData(
        embedding=encoder(frames).cpu(),
        embedding_shape=encoder.output_shape,
        proprio=torch.from_numpy(proprio),
        actions=torch.from_numpy(actions),
        episode_ends=20 * torch.arange(1, args.episodes + 1),
        train_episodes=torch.arange(args.episodes - 3),
        valid_episodes=torch.arange(args.episodes - 3, args.episodes),
        motion_dims=2,  # entries of the action whose error is measured
        motion_unit=1.0,  # report errors in units of the action
    )
    print(f"{args.episodes} episodes, {len(frames)} frames, embeddings {[*data.embedding.shape]}")
    result = fit(data, PolicyConfig(kind="mlp"), TrainConfig(epochs=args.epochs))

    error = result.history[-1]["motion_error"]
    motion = data.actions[:, :2]
    mean_action = motion[data.frames_of(data.train_episodes)].mean(dim=0)
    baseline = float((motion[data.frames_of(data.valid_episodes)] - mean_action).abs().mean())
    print(f"held-out action error: {error:.2f}; of always the mean action: {baseline:.2f}")


if __name__ == "__main__":
    main()
