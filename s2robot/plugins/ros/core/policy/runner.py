"""Actions of a policy from the latest embedding and joint states, unless the watchdog stops them.

The node calls ``tick`` at the policy's rate (``control_hz``, 5 Hz for pick-cube). An action is an
action of the environment, numbers in [-1, 1] held for one period: a step of the tool center point
of up to 0.04 m per axis in the robot's base frame (and 0.2 rad of yaw), or 0.15 rad per joint, and
the gripper, which opens above 0. That of a policy of recorded data has the names and units of the
recording. The robot's controller executes it, and stops when actions stop.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from s2robot.data.config import cameras_of
from s2robot.data.ros_messages.stamps import NS, UNSET_NS, Order, StampError, order_after
from s2robot.errors import MismatchError
from s2robot.plugins.ros.core.embedding_result import EmbeddingResult
from s2robot.plugins.ros.core.log_throttle import Log, LogThrottle
from s2robot.plugins.ros.core.policy.proprioception import (
    ArmObservations,
    JointError,
    Observations,
)
from s2robot.plugins.ros.core.policy.recorded import RecordedObservations
from s2robot.plugins.ros.core.policy.watchdog import Pause, Watchdog
from s2robot.policies.action_space import RECORDED, ActionBounds
from s2robot.policies.checkpoint import PolicyHeader, load_policy
from s2robot.policies.policy import Policy

GAP_PERIODS = 2.1
"""A policy with a history is reset after this many control periods without an action."""


@dataclass(frozen=True, eq=False)
class Action:
    """One control step."""

    values: np.ndarray
    """``(A,)`` float32 in [-1, 1]; of recorded data in the recording's units and range."""
    meaning: tuple[str, ...]
    """Meaning of each entry: "dx", ..., "gripper"; of recorded data the recording's names."""
    header: Any
    """Header of the frame of the action, the same object."""
    anew: bool
    """Whether the policy was reset before this action."""


@dataclass(frozen=True)
class PolicyCounts:
    """Counts of a runner since its start."""

    actions: int
    resets: int
    """Number of resets of the policy, including the first."""
    pauses: dict[str, int]
    """Number of times it stopped, by reason."""
    paused: str
    """Reason why it gives no action now; "" while it acts."""
    message: str
    """Text of that reason."""


class PolicyRunner:
    """Runner of one policy on one robot. Any thread may call any method.

    There is no action while data is too old; see ``Watchdog``. No embedding is used twice, since
    every action is a step.

    Args:
        policy: the policy; see ``load_policy``.
        header: header of its file.
        stale_s: largest age of a frame and of joint states [s].
        now_ns: the node's clock [ns], which is simulated if stamps are.
        log: writes a line to the node's log.
        joint_prefix: see ``JointTracker``.
        clock: monotonic clock of the worker [s].

    Raises:
        ValueError: ``stale_s`` is not above 0.
        MismatchError: the policy does not read frames, reads a quantity that a robot does not
            measure, or was trained on recorded data that do not tell their rate.
    """

    def __init__(
        self,
        policy: Policy,
        header: PolicyHeader,
        stale_s: float,
        now_ns: Callable[[], int],
        log: Log,
        joint_prefix: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._throttle = LogThrottle(log)
        self._watchdog = Watchdog(stale_s, now_ns, clock, self._throttle)
        if not policy.embedding_dim or header.encoder.get("backbone") in ("none", "state"):
            raise MismatchError(
                f"the policy reads {header.encoder.get('backbone')!r}, not frames; a node needs "
                "a policy that was trained on an encoder"
            )
        cameras = [str(camera["name"]) for camera in cameras_of(header.frames)]
        if len(cameras) > 1:
            raise MismatchError(
                f"the policy reads {len(cameras)} cameras ({', '.join(cameras)}); the node gives "
                "it the frames of one. Run it in a loop of your own with s2robot.load_policy(FILE)"
            )
        if header.action_space["control_hz"] is None:
            raise MismatchError(
                "the policy was trained on recorded data that do not tell their rate, so the node "
                "does not know how often to act; give the data a rate, train again, or run the "
                "policy in a loop of your own with s2robot.load_policy(FILE)"
            )
        self.header = header
        self.control_hz = float(header.action_space["control_hz"])
        self._bounds = ActionBounds.of(header.action_space)
        self._policy, self._clock, self._now_ns = policy, clock, now_ns
        self._source: ArmObservations | RecordedObservations
        if header.action_space["control"] == RECORDED:
            self._source = RecordedObservations(header)
        else:
            arm_path = header.env_kwargs.get("arm_path")
            self._source = ArmObservations(header.proprio_keys, joint_prefix, arm_path)
        self._lock = threading.Lock()  # guards the two below
        self._latest: EmbeddingResult | None = None
        self._joint_error: Pause | None = None
        self._acting = threading.Lock()  # guards the rest
        self._acted_on: EmbeddingResult | None = None
        self._acted_s = -np.inf
        self._acted_ns = UNSET_NS
        self._counts: Counter[str] = Counter()

    @classmethod
    def from_file(cls, path: str | Path, *args: Any, **kwargs: Any) -> PolicyRunner:
        """Return the runner of a policy file.

        Args:
            path: the policy file.
            args: further arguments of the class, from ``stale_s`` on.
            kwargs: likewise, by name.
        """
        return cls(*load_policy(path), *args, **kwargs)

    @property
    def frame_shape(self) -> tuple[int, int] | None:
        """Height and width of the frames that the policy was trained on; None if unknown."""
        (camera,) = cameras_of(self.header.frames) or [{}]
        if "height" in camera:
            return (int(camera["height"]), int(camera["width"]))
        side = camera.get("size")
        return (side, side) if isinstance(side, int) else None

    def take_embedding(self, result: EmbeddingResult) -> None:
        """Store an embedding in place of the last one."""
        with self._lock:
            self._latest = result

    def take_joints(self, message: Any, arrived_s: float | None = None) -> None:
        """Store the joint states of a message; the policy pauses while they are invalid.

        Args:
            message: a ``sensor_msgs/JointState``.
            arrived_s: time of arrival by the monotonic clock [s]; now when not given.
        """
        arrived = self._clock() if arrived_s is None else arrived_s
        try:
            self._source.update(message, arrived)
            error = None
        except (JointError, StampError) as caught:
            error = Pause(caught.kind, str(caught))
        with self._lock:
            self._joint_error = error

    def reset(self) -> None:
        """Forget the history and the last embedding, as after the node was switched off."""
        with self._acting, self._lock:
            self._latest = self._acted_on = None
            self._acted_s = -np.inf
            self._watchdog.forget()

    def counts(self) -> PolicyCounts:
        """Return the counts since the start."""
        with self._acting:
            return PolicyCounts(
                self._counts["actions"],
                self._counts["resets"],
                dict(self._watchdog.pauses),
                self._watchdog.paused.kind if self._watchdog.paused else "",
                str(self._watchdog.paused) if self._watchdog.paused else "",
            )

    def tick(self) -> Action | None:
        """Do one control step; return None without a new embedding or with data that is too old."""
        with self._acting:
            try:
                return self._step()
            except Pause as pause:
                self._watchdog.pause(pause)
            except Exception as error:
                kind = f"policy_{type(error).__name__}"
                self._watchdog.pause(Pause(kind, f"the policy failed: {error}"))
            return None

    def _step(self) -> Action | None:
        with self._lock:
            latest, joint_error = self._latest, self._joint_error
        if joint_error:
            raise joint_error
        observed = self._observed()
        if latest is None:
            raise Pause("no_frames", "there is no embedding yet")
        self._watchdog.check_age("frames", latest.arrived_s, latest.stamp_ns)
        if self._source.needs_joints:
            self._watchdog.check_age("joints", observed.arrived_s, observed.stamp_ns)
        if latest is self._acted_on:
            return None
        anew = self._needs_reset(latest)
        if anew:
            self._policy.reset(1)
            self._counts["resets"] += 1
        embedding = torch.from_numpy(latest.embedding)[None]
        proprio = torch.from_numpy(observed.vector)
        values = self._policy.act(embedding, proprio)[0].float().cpu().numpy()
        if not np.isfinite(values).all():
            raise Pause("action_nan", f"the policy's action is {values.tolist()}")
        self._resume(latest)
        meaning = tuple(self.header.action_space["meaning"])
        return Action(self._bounds.limited(values), meaning, latest.header, anew)

    def _observed(self) -> Observations:
        try:
            observed = self._source.read()
        except JointError as error:
            raise Pause(error.kind, str(error)) from None
        if observed is None:
            raise Pause("no_joints", "there are no joint states yet")
        return observed

    def _needs_reset(self, latest: EmbeddingResult) -> bool:
        if self._acted_on is None or self._watchdog.paused:
            return True
        if order_after(latest.stamp_ns, self._acted_on.stamp_ns) is Order.RESET:
            return True
        gap = self._seconds_since_action() * self.control_hz > GAP_PERIODS
        if gap and self._policy.config.is_sequence:
            self._throttle.report(
                "gap",
                f"more than {GAP_PERIODS:g} control periods ({1 / self.control_hz:g} s each) lie "
                "between two actions: the policy is reset, as it was trained on steps of one "
                "period. Use a faster encoder or runtime",
            )
        return gap

    def _seconds_since_action(self) -> float:
        """Return the time by the node's clock: that of a simulation may be slower than the wall's.

        While that clock is silent, it is the wall's.
        """
        now = self._now_ns()
        if UNSET_NS in (now, self._acted_ns):
            return self._clock() - self._acted_s
        return (now - self._acted_ns) / NS

    def _resume(self, latest: EmbeddingResult) -> None:
        self._watchdog.resume()
        self._acted_on = latest
        self._acted_s, self._acted_ns = self._clock(), self._now_ns()
        self._counts["actions"] += 1
