"""Joint states as the observations of a policy that was trained on ROS bags.

Such a policy reads fields of joint states by topic (``/joint_states``, ``/joint_states:velocity``),
of the joints that its bags had, and acts in the units of the recorded commands. So it runs on any
arm, the one whose bags it was trained on.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from s2robot.data.ros_messages.stamps import UNSET_NS, Order, message_stamp_ns, order_after
from s2robot.errors import MismatchError
from s2robot.plugins.ros.core.policy.proprioception import JointError, Observations
from s2robot.policies.action_space import PROPRIO_NAMES
from s2robot.policies.checkpoint import PolicyHeader

FIELDS = ("position", "velocity", "effort")
"""Fields of joint states; the first one is that of a topic without a field."""
_OWN_LOOP = "run the policy in a loop of your own with s2robot.load_policy(FILE)"


@dataclass(frozen=True)
class _State:
    value: float
    arrived_s: float
    stamp_ns: int


class RecordedObservations:
    """Observations of a policy of bags from joint states. Any thread may call any method.

    Args:
        header: of the policy.

    Raises:
        MismatchError: the policy reads something else than one topic of joint states.
    """

    def __init__(self, header: PolicyHeader) -> None:
        self._wanted = _wanted(header)
        self._lock = threading.Lock()
        self._states: dict[tuple[str, str], _State] = {}
        self._seen: tuple[str, ...] = ()

    @property
    def needs_joints(self) -> bool:
        """Whether the policy reads anything besides frames."""
        return bool(self._wanted)

    def update(self, message: Any, arrived_s: float) -> None:
        """Store the states of a message; joints that it does not name keep theirs.

        Args:
            message: a ``sensor_msgs/JointState``.
            arrived_s: time of arrival by the monotonic clock [s].

        Raises:
            JointError: the message is malformed, or holds NaN; no state is stored then.
            StampError: the message has no stamp.
        """
        stamp = message_stamp_ns(message)
        found: dict[tuple[str, str], float] = {}
        try:
            names = [str(name) for name in message.name]
            for field in dict.fromkeys(field for field, _ in self._wanted):
                values = [float(value) for value in getattr(message, field)]
                if len(values) not in (0, len(names)):
                    raise JointError(
                        "joint_malformed",
                        f"a JointState names {len(names)} joints, but has {len(values)} numbers "
                        f"in {field}",
                    )
                found.update(((field, n), v) for n, v in zip(names, values, strict=False))
        except (AttributeError, TypeError, ValueError) as error:
            raise JointError("joint_malformed", f"this is not a JointState ({error})") from None
        wanted = {each: found[each] for each in self._wanted if each in found}
        for (field, name), value in wanted.items():
            if not np.isfinite(value):
                raise JointError("joint_nan", f"the {field} of {name} is {value}")
        with self._lock:
            self._seen = tuple(names[:20])
            for each, value in wanted.items():
                before = self._states.get(each)
                if before is None or order_after(stamp, before.stamp_ns) is not Order.LATE:
                    self._states[each] = _State(value, arrived_s, stamp)

    def read(self) -> Observations | None:
        """Return the latest observations, or None before the first message.

        Raises:
            JointError: a joint was never reported.
        """
        if not self._wanted:
            return Observations(np.zeros((1, 0), np.float32), math.inf, UNSET_NS)
        with self._lock:
            states, seen = dict(self._states), self._seen
        if not seen:
            return None
        lacking = [each for each in self._wanted if each not in states]
        missing = [f"the {field} of {name}" for field, name in lacking]
        if missing:
            raise JointError(
                "joint_missing",
                f"joint states lack {', '.join(missing)}; the last message named {', '.join(seen)}",
            )
        chosen = [states[each] for each in self._wanted]
        stamps = [state.stamp_ns for state in chosen if state.stamp_ns != UNSET_NS]
        return Observations(
            np.array([[state.value for state in chosen]], np.float32),
            min(state.arrived_s for state in chosen),
            min(stamps, default=UNSET_NS),
        )


def _wanted(header: PolicyHeader) -> tuple[tuple[str, str], ...]:
    """Return field and joint of each number that a policy reads, in its order."""
    keys, names = header.proprio_keys, header.frames.get(PROPRIO_NAMES, {})
    chosen = [(key, *_topic_and_field(key)) for key in keys]
    foreign = [key for key, topic, field in chosen if not topic or field not in FIELDS]
    if foreign:
        raise MismatchError(
            f"the policy reads {', '.join(foreign)}; the node has joint states only, so it runs "
            "policies of ROS bags that read them (`s2robot train data=BAGS "
            "'low_dim=[/joint_states]'`), or frames alone (`s2robot train data=BAGS "
            f"'low_dim=[]'`); else {_OWN_LOOP}"
        )
    topics = list(dict.fromkeys(topic for _, topic, _ in chosen))
    if len(topics) > 1:
        raise MismatchError(
            f"the policy reads {len(topics)} topics ({', '.join(topics)}); the node subscribes to "
            f"one of joint states; {_OWN_LOOP}"
        )
    unnamed = [key for key in keys if key not in names]
    if unnamed:
        raise MismatchError(
            f"the policy's file does not name the joints of {', '.join(unnamed)}, as an earlier "
            "version wrote it; train it again"
        )
    return tuple(
        (field, str(name).removeprefix(f"{key}."))
        for key, _, field in chosen
        for name in names[key]
    )


def _topic_and_field(key: str) -> Sequence[str]:
    """Return topic and field of an observation; "" for the topic where it is none of bags."""
    topic, _, field = key.partition(":")
    return (topic if topic.startswith("/") else "", field or FIELDS[0])
