"""Everything of a node from images to embeddings that needs no ROS.

Messages are used by their attributes, so messages of rospy, rclpy and a bag reader all work. A node
made of these parts only subscribes, publishes and keeps timers:

    core = NodeCore(config, publish, now_ns, log)
    core.start()
    core.receive_image("image", message)  # in every callback

``node``               all parts together: messages in, embeddings, actions and diagnostics out
``config``             parameters of a node, its encoder and the topics of its embeddings
``encoder_parameters`` the parameters among them that are options of the encoder
``worker``             one thread that encodes the latest frames of every channel
``camera_encoder``     frames of one or several cameras to one embedding
``time_synchronizer``  messages of several cameras that were taken at the same time
``embedding_result``   input and output of the worker
``policy``             actions of a policy file, and the watchdog that stops them on old data
``lazy_subscription``  subscription to cameras only while somebody needs their frames
``counters``           counts and percentiles of a channel
``diagnostics``        counters as entries of /diagnostics
``silence``            why no message of a topic arrives
``log_throttle``       each kind of problem logged once
``message_builders``   results to messages of rospy or rclpy
``simulation``         the other end: a simulated robot in time, or in step with the actions
"""

from s2robot.data.ros_messages.images import ENCODINGS, ImageError, frame_of
from s2robot.data.ros_messages.stamps import StampError, stamp_ns
from s2robot.plugins.ros.core.camera_encoder import CameraEncoder, FramesEncoder
from s2robot.plugins.ros.core.config import NodeConfig, build_channels, build_encoder, strides
from s2robot.plugins.ros.core.counters import CounterSnapshot
from s2robot.plugins.ros.core.diagnostics import Status
from s2robot.plugins.ros.core.embedding_result import EmbeddingResult, Timings
from s2robot.plugins.ros.core.lazy_subscription import POLL_S, LazySubscription
from s2robot.plugins.ros.core.log_throttle import Level, Log, LogThrottle
from s2robot.plugins.ros.core.message_builders import (
    MessageBuilder,
    MessageTypes,
    action_message,
    diagnostics_message,
    embedding_message,
)
from s2robot.plugins.ros.core.node import SWITCH_S, NodeCore
from s2robot.plugins.ros.core.policy.proprioception import JointError, JointTracker, Proprioception
from s2robot.plugins.ros.core.policy.runner import Action, PolicyRunner
from s2robot.plugins.ros.core.silence import TopicPublisher, why_silent
from s2robot.plugins.ros.core.time_synchronizer import TimeSynchronizer
from s2robot.plugins.ros.core.worker import LatestFrameWorker
from s2robot.utils.deprecation import moved_names

__all__ = [
    "ENCODINGS",
    "POLL_S",
    "SWITCH_S",
    "Action",
    "CameraEncoder",
    "LazySubscription",
    "FramesEncoder",
    "ImageError",
    "JointError",
    "JointTracker",
    "LatestFrameWorker",
    "Level",
    "Log",
    "MessageBuilder",
    "MessageTypes",
    "NodeConfig",
    "NodeCore",
    "LogThrottle",
    "PolicyRunner",
    "Proprioception",
    "EmbeddingResult",
    "CounterSnapshot",
    "StampError",
    "Status",
    "TimeSynchronizer",
    "Timings",
    "TopicPublisher",
    "action_message",
    "build_channels",
    "build_encoder",
    "diagnostics_message",
    "embedding_message",
    "frame_of",
    "stamp_ns",
    "strides",
    "why_silent",
]

__getattr__ = moved_names(
    __name__,
    {
        "Demand": "s2robot.plugins.ros.core.lazy_subscription:LazySubscription",
        "OncePerKind": "s2robot.plugins.ros.core.log_throttle:LogThrottle",
        "Result": "s2robot.plugins.ros.core.embedding_result:EmbeddingResult",
        "Snapshot": "s2robot.plugins.ros.core.counters:CounterSnapshot",
        "Synchroniser": "s2robot.plugins.ros.core.time_synchronizer:TimeSynchronizer",
    },
)
