#!/usr/bin/env bash
# robosuite 1.5.2: each extra reading of the observations makes all later observations of the episode older.
#
# Expected: _get_observations(force_update=True), which is for reading anew after the state was set, changes
#   nothing else; step() returns what the sensors show at its end.
# Seen: with one extra reading after reset(), step() returns joint angles of one simulation step (2 ms) before
#   its end, with five readings those of five; so in every step of the episode, for every observation,
#   pictures too. The physics is the same to the last bit. robomimic's run_trained_agent reads once more
#   before each rollout, since its reset_to() does.
# Source: robosuite/utils/observables.py, Observable.update: a forced reading, too, advances the clock that
#   says when in a control step the sensor is sampled, by a simulation step in which nothing moved.
# Here: task=robosuite/lift sets these clocks back whenever it reads; checked by
#   tests/unit/envs/tasks/foreign/test_robosuite_lift.py::test_observations_are_those_of_the_end_of_a_step
set -euo pipefail
source "$(dirname "$(readlink -f "$0")")/lib.sh"
install env --no-deps robosuite==1.5.2 mujoco==3.8.1 numpy==2.2.6 scipy==1.15.3 numba==0.61.2 llvmlite==0.44.0 \
  opencv-python-headless==4.12.0.88 absl-py etils fsspec importlib_resources \
  typing_extensions glfw pyopengl pillow termcolor tqdm
MUJOCO_GL=${MUJOCO_GL:-egl} env/bin/python -W ignore - 2>messages <<'CODE'
import importlib.metadata

import numpy as np
import robosuite

STEPS, READINGS = 4, (0, 1, 2, 5)
made = dict(has_renderer=False, has_offscreen_renderer=False, use_camera_obs=False)


def episode(readings):
    """Return observed joint angles after each step, and those of each simulation step [rad]."""
    env = robosuite.make("Lift", robots="Panda", control_freq=20, seed=0, **made)
    env.reset()
    for _ in range(readings):
        env._get_observations(force_update=True)
    seen, true, advance = [], [], env._update_observables

    def record(force=False):  # called after each simulation step
        true.append(env.sim.data.qpos[:7].copy())
        advance(force)

    env._update_observables = record
    for _ in range(STEPS):
        seen.append(env.step(np.array([0.5, -0.5, 0.5, 0, 0, 0, 1]))[0]["robot0_joint_pos"])
    env.close()
    return np.array(seen), np.array(true).reshape(STEPS, -1, 7)


print(f"robosuite {importlib.metadata.version('robosuite')}, mujoco {importlib.metadata.version('mujoco')}")
physics = []
for readings in READINGS:
    seen, true = episode(readings)
    physics.append(true)
    ages = [
        [age for age in range(25) if np.array_equal(observed, steps[-1 - age])]
        for observed, steps in zip(seen, true)
    ]
    error = np.degrees(np.abs(seen - true[:, -1]).max())
    print(f"{readings} extra readings: age in simulation steps {ages}, up to {error:.3f} degrees off")
    assert ages == [[readings]] * STEPS, ages
assert all(np.array_equal(true, physics[0]) for true in physics)
CODE
