"""A simulated robot in time: what the simulators of ROS 1 and ROS 2 do, without ROS.

In real time the robot moves on whether or not actions come: it publishes frames and joint states at
their rates, carries out an action when it arrives, and its arm stops when none follows.

Synchronous, the world stands still until the action on its last frame is here (as in the
synchronous mode of CARLA or the lockstep of PX4): each control period begins with joint states and
one frame, waits for the action with that frame's stamp, and then lasts its 0.2 s. So a slow or busy
computer changes how long an episode takes, and not what happens in it. The node's timer needs
simulated time for this: ``/clock`` stands at the frame's stamp until the frame is embedded, then
goes on by one period, at which the timer fires.
"""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np

from s2robot.data.ros_messages.stamps import NS
from s2robot.envs.controllers import CONTROL_DT_S
from s2robot.plugins.ros.core.log_throttle import Level
from s2robot.plugins.ros.simulated_robot import PAUSE_S, Episode, SimulatedRobot

_PERIOD_NS = round(CONTROL_DT_S * NS)
_CREEP_NS = NS // 1000
"""What the clock goes on by while an action is due, so that no rounding keeps a timer waiting."""
_CLOCK_S = 0.05
"""Time between two publications of a clock that stands still, as the first may be lost [s]."""
_SEND_AGAIN_S = 2.0
"""Time after which a frame without embedding, or joints without action, are sent again [s]; best
effort may lose them."""


class RobotLink(Protocol):
    """What a simulation needs of ROS. Any thread may call any method."""

    def alive(self) -> bool:
        """Return whether ROS runs."""
        ...

    def now_ns(self) -> int:
        """Return the time of the wall, for stamps without simulated time [ns]."""
        ...

    def publish_clock(self, now_ns: int) -> None:
        """Publish the simulated time [ns]."""
        ...

    def publish_joints(self, stamp_ns: int, position: list[float], velocity: list[float]) -> None:
        """Publish the joints in the order of ``JOINT_NAMES``."""
        ...

    def publish_frame(self, stamp_ns: int, frame: np.ndarray) -> None:
        """Publish a frame (H, W, 3) uint8 RGB."""
        ...

    def publish_episode(self, text: str) -> None:
        """Publish the JSON of a finished episode."""
        ...

    def frame_takers(self) -> int:
        """Return the number of subscribers of the camera."""
        ...

    def action_sources(self) -> int:
        """Return the number of publishers of actions."""
        ...

    def log(self, level: Level, text: str) -> None:
        """Write a line to the node's log."""
        ...


class Simulation:
    """Episodes of one simulated robot; ``run`` belongs to one thread, the rest to any.

    Args:
        robot: the robot.
        link: its topics.
        simulated_time: whether stamps are simulated and ``/clock`` is published.

    Raises:
        ValueError: the configuration is synchronous, and time is not simulated.
    """

    def __init__(self, robot: SimulatedRobot, link: RobotLink, simulated_time: bool) -> None:
        if robot.config.synchronous and not simulated_time:
            raise ValueError(
                "synchronous is true, but time is not simulated: the world could not stand still. "
                "Set use_sim_time of the simulator and of the node to true, or synchronous to false"
            )
        self._robot, self._link = robot, link
        self._config = robot.config
        self._simulated_time = simulated_time
        self._active: Callable[[], bool] = lambda: True
        self._arrived = threading.Condition()  # guards the two below
        self._waiting: tuple[np.ndarray, int] | None = None  # action and stamp of its frame
        self._embedded_ns = -1  # stamp of the last frame that was embedded
        self._origin_s = 0.0
        self._clock_ns = 0
        self._first_ns = 0  # actions on older frames belong to an earlier episode
        self._missed = 0
        self.episodes: list[Episode] = []
        """The finished episodes."""

    # ---------------------------------------------------------------- arrivals
    def receive_action(self, values: np.ndarray, stamp_ns: int) -> None:
        """Take an action (A,) on the frame with this stamp [ns]."""
        with self._arrived:
            self._waiting = values, stamp_ns
            self._arrived.notify_all()

    def receive_embedding(self, stamp_ns: int) -> None:
        """Take the news that the frame with this stamp [ns] is embedded."""
        with self._arrived:
            self._embedded_ns = stamp_ns
            self._arrived.notify_all()

    # --------------------------------------------------------------------- run
    def run(self, active: Callable[[], bool] = lambda: True) -> bool:
        """Run until ROS ends or the last episode is over; the first waits for actions' source.

        Args:
            active: whether to go on; another call continues where one has returned.

        Returns:
            Whether the last episode is over.
        """
        self._active = active
        self._origin_s = time.monotonic() - self._robot.time_s / self._config.speed
        return self._run_synchronously() if self._config.synchronous else self._run_in_time()

    def _goes_on(self) -> bool:
        return self._link.alive() and self._active()

    def _run_in_time(self) -> bool:
        step_s = 1 / self._config.joint_hz
        due_s = frame_due_s = self._robot.time_s
        while self._goes_on():
            due_s += step_s
            self._wait_until(due_s)
            self._begin_waiting()
            self._robot.pass_until(due_s)
            self._publish_joints()
            if self._robot.time_s >= frame_due_s - 1e-6:
                frame_due_s = max(frame_due_s, due_s - step_s) + 1 / self._config.camera_hz
                if self._link.frame_takers():
                    self._link.publish_frame(self._now_ns(), self._robot.frame())
            episode = self._robot.ended() if self._has_started() else None
            if episode and self._finish(episode):
                return True
            if episode:
                self._pause(episode.seed + 1)
                due_s = frame_due_s = self._robot.time_s
        return False

    def _has_started(self) -> bool:
        if not self._first_ns and self._link.action_sources():
            self._start()
        return bool(self._first_ns)

    def _start(self) -> None:
        self._link.log(Level.OK, "actions have a publisher: the first episode starts")
        self._robot.reset()
        self._first_ns = self._now_ns()

    def _wait_until(self, due_s: float) -> None:
        """Sleep until a simulated time is due by wall time; delays are not caught up."""
        rest = self._origin_s + due_s / self._config.speed - time.monotonic()
        if rest > 0:
            time.sleep(rest)
        else:
            self._origin_s -= rest
        if self._simulated_time:
            self._link.publish_clock(round(due_s * NS))

    def _now_ns(self) -> int:
        """Return the time for stamps: simulated time if /clock is published, else ROS time [ns]."""
        if not self._simulated_time:
            return self._link.now_ns()
        return self._clock_ns if self._config.synchronous else round(self._robot.time_s * NS)

    def _begin_waiting(self) -> None:
        with self._arrived:
            waiting, self._waiting = self._waiting, None
        if waiting and waiting[1] >= self._first_ns > 0:
            self._begin(waiting[0])

    def _begin(self, values: np.ndarray) -> None:
        try:
            self._robot.act(values)
        except ValueError as error:
            self._link.log(Level.ERROR, str(error))

    def _publish_joints(self) -> None:
        self._link.publish_joints(self._now_ns(), *self._robot.joints())

    # ---------------------------------------------------------------- episodes
    def _finish(self, episode: Episode) -> bool:
        """Publish the outcome and return whether it was the last."""
        episode = dataclasses.replace(episode, missed=self._missed)
        self._missed = 0
        self.episodes.append(episode)
        self._link.publish_episode(json.dumps(dataclasses.asdict(episode)))
        wins, total = sum(e.success for e in self.episodes), len(self.episodes)
        outcome = f"lifted after {episode.seconds:.1f} s" if episode.success else episode.stage
        text = f"episode {episode.seed}: {outcome} ({wins} of {total} lifted)"
        self._link.log(Level.OK, text)
        if total != self._config.episodes:
            return False
        time.sleep(0.5)  # time to send the last message
        return True

    def _pause(self, seed: int) -> None:
        """Start the next episode, after a pause in which a policy forgets the last one."""
        self._robot.reset(seed)
        end_s = self._robot.time_s + PAUSE_S
        while self._robot.time_s < end_s - 1e-6 and self._goes_on():
            due_s = self._robot.time_s + 1 / self._config.joint_hz
            self._wait_until(due_s)
            self._robot.pass_until(due_s)
            self._publish_joints()
        self._robot.reset(seed)  # undo the pause
        self._first_ns = self._now_ns()

    # ------------------------------------------------------------- synchronous
    def _run_synchronously(self) -> bool:
        while self._goes_on():
            if not self._first_ns:
                self._wait_for_partners()
                continue
            values = self._act_on_frame()
            if not self._goes_on():
                break
            if values is not None:
                self._begin(values)
            self._robot.pass_until(self._robot.time_s + CONTROL_DT_S)
            episode = self._robot.ended()
            if episode and self._finish(episode):
                return True
            if episode:
                self._robot.reset(episode.seed + 1)
                self._tick(round(PAUSE_S * NS))
                self._first_ns = self._clock_ns
        return False

    def _wait_for_partners(self) -> None:
        """Let the clock run until somebody takes frames and somebody gives actions."""
        self._tick(round(_CLOCK_S * NS))
        self._publish_joints()
        if self._link.frame_takers() and self._link.action_sources():
            self._start()
        else:
            time.sleep(_CLOCK_S)

    def _tick(self, nanoseconds: int) -> None:
        self._clock_ns += nanoseconds
        self._link.publish_clock(self._clock_ns)

    def _act_on_frame(self) -> np.ndarray | None:
        """Show a frame, and return the action on it; None where none came within ``wait_s``."""
        stamp, frame = self._clock_ns, self._robot.frame()
        self._publish_joints()
        self._link.publish_frame(stamp, frame)
        values = self._action_on(stamp, frame)
        if values is None and self._goes_on():
            self._missed += 1
            lacks = "action" if self._embedded_ns == stamp else "embedding and no action"
            text = f"no {lacks} came within {self._config.wait_s:g} s: the arm rests for a period"
            self._link.log(Level.ERROR, text)
        if self._clock_ns < stamp + _PERIOD_NS:
            self._tick(stamp + _PERIOD_NS - self._clock_ns)
        return values

    def _action_on(self, stamp: int, frame: np.ndarray) -> np.ndarray | None:
        started = sent = time.monotonic()
        due = False  # whether the clock has gone on, so that the node's timer fires
        while self._goes_on() and time.monotonic() < started + self._config.wait_s:
            with self._arrived:
                if self._waiting and self._waiting[1] == stamp:
                    return self._waiting[0]
                embedded = self._embedded_ns == stamp
            if embedded and not due:
                due = True
                self._tick(_PERIOD_NS)
            else:
                self._tick(_CREEP_NS if due else 0)
            if time.monotonic() > sent + _SEND_AGAIN_S:
                sent = time.monotonic()
                self._publish_joints()
                if embedded:
                    self._tick(_PERIOD_NS)
                else:
                    self._link.publish_frame(stamp, frame)
            self._wait_for_news(stamp, due)
        return None

    def _wait_for_news(self, stamp: int, due: bool) -> None:
        def news() -> bool:
            acted = self._waiting is not None and self._waiting[1] == stamp
            return acted or (not due and self._embedded_ns == stamp)

        with self._arrived:
            self._arrived.wait_for(news, _CLOCK_S)
