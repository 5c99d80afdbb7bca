"""A Franka Panda made of primitive shapes: its true kinematics and limits, no meshes.

Frames and joint limits follow Franka's published Denavit-Hartenberg table
(https://frankaemika.github.io/docs/control_parameters.html), which a test recomputes; the shapes
are made for this project. Link masses are rounded values of Gaz et al. (RA-L 2019).
"""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np

from s2robot.envs.levels import MAX_OPENING_M

ARM_JOINTS = tuple(f"joint{i}" for i in range(1, 8))
FINGER_JOINTS = ("finger_joint1", "finger_joint2")
HAND_BODY = "hand"
TCP_SITE = "tcp"
PREFIX = "robot/"  # of every arm element's name once attached to a scene
TCP_OFFSET_M = 0.1034  # from the hand frame to the point between the finger pads
GRIPPER_ACTUATOR = "gripper"
OPENING_TENDON = "mean_opening"

WHITE, GRAY, DARK = "arm_white", "arm_grey", "arm_dark"
MATERIALS = {
    WHITE: (0.93, 0.93, 0.92, 1.0),
    GRAY: (0.55, 0.57, 0.60, 1.0),
    DARK: (0.16, 0.17, 0.19, 1.0),
}
# Contact classes: the arm meets the world (1) but not itself.
ARM_CONTYPE, ARM_CONAFFINITY = 2, 1


@dataclass(frozen=True)
class Rod:
    """A capsule or cylinder between two points of a link's frame [m]."""

    start: tuple[float, float, float]
    end: tuple[float, float, float]
    radius: float
    material: str = WHITE
    kind: mujoco.mjtGeom = mujoco.mjtGeom.mjGEOM_CAPSULE


def _ring(half_length: float, radius: float, material: str = GRAY) -> Rod:
    """Return a cylinder about the link's z axis, at the place of the joint's motor."""
    ends = ((0.0, 0.0, -half_length), (0.0, 0.0, half_length))
    return Rod(*ends, radius, material, mujoco.mjtGeom.mjGEOM_CYLINDER)


@dataclass(frozen=True)
class Link:
    """One moving link: its frame in the parent, its hinge about z, its shapes."""

    pos: tuple[float, float, float]
    quat: tuple[float, float, float, float]
    joint_range_rad: tuple[float, float]
    mass_kg: float
    force_limit_nm: float
    stiffness: float  # of the position servo [N m/rad]
    shapes: tuple[Rod, ...]


_BACK, _FORTH = (1.0, -1.0, 0.0, 0.0), (1.0, 1.0, 0.0, 0.0)  # ∓90° about x, normalized by MuJoCo

BASE_SHAPES = (
    Rod((-0.10, 0.0, 0.055), (0.02, 0.0, 0.055), 0.055),
    Rod((0.0, 0.0, 0.0), (0.0, 0.0, 0.15), 0.075, WHITE, mujoco.mjtGeom.mjGEOM_CYLINDER),
)
LINKS = (
    Link((0, 0, 0.333), (1, 0, 0, 0), (-2.8973, 2.8973), 4.97, 87, 12000, (
        Rod((0, 0, -0.183), (0, 0, -0.06), 0.062),
        Rod((0, -0.045, 0), (0, 0.045, 0), 0.062),
    )),
    Link((0, 0, 0), _BACK, (-1.7628, 1.7628), 0.65, 87, 12000, (
        _ring(0.095, 0.056),
        Rod((0, 0, 0), (0, -0.17, 0), 0.058),
    )),
    Link((0, -0.316, 0), _FORTH, (-2.8973, 2.8973), 3.23, 87, 10000, (
        Rod((0, 0, -0.146), (0, 0, -0.135), 0.060, GRAY),
        Rod((0, 0, -0.10), (0, 0, -0.03), 0.056),
        Rod((0.02, 0, -0.03), (0.0825, 0, 0), 0.050),
    )),
    Link((0.0825, 0, 0), _FORTH, (-3.0718, -0.0698), 3.59, 87, 10000, (
        _ring(0.078, 0.049),
        Rod((0, 0, 0), (-0.0825, 0.085, 0), 0.050),
    )),
    Link((-0.0825, 0.384, 0), _BACK, (-2.8973, 2.8973), 1.23, 12, 6000, (
        Rod((0, 0, -0.27), (0, 0, -0.26), 0.053, GRAY),
        Rod((0, 0, -0.23), (0, 0.0, -0.06), 0.048),
    )),
    Link((0, 0, 0), _FORTH, (-0.0175, 3.7525), 1.67, 12, 6000, (
        _ring(0.070, 0.047),
        Rod((0, 0, 0), (0.07, 0.0, 0), 0.046),
    )),
    Link((0.088, 0, 0), _FORTH, (-2.8973, 2.8973), 0.74, 12, 6000, (
        Rod((0, 0, -0.01), (0, 0, 0.05), 0.046),
        Rod((0, 0, 0.06), (0, 0, 0.107), 0.040, GRAY, mujoco.mjtGeom.mjGEOM_CYLINDER),
    )),
)  # fmt: skip

# Cup-shaped jaws: a back plate that touches the cube and two lips that hold it lengthwise, so an
# offset in any horizontal direction meets the same clearance.
JAW_BOTTOM_M, JAW_TOP_M = -0.012, 0.014  # along the approach, about the TCP
LIP_REACH_M = 0.012
PLATE_HALF_THICKNESS_M = 0.003


def panda_spec() -> mujoco.MjSpec:
    """Return the arm alone, its base frame at the origin, with actuators and a ``tcp`` site."""
    spec = mujoco.MjSpec()
    spec.modelname = "panda_primitives"
    spec.compiler.degree = False
    for name, rgba in MATERIALS.items():
        spec.add_material(name=name, rgba=rgba, specular=0.3, shininess=0.3)
    body = spec.worldbody.add_body(name="link0")
    _add_shapes(body, BASE_SHAPES, mass_kg=3.0)
    for index, link in enumerate(LINKS, start=1):
        body = body.add_body(name=f"link{index}", pos=link.pos, quat=link.quat, gravcomp=1)
        body.add_joint(
            name=f"joint{index}",
            axis=(0, 0, 1),
            range=link.joint_range_rad,
            armature=0.1,
            damping=1,
        )
        _add_shapes(body, link.shapes, link.mass_kg)
    _add_hand(body)
    _add_actuators(spec)
    return spec


def load_arm(arm_path: str | Path | None = None) -> mujoco.MjSpec:
    """Return the built-in arm, or one from an MJCF file like MuJoCo Menagerie's ``panda.xml``.

    A file must have joints ``joint1..7``, ``finger_joint1/2`` and a body ``hand``. Its actuators
    and keyframes are replaced by those of the built-in arm, so that actions mean the same.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not MJCF, or joints or the hand are missing; the message names them.
    """
    if arm_path is None:
        return panda_spec()
    spec = _read_mjcf(Path(arm_path))
    _require_parts(spec, Path(arm_path))
    for element in [*spec.actuators, *spec.keys]:
        spec.delete(element)
    if spec.site(TCP_SITE) is None:
        spec.body(HAND_BODY).add_site(name=TCP_SITE, pos=(0, 0, TCP_OFFSET_M))
    for body in spec.bodies[1:]:
        body.gravcomp = 1
    _add_actuators(spec)
    return spec


def attach_arm(scene: mujoco.MjSpec, arm_path: str | Path | None = None) -> None:
    """Attach an arm to a scene, its base at the origin, its names with the prefix ``robot/``.

    Args:
        scene: is changed.
        arm_path: MJCF file of the arm; None takes the built-in one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: as ``load_arm``.
    """
    scene.attach(load_arm(arm_path), prefix=PREFIX, frame=scene.worldbody.add_frame())


def _read_mjcf(path: Path) -> mujoco.MjSpec:
    if not path.is_file():
        raise FileNotFoundError(f"arm_path: no file at {path}; give the path of a panda.xml (MJCF)")
    try:
        return mujoco.MjSpec.from_file(str(path))
    except ValueError as error:
        raise ValueError(f"arm_path: {path} is not a readable MJCF model: {error}") from error


def _require_parts(spec: mujoco.MjSpec, path: Path) -> None:
    joints = {joint.name for joint in spec.joints}
    missing = [name for name in (*ARM_JOINTS, *FINGER_JOINTS) if name not in joints]
    if spec.body(HAND_BODY) is None:
        missing.append(f"body {HAND_BODY!r}")
    if missing:
        raise ValueError(
            f"arm_path: {path} lacks {', '.join(missing)}; it has joints "
            f"{', '.join(sorted(joints)) or '(none)'}. Name them as Menagerie's panda.xml does"
        )


def _add_shapes(body: mujoco.MjsBody, shapes: tuple[Rod, ...], mass_kg: float) -> None:
    for shape in shapes:
        body.add_geom(
            type=shape.kind,
            fromto=[*shape.start, *shape.end],
            size=[shape.radius, 0, 0],
            material=shape.material,
            mass=mass_kg / len(shapes),
            contype=ARM_CONTYPE,
            conaffinity=ARM_CONAFFINITY,
        )


def _add_box(body: mujoco.MjsBody, pos, half_size, material: str, mass_kg: float, **kwargs) -> None:
    body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=pos,
        size=half_size,
        material=material,
        mass=mass_kg,
        contype=ARM_CONTYPE,
        conaffinity=ARM_CONAFFINITY,
        **kwargs,
    )


def _add_hand(flange: mujoco.MjsBody) -> None:
    half = -np.pi / 8  # -45° about z
    hand = flange.add_body(
        name=HAND_BODY, pos=(0, 0, 0.107), quat=(np.cos(half), 0, 0, np.sin(half)), gravcomp=1
    )
    _add_box(hand, (0, 0, 0.032), (0.028, 0.098, 0.026), WHITE, 0.6)
    _add_box(hand, (0, 0, 0.0605), (0.022, 0.09, 0.003), DARK, 0.1)
    hand.add_site(name=TCP_SITE, pos=(0, 0, TCP_OFFSET_M), size=[0.005, 0, 0], group=4)
    for index, quat in enumerate(((1, 0, 0, 0), (0, 0, 0, 1)), start=1):
        finger = hand.add_body(name=f"finger{index}", pos=(0, 0, 0.0584), quat=quat, gravcomp=1)
        finger.add_joint(
            name=f"finger_joint{index}",
            type=mujoco.mjtJoint.mjJNT_SLIDE,
            axis=(0, 1, 0),
            range=(0, MAX_OPENING_M / 2),
            armature=0.1,
            damping=10,
        )
        _add_jaw(finger, index)


def _add_jaw(finger: mujoco.MjsBody, index: int) -> None:
    """Add the finger's shapes; its frame is 4.5 cm above the TCP and closes along -y."""
    tcp_z = TCP_OFFSET_M - 0.0584
    top, bottom = tcp_z + JAW_BOTTOM_M, tcp_z + JAW_TOP_M  # z points down, to the table
    middle, half_height = (top + bottom) / 2, (bottom - top) / 2
    lip_x = MAX_OPENING_M / 2 + PLATE_HALF_THICKNESS_M
    back = PLATE_HALF_THICKNESS_M
    _add_box(finger, (0, 0.010, middle / 2), (0.009, 0.006, middle / 2), GRAY, 0.03)
    _add_box(
        finger, (0, back, middle), (lip_x + back, back, half_height), DARK, 0.03, name=f"pad{index}"
    )
    for side in (-1, 1):
        _add_box(
            finger,
            (side * lip_x, -LIP_REACH_M / 2, middle),
            (back, LIP_REACH_M / 2, half_height),
            DARK,
            0.01,
        )


def _add_actuators(spec: mujoco.MjSpec) -> None:
    """Add position servos of the seven joints and of the fingers' mean opening [m, per finger]."""
    for name, link in zip(ARM_JOINTS, LINKS, strict=True):
        servo = spec.add_actuator(
            name=name,
            target=name,
            trntype=mujoco.mjtTrn.mjTRN_JOINT,
            forcerange=(-link.force_limit_nm, link.force_limit_nm),
            ctrlrange=link.joint_range_rad,
        )
        servo.set_to_position(kp=link.stiffness, dampratio=1)
    if spec.tendon(OPENING_TENDON) is None:  # an exported copy of the built-in arm has it
        tendon = spec.add_tendon(name=OPENING_TENDON)
        for joint in FINGER_JOINTS:
            tendon.wrap_joint(joint, 0.5)
    if not _fingers_coupled(spec):
        coupling = spec.add_equality(
            type=mujoco.mjtEq.mjEQ_JOINT, name1=FINGER_JOINTS[0], name2=FINGER_JOINTS[1]
        )
        coupling.data[:5] = (0, 1, 0, 0, 0)
        coupling.objtype = mujoco.mjtObj.mjOBJ_JOINT
    grip = spec.add_actuator(
        name=GRIPPER_ACTUATOR,
        target=OPENING_TENDON,
        trntype=mujoco.mjtTrn.mjTRN_TENDON,
        forcerange=(-30, 30),
        ctrlrange=(0, MAX_OPENING_M / 2),
    )
    grip.set_to_position(kp=800, dampratio=1)


def _fingers_coupled(spec: mujoco.MjSpec) -> bool:
    pairs = ({equality.name1, equality.name2} for equality in spec.equalities)
    return any(pair == set(FINGER_JOINTS) for pair in pairs)
