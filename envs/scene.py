"""Scene of the pick-cube task: table, cube, cameras and lights around the arm."""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import ArrayLike

from s2robot.envs.kinematics import joint_body
from s2robot.envs.levels import Level
from s2robot.envs.panda import FINGER_JOINTS, HAND_BODY, PREFIX, attach_arm
from s2robot.envs.rendering import RenderQuality
from s2robot.envs.textures import add_patterns
from s2robot.utils.deprecation import moved_names

CUBE = "cube"
TABLE = "table"
EXTRA_BOX = "box"
"""Names of further boxes begin with this; their number follows."""
CUBE_DENSITY = 700.0  # kg/m³, beech
PHYSICS_DT_S = 0.005

HOME_JOINTS_RAD = (0.0, -0.0405, 0.0, -2.3273, 0.0, 2.2868, np.pi / 4)

COLORS = {
    CUBE: (0.80, 0.12, 0.10, 1.0),
    TABLE: (0.62, 0.55, 0.46, 1.0),
    "floor": (0.36, 0.40, 0.44, 1.0),
    "wall": (0.68, 0.72, 0.75, 1.0),
}

SEGMENTS = ("background", "table", "arm", "gripper", "cube")
"""Classes of pixels in the task's scenes; "background" is floor, wall and empty space."""
ALL_SEGMENTS = (*SEGMENTS, "box")
"""Classes of pixels in randomized scenes, which have further boxes."""


@dataclass(frozen=True)
class CameraPose:
    """Pose of a fixed camera: position [m], the point that it looks at [m], vertical view [deg]."""

    position: tuple[float, float, float]
    target: tuple[float, float, float]
    fovy_deg: float


FIXED_CAMERAS = {
    "front": CameraPose((1.03, 0.09, 0.50), (0.48, -0.012, 0.075), 43.5),
    "far": CameraPose((1.95, 0.70, 1.45), (0.38, 0.0, 0.17), 46.0),
}
# On the hand, above the fingers, looking along the approach direction.
WRIST_CAMERA = CameraPose((0.085, 0.0, 0.03), (0.022, 0.0, 0.16), 75.0)


def look_at(position: ArrayLike, target: ArrayLike, up: ArrayLike) -> np.ndarray:
    """Return the orientation (4,) wxyz of a camera.

    Args:
        position: of the camera (3,) [m].
        target: point that it looks at (3,) [m].
        up: direction (3,) that is upwards in its pictures.
    """
    backward = np.asarray(position, dtype=float) - np.asarray(target, dtype=float)
    backward /= np.linalg.norm(backward)
    right = np.cross(np.asarray(up, dtype=float), backward)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(backward, right), backward], axis=1)
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, rotation.ravel())
    return quat


def build_scene(
    level: Level,
    quality: RenderQuality,
    arm_path: str | Path | None = None,
    extra_boxes: int = 0,
) -> mujoco.MjSpec:
    """Return the scene of a level, not yet compiled.

    Args:
        level: sizes and start ranges.
        quality: settings of the renderer.
        arm_path: MJCF file of another arm.
        extra_boxes: number of invisible geoms ``box<i>`` to add, which the caller may place.

    Raises:
        FileNotFoundError: there is no file at ``arm_path``.
        ValueError: that file does not describe an arm like the built-in one.
    """
    spec = mujoco.MjSpec()
    spec.modelname = f"pick_cube_{level.name}"
    spec.option.timestep = PHYSICS_DT_S
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10
    spec.stat.extent, spec.stat.center = 1.5, (0.4, 0, 0.2)
    quality.apply(spec)
    attach_arm(spec, arm_path)
    _add_room(spec)
    _add_cube(spec, level)
    _add_cameras(spec)
    if level.appearance_varies:
        add_patterns(spec)
    for index in range(extra_boxes):
        spec.worldbody.add_geom(
            name=f"{EXTRA_BOX}{index}",
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=(0, 0, -0.5),  # off its body's frame, or MuJoCo would ignore later moves
            quat=(0.8, 0, 0, 0.6),
            size=(0.02, 0.02, 0.02),
            rgba=(0, 0, 0, 0),
            contype=0,
            conaffinity=0,
        )
    return spec


@functools.lru_cache(maxsize=16)
def compiled_scene(
    level: Level, quality: RenderQuality, arm_path: str | None = None
) -> mujoco.MjModel:
    """Return the compiled scene; it is shared within the process, so do not change it.

    Args:
        level: sizes and start ranges.
        quality: settings of the renderer.
        arm_path: MJCF file of another arm.
    """
    return build_scene(level, quality, arm_path).compile()


def _add_room(spec: mujoco.MjSpec) -> None:
    world = spec.worldbody
    box = mujoco.mjtGeom.mjGEOM_BOX
    world.add_geom(
        name=TABLE,
        type=box,
        pos=(0.35, 0, -0.025),
        size=(0.65, 0.75, 0.025),
        rgba=COLORS[TABLE],
        contype=1,
        conaffinity=3,
        friction=(0.8, 0.005, 0.0001),
    )
    for name, pos, size in (
        ("floor", (0, 0, -0.80), (12, 12, 0.05)),
        ("wall", (-1.5, 0, 3), (0.05, 12, 6)),
    ):
        world.add_geom(
            name=name, type=box, pos=pos, size=size, rgba=COLORS[name], contype=0, conaffinity=0
        )
    spec.visual.headlight.ambient = (0.38, 0.38, 0.38)
    spec.visual.headlight.diffuse = (0.32, 0.32, 0.32)
    spec.visual.headlight.specular = (0.0, 0.0, 0.0)
    for index, (pos, target, strength) in enumerate(
        (((0.9, 0.7, 1.8), (0.45, 0, 0), 0.45), ((0.6, -1.2, 1.4), (0.45, 0, 0.1), 0.22))
    ):
        world.add_light(
            name=f"light{index}",
            pos=pos,
            dir=np.subtract(target, pos),
            diffuse=(strength,) * 3,
            specular=(0.2, 0.2, 0.2),
            castshadow=index == 0,
        )


def _add_cube(spec: mujoco.MjSpec, level: Level) -> None:
    half = level.cube_half_size_m
    body = spec.worldbody.add_body(name=CUBE, pos=(0.5, 0, half))
    body.add_freejoint(name=CUBE)
    body.add_geom(
        name=CUBE,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=(half, half, half),
        rgba=COLORS[CUBE],
        density=CUBE_DENSITY,
        priority=1,  # its contact parameters apply, whatever arm touches it
        condim=4,
        friction=(1.0, 0.02, 0.0001),
        solref=(2.5 * PHYSICS_DT_S, 1),
        solimp=(0.95, 0.99, 0.001, 0.5, 2),
        contype=1,
        conaffinity=3,
    )


def _add_cameras(spec: mujoco.MjSpec) -> None:
    for name, pose in FIXED_CAMERAS.items():
        spec.worldbody.add_camera(
            name=name,
            pos=pose.position,
            quat=look_at(pose.position, pose.target, (0, 0, 1)),
            fovy=pose.fovy_deg,
        )
    pose = WRIST_CAMERA
    spec.body(PREFIX + HAND_BODY).add_camera(
        name="wrist",
        pos=pose.position,
        quat=look_at(pose.position, pose.target, (1, 0, 0)),
        fovy=pose.fovy_deg,
    )


def segment_of_geom(model: mujoco.MjModel) -> np.ndarray:
    """Return the class of each geom, by the names of geoms and bodies.

    Returns:
        (ngeom,) uint8, indices into ``ALL_SEGMENTS``.
    """
    hand = model.body(PREFIX + HAND_BODY).id
    fingers = {joint_body(model, PREFIX + joint) for joint in FINGER_JOINTS}
    classes = np.zeros(model.ngeom, dtype=np.uint8)
    for geom in range(model.ngeom):
        name, body = model.geom(geom).name, int(model.geom_bodyid[geom])
        if name in (CUBE, TABLE):
            classes[geom] = ALL_SEGMENTS.index(name)
        elif name.startswith(EXTRA_BOX):
            classes[geom] = ALL_SEGMENTS.index("box")
        elif not {hand, *fingers}.isdisjoint(_ancestors(model, body)):
            classes[geom] = ALL_SEGMENTS.index("gripper")
        elif model.body(body).name.startswith(PREFIX):
            classes[geom] = ALL_SEGMENTS.index("arm")
    return classes


def _ancestors(model: mujoco.MjModel, body: int) -> Iterator[int]:
    """Yield a body and all its ancestors but the world."""
    while body:
        yield body
        body = int(model.body_parentid[body])


__getattr__ = moved_names(__name__, {"COLOURS": "s2robot.envs.scene:COLORS"})
