"""The ROS 2 node on rclpy and FastDDS: a camera process, the node's process, this one.

These run where rclpy is (`make test-ros2` makes that environment) and are skipped elsewhere.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import json
import math
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not in this environment: make test-ros2")

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from lifecycle_msgs.msg import State, Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue  # noqa: E402
from rcl_interfaces.srv import SetParameters  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402
from s2robot_msgs.msg import EmbeddingStamped  # noqa: E402
from std_msgs.msg import Float32MultiArray, String  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402
from support.ros1_rig import rendered_frames, statuses  # noqa: E402
from support.ros2_rig import IMAGE, WAIT_S, Rig2, eventually, rig_of_a_module  # noqa: E402

from s2robot.data.ros_messages.definitions import ENCODER_TOPIC  # noqa: E402
from s2robot.encoder.frame_encoder import FrameEncoder  # noqa: E402

FRAMES = 12
NS = 10**9


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return rendered_frames(FRAMES)


@pytest.fixture(scope="module")
def expected(frames: np.ndarray) -> np.ndarray:
    """Embeddings of the frames without ROS: (FRAMES, D)."""
    encoder = FrameEncoder.from_name("s2r-vitt16-128", (1, 2), "spatial_softmax", device="cpu")
    return np.stack([encoder(frame).flatten().numpy() for frame in frames])


@pytest.fixture(scope="module")
def all_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig2]:
    """This process as a node, in a domain of its own."""
    yield from rig_of_a_module(tmp_path_factory.mktemp("ros2"))


@pytest.fixture
def ros2(all_tests: Rig2) -> Iterator[Rig2]:
    """Processes of one test."""
    yield all_tests
    all_tests.clear()


@pytest.fixture(scope="module")
def frames_file(frames: np.ndarray, all_tests: Rig2) -> str:
    path = all_tests.folder / "frames.npy"
    np.save(path, frames)
    return str(path)


def sent(path: Path) -> dict[int, int]:
    """Return the number of each frame by its stamp [ns], as the camera recorded them."""
    rows = [line.split() for line in path.read_text().splitlines()]
    return {int(stamp): int(index) for index, stamp in rows}


def stamp_of(message: Any) -> int:
    return message.header.stamp.sec * NS + message.header.stamp.nanosec


def check(messages: list[Any], expected: np.ndarray, record: Path) -> None:
    """Check that each embedding is that of its header's frame, and that stamps increase."""
    camera = sent(record)
    stamps = [stamp_of(message) for message in messages]
    assert stamps == sorted(set(stamps))
    for message, stamp in zip(messages, stamps, strict=True):
        index = camera[stamp]
        assert message.header.frame_id == f"frame {index}"
        assert message.model.startswith("s2r-vitt16-128@")
        assert math.prod(message.shape) == len(message.data)
        np.testing.assert_allclose(message.data, expected[index], rtol=0, atol=2e-5)


def health_of(message: Any) -> dict[str, str]:
    """Return the status of the camera's channel."""
    (values,) = [each for name, each in statuses(message).items() if name.startswith("encoder ")]
    return values


def state(ros2: Rig2) -> int:
    return ros2.call(GetState, "get_state").current_state.id


def change(ros2: Rig2, transition: int) -> bool:
    return ros2.call(ChangeState, "change_state", transition=Transition(id=transition)).success


def set_rate(ros2: Rig2, rate_hz: float) -> Any:
    value = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=rate_hz)
    parameters = [Parameter(name="max_rate_hz", value=value)]
    return ros2.call(SetParameters, "set_parameters", parameters=parameters).results[0]


def test_embeddings_are_those_of_the_offline_encoder(ros2, frames_file, expected, tmp_path):
    """The node subscribes to the camera only while somebody subscribes to the embeddings."""
    record = tmp_path / "sent.txt"
    ros2.camera(frames_file, "--record", str(record))
    node = ros2.encoder()
    health = ros2.subscribe("/diagnostics", DiagnosticArray)
    assert "switched off" in health_of(health.after(2)[-1])["message"]
    assert ros2.cameras_subscribers() == 0
    received = ros2.subscribe("/embedding", EmbeddingStamped)
    check(received.after(30), expected, record)
    assert ros2.cameras_subscribers() == 1
    values = health_of(health.after(2)[-1])
    assert values["hardware"] == received.messages[0].model
    assert int(values["published"]) >= 30
    assert values["failed"] == "0"
    assert {"age_p50_ms", "encode_p50_ms", "reuse_hit_rate", "received_hz"} <= values.keys()
    received.close()
    eventually("the camera is let go", lambda: ros2.cameras_subscribers() == 0)
    node.kill(signal.SIGINT)
    assert node.wait() == 0
    assert "Traceback" not in node.text


def test_a_late_subscriber_gets_the_encoders_description(ros2):
    ros2.encoder()
    eventually("the node is active", lambda: state(ros2) == State.PRIMARY_STATE_ACTIVE)
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    (message,) = ros2.subscribe(ENCODER_TOPIC, String, qos=latched).after(1)
    assert json.loads(message.data)["encoder"]["scales"] == [1, 2]


def test_it_is_switched_off_and_on(ros2, frames_file, expected, tmp_path):
    record = tmp_path / "sent.txt"
    ros2.camera(frames_file, "--record", str(record))
    ros2.encoder()
    received = ros2.subscribe("/embedding", EmbeddingStamped)
    received.after(3)
    answer = ros2.call(SetBool, "enable", data=False)
    assert answer.success
    assert "switched off" in answer.message
    eventually("the camera is let go", lambda: ros2.cameras_subscribers() == 0)
    at = max(sent(record))
    eventually("the camera goes on", lambda: max(sent(record)) > at + 2 * NS)
    assert stamp_of(received.messages[-1]) <= at
    assert "switched on" in ros2.call(SetBool, "enable", data=True).message
    check(received.after(5), expected, record)
    assert stamp_of(received.messages[-1]) > at


def test_a_manager_changes_its_states(ros2, frames_file, expected, tmp_path):
    """Parameters are refused while it is configured; a wrong transition does not end it."""
    record = tmp_path / "sent.txt"
    ros2.camera(frames_file, "--record", str(record))
    node = ros2.encoder("autostart:=false")
    received = ros2.subscribe("/embedding", EmbeddingStamped)
    assert state(ros2) == State.PRIMARY_STATE_UNCONFIGURED
    assert set_rate(ros2, -1.0).successful
    assert not change(ros2, Transition.TRANSITION_CONFIGURE)
    assert "max_rate_hz is -1" in node.text
    assert state(ros2) == State.PRIMARY_STATE_UNCONFIGURED
    assert set_rate(ros2, 0.0).successful
    assert change(ros2, Transition.TRANSITION_CONFIGURE)
    assert not received.messages
    assert change(ros2, Transition.TRANSITION_ACTIVATE)
    received.after(3)
    refused = set_rate(ros2, 5.0)
    assert not refused.successful
    assert "deactivate it, clean it up" in refused.reason
    assert not change(ros2, Transition.TRANSITION_CONFIGURE)
    assert "this transition is not possible now" in node.text
    assert change(ros2, Transition.TRANSITION_DEACTIVATE)
    eventually("the camera is let go", lambda: ros2.cameras_subscribers() == 0)
    assert change(ros2, Transition.TRANSITION_CLEANUP)
    assert set_rate(ros2, 5.0).successful
    assert change(ros2, Transition.TRANSITION_CONFIGURE)
    assert change(ros2, Transition.TRANSITION_ACTIVATE)
    check(received.after(5), expected, record)


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        ("encoder:=s2r-vitt16", "did you mean 's2r-vitt16-128'"),
        ("max_rate_hz:=-1", "max_rate_hz is -1"),
    ],
)
def test_a_wrong_parameter_is_refused_with_a_reason(ros2, parameter, text):
    node = ros2.encoder(parameter, "outptu:=stamped")
    eventually("the reason is logged", lambda: text in node.text)
    assert "ignored: unknown parameter 'outptu'" in node.text
    assert state(ros2) == State.PRIMARY_STATE_UNCONFIGURED
    assert "Traceback" not in node.text


def test_autostart_that_is_neither_true_nor_false_ends_it(ros2):
    node = ros2.encoder("autostart:=7")
    assert node.wait(WAIT_S) == 1
    assert "autostart" in node.text
    assert "Traceback" not in node.text


def test_a_best_effort_camera_does_not_match_reliable(ros2, frames_file, expected, tmp_path):
    """Diagnostics say why nothing arrives and what to change; frames of a reliable one arrive."""
    node = ros2.encoder("reliability:=reliable")
    received = ros2.subscribe("/embedding", EmbeddingStamped)
    health = ros2.subscribe("/diagnostics", DiagnosticArray)
    eventually("the node subscribes", ros2.cameras_subscribers)
    text = health_of(health.after(2)[-1])["message"]
    assert text.startswith(f"no frame has arrived yet: {IMAGE} has no publisher")
    camera = ros2.camera(frames_file)
    eventually("the mismatch is logged", lambda: "incompatible QoS" in node.text)
    values = health_of(health.after(2)[-1])
    assert values["level"] == "1"
    assert values["message"] == (
        f"no frame has arrived yet: {IMAGE} is offered best effort by camera, but the node asks "
        "for reliable: set its parameter reliability to best_effort, or let the publisher offer "
        "reliable"
    )
    assert not received.messages
    camera.kill(signal.SIGINT)
    record = tmp_path / "sent.txt"
    ros2.camera(frames_file, "--reliable", "--record", str(record))
    check(received.after(5), expected, record)


def test_a_silent_clock_is_named_in_diagnostics(ros2, frames_file, expected, tmp_path):
    """With simulated time and no /clock, embeddings still have the headers of their frames."""
    record = tmp_path / "sent.txt"
    ros2.camera(frames_file, "--record", str(record))
    ros2.encoder("use_sim_time:=true")
    received = ros2.subscribe("/embedding", EmbeddingStamped)
    health = ros2.subscribe("/diagnostics", DiagnosticArray)
    check(received.after(5), expected, record)
    values = health_of(health.after(2)[-1])
    assert values["level"] == "1"
    assert "/clock is silent" in values["message"]


def test_arrays_need_no_messages_of_ours(ros2, frames_file, expected):
    ros2.camera(frames_file)
    ros2.encoder("output:=float32multiarray")
    received = ros2.subscribe("/embedding", Float32MultiArray)
    for message in received.after(FRAMES):
        assert np.abs(expected - np.array(message.data)).max(axis=1).min() < 2e-5
        assert math.prod(each.size for each in message.layout.dim) == expected.shape[1]
