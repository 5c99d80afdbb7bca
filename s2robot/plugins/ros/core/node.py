"""Everything of a node except ROS; a ROS node adds subscriptions, publishers and timers."""

from __future__ import annotations

import functools
import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from s2robot.data.ros_messages.images import frame_of
from s2robot.encoder.spec import EncoderSpec
from s2robot.errors import unknown
from s2robot.plugins.ros.core.camera_encoder import FramesEncoder
from s2robot.plugins.ros.core.config import NodeConfig, build_channels, build_encoder
from s2robot.plugins.ros.core.diagnostics import (
    Status,
    channel_status,
    is_silent,
    policy_status,
    sync_status,
)
from s2robot.plugins.ros.core.embedding_result import EmbeddingResult
from s2robot.plugins.ros.core.log_throttle import Log, LogThrottle
from s2robot.plugins.ros.core.policy.runner import Action, PolicyRunner
from s2robot.plugins.ros.core.time_synchronizer import SyncCounts, TimeSynchronizer
from s2robot.plugins.ros.core.worker import LatestFrameWorker
from s2robot.utils.provenance import provenance

SWITCH_S = 0.0005
"""Interval for ``sys.setswitchinterval`` in a node's process [s]: with Python's default of 5 ms the
encoder's thread waits that long for threads that receive images, at every layer of the network."""


class NodeCore:
    """Core of a node: messages in; embeddings, actions and diagnostics out.

    A node passes every message of a subscription to ``receive_image`` or ``receive_joints``, which
    return at once, and with a policy calls ``tick`` at ``control_hz``. Any thread may call any
    method.

    Args:
        config: parameters of the node.
        publish: receives every embedding, in the encoder's thread.
        now_ns: the node's clock [ns], which is simulated if stamps are.
        log: writes a line to the node's log.
        channels: encoders by channel; made from ``config`` when not given.
        clock: monotonic clock [s].

    Raises:
        S2RobotError: see ``build_encoder`` and ``PolicyRunner``.
    """

    def __init__(
        self,
        config: NodeConfig,
        publish: Callable[[EmbeddingResult], None],
        now_ns: Callable[[], int],
        log: Log,
        *,
        channels: Mapping[str, FramesEncoder] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self.model = config.encoder or config.policy
        self._spec: EncoderSpec | None = None
        if channels is None:
            encoder = build_encoder(config)
            channels, self._spec = build_channels(config, encoder), encoder.spec
            self.model = encoder.spec.tag
        self._publish, self._now_ns = publish, now_ns
        self._throttle = LogThrottle(log)
        self.runner = (
            PolicyRunner.from_file(
                config.policy, config.stale_s, now_ns, log, config.joint_prefix, clock
            )
            if config.policy
            else None
        )
        self.worker = LatestFrameWorker(
            channels,
            self._handle_result,
            now_ns,
            log,
            max_rate_hz=config.max_rate_hz,
            stale_s=config.stale_s,
            decode=self._decode,
            clock=clock,
        )
        self._channel_of = {t: name for name, topics in config.channels.items() for t in topics}
        self._synchronizer = self._make_synchronizer()
        self._last_counts: SyncCounts | None = None
        self._counts_lock = threading.Lock()

    def _make_synchronizer(self) -> TimeSynchronizer | None:
        for name, topics in self.config.channels.items():
            if len(topics) > 1:
                return TimeSynchronizer(
                    topics, self.config.slop_s, functools.partial(self.worker.offer, name)
                )
        return None

    def _decode(self, message: Any) -> np.ndarray:
        frame = frame_of(message, self.config.generic_order)
        trained = self.runner.frame_shape if self.runner else None
        height, width = frame.shape[:2]
        if trained and trained[0] * width != trained[1] * height:
            self._throttle.report(
                "aspect",
                f"frames are {height} x {width}, but the policy was trained on {trained[0]} x "
                f"{trained[1]}: it sees another part of the scene, or a distorted scene. Crop the "
                "camera's frames to that shape, or train on frames of this shape",
            )
        return frame

    def _handle_result(self, result: EmbeddingResult) -> None:
        if self.runner:
            self.runner.take_embedding(result)
        self._publish(result)

    @property
    def control_hz(self) -> float | None:
        """Rate at which a node calls ``tick`` [Hz]; None without a policy."""
        return self.runner.control_hz if self.runner else None

    def description(self) -> str:
        """Return JSON that describes the encoder, as in bags on ``ENCODER_TOPIC``."""
        spec = self._spec
        record: dict[str, Any] = {"model": self.model, "image_topics": self.config.image_topics}
        if spec:
            record |= {"encoder": spec.to_dict(), "digest": spec.digest()}
        return json.dumps(record | {"provenance": provenance()})

    def start(self) -> None:
        """Start to accept frames; see ``LatestFrameWorker.start``."""
        self._forget()
        self.worker.start()

    def stop(self) -> None:
        """Stop to accept frames and end the thread; see ``LatestFrameWorker.stop``."""
        self.worker.stop()

    def enable(self) -> None:
        """Accept frames again."""
        if not self.worker.enabled:
            self._forget()
        self.worker.enable()

    def disable(self) -> None:
        """Ignore frames from now on; a policy then gives no actions."""
        self.worker.disable()

    def _forget(self) -> None:
        if self._synchronizer:
            self._synchronizer.clear()
        if self.runner:
            self.runner.reset()

    def receive_image(self, topic: str, message: Any) -> bool:
        """Accept an Image or CompressedImage.

        Args:
            topic: name of the topic, as in the configuration.
            message: the message; it must not be changed afterwards.

        Returns:
            Whether a frame, or a set of synchronized frames, now waits for the encoder.

        Raises:
            ValueError: the topic is not in the configuration.
        """
        if topic not in self._channel_of:
            raise unknown("topic", topic, self._channel_of)
        if not self.worker.enabled:
            return False
        if self._synchronizer:
            return self._synchronizer.offer(topic, message)
        return self.worker.offer(self._channel_of[topic], {topic: message})

    def count_undelivered(self, topic: str, number: int) -> None:
        """Count frames that the middleware says to have lost.

        Args:
            topic: name of the topic, as in the configuration.
            number: of frames.
        """
        if self.worker.enabled:
            self.worker.undelivered(self._channel_of[topic], number)

    def receive_joints(self, message: Any) -> None:
        """Accept a JointState."""
        if self.runner:
            self.runner.take_joints(message)

    def tick(self) -> Action | None:
        """Do one control step; see ``PolicyRunner.tick``."""
        return self.runner.tick() if self.runner else None

    def diagnostics(self, why_silent: Callable[[str], str] = lambda topic: "") -> list[Status]:
        """Return the statuses of the channels, of the synchronization and of the policy.

        Args:
            why_silent: returns why no message of a topic of the configuration arrives, and how to
                fix it; "" if nothing is known. It is asked about topics that are silent.
        """
        enabled, stale_s = self.worker.enabled, self.config.stale_s
        clock_silent = self._now_ns() == 0
        found = []
        for name, snapshot in self.worker.snapshots().items():
            silent = enabled and is_silent(snapshot)
            causes = map(why_silent, self.config.channels[name]) if silent else ()
            cause = "; ".join(filter(None, causes))
            title = f"encoder {name}"
            found.append(
                channel_status(title, snapshot, enabled, stale_s, clock_silent, cause=cause)
            )
        if self._synchronizer:
            counts = self._synchronizer.counts()
            with self._counts_lock:
                before, self._last_counts = self._last_counts, counts
            found.append(sync_status("cameras together", counts, before))
        if self.runner:
            counts = self.runner.counts()
            no_joints = counts.paused in ("no_joints", "stale_joints")
            cause = why_silent(self.config.joint_topic) if no_joints else ""
            found.append(policy_status("policy", counts, cause))
        return found
