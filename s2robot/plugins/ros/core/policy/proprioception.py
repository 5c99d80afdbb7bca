"""Conversion of ``sensor_msgs/JointState`` to the proprioception that a pick-cube policy reads.

The file of a policy lists the quantities that it reads (``proprio_keys``): by default the tool
center point and the gripper's opening, ``ee_pos`` and ``gripper_width``; with joint actions also
``joint_pos``, with a rotating gripper ``ee_quat``. A robot reports joints only, so the tool center
point is computed by forward kinematics of the simulated Panda. Its links have Franka's published
lengths, with 0.1034 m from the hand's frame to the point between the pads, Franka's default.

Names: joints 1 to 7 are ``<prefix>joint1`` ... ``<prefix>joint7`` [rad], the fingers
``<prefix>finger_joint1`` and ``2`` [m from the middle]. The prefix ("panda_", "fr3_", "robot/") is
detected if there is one arm. ``gripper_width`` is the sum of both fingers, or twice the first one
for drivers that report only that.
"""

# MuJoCo's bindings carry no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from s2robot.data.ros_messages.message_error import MessageError
from s2robot.data.ros_messages.stamps import UNSET_NS, Order, message_stamp_ns, order_after
from s2robot.envs.kinematics import ArmKinematics
from s2robot.envs.panda import ARM_JOINTS, FINGER_JOINTS, attach_arm
from s2robot.envs.scene import HOME_JOINTS_RAD
from s2robot.errors import MismatchError
from s2robot.policies.dataset import stack_proprio

MEASURED = ("ee_pos", "ee_quat", "gripper_width", "joint_pos", "joint_vel")
"""Quantities that can be computed from joint states."""
_NAME = re.compile(r"(?P<prefix>(?:.*?[_/])??)(?P<role>finger_joint[12]|joint[1-7])")


class JointError(MessageError):
    """Joint states from which no proprioception can be computed."""


@dataclass(frozen=True)
class Joints:
    """Latest joint states, combined from one or several messages."""

    arm_rad: np.ndarray
    """(7,) angles."""
    arm_rad_s: np.ndarray | None
    """(7,) velocities if all are reported, else None."""
    gripper_width_m: float | None
    arrived_s: float
    """Time of arrival of the oldest state."""
    stamp_ns: int
    """Stamp of the oldest state that has one, else ``UNSET_NS``."""


@dataclass(frozen=True)
class _State:
    position: float
    velocity: float | None
    arrived_s: float
    stamp_ns: int


class JointTracker:
    """Latest state of each joint of one arm. Any thread may call any method.

    Args:
        prefix: prefix of the joints' names; "" detects it.
        gripper: whether the fingers are needed.
    """

    def __init__(self, prefix: str = "", gripper: bool = True) -> None:
        self._given = prefix
        self._gripper = gripper
        self._lock = threading.Lock()
        self._prefixes: dict[bool, str] = {}  # arm (False) and fingers (True)
        self._states: dict[str, _State] = {}
        self._seen: tuple[str, ...] = ()

    def update(self, message: Any, arrived_s: float) -> None:
        """Store the states of a message; joints that it does not name keep theirs.

        Args:
            message: a ``sensor_msgs/JointState``.
            arrived_s: time of arrival by the monotonic clock [s].

        Raises:
            JointError: the message is malformed, holds NaN, or names joints of two arms; no state
                is stored then.
            StampError: the message has no stamp.
        """
        stamp = message_stamp_ns(message)
        names, positions, velocities = _columns(message)
        with self._lock:
            self._seen = tuple(names[:20])
            roles = self._roles(names)
            for i in roles.values():
                if not np.isfinite(positions[i]):
                    raise JointError("joint_nan", f"the position of {names[i]} is {positions[i]}")
            for role, i in roles.items():
                before = self._states.get(role)
                if before and order_after(stamp, before.stamp_ns) is Order.LATE:
                    continue
                velocity = velocities[i] if velocities else None
                self._states[role] = _State(positions[i], velocity, arrived_s, stamp)

    def _roles(self, names: Sequence[str]) -> dict[str, int]:
        """Return the index in ``names`` of each joint of the arm, by the name without prefix."""
        roles: dict[str, int] = {}
        prefixes = dict(self._prefixes)
        for i, name in enumerate(names):
            found = _NAME.fullmatch(name)
            if found is None or (self._given and found["prefix"] != self._given):
                continue
            prefix = prefixes.setdefault(found["role"] in FINGER_JOINTS, found["prefix"])
            if prefix != found["prefix"]:
                raise JointError(
                    "joint_ambiguous",
                    f"joint states name two arms, {prefix!r} and {found['prefix']!r}; set "
                    "joint_prefix to that of the policy's arm",
                )
            roles[found["role"]] = i
        self._prefixes = prefixes
        return roles

    def read(self) -> Joints | None:
        """Return the latest states, or None before the first message.

        Raises:
            JointError: a joint was never reported.
        """
        with self._lock:
            if not self._seen:
                return None
            states = dict(self._states)
            seen = self._seen
        wanted = [*ARM_JOINTS, *FINGER_JOINTS[:1]] if self._gripper else list(ARM_JOINTS)
        missing = [role for role in wanted if role not in states]
        if missing:
            raise JointError(
                "joint_missing",
                f"joint states lack {', '.join(self._given + role for role in missing)}; the last "
                f"message named {', '.join(seen)}",
            )
        arm = [states[name] for name in ARM_JOINTS]
        fingers = [states[name] for name in FINGER_JOINTS if name in states and self._gripper]
        return _joints(arm, fingers)


def _columns(message: Any) -> tuple[list[str], list[float], list[float]]:
    try:
        names = [str(name) for name in message.name]
        positions = [float(value) for value in message.position]
        velocities = [float(value) for value in getattr(message, "velocity", ())]
    except (AttributeError, TypeError, ValueError) as error:
        raise JointError("joint_malformed", f"this is not a JointState ({error})") from None
    if not positions:  # allowed: a message with efforts only
        return [], [], []
    if len(positions) != len(names) or len(velocities) not in (0, len(names)):
        raise JointError(
            "joint_malformed",
            f"a JointState names {len(names)} joints, but has {len(positions)} positions and "
            f"{len(velocities)} velocities",
        )
    return names, positions, velocities


def _joints(arm: Sequence[_State], fingers: Sequence[_State]) -> Joints:
    velocities = [state.velocity for state in arm]
    known = [v for v in velocities if v is not None]
    width = sum(state.position for state in fingers) * 2 / len(fingers) if fingers else None
    everything = [*arm, *fingers]
    stamps = [state.stamp_ns for state in everything if state.stamp_ns != UNSET_NS]
    return Joints(
        np.array([state.position for state in arm]),
        np.array(known) if len(known) == len(arm) else None,
        width,
        min(state.arrived_s for state in everything),
        min(stamps, default=UNSET_NS),
    )


@dataclass(frozen=True)
class Observations:
    """What a policy reads besides frames, at one moment."""

    vector: np.ndarray
    """``(1, P)`` float32, in the policy's order."""
    arrived_s: float
    """Time of arrival of the oldest state by the monotonic clock [s]."""
    stamp_ns: int
    """Stamp of the oldest state that has one, else ``UNSET_NS``."""


class ArmObservations:
    """Observations of a pick-cube policy from joint states. Any thread may call ``update``.

    Args:
        keys: names of the quantities, from the policy's file.
        prefix: see ``JointTracker``.
        arm_path: MJCF file of another arm, as in the policy's environment.

    Raises:
        MismatchError: a robot does not measure one of the quantities.
    """

    needs_joints = True

    def __init__(self, keys: Sequence[str], prefix: str, arm_path: str | None) -> None:
        self._proprioception = Proprioception(keys, arm_path)
        self._tracker = JointTracker(prefix, "gripper_width" in keys)

    def update(self, message: Any, arrived_s: float) -> None:
        """Store the states of a message; see ``JointTracker.update``."""
        self._tracker.update(message, arrived_s)

    def read(self) -> Observations | None:
        """Return the latest observations, or None before the first message.

        Raises:
            JointError: a joint, the velocities or the gripper were never reported.
        """
        joints = self._tracker.read()
        if joints is None:
            return None
        return Observations(self._proprioception(joints), joints.arrived_s, joints.stamp_ns)


class Proprioception:
    """Conversion of joints to the vector that a policy reads. One thread may use an object.

    Args:
        keys: names of the quantities, from the policy's file.
        arm_path: MJCF file of another arm, as in the policy's environment.

    Raises:
        MismatchError: a robot does not measure one of the quantities.
    """

    def __init__(self, keys: Sequence[str], arm_path: str | None = None) -> None:
        unmeasured = [key for key in keys if key not in MEASURED]
        if unmeasured:
            raise MismatchError(
                f"the policy reads {', '.join(unmeasured)}, which joint states do not hold; "
                f"allowed: {', '.join(MEASURED)}"
            )
        self.keys = tuple(keys)
        self._kinematics = arm_kinematics(arm_path)

    def __call__(self, joints: Joints) -> np.ndarray:
        """Return the proprioception ``(1, P)`` float32 in the order of ``stack_proprio``.

        Raises:
            JointError: velocities or the gripper are needed but not reported.
        """
        position, quat = self._kinematics.forward(joints.arm_rad)
        values = {
            "joint_pos": joints.arm_rad,
            "joint_vel": joints.arm_rad_s,
            "gripper_width": joints.gripper_width_m,
            "ee_pos": position,
            "ee_quat": quat,
        }
        lacking = [key for key in self.keys if values[key] is None]
        if lacking:
            raise JointError(
                "joint_missing",
                f"joint states hold no {', '.join(lacking)}, which the policy reads",
            )
        return stack_proprio({key: np.array([values[key]]) for key in self.keys}, self.keys)


def arm_kinematics(arm_path: str | None = None) -> ArmKinematics:
    """Return the kinematics of the arm with its base at the origin; needs no renderer."""
    spec = mujoco.MjSpec()
    attach_arm(spec, arm_path)
    return ArmKinematics(spec.compile(), np.array(HOME_JOINTS_RAD))
