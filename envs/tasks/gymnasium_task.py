"""Tasks of Gymnasium environments: by id, or as a class of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from s2robot.envs.tasks.contract import Expert, TaskEnv
from s2robot.envs.tasks.gymnasium_env import (
    GymnasiumTaskEnv,
    RawExpert,
    UnfitEnvironmentError,
)


class GymnasiumTask:
    """A task around a Gymnasium environment. Derive from it for a task of your own.

    A derived class overrides ``environment`` and what else it needs; ``task=module:own.Reach``
    names it on the command line, from the folder of ``own.py``.

    Examples:
        >>> class Reach(GymnasiumTask):
        ...     success_key = "solved"
        ...
        ...     def environment(self, horizon):
        ...         return gymnasium.make("Reach-v0", render_mode="rgb_array")
    """

    name: str = ""
    """Name in files; filled in from the name that the user gave."""
    success_key: str | None = None
    """Entry of the info that says success at each step; None takes ``is_success``, ``success`` or
    ``succeed``. ``terminated``: an episode that terminates has succeeded."""
    frames: str | None = None
    """Observation with the frames, such as ``pixels.front``; None takes ``render()``."""
    drawn_cameras: Sequence[str] = ()
    """Names of the cameras that ``draw`` draws, the default first; none for ``render()``."""
    proprio: Sequence[str] | None = None
    """Observations that policies get; None takes ``agent_pos`` where it is there, else all."""
    horizon: int | None = None
    """Control steps of an episode; None takes the environment's own time limit."""
    rate_hz: float | None = None
    """Control steps per second; None takes ``metadata["render_fps"]``."""
    action_names: Sequence[str] = ()
    """Names of the entries of an action in data sets of other formats; none for a0, a1, ..."""
    noise: float = 0.0
    """Standard deviation of the execution noise of demonstrations; an action has [-1, 1]."""
    env_id: str = ""
    options: Mapping[str, Any] = {}

    def environment(self, horizon: int | None) -> gymnasium.Env:
        """Return the environment, which can render RGB arrays unless ``frames`` names its frames.

        Args:
            horizon: wanted control steps of an episode; None for the environment's own.
        """
        if not self.env_id:
            raise ValueError(f"{type(self).__name__} has no environment(); return a gymnasium.Env")
        modes = {} if self.frames else {"render_mode": "rgb_array"}
        limit = {} if horizon is None else {"max_episode_steps": horizon}
        return gymnasium.make(self.env_id, **{**modes, **limit, **self.options})

    def expert(self, env: gymnasium.Env) -> RawExpert | None:
        """Return the expert of one episode that was just reset; None where there is none.

        Args:
            env: the environment, whose state the expert may read.

        Returns:
            From an observation of the environment to an action in the environment's own units.
        """
        del env

    def get_state(self, env: gymnasium.Env) -> np.ndarray | None:
        """Return the full state (D,) float64; None where there is none, and seeds are stored."""
        del env

    def set_state(self, env: gymnasium.Env, state: np.ndarray) -> Any:
        """Return to a full state, and return the observation; only with ``get_state``."""
        raise NotImplementedError(f"{type(self).__name__} has get_state, but no set_state")

    def draw(self, env: gymnasium.Env, camera: str) -> np.ndarray:
        """Return the frame (H, W, 3) uint8 RGB of one of ``drawn_cameras``, upright."""
        raise NotImplementedError(f"{type(self).__name__} has drawn_cameras, but no draw")

    # ------------------------------------------------------------- the contract
    def make(self, env_kwargs: Mapping[str, Any]) -> TaskEnv:
        """Return an environment of the task contract.

        Raises:
            ValueError: the environment cannot be built, or does not fit the contract.
        """
        horizon = env_kwargs.get("horizon", self.horizon)
        try:
            return GymnasiumTaskEnv(self, self.environment(horizon), horizon)
        except UnfitEnvironmentError:
            raise
        except Exception as error:
            if not self.env_id and not isinstance(error, gymnasium.error.Error):
                raise  # of the user's own code
            first = (str(error).splitlines() or [""])[0]
            raise ValueError(
                f"task {self.name}: the environment cannot be built or drawn: "
                f"{type(error).__name__}: {first}"
            ) from error

    def expert_of(self, env: Any) -> Expert | None:
        """Return the expert of one episode, in the units of the contract."""
        return env.scaled_expert(self.expert(env.env))

    def noise_of(self, env: TaskEnv, seed: int) -> Callable[[np.ndarray], np.ndarray]:
        """Return the execution noise of one demonstration: Gaussian, of size ``noise``."""
        del env
        rng = np.random.default_rng([seed, 1])

        def perturb(action: np.ndarray) -> np.ndarray:
            if not self.noise:
                return action
            noisy = action + rng.normal(0.0, self.noise, action.shape)
            return np.clip(noisy, -1.0, 1.0).astype(np.float32)

        return perturb
