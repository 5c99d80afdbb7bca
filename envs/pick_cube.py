"""``s2robot/PickCube-v0``: a Panda picks a cube off a table, seen through a camera."""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium import spaces

from s2robot.envs.controllers import CONTROL_DT_S, Controller, EndEffectorDelta, Glide, JointDelta
from s2robot.envs.kinematics import ArmKinematics
from s2robot.envs.levels import CAMERAS, Level, get_level
from s2robot.envs.panda import ARM_JOINTS, FINGER_JOINTS, GRIPPER_ACTUATOR, PREFIX, TCP_SITE
from s2robot.envs.rendering import RenderQuality, renderer
from s2robot.envs.scene import CUBE, HOME_JOINTS_RAD, build_scene, compiled_scene
from s2robot.envs.visual_perturbations import (
    NOMINAL,
    Appearance,
    check_number,
    draw_appearance,
    draw_number,
    perturbed_scene,
)
from s2robot.errors import unknown

CONTROLLERS = ("ee_delta", "joint_delta")
STAGES = ("none", "reach", "grasp", "lift", "success")
_LIFT_STARTED_M = 0.01
_START_SPREAD_M = 0.03  # of the TCP about its home position, along each axis
_STATE_KIND = mujoco.mjtState.mjSTATE_INTEGRATION

_LOW_DIM = {
    "joint_pos": 7,
    "joint_vel": 7,
    "gripper_width": 1,
    "ee_pos": 3,
    "ee_quat": 4,
    "cube_pos": 3,
    "cube_quat": 4,
}


class PickCubeEnv(gym.Env):
    """Pick a cube off a table and hold it up.

    Observation (dict, float32 unless said; frames are the robot's base frame):

    | key | shape | unit | meaning |
    |---|---|---|---|
    | joint_pos | (7,) | rad | arm joint angles |
    | joint_vel | (7,) | rad/s | arm joint velocities |
    | gripper_width | (1,) | m | distance between the finger pads, 0 to 0.08 |
    | ee_pos | (3,) | m | tool center point (TCP), between the pads |
    | ee_quat | (4,) | - | its orientation, wxyz |
    | cube_pos | (3,) | m | cube center; privileged: for experts and baselines only |
    | cube_quat | (4,) | - | cube orientation, wxyz; privileged |
    | image | (H, W, 3) | uint8 | RGB of ``image_camera``; absent when that is None |

    Action ``Box(-1, 1)``, held for 0.2 s (5 Hz); larger numbers are clipped:

    | control | entries | an entry of 1 means |
    |---|---|---|
    | ee_delta | Δx, Δy, Δz, [Δyaw,] gripper | 0.04 m, [0.2 rad,] open |
    | joint_delta | Δ of joints 1 to 7, gripper | 0.15 rad, open |

    The gripper opens where its entry is above 0 and closes otherwise. Δyaw exists where the
    level's ``yaw_range_rad`` is above 0.

    Episodes start with the TCP within 3 cm of its home along each axis and the cube anywhere in
    the level's ranges, both drawn uniformly by ``np_random``. The reward is 1.0 on each step that
    ends with the cube lifted by ``lift_height_m``. Success does not end an episode: it is truncated
    after ``horizon`` steps.

    ``info`` of each step: ``is_success``, ``reached``, ``grasped`` (a pad on either side),
    ``cube_height_m`` (risen above rest), ``stage`` (the furthest so far: none, reach, grasp, lift,
    success).

    Args:
        level: ``easy`` or ``precise``; with rare appearances ``easy-hard`` and ``hard``, with a few
            of them ``easy-mixed`` and ``mixed`` (``s2robot.envs.levels``). A reset with a seed
            starts the same episode, however it looks.
        control: ``ee_delta`` or ``joint_delta``.
        image_camera: ``front``, ``far`` or ``wrist`` puts pictures into observations.
        image_size: edge of square pictures, or (height, width) [px].
        render_mode: ``rgb_array`` lets ``render()`` draw the same camera (or the level's).
        quality: a ``RenderQuality``, or a mapping of its fields.
        arm_path: MJCF file of another arm with the parts of Menagerie's ``panda.xml``.
        yaw_range_rad: replaces the level's own.
        horizon: replaces the level's own.

    Raises:
        ValueError: an unknown level, control or camera, or a value out of range.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": round(1 / CONTROL_DT_S)}

    def __init__(  # noqa: PLR0913
        self,
        level: str = "easy",
        control: str = "ee_delta",
        image_camera: str | None = None,
        image_size: int | tuple[int, int] = 384,
        render_mode: str | None = None,
        quality: RenderQuality | Mapping[str, int] | None = None,
        arm_path: str | None = None,
        yaw_range_rad: float | None = None,
        horizon: int | None = None,
    ) -> None:
        _check_choice("control", control, CONTROLLERS)
        if image_camera is not None:
            _check_choice("camera", image_camera, CAMERAS)
        if render_mode is not None:
            _check_choice("render_mode", render_mode, self.metadata["render_modes"])
        self.level = _adjusted(get_level(level), yaw_range_rad=yaw_range_rad, horizon=horizon)
        self.control = control
        self.image_camera = image_camera
        self.image_shape = _image_shape(image_size)
        self.render_mode = render_mode
        self.quality = RenderQuality.of(quality)
        self.arm_path = None if arm_path is None else str(arm_path)
        self._attach_simulation()
        self.action_space = spaces.Box(-1.0, 1.0, (self._control.size + 1,), np.float32)
        self.observation_space = self._make_observation_space()

    # -------------------------------------------------------------- Gymnasium
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start an episode; ``options={"state": vector}`` starts it from ``get_state``'s vector."""
        super().reset(seed=seed)
        state = (options or {}).get("state")
        if state is None:
            self._start_at_home()
        else:
            self.set_state(state)
        return self.observe(), self.info()

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Carry an action out for 0.2 s; see the class for its entries."""
        self.begin(action)
        self.advance(self._glide.substeps)
        self._steps += 1
        info = self.info()
        truncated = self._steps >= self.level.horizon
        return self.observe(), float(info["is_success"]), False, truncated, info

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """The picture of ``image_camera`` (or the level's camera) at the image size."""
        if self.render_mode is None:
            return None
        return self.render_frame(self.image_camera or self.level.camera, *self.image_shape)

    # ------------------------------------------------------------------ state
    def get_state(self) -> np.ndarray:
        """Everything that decides the rest of the episode: (D,) float64.

        An action that ``advance`` has not carried out is not in it.
        Where a level's ``rare_share`` is above 0 it ends with the number of the appearance.
        """
        physics = np.empty(mujoco.mj_stateSize(self.model, _STATE_KIND))
        mujoco.mj_getState(self.model, self.data, physics, _STATE_KIND)
        looks = [self._looks] if self.level.appearance_varies else []
        return np.concatenate([physics, [self._steps, self._stage], looks])

    def set_state(self, state: np.ndarray) -> None:
        """Return to a state of ``get_state``; from there, equal actions give equal bits.

        Raises:
            ValueError: the vector is of another scene (its size differs), not finite, or names
                no appearance.
        """
        state = np.asarray(state, dtype=np.float64)
        physics = mujoco.mj_stateSize(self.model, _STATE_KIND)
        expected = physics + 2 + self.level.appearance_varies
        if state.shape != (expected,):
            raise ValueError(
                f"state has shape {state.shape}, this environment's is ({expected},); it must come "
                "from get_state() of an environment with the same arm, MuJoCo version and "
                f"kind of level (rare_share {self.level.rare_share:g})"
            )
        if not np.isfinite(state).all():
            raise ValueError("state holds NaN or infinite numbers; use a vector of get_state()")
        if self.level.appearance_varies:
            self._looks = check_number(state[-1])
        self._restore_physics(state[:physics])
        self._glide.rest(self.data.ctrl[self._arm_ctrl])
        self._steps, self._stage = (int(entry) for entry in state[physics : physics + 2])

    @property
    def appearance(self) -> Appearance | None:
        """The rare appearance of this episode; None for the ordinary one."""
        return None if self._looks == NOMINAL else draw_appearance(self._looks)

    def model_xml(self) -> str:
        """The scene as MJCF text."""
        spec = build_scene(self.level, self.quality, self.arm_path)
        spec.compile()
        return spec.to_xml()

    def env_kwargs(self) -> dict[str, Any]:
        """JSON-able arguments that build this environment anew."""
        return {
            "level": self.level.name,
            "control": self.control,
            "image_camera": self.image_camera,
            "image_size": list(self.image_shape),
            "render_mode": self.render_mode,
            "quality": dataclasses.asdict(self.quality),
            "arm_path": self.arm_path,
            "yaw_range_rad": self.level.yaw_range_rad,
            "horizon": self.level.horizon,
        }

    def render_frame(self, camera: str, height: int, width: int) -> np.ndarray:
        """Draw the present state: (height, width, 3) uint8 RGB."""
        model = self.model
        if self.level.appearance_varies:
            clothes = perturbed_scene(self.level, self.quality, self.arm_path)
            model = clothes.apply(self._looks, self.data)
        return renderer().render(model, self.data, camera, height, width)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "kwargs": self.env_kwargs(),
            "spec": self.spec,
            "np_random": self._np_random,
            "state": self.get_state(),
        }

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self.__init__(**saved["kwargs"])
        self.spec, self._np_random = saved["spec"], saved["np_random"]
        self.set_state(saved["state"])

    # ---------------------------------------------------------------- physics
    def _attach_simulation(self) -> None:
        self.model = compiled_scene(self.level, self.quality, self.arm_path)
        self.data = mujoco.MjData(self.model)
        self.kinematics = ArmKinematics(self.model, np.array(HOME_JOINTS_RAD))
        self._control = self._make_controller()
        joints = [self.model.joint(PREFIX + name) for name in (*ARM_JOINTS, *FINGER_JOINTS)]
        self._qpos = np.array([joint.qposadr[0] for joint in joints])  # (9,): arm, fingers
        self._qvel = np.array([joint.dofadr[0] for joint in joints])
        self._arm_ctrl = np.array([self.model.actuator(PREFIX + n).id for n in ARM_JOINTS])
        self._grip_ctrl = self.model.actuator(PREFIX + GRIPPER_ACTUATOR).id
        self._finger_bodies = [joint_body(self.model, PREFIX + name) for name in FINGER_JOINTS]
        self._tcp = self.model.site(PREFIX + TCP_SITE).id
        self._cube = self.model.body(CUBE).id
        self._cube_qpos = int(self.model.joint(CUBE).qposadr[0])
        stiffness = self.model.actuator_gainprm[self._arm_ctrl, 0]
        damping = -self.model.actuator_biasprm[self._arm_ctrl, 2]
        home = np.array(HOME_JOINTS_RAD)
        self._glide = Glide(self.model.opt.timestep, damping / stiffness, home)
        self._steps = self._stage = 0
        self._looks = NOMINAL
        self._home_m, self._home_quat = self.kinematics.forward(home)
        self._place(self._home_m, np.array([np.mean(self.level.cube_x_range_m), 0.0]), 0.0)

    def _make_controller(self) -> Controller:
        if self.control == "joint_delta":
            return JointDelta(self.kinematics)
        return EndEffectorDelta(self.kinematics, with_yaw=self.level.yaw_range_rad > 0)

    def _start_at_home(self) -> None:
        level = self.level
        low, high = np.array([level.cube_x_range_m, level.cube_y_range_m]).T
        spot = self.np_random.uniform(low, high)
        yaw = float(self.np_random.uniform(-1.0, 1.0)) * level.yaw_range_rad
        start = self._home_m + self.np_random.uniform(-_START_SPREAD_M, _START_SPREAD_M, 3)
        self._steps = self._stage = 0
        self._place(start, spot, yaw)
        if (
            self.level.appearance_varies
        ):  # drawn last: a seed gives one start with either appearance
            self._looks = draw_number(self.np_random, self.level.rare_share)

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

    def _restore_physics(self, physics: np.ndarray) -> None:
        mujoco.mj_setState(self.model, self.data, physics, _STATE_KIND)
        mujoco.mj_forward(self.model, self.data)
        # The forward pass touches the solver's warm start, which is part of the state.
        mujoco.mj_setState(self.model, self.data, physics, _STATE_KIND)

    def _checked(self, action: np.ndarray) -> np.ndarray:
        action = np.asarray(action, dtype=np.float64)
        if action.shape != self.action_space.shape:
            raise ValueError(
                f"action has shape {action.shape}; control {self.control!r} on level "
                f"{self.level.name!r} takes {self.action_space.shape}"
            )
        if not np.isfinite(action).all():
            raise ValueError(f"action holds NaN or infinite numbers: {action.tolist()}")
        return np.clip(action, -1.0, 1.0)

    def begin(self, action: np.ndarray) -> None:
        """Set out on an action, to be carried out by ``advance``; the last one is left off.

        ``step`` is ``begin`` and 0.2 s of ``advance``. A robot that goes on while nobody waits for
        it, such as one behind ROS, calls both itself; the horizon does not count its steps.
        """
        action = self._checked(action)
        ctrl = self.data.ctrl
        start = ctrl[self._arm_ctrl].copy()
        measured = self.data.qpos[self._qpos[:7]]
        self._glide.begin(start, self._control.joint_targets(start, measured, action[:-1]))
        ctrl[self._grip_ctrl] = self.level.gripper_opening_m / 2 if action[-1] > 0 else 0.0

    def advance(self, substeps: int) -> None:
        """Let ``substeps`` of the physics (``model.opt.timestep`` s each) pass.

        An action glides for 0.2 s from its ``begin``; then the arm rests where it was sent.
        """
        for _ in range(substeps):
            self.data.ctrl[self._arm_ctrl] = self._glide.targets()
            mujoco.mj_step(self.model, self.data)
        mujoco.mj_forward(self.model, self.data)  # poses and contacts of the final state
        self._stage = max(self._stage, self._current_stage())

    # ------------------------------------------------------------ observation
    def _make_observation_space(self) -> spaces.Dict:
        parts: dict[str, spaces.Space] = {
            key: spaces.Box(-np.inf, np.inf, (size,), np.float32) for key, size in _LOW_DIM.items()
        }
        if self.image_camera is not None:
            parts["image"] = spaces.Box(0, 255, (*self.image_shape, 3), np.uint8)
        return spaces.Dict(parts)

    def observe(self) -> dict[str, np.ndarray]:
        """What the present state shows, as ``step`` returns it."""
        data = self.data
        tcp_quat = np.empty(4)
        mujoco.mju_mat2Quat(tcp_quat, data.site_xmat[self._tcp])
        values = {
            "joint_pos": data.qpos[self._qpos[:7]],
            "joint_vel": data.qvel[self._qvel[:7]],
            "gripper_width": [self._gripper_width()],
            "ee_pos": data.site_xpos[self._tcp],
            "ee_quat": tcp_quat,
            "cube_pos": data.xpos[self._cube],
            "cube_quat": data.xquat[self._cube],
        }
        observation = {key: np.array(value, np.float32) for key, value in values.items()}
        if self.image_camera is not None:
            observation["image"] = self.render_frame(self.image_camera, *self.image_shape)
        return observation

    def joints(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions (9,) [rad, m] and velocities (9,) of the arm's joints and both fingers."""
        return self.data.qpos[self._qpos].copy(), self.data.qvel[self._qvel].copy()

    def _gripper_width(self) -> float:
        return float(self.data.qpos[self._qpos[7:]].sum())

    # ------------------------------------------------------------------- info
    def info(self) -> dict[str, Any]:
        """What ``step`` tells of the present state."""
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
        """The TCP is inside the cube."""
        offset = self.data.site_xpos[self._tcp] - self.data.xpos[self._cube]
        return bool(np.abs(offset).max() <= self.level.cube_half_size_m)

    def _grasped(self) -> bool:
        """Either finger presses on the cube sideways."""
        contact = self.data.contact
        if not len(contact.geom):
            return False
        bodies = self.model.geom_bodyid[contact.geom]  # (n, 2)
        sideways = np.abs(contact.frame[:, 2]) < 0.5  # normal's vertical part
        on_cube = bodies[(bodies == self._cube).any(axis=1) & sideways]
        return all((on_cube == finger).any() for finger in self._finger_bodies)


def joint_body(model: mujoco.MjModel, joint: str) -> int:
    """Id of the body that a joint moves."""
    return int(model.joint(joint).bodyid[0])


def _check_choice(kind: str, value: object, allowed: tuple[str, ...] | list[str]) -> None:
    if value not in allowed:
        raise unknown(kind, value, allowed)


def _adjusted(level: Level, **changes: Any) -> Level:
    return dataclasses.replace(level, **{k: v for k, v in changes.items() if v is not None})


def _image_shape(size: int | tuple[int, int] | list[int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise ValueError(
            f"image_size is {size}; allowed: one edge or (height, width), 1 px or more"
        )
    return int(height), int(width)
