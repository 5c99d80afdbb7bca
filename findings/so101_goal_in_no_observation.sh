#!/usr/bin/env bash
# lerobot-env-so101 0.4.0: with images, the goal of SO101PickPlace is in no observation.
#
# Expected: an environment with a goal that changes from episode to episode shows it to a policy, as a
#   marker in the frames or as numbers beside them.
# Seen: with image_obs=True the observation has frames and agent_pos alone. The goal is a part of
#   environment_state, which only image_obs=False has, and nothing of the scene is at its place, so the
#   frames of two goals are equal. A policy from images can place the cube by chance alone.
# Source: lerobot_env_so101/pick_place_env.py, _compute_observation; assets/pick_scene.xml.
# Here: task=so101/pick-place draws a square at the goal; checked by
#   tests/unit/envs/tasks/foreign/test_so101.py::test_the_goal_is_in_the_frames_where_there_is_one
set -euo pipefail
source "$(dirname "$(readlink -f "$0")")/lib.sh"
install env lerobot_env_so101==0.4.0 mujoco==3.17.0 gymnasium==1.4.0 numpy==2.2.6
MUJOCO_GL=${MUJOCO_GL:-egl} env/bin/python -W ignore - <<'CODE'
import importlib.metadata

import gymnasium
import lerobot_env_so101
import mujoco
import numpy as np

made = {"random_block_position": True}
env = gymnasium.make("lerobot_env_so101/SO101PickPlace-v0", image_obs=True, **made).unwrapped
env.model.vis.quality.shadowsize = env.model.vis.quality.offsamples = 0  # quicker in software
state_env = gymnasium.make("lerobot_env_so101/SO101PickPlace-v0", image_obs=False, **made)
goals = []
for seed in range(3):
    observation, _ = env.reset(seed=seed)
    goals.append(env.goal_pos[:2])
print(f"lerobot-env-so101 {importlib.metadata.version('lerobot_env_so101')}, mujoco {mujoco.__version__}")
print("goals of three seeds [m]:", *(f"({x:.3f}, {y:.3f})" for x, y in goals))
without, _ = state_env.reset(seed=0)
print("observations with images:", sorted(observation), "and without:", sorted(without))


def frame():
    with mujoco.Renderer(env.model, 128, 128) as renderer:
        renderer.update_scene(env.data, camera="front")
        return renderer.render().astype(int)


here = frame()
env._goal_pos = np.array([*goals[0], env.goal_pos[2]])  # as a reset sets it
gap = np.abs(frame() - here).max()
bodies, sites = range(env.model.nbody), range(env.model.nsite)
places = [env.data.body(i).xpos[:2] for i in bodies] + [env.data.site(i).xpos[:2] for i in sites]
nearest = min(np.linalg.norm(place - env.goal_pos[:2]) for place in places)
print(f"largest difference between the frames of two goals: {gap}; nearest body or site: {nearest:.3f} m")
assert len({tuple(goal) for goal in goals}) == 3
assert "environment_state" in without and "environment_state" not in observation
assert gap == 0
env.close()
state_env.close()
CODE
