"""Pick-cube tasks: MuJoCo scenes, the Gymnasium environment, a scripted expert.

Importing this package chooses a GL backend where none is set, and registers the environment:
``gymnasium.make("s2robot/PickCube-v0", level="precise")``.
"""

from __future__ import annotations

import gymnasium as _gymnasium

from s2robot.envs.gl import select_gl

ENV_ID = "s2robot/PickCube-v0"

select_gl()
if ENV_ID not in _gymnasium.registry:
    _gymnasium.register(id=ENV_ID, entry_point="s2robot.envs.pick_cube:PickCubeEnv")
