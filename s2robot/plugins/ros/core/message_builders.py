"""Builders of the messages that a node publishes, given the client library's classes.

Numbers are passed as ``array.array``, which rospy and rclpy use without a check of each number.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from s2robot.plugins.ros.core.config import NodeConfig, strides
from s2robot.plugins.ros.core.diagnostics import Status
from s2robot.plugins.ros.core.embedding_result import EmbeddingResult
from s2robot.plugins.ros.core.policy.runner import Action


@dataclass(frozen=True)
class MessageTypes:
    """Message classes, or functions that create messages, of rospy or rclpy."""

    embedding: Callable[[], Any]
    """``s2robot_msgs/EmbeddingStamped``."""
    action: Callable[[], Any]
    """``s2robot_msgs/ActionStamped``."""
    float_array: Callable[[], Any]
    """``std_msgs/Float32MultiArray``."""
    dimension: Callable[[], Any]
    """``std_msgs/MultiArrayDimension``."""
    diagnostics: Callable[[], Any]
    """``diagnostic_msgs/DiagnosticArray``."""
    status: Callable[[], Any]
    """``diagnostic_msgs/DiagnosticStatus``."""
    pair: Callable[[], Any]
    """``diagnostic_msgs/KeyValue``."""
    level: Callable[[int], Any] = int
    """Converts a level to the type of the status's field: a number in rospy, a byte in rclpy."""


@dataclass(frozen=True)
class MessageBuilder:
    """Messages of one node, of the types that its parameter ``output`` asks for."""

    types: MessageTypes
    config: NodeConfig
    model: str
    """Name and digest of the encoder; see ``EncoderSpec.tag``."""

    @property
    def embedding_type(self) -> Any:
        """Class of the messages of embeddings."""
        return self.types.embedding if self.config.stamped else self.types.float_array

    @property
    def action_type(self) -> Any:
        """Class of the messages of actions."""
        return self.types.action if self.config.stamped else self.types.float_array

    def embedding(self, result: EmbeddingResult) -> Any:
        """Return the message of an embedding."""
        return embedding_message(self.types, result, self.model, self.config.stamped)

    def action(self, action: Action, control_hz: float) -> Any:
        """Return the message of an action.

        Args:
            action: the control step.
            control_hz: the policy's rate [Hz].
        """
        policy = Path(self.config.policy).name
        return action_message(self.types, action, policy, control_hz, self.config.stamped)


def embedding_message(
    types: MessageTypes, result: EmbeddingResult, model: str, stamped: bool
) -> Any:
    """Return ``EmbeddingStamped`` with the frame's header, or ``Float32MultiArray``.

    Args:
        types: message classes.
        result: the embedding.
        model: name and digest of the encoder.
        stamped: whether the message is an ``EmbeddingStamped``.
    """
    if not stamped:
        labels = ["cell"] * (len(result.shape) - 1) + ["feature"]
        return _float_array(types, result.embedding, result.shape, labels)
    message = types.embedding()
    message.header = result.header
    message.model = model
    message.shape = array("I", result.shape)
    message.data = _floats(result.embedding)
    return message


def action_message(
    types: MessageTypes, action: Action, policy: str, control_hz: float, stamped: bool
) -> Any:
    """Return ``ActionStamped``, or ``Float32MultiArray`` with the entries' meaning as its label.

    Args:
        types: message classes.
        action: the control step.
        policy: name of the policy's file.
        control_hz: the policy's rate [Hz].
        stamped: whether the message is an ``ActionStamped``.
    """
    if not stamped:
        return _float_array(types, action.values, (len(action.values),), [" ".join(action.meaning)])
    message = types.action()
    message.header = action.header
    message.policy = policy
    message.meaning = list(action.meaning)
    message.data = _floats(action.values)
    message.period = 1 / control_hz
    message.anew = action.anew
    return message


def diagnostics_message(
    types: MessageTypes, statuses: Sequence[Status], stamp: Any, node: str, hardware: str
) -> Any:
    """Return a ``DiagnosticArray``.

    Args:
        types: message classes.
        statuses: statuses of the node.
        stamp: stamp of the message.
        node: name of the node, which precedes the names of the statuses.
        hardware: hardware of the statuses.
    """
    message = types.diagnostics()
    message.header.stamp = stamp
    message.status = [_status(types, status, node, hardware) for status in statuses]
    return message


def _status(types: MessageTypes, status: Status, node: str, hardware: str) -> Any:
    made = types.status()
    made.level = types.level(int(status.level))
    made.name = f"{node}: {status.name}"
    made.message = status.message
    made.hardware_id = hardware
    made.values = [_pair(types, key, value) for key, value in status.values.items()]
    return made


def _pair(types: MessageTypes, key: str, value: str) -> Any:
    pair = types.pair()
    pair.key, pair.value = key, value
    return pair


def _float_array(
    types: MessageTypes, values: np.ndarray, shape: Sequence[int], labels: Sequence[str]
) -> Any:
    message = types.float_array()
    for label, size, stride in zip(labels, shape, strides(shape), strict=True):
        dimension = types.dimension()
        dimension.label, dimension.size, dimension.stride = label, size, stride
        message.layout.dim.append(dimension)
    message.data = _floats(values)
    return message


def _floats(values: np.ndarray) -> array[float]:
    return array("f", np.ascontiguousarray(values, np.float32).tobytes())
