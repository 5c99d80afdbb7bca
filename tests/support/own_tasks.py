"""Small tasks of a user's own: a tool reaches a goal that only the frames show."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from s2robot.envs.tasks.gymnasium_task import GymnasiumTask

NAME = "module:support.own_tasks.Reach"
SHAPE = (32, 40)


class ReachEnv(gymnasium.Env):
    """Tool and goal on a table; ``terminates`` ends an episode at the goal."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}
    action_space = gymnasium.spaces.Box(-0.2, 0.1, (2,), np.float32)
    observation_space = gymnasium.spaces.Dict(
        agent_pos=gymnasium.spaces.Box(0.0, 1.0, (2,), np.float32),
        goal=gymnasium.spaces.Box(0.0, 1.0, (2,), np.float32),
        pixels=gymnasium.spaces.Dict(top=gymnasium.spaces.Box(0, 255, (*SHAPE, 3), np.uint8)),
    )

    def __init__(
        self,
        terminates: bool = False,
        key: str = "success",
        render_mode: str | None = "rgb_array",
    ) -> None:
        self.render_mode = render_mode
        self.terminates, self.key, self.steps = terminates, key, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Draw tool and goal."""
        super().reset(seed=seed)
        self.tool, self.goal = self.np_random.uniform(0.2, 0.8, (2, 2))
        self.steps = 0
        return self.observation(), {}

    def observation(self) -> dict[str, Any]:
        """Return the observation."""
        return {
            "agent_pos": self.tool.astype(np.float32),
            "goal": self.goal.astype(np.float32),
            "pixels": {"top": self.render()},
        }

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Move the tool."""
        self.steps += 1
        self.tool = np.clip(self.tool + action, 0.0, 1.0)
        near = bool(np.abs(self.tool - self.goal).max() < 0.05)
        return self.observation(), 0.0, near and self.terminates, False, {self.key: near}

    def render(self) -> Any:
        """Draw the table; the goal is red, the tool white."""
        frame = np.full((*SHAPE, 3), 90, np.uint8)
        for place, color in ((self.goal, (200, 0, 0)), (self.tool, (255, 255, 255))):
            row, column = np.clip(place * SHAPE, 2, None).astype(int)
            frame[row - 2 : row + 2, column - 2 : column + 2] = color
        return frame


class Reach(GymnasiumTask):
    """The task, with an expert; states are seeds."""

    horizon = 12
    noise = 0.2

    def environment(self, horizon: int | None) -> gymnasium.Env:
        """Return the environment."""
        return ReachEnv()

    def expert(self, env: Any) -> Any:
        """Return an expert."""
        return lambda observation: np.clip(env.goal - env.tool, -0.2, 0.1)


class Ending(Reach):
    """An episode ends at the goal."""

    def environment(self, horizon: int | None) -> gymnasium.Env:
        """Return the environment."""
        return ReachEnv(terminates=True)


class Saved(Reach):
    """The task with a full state."""

    def get_state(self, env: Any) -> np.ndarray:
        """Return tool and goal."""
        return np.concatenate([env.tool, env.goal])

    def set_state(self, env: Any, state: np.ndarray) -> Any:
        """Return to tool and goal."""
        env.tool, env.goal = state[:2].copy(), state[2:].copy()
        return env.observation()


class Unseeded(Reach):
    """The environment drops its seed."""

    def environment(self, horizon: int | None) -> gymnasium.Env:
        """Return the environment."""

        class Careless(ReachEnv):
            def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
                return super().reset()

        return Careless()


class TwoCameras(Reach):
    """A second camera, which sees the table upside down and mirrored."""

    def environment(self, horizon: int | None) -> gymnasium.Env:
        """Return the environment."""

        class WithSide(ReachEnv):
            def observation(self) -> dict[str, Any]:
                top = self.render()
                side = np.ascontiguousarray(top[::-1, ::-1])
                return {**super().observation(), "pixels": {"top": top, "side": side}}

        return WithSide()


class WithoutExpert(Reach):
    """No expert."""

    def expert(self, env: Any) -> None:
        """Return none."""


class Exact(TwoCameras):
    """Two cameras, full states, named actions, and demonstrations without noise."""

    noise = 0.0
    proprio = ("agent_pos",)
    action_names = ("right", "down")
    get_state, set_state = Saved.get_state, Saved.set_state


class WrongNames(Reach):
    """A name too many."""

    action_names = ("right", "down", "up")
