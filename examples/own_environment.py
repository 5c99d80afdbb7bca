"""Use a policy file in the loop of your own environment.

Here you write the loop; own_task.py shows a task that `s2robot collect`, `train` and `eval`
run in. `OwnEnv` stands for your environment. The policy was trained on another
one, so its actions have no meaning here: this example shows only the interfaces.

    python examples/train_policy.py
    python examples/own_environment.py policy.safetensors

Expected output (the numbers depend on the policy):

    the policy reads ee_pos, gripper_width and frames of 256 x 256 from camera front
    10 steps; last action: dx -0.01, dy -0.12, dz -0.76, gripper +0.59
"""

import argparse
from typing import Any

import gymnasium
import numpy as np

from s2robot import load_policy


class OwnEnv(gymnasium.Env):
    """Show a tool (red) that moves over a gray table."""

    def __init__(self, height: int, width: int) -> None:
        self.size = (height, width)

    def reset(self, **options: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start with the tool in the middle."""
        super().reset(**options)
        self.tool = np.array([0.5, 0.0, 0.3], np.float32)  # [m]
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict]:
        """Move the tool by at most 4 cm along each axis."""
        self.tool = self.tool + 0.04 * action[:3]
        return self._observation(), 0.0, False, False, {}

    def _observation(self) -> dict[str, np.ndarray]:
        image = np.full((*self.size, 3), 120, np.uint8)
        limits = np.array(self.size) - 11
        row, column = np.clip(self.size * self.tool[:2], 10, limits).astype(int)
        image[row - 10 : row + 10, column - 10 : column + 10] = (200, 30, 30)
        return {"image": image, "ee_pos": self.tool, "gripper_width": np.full(1, 0.08, np.float32)}


def main() -> None:
    """Load a policy file and act with it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("policy", nargs="?", default="policy.safetensors")
    parser.add_argument("--steps", type=int, default=10)
    args = parser.parse_args()

    policy = load_policy(args.policy, device="cpu")
    ((camera, size),) = policy.cameras.items()
    height, width = size or (384, 384)  # a file may not tell the size
    keys = ", ".join(policy.proprio_keys)
    print(f"the policy reads {keys} and frames of {height} x {width} from camera {camera}")

    env = OwnEnv(height, width)
    observation, _ = env.reset(seed=0)
    policy.reset()
    action = np.zeros(4, np.float32)
    for _ in range(args.steps):
        action = policy(observation["image"], observation)
        observation, _, _, _, _ = env.step(action)
    names = zip(policy.action_names, action, strict=True)
    print(f"{args.steps} steps; last action: {', '.join(f'{n} {v:+.2f}' for n, v in names)}")


if __name__ == "__main__":
    main()
