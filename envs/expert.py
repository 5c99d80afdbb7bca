"""Scripted experts of the pick-cube task, and the noise that is added to demonstrations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from s2robot.envs.controllers import EE_STEP_M, JOINT_STEP_RAD, YAW_STEP_RAD
from s2robot.envs.kinematics import ArmKinematics, down_quat, quat_to_yaw
from s2robot.envs.levels import Level

OPEN, CLOSE = 1.0, -1.0
_JAW_DEPTH_M = 0.012  # the jaws' lowest point below the TCP
_HOVER_GAP_M = 0.012  # between the jaws and the cube's top while lining up
_ALIGNED_SHARE = 0.4  # of the clearance: lined up well enough to go down
_SINK_SHARE = 0.2  # of the cube's half size: the TCP goes this far below its center
_GRASP_SHARE = 0.8  # of the cube's half size: close when the TCP is this near the center's height
_GRIP_SLACK_M = 0.004  # a width this near the cube's edge means that the cube is held
_LIFT_STEP_M = 0.02  # slow, so that a policy can distinguish it from the way down
_CARRY_MARGIN_M = 0.05  # the cube is held this far above the height that counts as lifted


class ScriptedExpert:
    """Expert for control ``ee_delta``: aligns above the cube, goes down, closes, lifts and holds.

    Its action depends on one observation alone.

    Args:
        level: the level of the environment; it gives cube size, clearance and heights.
    """

    def __init__(self, level: Level) -> None:
        self._level = level
        half = level.cube_half_size_m
        self._straddle_m = half + _JAW_DEPTH_M  # TCP above the center, jaws level with the top
        self._hover_m = self._straddle_m + _HOVER_GAP_M
        self._aligned_m = _ALIGNED_SHARE * level.clearance_m
        self._sink_m = _SINK_SHARE * half
        self._grasp_m = _GRASP_SHARE * half
        self._carry_z_m = half + level.lift_height_m + _CARRY_MARGIN_M

    def action(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the action for an observation: (4,) float32, or (5,) where the level has yaw."""
        tcp = np.asarray(observation["ee_pos"], dtype=float)
        to_cube = np.asarray(observation["cube_pos"], dtype=float) - tcp  # (3,)
        width = float(observation["gripper_width"][0])
        move, grip = self._decide(tcp, to_cube, width)
        parts = [np.clip(move / EE_STEP_M, -1, 1)]
        if self._level.yaw_range_rad > 0:
            parts.append(np.clip([_turn_to_cube(observation) / YAW_STEP_RAD], -1, 1))
        return np.concatenate([*parts, [grip]]).astype(np.float32)

    def _decide(
        self, tcp: np.ndarray, to_cube: np.ndarray, width: float
    ) -> tuple[np.ndarray, float]:
        """Return how far to move [m] (3,), and the gripper's entry of the action."""
        error = float(np.linalg.norm(to_cube[:2]))
        surplus = width - 2 * self._level.cube_half_size_m
        if surplus < -_GRIP_SLACK_M:  # closed on nothing
            return np.array([0.0, 0.0, EE_STEP_M]), OPEN
        if error < self._level.clearance_m and abs(to_cube[2]) < self._grasp_m:
            if surplus < _GRIP_SLACK_M:
                return np.array([0.0, 0.0, min(self._carry_z_m - tcp[2], _LIFT_STEP_M)]), CLOSE
            return to_cube - (0.0, 0.0, self._sink_m), CLOSE
        return np.array([*to_cube[:2], self._vertical_move(error, to_cube[2])]), OPEN

    def _vertical_move(self, error: float, down: float) -> float:
        """Return the vertical move [m]: down where the jaws clear the cube, else to the hover."""
        clearance = self._level.clearance_m
        to_grasp = down - self._sink_m
        if -down <= self._straddle_m and error <= clearance:
            return to_grasp
        to_hover = self._hover_m + down
        if error > clearance:
            return to_hover
        off = np.clip((error - self._aligned_m) / (clearance - self._aligned_m), 0, 1)
        return (1 - off) * to_grasp + off * min(to_hover, 0.0)


class JointSpaceExpert:
    """Expert for control ``joint_delta``: the same moves, as changes of joint angles.

    Args:
        level: the level of the environment.
        kinematics: of the environment's arm (``env.kinematics``).
    """

    def __init__(self, level: Level, kinematics: ArmKinematics) -> None:
        self._expert = ScriptedExpert(level)
        self._kinematics = kinematics

    def action(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the action for an observation: (8,) float32, seven joints and the gripper."""
        move = self._expert.action(observation)
        yaw = 0.0
        if len(move) > 4:
            yaw = quat_to_yaw(observation["ee_quat"]) + YAW_STEP_RAD * move[3]
        joints = np.asarray(observation["joint_pos"], dtype=float)
        target = observation["ee_pos"] + EE_STEP_M * move[:3]
        change = self._kinematics.inverse(joints, target, down_quat(yaw)) - joints
        return np.append(np.clip(change / JOINT_STEP_RAD, -1, 1), move[-1]).astype(np.float32)


def _turn_to_cube(observation: Mapping[str, np.ndarray]) -> float:
    """Return the smallest turn [rad] that aligns the gripper with the cube's sides."""
    turn = quat_to_yaw(observation["cube_quat"]) - quat_to_yaw(observation["ee_quat"])
    quarter = np.pi / 2
    return (turn + quarter / 2) % quarter - quarter / 2


@dataclass(frozen=True)
class ExecutionNoise:
    """Noise that is added to the expert's actions while demonstrations are collected."""

    entries: int
    """Entries of an action that get noise: all but yaw and gripper."""
    max_sigma: float
    """Largest Gaussian σ of an episode, which is drawn from 0 to this [m, or rad for joints]."""
    kick: float
    """Length of a kick in a random direction [m, or rad for joints]."""
    step: float
    """Motion of an entry of 1 [m, or rad for joints]."""
    kick_probability: float = 0.05
    """Probability of a kick in each step."""


EXECUTION_NOISE = {
    "ee_delta": ExecutionNoise(3, max_sigma=0.008, kick=0.03, step=EE_STEP_M),
    "joint_delta": ExecutionNoise(7, max_sigma=0.01, kick=0.05, step=JOINT_STEP_RAD),
}


def noisy_execution(
    rng: np.random.Generator, noise: ExecutionNoise = EXECUTION_NOISE["ee_delta"]
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from the expert's action to the noisy action that is carried out.

    Demonstrations keep the expert's action as their label, so that a policy learns to correct
    deviations.

    Args:
        rng: of the noise; it draws the episode's σ here.
        noise: sizes of the noise.
    """
    sigma = rng.uniform(0.0, noise.max_sigma)

    def perturb(action: np.ndarray) -> np.ndarray:
        shift = rng.normal(0.0, sigma, noise.entries)
        if rng.random() < noise.kick_probability:
            direction = rng.normal(size=noise.entries)
            shift += noise.kick * direction / np.linalg.norm(direction)
        noisy = np.array(action)
        moved = noisy[: noise.entries] + shift / noise.step
        noisy[: noise.entries] = np.clip(moved, -1, 1)
        return noisy

    return perturb
