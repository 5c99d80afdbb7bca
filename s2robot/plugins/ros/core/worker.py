"""One overwrite slot a channel, one encoder thread, no queue: embeddings of the latest frames.

A subscriber's queue of length one is not enough for "the latest frame": client libraries and the
network hold more, and an encoder of 100 ms then works on frames of half a second ago. Here a
callback stores its message in the channel's slot and returns at once; the encoder's thread takes
what is there when it is free.

An embedding is published with the header of the frame that it was made from, the same object. A
channel never publishes a frame older than its last one, with one exception: a stamp that lies more
than a second further back means a clock set back (a bag that starts anew, a simulator's reset).
Crop reuse then starts anew too, and the frame is published. Frames that are late by less are
counted and left out before they are encoded, so that reuse needs no reset for them.
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


class _Lane:
    """State of one channel."""

    def __init__(self, name: str, encoder: FramesEncoder, window: int) -> None:
        self.name = name
        self.encoder = encoder
        self.counters = Counters(window)
        self.due_s = -np.inf  # the rate limit takes frames from then on
        self.published_ns: int | None = None
        self.sizes: dict[str, tuple[int, ...]] = {}
        self.restart = False


class LatestFrameWorker:
    """Encodes the latest frames of some channels and hands the embeddings to a callback.

    Channels take turns, so that a fast camera does not starve a slow one. Any thread may call any
    method; ``publish`` and ``log`` are called from the encoder's thread (``log`` from others too).

    Args:
        encoders: of each channel, by its name; all are called from one thread.
        publish: what to do with a result.
        now_ns: the node's clock, simulated where stamps are [ns].
        log: writes a line to the node's log.
        max_rate_hz: most frames a second of each channel; 0 for no limit.
        stale_s: frames older than that, by stamp or by arrival, are not published; 0 for no limit.
        decode: message to frame ``(H, W, 3)`` uint8 RGB.
        clock: monotonic seconds, for everything but the age of stamps.
        window: frames that percentiles are over.

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
        self._lanes = {name: _Lane(name, encoder, window) for name, encoder in encoders.items()}
        self._publish, self._decode = publish, decode
        self._now_ns, self._clock = now_ns, clock
        self._period_s = 1 / max_rate_hz if max_rate_hz else 0.0
        self._stale_s = stale_s
        self._reports = LogThrottle(log)
        self._changed = threading.Condition()  # guards what follows
        self._slots: dict[str, Job] = {}  # in the order in which channels began to wait
        self._enabled = True
        self._session = 0
        self._thread: threading.Thread | None = None
        self._encoding = threading.Lock()
        self._encodes: int | None = None  # identity of the thread that holds it

    # ------------------------------------------------------------- life cycle
    def start(self) -> None:
        """Enable all channels and start the encoder's thread, unless it runs.

        Stamps, frames kept for reuse and the kinds that were logged are forgotten; counts go on.
        """
        with self._changed:
            self._enabled = True
            if self._thread is not None:
                return
            for lane in self._lanes.values():
                lane.restart, lane.due_s = True, -np.inf
            self._reports.forget()
            self._thread = threading.Thread(target=self._run, name="s2robot-encoder", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Disable all channels and end the thread; nothing is published once this has returned.

        It waits for the frame that is being encoded. It may be called from ``publish``, where it
        does not wait, and more than once.
        """
        self.disable()
        with self._changed:
            thread, self._thread = self._thread, None
            self._changed.notify_all()
        if self._encodes == threading.get_ident():
            return
        if thread is not None:
            thread.join()
        with self._encoding:  # another stop may have taken the thread
            pass

    def enable(self) -> None:
        """Take frames, as after ``start``."""
        with self._changed:
            self._enabled = True

    def disable(self) -> None:
        """Ignore frames from now on, as when nobody subscribes.

        What waits or is being encoded is not published; a publication that has begun may end.
        """
        with self._changed:
            self._enabled = False
            self._session += 1
            for name in self._slots:
                self._lanes[name].counters.count("discarded")
            self._slots.clear()

    @property
    def enabled(self) -> bool:
        """Whether frames are taken."""
        return self._enabled

    @property
    def running(self) -> bool:
        """Whether the encoder's thread is there."""
        return self._thread is not None

    def snapshots(self) -> dict[str, CounterSnapshot]:
        """The numbers of each channel."""
        now = self._clock()
        return {name: lane.counters.snapshot(now) for name, lane in self._lanes.items()}

    # ---------------------------------------------------------------- arrival
    def offer(
        self, channel: str, messages: Mapping[str, Any], arrived_s: float | None = None
    ) -> bool:
        """Put messages in the channel's slot in place of what waits there; returns at once.

        Args:
            channel: its name.
            messages: of each camera, with a header; the first one's stamps the embedding. They
                must not be changed afterwards.
            arrived_s: when they arrived, on the worker's clock; now when not given.

        Returns:
            Whether they were stored. Everything else is counted.

        Raises:
            ValueError: there is no such channel, or no message.
        """
        if channel not in self._lanes:
            raise unknown("channel", channel, self._lanes)
        if not messages:
            raise ValueError(f"channel {channel!r} was offered no message")
        lane = self._lanes[channel]
        arrived = self._clock() if arrived_s is None else arrived_s
        with self._changed:
            if not self._enabled:
                return False
            lane.counters.arrived(arrived)
        try:
            job = Job.of(messages, arrived)
        except StampError as error:
            self._count_failure(lane, error.kind, error)
            return False
        with self._changed:
            if not self._admits(lane, job):
                return False
            self._slots[channel] = job
            self._changed.notify_all()
        return True

    def _admits(self, lane: _Lane, job: Job) -> bool:
        if not self._enabled:
            lane.counters.count("discarded")
            return False
        waiting = self._slots.get(lane.name)
        if waiting and order_after(job.stamp_ns, waiting.stamp_ns) is Order.LATE:
            lane.counters.count("late")
            return False
        if self._period_s:
            if job.arrived_s < lane.due_s:
                lane.counters.count("limited")
                return False
            # Due times keep their raster: a camera's jitter must not halve the rate.
            due = lane.due_s + self._period_s
            lane.due_s = due if due > job.arrived_s else job.arrived_s + self._period_s
        if waiting:
            lane.counters.count("dropped")
        return True

    # --------------------------------------------------------------- encoding
    def _run(self) -> None:
        thread = threading.current_thread()
        while True:
            with self._changed:
                while self._thread is thread and not self._slots:
                    self._changed.wait()
                if self._thread is not thread:
                    return
            self.process_next()

    def process_next(self) -> bool:
        """Encode and publish what has waited longest; returns whether anything waited.

        The encoder's thread calls it; a program without that thread may.
        """
        with self._encoding:
            with self._changed:
                if not self._slots:
                    return False
                name = next(iter(self._slots))
                job, session, lane = self._slots.pop(name), self._session, self._lanes[name]
            self._encodes = threading.get_ident()
            try:
                self._process(lane, job, session)
            except Exception as error:
                self._failed(lane, error)
            finally:
                self._encodes = None
            return True

    def _process(self, lane: _Lane, job: Job, session: int) -> None:
        taken = self._clock()
        if lane.restart:
            lane.restart, lane.published_ns = False, None
            lane.encoder.reset()
        if self._is_late(lane, job) or self._is_stale(lane, job, "waiting for the encoder"):
            return
        frames = {camera: self._decode(message) for camera, message in job.messages.items()}
        self._watch_sizes(lane, frames)
        converted = self._clock()
        embedding = _checked(lane.encoder(frames))
        encode_s = self._clock() - converted
        lane.counters.encoded(encode_s, lane.encoder.hit_rate)
        if self._is_stale(lane, job, "encoding"):
            return
        timings = Timings(
            wait_s=taken - job.arrived_s,
            convert_s=converted - taken,
            encode_s=encode_s,
            overhead_s=self._clock() - job.arrived_s - encode_s,
            age_s=age_s(job.stamp_ns, self._now_ns()),
        )
        result = job.result(lane.name, embedding, lane.encoder.shape, timings)
        self._hand_over(lane, result, session)

    def _is_late(self, lane: _Lane, job: Job) -> bool:
        order = order_after(job.stamp_ns, lane.published_ns)
        if order is Order.LATE:
            lane.counters.count("late")
        elif order is Order.RESET:
            lane.counters.count("resets")
            lane.published_ns = None
            lane.encoder.reset()
            self._reports.report(
                f"{lane.name} reset",
                f"{lane.name}: stamps jumped back by more than a second; the clock was set back, "
                "frames kept for reuse are forgotten",
            )
        return order is Order.LATE

    def _is_stale(self, lane: _Lane, job: Job, during: str) -> bool:
        if not self._stale_s:
            return False
        here = self._clock() - job.arrived_s
        age = age_s(job.stamp_ns, self._now_ns())
        oldest = max(here, here if age is None else age)
        if oldest <= self._stale_s:
            return False
        lane.counters.lost("stale", self._clock())
        self._reports.report(
            f"{lane.name} stale",
            f"{lane.name}: a frame was {oldest:.2f} s old after {during} ({here:.2f} s of it in "
            f"this node), the limit stale_s is {self._stale_s:g} s: it is not published. If most "
            "of that is outside this node, compare the clocks of camera and node",
        )
        return True

    def _watch_sizes(self, lane: _Lane, frames: Mapping[str, np.ndarray]) -> None:
        sizes = {camera: frame.shape for camera, frame in frames.items()}
        if lane.sizes and sizes != lane.sizes:
            lane.counters.count("size_changes")
            self._reports.report(
                f"{lane.name} size",
                f"{lane.name}: frames changed from {lane.sizes} to {sizes}",
                Level.OK,
            )
        lane.sizes = sizes

    def _hand_over(self, lane: _Lane, result: EmbeddingResult, session: int) -> None:
        with self._changed:
            if session != self._session:
                lane.counters.count("discarded")
                return
            if result.stamp_ns != UNSET_NS:
                lane.published_ns = result.stamp_ns
        try:
            self._publish(result)
        except Exception as error:
            self._count_failure(lane, "publish", error)
            return
        now, timings = self._clock(), result.timings
        overhead = now - result.arrived_s - timings.encode_s
        lane.counters.published(now, timings.wait_s, overhead, timings.age_s)

    def _failed(self, lane: _Lane, error: Exception) -> None:
        if isinstance(error, NonFiniteError):
            lane.counters.lost("nan", self._clock())
            self._reports.report(f"{lane.name} nan", f"{lane.name}: {error}", Level.ERROR)
        elif isinstance(error, ImageError):
            self._count_failure(lane, error.kind, error)
        else:
            self._count_failure(lane, f"encoder_{type(error).__name__}", error)
        with contextlib.suppress(Exception):
            lane.encoder.reset()  # what it kept may be what made it fail

    def _count_failure(self, lane: _Lane, kind: str, error: Exception) -> None:
        lane.counters.failed(kind, self._clock())
        text = str(error) or type(error).__name__
        self._reports.report(f"{lane.name} {kind}", f"{lane.name}: {text}", Level.ERROR)


def _checked(found: np.ndarray) -> np.ndarray:
    """The embedding flat, in memory of its own, since encoders use their buffers again.

    Raises:
        NonFiniteError: a number is NaN or infinite.
    """
    embedding = np.array(found, np.float32).reshape(-1)
    if not np.isfinite(embedding).all():
        raise NonFiniteError("the embedding is NaN or infinite")
    return embedding
