"""Encoding of the latest frames: one waiting frame a channel, one encoder thread, no queue.

A subscriber's queue of length one does not guarantee the latest frame: client libraries and the
network hold more, so an encoder that takes 100 ms would work on frames that are half a second old.
Here a callback stores its message in place of the one that waits and returns at once. The encoder's
thread takes the waiting message when it is free.

An embedding is published with the header of its frame, the same object. A channel never publishes
a frame older than its last one, with one exception: a stamp that is older by more than a second
means that the clock was reset (a bag was restarted, or a simulator reset). The reuse of tiles is
reset then, and the frame is published. Frames that are late by less are counted and skipped before
they are encoded, so that reuse needs no reset for them.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from s2robot.data.ros_messages.images import ImageError, frame_of
from s2robot.data.ros_messages.stamps import (
    UNSET_NS,
    Order,
    StampError,
    age_s,
    order_after,
)
from s2robot.errors import NonFiniteError, unknown
from s2robot.plugins.ros.core.camera_encoder import FramesEncoder
from s2robot.plugins.ros.core.counters import WINDOW_FRAMES, Counters, CounterSnapshot
from s2robot.plugins.ros.core.embedding_result import EmbeddingResult, Job, Timings
from s2robot.plugins.ros.core.log_throttle import Level, Log, LogThrottle


class _ChannelState:
    """State of one channel."""

    def __init__(self, name: str, encoder: FramesEncoder, window: int) -> None:
        self.name = name
        self.encoder = encoder
        self.counters = Counters(window)
        self.due_s = -np.inf  # the rate limit accepts frames from then on
        self.published_ns: int | None = None
        self.sizes: dict[str, tuple[int, ...]] = {}
        self.restart = False


class LatestFrameWorker:
    """Worker that encodes the latest frames of some channels and passes results to a callback.

    Channels take turns, so that a fast camera does not starve a slow one. Any thread may call any
    method; ``publish`` and ``log`` are called in the encoder's thread (``log`` in others too).

    Args:
        encoders: encoders by channel; all are called in one thread.
        publish: receives every result.
        now_ns: the node's clock [ns], which is simulated if stamps are.
        log: writes a line to the node's log.
        max_rate_hz: highest rate of frames of each channel [Hz]; 0 is no limit.
        stale_s: age from which frames are not published, by stamp or by arrival [s]; 0 is no limit.
        decode: converts a message to a frame ``(H, W, 3)`` uint8 RGB.
        clock: monotonic clock [s], for everything except the age of stamps.
        window: number of frames for percentiles.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(  # noqa: PLR0913
        self,
        encoders: Mapping[str, FramesEncoder],
        publish: Callable[[EmbeddingResult], None],
        now_ns: Callable[[], int],
        log: Log,
        *,
        max_rate_hz: float = 0.0,
        stale_s: float = 0.0,
        decode: Callable[[Any], np.ndarray] = frame_of,
        clock: Callable[[], float] = time.monotonic,
        window: int = WINDOW_FRAMES,
    ) -> None:
        if not encoders:
            raise ValueError("a worker needs the encoder of at least one channel")
        for name, value in (("max_rate_hz", max_rate_hz), ("stale_s", stale_s)):
            if not 0 <= value < np.inf:
                raise ValueError(f"{name} is {value}; allowed: 0 for no limit, or a finite number")
        self._states = {
            name: _ChannelState(name, encoder, window) for name, encoder in encoders.items()
        }
        self._publish, self._decode = publish, decode
        self._now_ns, self._clock = now_ns, clock
        self._period_s = 1 / max_rate_hz if max_rate_hz else 0.0
        self._stale_s = stale_s
        self._throttle = LogThrottle(log)
        self._changed = threading.Condition()  # guards the attributes below
        self._waiting: dict[str, Job] = {}  # the longest waiting first
        self._enabled = True
        self._session = 0
        self._thread: threading.Thread | None = None
        self._encoding = threading.Lock()
        self._encodes: int | None = None  # identity of the thread that holds the lock

    # ------------------------------------------------------------- life cycle
    def start(self) -> None:
        """Enable all channels and start the encoder's thread, unless it runs.

        Stamps, frames kept for reuse and the kinds of logged problems are forgotten; counts
        continue.
        """
        with self._changed:
            self._enabled = True
            if self._thread is not None:
                return
            for state in self._states.values():
                state.restart, state.due_s = True, -np.inf
            self._throttle.forget()
            self._thread = threading.Thread(target=self._run, name="s2robot-encoder", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Disable all channels and end the thread; nothing is published after the return.

        The call waits for the frame that is being encoded, except inside ``publish``. It may be
        repeated.
        """
        self.disable()
        with self._changed:
            thread, self._thread = self._thread, None
            self._changed.notify_all()
        if self._encodes == threading.get_ident():
            return
        if thread is not None:
            thread.join()
        with self._encoding:  # another call may wait for the thread
            pass

    def enable(self) -> None:
        """Accept frames, as after ``start``."""
        with self._changed:
            self._enabled = True

    def disable(self) -> None:
        """Ignore frames from now on, for example while nobody subscribes.

        Frames that wait or are being encoded are not published; a publication that has started
        continues.
        """
        with self._changed:
            self._enabled = False
            self._session += 1
            for name in self._waiting:
                self._states[name].counters.count("discarded")
            self._waiting.clear()

    @property
    def enabled(self) -> bool:
        """True while frames are accepted."""
        return self._enabled

    @property
    def running(self) -> bool:
        """True while the encoder's thread runs."""
        return self._thread is not None

    def snapshots(self) -> dict[str, CounterSnapshot]:
        """Return the numbers of each channel by its name."""
        now = self._clock()
        return {name: state.counters.snapshot(now) for name, state in self._states.items()}

    # ---------------------------------------------------------------- arrival
    def undelivered(self, name: str, number: int) -> None:
        """Count frames of a channel that were lost on their way here.

        Args:
            name: of the channel.
            number: of frames.
        """
        for _ in range(number):
            self._states[name].counters.lost("undelivered", self._clock())

    def offer(
        self, channel: str, messages: Mapping[str, Any], arrived_s: float | None = None
    ) -> bool:
        """Store messages in place of those that wait on the channel, and return at once.

        Args:
            channel: name of the channel.
            messages: messages by camera; the embedding gets the first one's header. They must not
                be changed afterwards.
            arrived_s: time of arrival by the worker's clock [s]; now when not given.

        Returns:
            Whether the messages were stored; the reason is counted if not.

        Raises:
            ValueError: the channel does not exist, or there is no message.
        """
        if channel not in self._states:
            raise unknown("channel", channel, self._states)
        if not messages:
            raise ValueError(f"channel {channel!r} was offered no message; give one of each camera")
        state = self._states[channel]
        arrived = self._clock() if arrived_s is None else arrived_s
        with self._changed:
            if not self._enabled:
                return False
            state.counters.arrived(arrived)
        try:
            job = Job.of(messages, arrived)
        except StampError as error:
            self._count_failure(state, error.kind, error)
            return False
        with self._changed:
            if not self._admits(state, job):
                return False
            self._waiting[channel] = job
            self._changed.notify_all()
        return True

    def _admits(self, state: _ChannelState, job: Job) -> bool:
        if not self._enabled:
            state.counters.count("discarded")
            return False
        waiting = self._waiting.get(state.name)
        if waiting and order_after(job.stamp_ns, waiting.stamp_ns) is Order.LATE:
            state.counters.count("late")
            return False
        if self._period_s:
            if job.arrived_s < state.due_s:
                state.counters.count("limited")
                return False
            # Due times stay on their grid, so that a camera's jitter does not halve the rate.
            due = state.due_s + self._period_s
            state.due_s = due if due > job.arrived_s else job.arrived_s + self._period_s
        if waiting:
            state.counters.count("dropped")
        return True

    # --------------------------------------------------------------- encoding
    def _run(self) -> None:
        thread = threading.current_thread()
        while True:
            with self._changed:
                while self._thread is thread and not self._waiting:
                    self._changed.wait()
                if self._thread is not thread:
                    return
            self.process_next()

    def process_next(self) -> bool:
        """Encode and publish the messages that have waited longest.

        The encoder's thread calls this; a program without that thread may call it as well.

        Returns:
            Whether any messages waited.
        """
        with self._encoding:
            with self._changed:
                if not self._waiting:
                    return False
                name = next(iter(self._waiting))
                job, session, state = self._waiting.pop(name), self._session, self._states[name]
            self._encodes = threading.get_ident()
            try:
                self._process(state, job, session)
            except Exception as error:
                self._failed(state, error)
            finally:
                self._encodes = None
            return True

    def _process(self, state: _ChannelState, job: Job, session: int) -> None:
        taken = self._clock()
        if state.restart:
            state.restart, state.published_ns = False, None
            state.encoder.reset()
        if self._is_late(state, job) or self._is_stale(state, job, "waiting for the encoder"):
            return
        frames = {camera: self._decode(message) for camera, message in job.messages.items()}
        self._watch_sizes(state, frames)
        converted = self._clock()
        embedding = _checked(state.encoder(frames))
        encode_s = self._clock() - converted
        state.counters.encoded(encode_s, state.encoder.hit_rate)
        if self._is_stale(state, job, "encoding"):
            return
        timings = Timings(
            wait_s=taken - job.arrived_s,
            convert_s=converted - taken,
            encode_s=encode_s,
            overhead_s=self._clock() - job.arrived_s - encode_s,
            age_s=age_s(job.stamp_ns, self._now_ns()),
        )
        result = job.result(state.name, embedding, state.encoder.shape, timings)
        self._deliver(state, result, session)

    def _is_late(self, state: _ChannelState, job: Job) -> bool:
        order = order_after(job.stamp_ns, state.published_ns)
        if order is Order.LATE:
            state.counters.count("late")
        elif order is Order.RESET:
            state.counters.count("resets")
            state.published_ns = None
            state.encoder.reset()
            self._throttle.report(
                f"{state.name} reset",
                f"{state.name}: stamps went back by more than a second, so the clock was reset; "
                "frames kept for reuse are forgotten",
            )
        return order is Order.LATE

    def _is_stale(self, state: _ChannelState, job: Job, during: str) -> bool:
        if not self._stale_s:
            return False
        here = self._clock() - job.arrived_s
        age = age_s(job.stamp_ns, self._now_ns())
        oldest = max(here, here if age is None else age)
        if oldest <= self._stale_s:
            return False
        state.counters.lost("stale", self._clock())
        self._throttle.report(
            f"{state.name} stale",
            f"{state.name}: a frame was {oldest:.2f} s old after {during} ({here:.2f} s of it in "
            f"this node), but the limit stale_s is {self._stale_s:g} s: it is not published. If "
            "most of that time is outside this node, compare the clocks of camera and node",
        )
        return True

    def _watch_sizes(self, state: _ChannelState, frames: Mapping[str, np.ndarray]) -> None:
        sizes = {camera: frame.shape for camera, frame in frames.items()}
        if state.sizes and sizes != state.sizes:
            state.counters.count("size_changes")
            self._throttle.report(
                f"{state.name} size",
                f"{state.name}: frames changed from {state.sizes} to {sizes}",
                Level.OK,
            )
        state.sizes = sizes

    def _deliver(self, state: _ChannelState, result: EmbeddingResult, session: int) -> None:
        with self._changed:
            if session != self._session:
                state.counters.count("discarded")
                return
            if result.stamp_ns != UNSET_NS:
                state.published_ns = result.stamp_ns
        try:
            self._publish(result)
        except Exception as error:
            self._count_failure(state, "publish", error)
            return
        now, timings = self._clock(), result.timings
        overhead = now - result.arrived_s - timings.encode_s
        state.counters.published(now, timings.wait_s, overhead, timings.age_s)

    def _failed(self, state: _ChannelState, error: Exception) -> None:
        if isinstance(error, NonFiniteError):
            state.counters.lost("nan", self._clock())
            self._throttle.report(f"{state.name} nan", f"{state.name}: {error}", Level.ERROR)
        elif isinstance(error, ImageError):
            self._count_failure(state, error.kind, error)
        else:
            self._count_failure(state, f"encoder_{type(error).__name__}", error)
        with contextlib.suppress(Exception):
            state.encoder.reset()  # kept frames may be the cause of the failure

    def _count_failure(self, state: _ChannelState, kind: str, error: Exception) -> None:
        state.counters.failed(kind, self._clock())
        text = str(error) or type(error).__name__
        self._throttle.report(f"{state.name} {kind}", f"{state.name}: {text}", Level.ERROR)


def _checked(found: np.ndarray) -> np.ndarray:
    """Return a flat copy of the embedding, since encoders use their buffers again.

    Raises:
        NonFiniteError: a number is NaN or infinite.
    """
    embedding = np.array(found, np.float32).reshape(-1)
    if not np.isfinite(embedding).all():
        raise NonFiniteError("the embedding is NaN or infinite")
    return embedding
