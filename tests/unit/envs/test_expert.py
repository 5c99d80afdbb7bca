from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from s2robot.envs.controllers import EE_STEP_M
from s2robot.envs.expert import (
    EXECUTION_NOISE,
    JointSpaceExpert,
    ScriptedExpert,
    noisy_execution,
)
from s2robot.envs.levels import LEVELS
from s2robot.envs.pick_cube import PickCubeEnv

EPISODES = 12  # the full counts are in benchmarks/capture_range.py


def succeeds(env: PickCubeEnv, expert, seed: int, execute: Callable = np.asarray) -> bool:
    observation, info = env.reset(seed=seed)
    truncated = False
    while not truncated:
        action = execute(expert.action(observation))
        observation, _, _, truncated, info = env.step(action)
    return info["is_success"]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("yaw_range_rad", [0.0, 0.7])
def test_expert_picks_and_holds(level, yaw_range_rad):
    env = PickCubeEnv(level, yaw_range_rad=yaw_range_rad)
    expert = ScriptedExpert(env.level)
    assert all(succeeds(env, expert, seed) for seed in range(EPISODES))


@pytest.mark.parametrize("level", LEVELS)
def test_joint_space_expert_picks_and_holds(level):
    env = PickCubeEnv(level, control="joint_delta", yaw_range_rad=0.5)
    expert = JointSpaceExpert(env.level, env.kinematics)
    assert all(succeeds(env, expert, seed) for seed in range(5))


@pytest.mark.parametrize("level", LEVELS)
def test_expert_recovers_from_noisy_execution(level):
    env = PickCubeEnv(level)
    expert = ScriptedExpert(env.level)
    picks = [
        succeeds(env, expert, seed, noisy_execution(np.random.default_rng(seed)))
        for seed in range(EPISODES)
    ]
    assert sum(picks) >= EPISODES - 1


def test_expert_is_a_function_of_the_observation_alone():
    env = PickCubeEnv("precise")
    expert = ScriptedExpert(env.level)
    observation, _ = env.reset(seed=0)
    first = expert.action(observation)
    for _ in range(8):
        observation, *_ = env.step(expert.action(observation))
    np.testing.assert_array_equal(expert.action(env.reset(seed=0)[0]), first)


@pytest.mark.parametrize(("offset_mm", "picked"), [(8, True), (16, False)])
def test_precise_forgives_8_mm_but_not_16(offset_mm, picked):
    env = PickCubeEnv("precise")
    expert = ScriptedExpert(env.level)
    angles = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    picks = []
    for seed, angle in enumerate(angles):
        shift = offset_mm / 1000 * np.array([np.cos(angle), np.sin(angle), 0])

        class Misled:
            def action(self, observation, shift=shift):
                return expert.action({**observation, "cube_pos": observation["cube_pos"] + shift})

        picks.append(succeeds(env, Misled(), seed))
    assert sum(picks) >= 7 if picked else sum(picks) <= 2


def test_noise_is_seeded_bounded_and_leaves_the_gripper_alone():
    action = np.array([0.2, -0.1, 0.0, -1.0], np.float32)
    runs = [
        np.array([perturb(action) for _ in range(400)])
        for perturb in (noisy_execution(np.random.default_rng(seed)) for seed in (1, 1, 2))
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])
    np.testing.assert_array_equal(runs[0][:, 3], np.full(400, -1.0))
    np.testing.assert_array_equal(action, np.array([0.2, -0.1, 0.0, -1.0], np.float32))
    assert np.abs(runs[0]).max() <= 1


def test_kicks_have_the_given_probability_and_length():
    perturb = noisy_execution(
        np.random.default_rng(0), dataclasses.replace(EXECUTION_NOISE["ee_delta"], max_sigma=0.0)
    )
    shifts = np.array([perturb(np.zeros(4)) for _ in range(2000)])[:, :3] * EE_STEP_M
    lengths = np.linalg.norm(shifts, axis=1)
    kicked = lengths > 1e-9
    assert 0.03 < kicked.mean() < 0.07
    np.testing.assert_allclose(lengths[kicked], 0.03, rtol=1e-6)
