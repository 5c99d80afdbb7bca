"""Your own task: a tool (white) has to reach a goal (red) that only the frames show.

All commands run in it by its name, from the folder of this file:

    s2robot collect task=module:own_task.Reach episodes=40
    s2robot sweep task=module:own_task.Reach demos.episodes=40 encoder=blind,s2r-vitt16-128 seed=0
    python own_task.py

Expected output: the expert reaches the goal in 5 steps; frames are (96, 128)
"""

from typing import Any

import gymnasium
import numpy as np

from s2robot.envs.tasks.gymnasium_task import GymnasiumTask


class ReachEnv(gymnasium.Env):
    """A tool moves over a gray table; positions are (row, column) in shares of the frame."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}
    render_mode = "rgb_array"
    action_space = gymnasium.spaces.Box(-0.1, 0.1, (2,), np.float32)  # of one step

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        """Draw tool and goal."""
        super().reset(seed=seed)
        self.tool, self.goal = self.np_random.uniform(0.1, 0.9, (2, 2))
        return {"agent_pos": self.tool}, {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        """Move the tool."""
        self.tool = np.clip(self.tool + action, 0.1, 0.9)
        reached = bool(np.abs(self.tool - self.goal).max() < 0.06)
        return {"agent_pos": self.tool}, 0.0, False, False, {"reached": reached}

    def render(self) -> Any:
        """Draw the table."""
        frame = np.full((96, 128, 3), 90, np.uint8)
        for place, color in ((self.goal, (200, 30, 30)), (self.tool, (250, 250, 250))):
            row, column = (place * (96, 128)).astype(int)
            frame[row - 5 : row + 5, column - 5 : column + 5] = color
        return frame


class Reach(GymnasiumTask):
    """The task: what the commands have to know of the environment."""

    success_key = "reached"  # of the info of each step
    horizon = 16  # control steps of an episode
    noise = 0.2  # of the executed actions of demonstrations, so that they show corrections

    def environment(self, horizon: int | None) -> gymnasium.Env:
        """Return the environment."""
        return ReachEnv()

    def expert(self, env: Any) -> Any:
        """Return an expert, which may read the true state."""
        return lambda observation: np.clip(env.goal - env.tool, -0.1, 0.1)


if __name__ == "__main__":
    env = Reach().make({})
    (_, info), expert, steps = env.reset(seed=0), Reach().expert_of(env), 0
    while expert and not info["is_success"]:
        info, steps = env.step(expert({}))[-1], steps + 1
    print(f"the expert reaches the goal in {steps} steps; frames are {env.frame_shape('render')}")
