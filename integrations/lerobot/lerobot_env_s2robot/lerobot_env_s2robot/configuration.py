"""Settings of the environment: ``--env.type=s2robot_pick_cube`` and ``--env.NAME=VALUE``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lerobot.configs import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE

from lerobot_env_s2robot.pick_cube import GYM_ID, STATE_KEYS, LeRobotPickCubeEnv
from s2robot.envs.pick_cube_sim import LOW_DIM
from s2robot.errors import unknown


@EnvConfig.register_subclass("s2robot_pick_cube")
@dataclass
class S2RobotPickCubeEnvConfig(EnvConfig):
    """Settings of pick-cube in LeRobot.

    Raises:
        ValueError: an unknown level, control, camera or measurement.
    """

    task: str | None = "PickCube-v0"
    fps: int = 5
    level: str = "easy"
    """Level of pick-cube: easy, precise, hard, ..."""
    control: str = "ee_delta"
    cameras: tuple[str, ...] = ("front",)
    """Cameras, which become observation.images.NAME."""
    image_size: int = 384
    """Side of the pictures [px]."""
    state_keys: tuple[str, ...] = STATE_KEYS
    """Measurements of observation.state, in order: those of the training data."""
    horizon: int | None = None
    """Steps of an episode; None for the level's own."""
    quality: dict[str, int] | None = None
    """Render quality; None for that of s2robot's own commands."""
    features: dict[str, PolicyFeature] = field(default_factory=dict)
    features_map: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in self.state_keys:
            if key not in LOW_DIM:
                raise unknown("measurement in env.state_keys", key, LOW_DIM)
        made = LeRobotPickCubeEnv(**self.gym_kwargs)
        actions = made.action_size
        made.close()
        picture = (self.image_size, self.image_size, 3)
        self.features = {ACTION: PolicyFeature(FeatureType.ACTION, (actions,))}
        self.features_map = {ACTION: ACTION}
        if self.state_keys:
            size = sum(LOW_DIM[key] for key in self.state_keys)
            self.features["agent_pos"] = PolicyFeature(FeatureType.STATE, (size,))
            self.features_map["agent_pos"] = OBS_STATE
        for name in self.cameras:
            self.features[f"pixels/{name}"] = PolicyFeature(FeatureType.VISUAL, picture)
            self.features_map[f"pixels/{name}"] = f"{OBS_IMAGES}.{name}"

    @property
    def package_name(self) -> str:
        """Package whose import registers the environment."""
        return "lerobot_env_s2robot"

    @property
    def gym_id(self) -> str:
        """Name of the environment in Gymnasium."""
        return GYM_ID

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        """Arguments of the environment."""
        return {
            "level": self.level,
            "control": self.control,
            "cameras": tuple(self.cameras),
            "image_size": self.image_size,
            "state_keys": tuple(self.state_keys),
            "horizon": self.horizon,
            "quality": self.quality,
        }
