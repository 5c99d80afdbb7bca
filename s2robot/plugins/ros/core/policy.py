"""Actions of a policy file from the latest embedding and the latest joint states, or none at all.

The node calls ``tick`` at the policy's rate (``control_hz``, 5 Hz for pick-cube). An action is what
the environment's is, numbers in [-1, 1] held for one period: a step of the tool centre point of
0.04 m an axis in the robot's base frame (and 0.2 rad of yaw), or 0.15 rad a joint, and the gripper,
open above 0. The robot's controller turns it into motion, and stops when actions stop.
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

from s2robot.data.ros_messages.stamps import Order, StampError, age_s, order_after
from s2robot.errors import MismatchError
from s2robot.plugins.ros.core.embedding_result import EmbeddingResult
from s2robot.plugins.ros.core.log_throttle import Level, Log, LogThrottle
from s2robot.plugins.ros.core.proprioception import JointError, Joints, JointTracker, Proprioception
from s2robot.policies.checkpoint import PolicyHeader, load_policy
from s2robot.policies.policy import Policy

GAP_PERIODS = 2.1
"""A policy with a history starts anew after that many control periods without an action."""


@dataclass(frozen=True, eq=False)
class Action:
    """One control step."""

    values: np.ndarray
    """``(A,)`` float32 in [-1, 1]."""
    meaning: tuple[str, ...]
    """What each entry is: "dx", ..., "gripper"."""
    header: Any
    """Of the frame that was acted on: the same object."""
    anew: bool
    """Whether the policy had forgotten its history before."""


@dataclass(frozen=True)
class PolicyCounts:
    """What a runner has done."""

    actions: int
    resets: int
    """How often the policy started anew, the first time included."""
    pauses: dict[str, int]
    """How often it stopped, by reason."""
    paused: str
    """The reason for which it gives no action now; "" while it acts."""
    message: str
    """That reason in words."""


class _Pause(Exception):  # noqa: N818
    """Why there is no action now."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class PolicyRunner:
    """Runs one policy on one robot. Any thread may call any method.

    There is no action while the embedding's frame or a joint state is older than ``stale_s``: by
    the time since it arrived, and by its stamp on the node's clock. A stamp that lies further in
    the future than that is refused too, for an old frame would pass for a fresh one. Each stop and
    each return is logged once. No embedding is acted on twice, since every action is a step.

    Args:
        policy: as ``load_policy`` gives it.
        header: of its file.
        stale_s: see above.
        now_ns: the node's clock, simulated where stamps are [ns].
        log: writes a line to the node's log.
        joint_prefix: see ``JointTracker``.
        clock: monotonic seconds, the one of the worker.

    Raises:
        ValueError: ``stale_s`` is not above 0.
        MismatchError: the policy has no eyes, or reads what a robot does not measure.
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
        if not 0 < stale_s < np.inf:
            raise ValueError(f"stale_s is {stale_s}; allowed: seconds above 0")
        if not policy.embedding_dim or header.encoder.get("backbone") in ("none", "state"):
            raise MismatchError(
                f"the policy reads {header.encoder.get('backbone')!r}, not frames; a node needs "
                "one that was trained on an encoder"
            )
        self.header = header
        self.control_hz = float(header.action_space["control_hz"])
        self._policy, self._stale_s = policy, stale_s
        self._now_ns, self._clock = now_ns, clock
        self._reports = LogThrottle(log)
        self._proprioception = Proprioception(
            header.proprio_keys, header.env_kwargs.get("arm_path")
        )
        self._tracker = JointTracker(joint_prefix, "gripper_width" in header.proprio_keys)
        self._lock = threading.Lock()  # guards what arrives
        self._seen: EmbeddingResult | None = None
        self._joint_error: _Pause | None = None
        self._acting = threading.Lock()  # guards what follows
        self._acted_on: EmbeddingResult | None = None
        self._acted_s = -np.inf
        self._paused: _Pause | None = None
        self._counts: Counter[str] = Counter()
        self._pauses: Counter[str] = Counter()

    @classmethod
    def from_file(cls, path: str | Path, *args: Any, **kwargs: Any) -> PolicyRunner:
        """Of a policy file; further arguments from ``stale_s`` on."""
        return cls(*load_policy(path), *args, **kwargs)

    @property
    def frame_shape(self) -> tuple[int, int] | None:
        """Height and width of the frames that the policy was trained on; None where not known."""
        side = self.header.frames.get("camera", {}).get("size")
        return (side, side) if isinstance(side, int) else None

    def take_embedding(self, result: EmbeddingResult) -> None:
        """Keep an embedding, in place of the last."""
        with self._lock:
            self._seen = result

    def take_joints(self, message: Any, arrived_s: float | None = None) -> None:
        """Keep the states that a ``sensor_msgs/JointState`` names; bad ones stop the policy.

        A stop for that reason ends with the next good message.
        """
        arrived = self._clock() if arrived_s is None else arrived_s
        try:
            self._tracker.update(message, arrived)
            error = None
        except (JointError, StampError) as caught:
            error = _Pause(caught.kind, str(caught))
        with self._lock:
            self._joint_error = error

    def start_anew(self) -> None:
        """Forget the history and what was seen, as after the node was switched off."""
        with self._acting, self._lock:
            self._seen = self._acted_on = None
            self._acted_s, self._paused = -np.inf, None

    def counts(self) -> PolicyCounts:
        """What was done so far."""
        with self._acting:
            return PolicyCounts(
                self._counts["actions"],
                self._counts["resets"],
                dict(self._pauses),
                self._paused.kind if self._paused else "",
                str(self._paused) if self._paused else "",
            )

    def tick(self) -> Action | None:
        """One control step; None where there is nothing new, or nothing fresh, to act on."""
        with self._acting:
            try:
                return self._step()
            except _Pause as pause:
                self._stop(pause)
            except Exception as error:
                self._stop(_Pause(f"policy_{type(error).__name__}", f"the policy failed: {error}"))
            return None

    def _step(self) -> Action | None:
        with self._lock:
            seen, joint_error = self._seen, self._joint_error
        if joint_error:
            raise joint_error
        joints = self._joints()
        if seen is None:
            raise _Pause("no_frames", "there is no embedding yet")
        self._check_age("frames", seen.arrived_s, seen.stamp_ns)
        self._check_age("joints", joints.arrived_s, joints.stamp_ns)
        if seen is self._acted_on:
            return None
        proprio = self._proprio(joints)
        anew = self._needs_reset(seen)
        if anew:
            self._policy.reset(1)
            self._counts["resets"] += 1
        embedding = torch.from_numpy(seen.embedding)[None]
        values = self._policy.act(embedding, torch.from_numpy(proprio))[0].float().cpu().numpy()
        if not np.isfinite(values).all():
            raise _Pause("action_nan", f"the policy's action is {values.tolist()}")
        self._go_on(seen)
        meaning = tuple(self.header.action_space["meaning"])
        return Action(values.clip(-1.0, 1.0), meaning, seen.header, anew)

    def _joints(self) -> Joints:
        try:
            joints = self._tracker.read()
        except JointError as error:
            raise _Pause(error.kind, str(error)) from None
        if joints is None:
            raise _Pause("no_joints", "there are no joint states yet")
        return joints

    def _proprio(self, joints: Joints) -> np.ndarray:
        try:
            return self._proprioception(joints)
        except JointError as error:
            raise _Pause(error.kind, str(error)) from None

    def _check_age(self, what: str, arrived_s: float, stamp: int) -> None:
        limit = self._stale_s
        here = self._clock() - arrived_s
        if here > limit:
            raise _Pause(
                f"stale_{what}", f"no new {what} for {here:.2f} s (stale_s is {limit:g} s)"
            )
        age = age_s(stamp, self._now_ns())
        if age is None or abs(age) <= limit:
            return
        told = f"by their stamps, {what} are {age:.2f} s old (stale_s is {limit:g} s)"
        if age < 0:
            told = f"by their stamps, {what} are {-age:.2f} s in the future"
        if abs(age - here) > limit / 2:  # else they have simply stopped coming
            told += f", but they arrived {here:.2f} s ago: compare the clocks"
        raise _Pause(f"stale_{what}", told)

    def _needs_reset(self, seen: EmbeddingResult) -> bool:
        if self._acted_on is None or self._paused:
            return True
        if order_after(seen.stamp_ns, self._acted_on.stamp_ns) is Order.RESET:
            return True
        gap = (self._clock() - self._acted_s) * self.control_hz > GAP_PERIODS
        if gap and self._policy.config.kind in ("rnn_gmm", "transformer"):
            self._reports.report(
                "gap",
                f"more than {GAP_PERIODS:g} control periods ({1 / self.control_hz:g} s each) lay "
                "between two actions: the policy starts its history anew. It was trained on steps "
                "of one period; use a faster encoder or runtime",
            )
        return gap

    def _stop(self, pause: _Pause) -> None:
        if self._paused is None or self._paused.kind != pause.kind:
            self._pauses[pause.kind] += 1
            self._reports.say(f"no actions: {pause}", Level.ERROR)
        self._paused = pause

    def _go_on(self, seen: EmbeddingResult) -> None:
        if self._paused:
            self._reports.say("actions again: frames and joint states are fresh", Level.OK)
        self._paused = None
        self._acted_on, self._acted_s = seen, self._clock()
        self._counts["actions"] += 1
