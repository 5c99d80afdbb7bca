"""The pick-cube family: MuJoCo scenes, the Gymnasium environment, its scripted expert."""

from __future__ import annotations

from s2robot.envs.rendering import select_gl

select_gl()
