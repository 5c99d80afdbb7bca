"""Randomized pictures of the pick-cube scene, to pre-train encoders on.

Every picture is a function of (seed, index) alone. Arm pose, gripper, cube, other boxes, colors,
lights and camera are drawn for each picture. About a third of the pictures keep the task's own
colors and lights, and a quarter keep the task's own camera poses, so that the images of the task
are in distribution.
"""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Iterator

import mujoco
import numpy as np

from s2robot.envs.kinematics import ArmKinematics, down_quat
from s2robot.envs.levels import LEVELS, MAX_OPENING_M, Level
from s2robot.envs.panda import ARM_JOINTS, FINGER_JOINTS, MATERIALS, PREFIX, TCP_SITE
from s2robot.envs.rendering import RenderQuality, renderer
from s2robot.envs.scene import (
    COLORS,
    CUBE,
    FIXED_CAMERAS,
    HOME_JOINTS_RAD,
    TABLE,
    CameraPose,
    build_scene,
    look_at,
    segment_of_geom,
)

_CUBES_OF = ("easy", "precise")  # levels; another level here would change every frame
_EXTRA_BOXES = 3
_NOMINAL_COLORS = 0.35  # share of pictures in the task's own colors and lights
_NOMINAL_CAMERA = 0.25  # share of pictures through an unmoved camera
_CAMERA_SHARES = {"front": 0.42, "far": 0.43, "wrist": 0.15}
_CUBE_IN_HAND = 0.25
_WORKSPACE_M = ((0.30, -0.28, 0.015), (0.75, 0.28, 0.38))  # TCP positions: low, high
_LOWEST_LINK_M = 0.06


class RandomScenes:
    """Endless, indexable source of randomized frames.

    Args:
        seed: of the frames; a seed and an index define a frame.
        size: edge of the square frames [px].
        quality: settings of the renderer.
    """

    def __init__(self, seed: int, size: int = 384, quality: RenderQuality | None = None) -> None:
        self.seed, self.size = seed, size
        level = LEVELS["precise"]
        spec = build_scene(level, quality or RenderQuality(), extra_boxes=_EXTRA_BOXES)
        self._model = spec.compile()
        self._nominal = spec.compile()
        self._data = mujoco.MjData(self._model)
        self._kinematics = ArmKinematics(self._model, np.array(HOME_JOINTS_RAD))
        self._arm_qpos = self._addresses(ARM_JOINTS)
        self._finger_qpos = self._addresses(FINGER_JOINTS)
        self._cube_qpos = self._model.joint(CUBE).qposadr[0]
        self._segments = np.append(segment_of_geom(self._model), np.uint8(0))  # last: no geom

    def __iter__(self) -> Iterator[np.ndarray]:
        index = 0
        while True:
            yield self.frame(index)
            index += 1

    def frame(self, index: int) -> np.ndarray:
        """Return frame ``index``: (size, size, 3) uint8 RGB, the same at every call."""
        camera = self._arrange(index)
        return renderer().render(self._model, self._data, camera, self.size, self.size)

    def segments(self, index: int, size: int) -> np.ndarray:
        """Return the class of each pixel of a frame: (size, size) uint8 of ``ALL_SEGMENTS``.

        Args:
            index: of the frame.
            size: edge of the square label image [px].
        """
        camera = self._arrange(index)
        geoms = renderer().render_labels(self._model, self._data, camera, size, size).geom_id
        return self._segments[geoms]

    def _arrange(self, index: int) -> str:
        """Arrange the scene of a frame, and return the name of its camera."""
        rng = np.random.default_rng((self.seed, index))
        level = LEVELS[str(rng.choice(_CUBES_OF))]
        self._reset_appearance()
        self._pose_arm(rng)
        self._place_cube(rng, level)
        self._place_boxes(rng)
        if rng.random() >= _NOMINAL_COLORS:
            self._draw_colors(rng)
            self._draw_lights(rng)
        camera = self._aim_camera(rng)
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        return camera

    def _addresses(self, joints: tuple[str, ...]) -> np.ndarray:
        return np.array([self._model.joint(PREFIX + name).qposadr[0] for name in joints])

    def _reset_appearance(self) -> None:
        for field in (
            "geom_rgba", "geom_size", "geom_pos", "geom_quat", "mat_rgba", "mat_specular",
            "light_pos", "light_dir", "light_diffuse", "cam_pos", "cam_quat", "cam_fovy",
        ):  # fmt: skip
            getattr(self._model, field)[:] = getattr(self._nominal, field)
        for part in ("ambient", "diffuse"):
            target = getattr(self._model.vis.headlight, part)
            target[:] = getattr(self._nominal.vis.headlight, part)

    # ------------------------------------------------------------------ poses
    def _pose_arm(self, rng: np.random.Generator) -> None:
        kind = rng.random()
        if kind < 0.6:
            joints = self._task_pose(rng)
        elif kind < 0.85:
            joints = self._free_pose(rng, lambda: rng.normal(HOME_JOINTS_RAD, 0.25))
        else:
            joints = self._free_pose(rng, lambda: rng.uniform(*self._kinematics.limits_rad))
        self._data.qpos[self._arm_qpos] = joints
        width = MAX_OPENING_M if rng.random() < 0.4 else rng.uniform(0, MAX_OPENING_M)
        self._data.qpos[self._finger_qpos] = width / 2
        mujoco.mj_kinematics(self._model, self._data)

    def _task_pose(self, rng: np.random.Generator) -> np.ndarray:
        position = rng.uniform(*_WORKSPACE_M)
        yaw = rng.uniform(-0.8, 0.8) if rng.random() < 0.4 else 0.0
        return self._kinematics.inverse(np.array(HOME_JOINTS_RAD), position, down_quat(yaw))

    def _free_pose(self, rng: np.random.Generator, draw) -> np.ndarray:
        """Return the first drawn pose that stays above the table, or the home pose."""
        for _ in range(10):
            joints = np.clip(draw(), *self._kinematics.limits_rad)
            self._data.qpos[self._arm_qpos] = joints
            mujoco.mj_kinematics(self._model, self._data)
            heights = self._data.xpos[self._moving_bodies(), 2]
            if min(heights.min(), self._tcp()[2]) > _LOWEST_LINK_M:
                return joints
        return np.array(HOME_JOINTS_RAD)

    def _moving_bodies(self) -> list[int]:
        return [self._model.body(f"{PREFIX}link{i}").id for i in range(2, 8)]

    def _tcp(self) -> np.ndarray:
        return self._data.site(PREFIX + TCP_SITE).xpos

    def _place_cube(self, rng: np.random.Generator, level: Level) -> None:
        half = level.cube_half_size_m
        self._model.geom(CUBE).size[:] = half
        pose = self._data.qpos[self._cube_qpos : self._cube_qpos + 7]
        yaw = rng.uniform(-np.pi / 4, np.pi / 4) if rng.random() < 0.4 else 0.0
        pose[3:] = (np.cos(yaw / 2), 0, 0, np.sin(yaw / 2))
        pose[:3] = (*self._spot_on_table(rng, level), half)
        if rng.random() < _CUBE_IN_HAND:
            pose[:3] = self._tcp() + rng.uniform(-0.004, 0.004, 3)
            pose[3:] = self._hand_quat()
            self._data.qpos[self._finger_qpos] = half

    def _hand_quat(self) -> np.ndarray:
        quat = np.empty(4)
        mujoco.mju_mat2Quat(quat, self._data.site(PREFIX + TCP_SITE).xmat)
        return quat

    @staticmethod
    def _spot_on_table(rng: np.random.Generator, level: Level) -> tuple[float, float]:
        """Return a position (x, y) [m]: mostly where the task starts the cube, else near there."""
        margin = 0.03 if rng.random() < 0.8 else 0.15
        (x0, x1), (y0, y1) = level.cube_x_range_m, level.cube_y_range_m
        return rng.uniform(x0 - margin, x1 + margin), rng.uniform(y0 - margin, y1 + margin)

    def _place_boxes(self, rng: np.random.Generator) -> None:
        if rng.random() < 0.6:
            return
        for index in range(rng.integers(1, _EXTRA_BOXES + 1)):
            box = self._model.geom(f"box{index}")
            box.size[:] = rng.uniform(0.012, 0.05, 3)
            box.pos[:] = (rng.uniform(0.15, 0.9), rng.uniform(-0.5, 0.5), box.size[2])
            yaw = rng.uniform(-np.pi, np.pi)
            box.quat[:] = (np.cos(yaw / 2), 0, 0, np.sin(yaw / 2))
            box.rgba[:] = (*rng.uniform(0.05, 0.95, 3), 1)

    # ------------------------------------------------------------- appearance
    def _draw_colors(self, rng: np.random.Generator) -> None:
        self._model.geom(CUBE).rgba[:3] = _recolor(rng, COLORS[CUBE], 0.5)
        for name in (TABLE, "floor", "wall"):
            self._model.geom(name).rgba[:3] = _recolor(rng, COLORS[name], 0.5)
        for name, nominal in MATERIALS.items():
            material = self._model.mat(PREFIX + name)
            material.rgba[:3] = _recolor(rng, nominal, 0.2)
            material.specular[:] = rng.uniform(0, 0.8)

    def _draw_lights(self, rng: np.random.Generator) -> None:
        for index in range(self._model.nlight):
            light = self._model.light(index)
            light.pos[:] += rng.normal(0, 0.5, 3)
            light.pos[2] = max(light.pos[2], 0.8)
            direction = np.array([0.45, 0, 0]) - light.pos
            light.dir[:] = direction / np.linalg.norm(direction)
            light.diffuse[:] *= rng.uniform(0.3, 1.8) * rng.uniform(0.85, 1.15, 3)
        headlight = self._model.vis.headlight
        headlight.ambient[:] *= rng.uniform(0.6, 1.3)
        headlight.diffuse[:] *= rng.uniform(0.4, 1.5)

    def _aim_camera(self, rng: np.random.Generator) -> str:
        name = str(rng.choice(list(_CAMERA_SHARES), p=list(_CAMERA_SHARES.values())))
        camera = self._model.camera(name)
        if rng.random() < _NOMINAL_CAMERA:
            return name
        camera.fovy[:] *= rng.uniform(0.85, 1.15)
        if name == "wrist":
            camera.pos[:] += rng.normal(0, 0.006, 3)
            _turn(camera.quat, rng.normal(0, 0.06, 3))
        else:
            self._move_camera(rng, camera, FIXED_CAMERAS[name])
        return name

    @staticmethod
    def _move_camera(rng: np.random.Generator, camera, pose: CameraPose) -> None:
        target = np.array(pose.target) + rng.normal(0, 0.04, 3)
        offset = np.subtract(pose.position, pose.target)
        distance = np.linalg.norm(offset) * rng.uniform(0.88, 1.12)
        direction = offset / np.linalg.norm(offset) + rng.normal(0, 0.10, 3)
        position = target + distance * direction / np.linalg.norm(direction)
        position[2] = max(position[2], 0.15)
        camera.pos[:] = position
        camera.quat[:] = look_at(position, target, np.array([0.0, 0.0, 1.0]))
        _turn(camera.quat, rng.normal(0, 0.02, 3))


def _recolor(rng: np.random.Generator, nominal: tuple[float, ...], wild: float) -> np.ndarray:
    """Return a color near ``nominal``, or with probability ``wild`` any color: (3,) in [0, 1]."""
    if rng.random() < wild:
        return rng.uniform(0.05, 0.98, 3)
    return np.clip(np.array(nominal[:3]) * rng.uniform(0.7, 1.3) + rng.normal(0, 0.06, 3), 0, 1)


def _turn(quat: np.ndarray, rotation_rad: np.ndarray) -> None:
    """Rotate an orientation (wxyz) in place by a small rotation vector in its own frame."""
    mujoco.mju_quatIntegrate(quat, rotation_rad, 1.0)
