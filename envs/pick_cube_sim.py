"""Simulation of the pick-cube task: scene, controller and state, without an interface for learning.

`s2robot.envs.pick_cube` wraps it as a Gymnasium environment.
"""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from s2robot.envs.controllers import (
    CONTROL_DT_S,
    Controller,
    EndEffectorDelta,
    Glide,
    JointDelta,
)
from s2robot.envs.kinematics import ArmKinematics, consecutive, joint_body
from s2robot.envs.levels import Level
from s2robot.envs.panda import ARM_JOINTS, FINGER_JOINTS, GRIPPER_ACTUATOR, PREFIX, TCP_SITE
from s2robot.envs.scene import CUBE, HOME_JOINTS_RAD
from s2robot.envs.state_checks import STATE_KIND, checked_action, checked_state
from s2robot.envs.visual_perturbations import NOMINAL, draw_number
from s2robot.utils.validation import checked_integer

STAGES = ("none", "reach", "grasp", "lift", "success")
"""Progress through the task, in order."""
LOW_DIM = {
    "joint_pos": 7,
    "joint_vel": 7,
    "gripper_width": 1,
    "ee_pos": 3,
    "ee_quat": 4,
    "cube_pos": 3,
    "cube_quat": 4,
}
"""Sizes of the low-dimensional observations by key."""
_LIFT_STARTED_M = 0.01
_START_SPREAD_M = 0.03  # of the TCP about its home position, along each axis


class PickCubeSimulation:
    """Physics of one arm and one cube, with the controller and the progress of the episode.

    Args:
        model: the compiled scene of `level`; it is shared and never changed.
        level: sizes of the cube and the gripper, ranges of the start, height of the lift.
        control: ``ee_delta`` or ``joint_delta``.

    Attributes:
        data: MuJoCo's state of this simulation.
        kinematics: of the arm.
        steps: control steps since the start of the episode.
        appearance_number: number of the episode's visual perturbation; ``NOMINAL`` for none.
    """

    def __init__(self, model: mujoco.MjModel, level: Level, control: str) -> None:
        self.model, self.level, self.control = model, level, control
        self.data = mujoco.MjData(model)
        self.kinematics = ArmKinematics(model, np.array(HOME_JOINTS_RAD))
        self._controller = self._make_controller()
        self._find_elements()
        stiffness = model.actuator_gainprm[self._arm_ctrl, 0]
        damping = -model.actuator_biasprm[self._arm_ctrl, 2]
        home = np.array(HOME_JOINTS_RAD)
        self._glide = Glide(model.opt.timestep, damping / stiffness, home)
        self.steps = self._stage = 0
        self.appearance_number = NOMINAL
        self._home_m, self._home_quat = self.kinematics.forward(home)
        self._place(self._home_m, np.array([np.mean(level.cube_x_range_m), 0.0]), 0.0)

    def _make_controller(self) -> Controller:
        if self.control == "joint_delta":
            return JointDelta(self.kinematics)
        return EndEffectorDelta(self.kinematics, with_yaw=self.level.yaw_range_rad > 0)

    def _find_elements(self) -> None:
        """Find the addresses of the arm and the cube in MuJoCo's arrays."""
        model = self.model
        joints = [model.joint(PREFIX + name) for name in (*ARM_JOINTS, *FINGER_JOINTS)]
        self._qpos = np.array([joint.qposadr[0] for joint in joints])  # (9,): arm, fingers
        self._qvel = np.array([joint.dofadr[0] for joint in joints])
        self._arm_ctrl = consecutive(np.array([model.actuator(PREFIX + n).id for n in ARM_JOINTS]))
        self._grip_ctrl = model.actuator(PREFIX + GRIPPER_ACTUATOR).id
        self._finger_bodies = [joint_body(model, PREFIX + name) for name in FINGER_JOINTS]
        self._tcp = model.site(PREFIX + TCP_SITE).id
        self._cube = model.body(CUBE).id
        self._cube_qpos = int(model.joint(CUBE).qposadr[0])

    @property
    def action_size(self) -> int:
        """Entries of an action: the arm's and the gripper's."""
        return self._controller.size + 1

    # ------------------------------------------------------------------ start
    def start(self, rng: np.random.Generator) -> None:
        """Start an episode: the TCP near its home, the cube anywhere in the level's ranges."""
        level = self.level
        low, high = np.array([level.cube_x_range_m, level.cube_y_range_m]).T
        spot = rng.uniform(low, high)
        yaw = float(rng.uniform(-1.0, 1.0)) * level.yaw_range_rad
        start = self._home_m + rng.uniform(-_START_SPREAD_M, _START_SPREAD_M, 3)
        self.steps = self._stage = 0
        self._place(start, spot, yaw)
        if level.appearance_varies:  # drawn last: a seed gives one start with either appearance
            self.appearance_number = draw_number(rng, level.rare_share)

    def _place(self, tcp: np.ndarray, cube_xy: np.ndarray, cube_yaw_rad: float) -> None:
        mujoco.mj_resetData(self.model, self.data)
        joints = self.kinematics.inverse(np.array(HOME_JOINTS_RAD), tcp, self._home_quat)
        half_opening = self.level.gripper_opening_m / 2
        self.data.qpos[self._qpos] = (*joints, half_opening, half_opening)
        self.data.ctrl[self._arm_ctrl] = joints
        self.data.ctrl[self._grip_ctrl] = half_opening
        self._glide.rest(joints)
        half_turn = cube_yaw_rad / 2
        pose = (*cube_xy, self.level.cube_half_size_m, np.cos(half_turn), 0, 0, np.sin(half_turn))
        self.data.qpos[self._cube_qpos : self._cube_qpos + 7] = pose
        mujoco.mj_forward(self.model, self.data)

    # ------------------------------------------------------------------ state
    def get_state(self) -> np.ndarray:
        """Return all that decides the rest of the episode: (D,) float64.

        It holds MuJoCo's state, the number of steps, the stage and, where the level's
        ``rare_share`` is above 0, the number of the appearance. An action that ``advance`` has not
        carried out is not in it.
        """
        physics = np.empty(mujoco.mj_stateSize(self.model, STATE_KIND))
        mujoco.mj_getState(self.model, self.data, physics, STATE_KIND)
        appearance = [self.appearance_number] if self.level.appearance_varies else []
        return np.concatenate([physics, [self.steps, self._stage], appearance])

    def set_state(self, state: np.ndarray) -> None:
        """Return to a state of ``get_state``; from there, equal actions give equal bits.

        Raises:
            ValueError: the vector cannot be a state of this environment; nothing was changed.
        """
        state = self.checked_state(state)
        physics = mujoco.mj_stateSize(self.model, STATE_KIND)
        if self.level.appearance_varies:
            self.appearance_number = int(state[-1])
        self._restore_physics(state[:physics])
        self._glide.rest(self.data.ctrl[self._arm_ctrl])
        self.steps, self._stage = (int(entry) for entry in state[physics : physics + 2])

    def checked_state(self, state: np.ndarray) -> np.ndarray:
        """Return a state (D,) float64 that ``set_state`` accepts, or raise its ValueError."""
        return checked_state(state, self.model, self.level, STAGES)

    @property
    def motion(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Targets between which the arm moves, (7,) each [rad], and the next physics step.

        A copy in the middle of an action needs them besides ``get_state``.
        """
        return self._glide.progress

    @motion.setter
    def motion(self, progress: tuple[np.ndarray, np.ndarray, int]) -> None:
        self._glide.progress = progress

    def _restore_physics(self, physics: np.ndarray) -> None:
        mujoco.mj_setState(self.model, self.data, physics, STATE_KIND)
        mujoco.mj_forward(self.model, self.data)
        # The forward pass touches the solver's warm start, which is part of the state.
        mujoco.mj_setState(self.model, self.data, physics, STATE_KIND)

    # ----------------------------------------------------------------- motion
    def step(self, action: np.ndarray, delay_s: float = 0.0) -> None:
        """Simulate one control step, in which an action begins.

        Args:
            action: (A,).
            delay_s: how late in the step it begins [s]; until then the last one goes on.

        Raises:
            ValueError: the action has the wrong shape or is not finite, or the delay is not within
                a step.
        """
        action = self.checked_action(action)
        if not 0.0 <= delay_s <= CONTROL_DT_S:
            raise ValueError(
                f"delay_s is {delay_s}; allowed: 0 to {CONTROL_DT_S}, a control step [s]"
            )
        late = round(delay_s / self.model.opt.timestep)
        if late:
            self.advance(late)
        self.begin(action)
        self.advance(self._glide.substeps - late)
        self.steps += 1

    def begin(self, action: np.ndarray) -> None:
        """Begin an action, which ``advance`` then carries out; the previous one is dropped.

        Raises:
            ValueError: the action has the wrong shape or is not finite.
        """
        action = self.checked_action(action)
        ctrl = self.data.ctrl
        start = ctrl[self._arm_ctrl].copy()
        measured = self.data.qpos[self._qpos[:7]]
        self._glide.begin(start, self._controller.joint_targets(start, measured, action[:-1]))
        ctrl[self._grip_ctrl] = self.level.gripper_opening_m / 2 if action[-1] > 0 else 0.0

    def advance(self, substeps: int) -> None:
        """Simulate ``substeps`` physics steps (``model.opt.timestep`` s each).

        The arm moves for 0.2 s after ``begin``; then it rests at the targets of the action.
        """
        model, data, ctrl = self.model, self.data, self.data.ctrl
        for _ in range(checked_integer("substeps", substeps, 0)):
            ctrl[self._arm_ctrl] = self._glide.targets()
            mujoco.mj_step(model, data)
        mujoco.mj_forward(model, data)  # poses and contacts of the final state
        self._stage = max(self._stage, self._current_stage())

    def checked_action(self, action: np.ndarray) -> np.ndarray:
        """Return an action (A,) as float64 in [-1, 1], or raise the ValueError of ``begin``."""
        what = f"control {self.control!r} on level {self.level.name!r}"
        return checked_action(action, self.action_size, what)

    # ----------------------------------------------------------- measurements
    def observe(self) -> dict[str, np.ndarray]:
        """Return the low-dimensional observations of the present state, float32 by key."""
        data = self.data
        tcp_quat = np.empty(4)
        mujoco.mju_mat2Quat(tcp_quat, data.site_xmat[self._tcp])
        values = {
            "joint_pos": data.qpos[self._qpos[:7]],
            "joint_vel": data.qvel[self._qvel[:7]],
            "gripper_width": [float(data.qpos[self._qpos[7:]].sum())],
            "ee_pos": data.site_xpos[self._tcp],
            "ee_quat": tcp_quat,
            "cube_pos": data.xpos[self._cube],
            "cube_quat": data.xquat[self._cube],
        }
        return {key: np.array(value, np.float32) for key, value in values.items()}

    def joints(self) -> tuple[np.ndarray, np.ndarray]:
        """Return positions (9,) [rad, m] and velocities (9,) of arm joints and both fingers."""
        return self.data.qpos[self._qpos].copy(), self.data.qvel[self._qvel].copy()

    def info(self) -> dict[str, Any]:
        """Return the progress of the episode: ``is_success``, ``stage`` and their parts."""
        height = self._cube_height_m()
        return {
            "is_success": height >= self.level.lift_height_m,
            "reached": self._reached(),
            "grasped": self._grasped(),
            "cube_height_m": height,
            "stage": STAGES[self._stage],
        }

    def _current_stage(self) -> int:
        height = self._cube_height_m()
        if height >= self.level.lift_height_m:
            return STAGES.index("success")
        if self._grasped():
            return STAGES.index("lift" if height >= _LIFT_STARTED_M else "grasp")
        return STAGES.index("reach" if self._reached() else "none")

    def _cube_height_m(self) -> float:
        return float(self.data.xpos[self._cube, 2]) - self.level.cube_half_size_m

    def _reached(self) -> bool:
        """Return whether the TCP is inside the cube."""
        offset = self.data.site_xpos[self._tcp] - self.data.xpos[self._cube]
        return bool(np.abs(offset).max() <= self.level.cube_half_size_m)

    def _grasped(self) -> bool:
        """Return whether both fingers press on the cube sideways."""
        contact = self.data.contact
        if not len(contact.geom):
            return False
        bodies = self.model.geom_bodyid[contact.geom]  # (n, 2)
        sideways = np.abs(contact.frame[:, 2]) < 0.5  # normal's vertical part
        on_cube = bodies[(bodies == self._cube).any(axis=1) & sideways]
        return all((on_cube == finger).any() for finger in self._finger_bodies)
