"""One ROS 2 node for many tests: configured anew for each, as a lifecycle manager does."""

# pyright: reportMissingImports=false

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from PIL import Image as Picture
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from s2robot_msgs.msg import EmbeddingStamped
from sensor_msgs.msg import CompressedImage, Image

from s2robot.plugins.ros.parameters import CONFIG_PARAMETERS
from support.ros1_rig import statuses
from support.ros2_rig import IMAGE, Rig2, eventually

NS = 10**9
COMPRESSED = f"{IMAGE}/compressed"
"""What the node's default topic is remapped to."""
TRIES, LOST_S = 5, 20.0
"""How often a frame counts as lost, and the time without its embedding after which it does [s]."""
BASE = {"device": "cpu", "runtime": "eager", "readout": "mean", "scales": [1.0], "stale_s": 60.0}
"""Parameters of every test. Only tests of old frames have a limit that a busy machine reaches."""


class Managed:
    """The node in a process of its own, which waits for a manager.

    Args:
        rig: this process as a node.
        encoder: name of the encoder.
    """

    def __init__(self, rig: Rig2, encoder: str) -> None:
        self.rig, self.encoder = rig, encoder
        self.process = rig.encoder("autostart:=false", "diagnostics_hz:=10", image=COMPRESSED)
        self._touched: set[str] = {"use_sim_time"}
        self.health = rig.subscribe("/diagnostics", DiagnosticArray)

    # ------------------------------------------------------------------ the manager
    def set(self, **parameters: Any) -> list[Any]:
        """Set parameters and return the answers."""
        self._touched |= parameters.keys()
        found = [
            Parameter(n, value=list(v) if isinstance(v, tuple) else v).to_parameter_msg()
            for n, v in parameters.items()
        ]
        return self.rig.call(SetParameters, "set_parameters", parameters=found).results

    def prepare(self, **parameters: Any) -> None:
        """Set parameters; those that earlier tests set have their defaults again."""
        own = {"use_sim_time": False, "diagnostics_hz": 10.0, "hardware_id": ""}
        defaults = {**CONFIG_PARAMETERS, **own}
        before = {name: defaults[name] for name in self._touched}
        given = {**before, "encoder": self.encoder, **BASE, **parameters}
        assert all(answer.successful for answer in self.set(**given))

    def start(self, **parameters: Any) -> None:
        """Configure and activate the node."""
        self.prepare(**parameters)
        assert self.change(Transition.TRANSITION_CONFIGURE), self.process.text[-2000:]
        self.health.messages.clear()
        assert self.change(Transition.TRANSITION_ACTIVATE), self.process.text[-2000:]

    def state(self) -> int:
        return self.rig.call(GetState, "get_state").current_state.id

    def change(self, transition: int) -> bool:
        answer = self.rig.call(ChangeState, "change_state", transition=Transition(id=transition))
        return answer.success

    def end(self) -> None:
        """Leave the node unconfigured."""
        if self.state() == State.PRIMARY_STATE_ACTIVE:
            assert self.change(Transition.TRANSITION_DEACTIVATE)
        if self.state() == State.PRIMARY_STATE_INACTIVE:
            assert self.change(Transition.TRANSITION_CLEANUP)

    # ------------------------------------------------------------------- diagnostics
    def status(self, beginning: str = "encoder ") -> dict[str, str]:
        """Return the newest status whose name begins so; {} if there is none."""
        for message in reversed(self.health.messages):
            for name, values in statuses(message).items():
                if name.startswith(beginning):
                    return values
        return {}

    def counted(self, name: str, at_least: int = 1) -> dict[str, str]:
        """Return the camera's status once a count has reached a number."""
        eventually(
            f"{name} reaches {at_least}", lambda: int(self.status().get(name, 0)) >= at_least
        )
        return self.status()


class Camera:
    """Camera of this process: publishes single messages, and waits for their embeddings.

    Args:
        node: the node under test, active, with these topics.
        topics: of the cameras; those that end in /compressed take CompressedImage.
        output: topic of the embeddings.
        reliable: whether frames are offered so, and the node is waited for.
        kind: type of the embeddings' messages.
    """

    def __init__(
        self,
        node: Managed,
        topics: Sequence[str],
        output: str = "/embedding",
        reliable: bool = True,
        kind: Any = EmbeddingStamped,
    ) -> None:
        self._node = node
        self.received = node.rig.subscribe(output, kind)
        offered = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        qos = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=offered)
        own = node.rig.node
        self._publishers = {
            topic: own.create_publisher(
                CompressedImage if topic.endswith("/compressed") else Image, topic, qos
            )
            for topic in topics
        }
        self.topic = topics[0]
        self.sent: list[int] = []
        if reliable:
            eventually("the node listens", lambda: all(map(self._matched, self._publishers)))

    def _matched(self, topic: str) -> bool:
        return self._publishers[topic].get_subscription_count() > 0

    def now_ns(self) -> int:
        """Return a stamp of now [ns]."""
        return time.time_ns()

    def publish(self, message: Any, stamp_ns: int | None = None, topic: str | None = None) -> int:
        """Publish a message with a stamp, and return the stamp [ns]."""
        stamp = self.now_ns() if stamp_ns is None else stamp_ns
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, NS)
        message.header.frame_id = f"frame of {stamp}"
        self.sent.append(stamp)
        self._publishers[topic or self.topic].publish(message)
        return stamp

    def embedding(self, stamp_ns: int) -> Any:
        """Return the embedding with this stamp, once it has come."""
        found = eventually(f"an embedding of {stamp_ns}", lambda: self._with(stamp_ns))
        assert found[0].header.frame_id == f"frame of {stamp_ns}"
        return found[0]

    def _with(self, stamp_ns: int) -> list[Any]:
        return [each for each in self.received.messages if stamp_of(each) == stamp_ns]

    def shown(self, message: Any, stamp_ns: int | None = None) -> np.ndarray:
        """Publish a message and return its embedding.

        Without a stamp, it is published anew if it was lost, as best effort may lose it.
        """
        stamp = self.publish(message, stamp_ns)
        for _ in range(TRIES if stamp_ns is None else 0):
            end = time.monotonic() + LOST_S
            while not self._with(stamp) and time.monotonic() < end:
                time.sleep(0.01)
            if self._with(stamp):
                break
            stamp = self.publish(message)
        return np.array(self.embedding(stamp).data, np.float32)

    def stamps(self) -> list[int]:
        """Return the stamps of all embeddings [ns], in the order of their arrival."""
        return [stamp_of(message) for message in self.received.messages]

    def close(self) -> None:
        self.received.close()
        for publisher in self._publishers.values():
            self._node.rig.node.destroy_publisher(publisher)


def same(found: np.ndarray, expected: np.ndarray) -> None:
    """Check an embedding against the offline encoder's."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


def stamp_of(message: Any) -> int:
    return message.header.stamp.sec * NS + message.header.stamp.nanosec


def image(frame: np.ndarray, **changes: Any) -> Image:
    """Return a frame (H, W, 3) uint8 RGB as a message, with other fields where they are given."""
    height, width, _ = frame.shape
    fields = {"height": height, "width": width, "encoding": "rgb8", "step": 3 * width}
    message = Image(**{**fields, **{n: v for n, v in changes.items() if n != "data"}})
    message.data = changes.get("data", frame.tobytes())
    return message


def real_image(found: SimpleNamespace) -> Image:
    """Return an object with the attributes of an image as a message."""
    names = ("height", "width", "encoding", "is_bigendian", "step")
    message = Image(**{name: getattr(found, name) for name in names})
    message.data = bytes(found.data)
    return message


def compressed(frame: np.ndarray, container: str, form: str) -> CompressedImage:
    """Return a picture (H, W, 3) or (H, W) uint8 as a message in JPEG or PNG."""
    buffer = io.BytesIO()
    Picture.fromarray(frame).save(buffer, container)
    message = CompressedImage(format=form)
    message.data = buffer.getvalue()
    return message
