"""The ROS 2 node's life cycle on rclpy: what it holds in each state, and what fails.

Nodes are in the tests' own process, where their parts can be seen and made to fail. These run where
rclpy is (`make test-ros2` makes that environment) and are skipped elsewhere.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from types import SimpleNamespace
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not in this environment: make test-ros2")

from lifecycle_msgs.msg import State, Transition  # noqa: E402
from lifecycle_msgs.srv import GetState  # noqa: E402
from rclpy.executors import ExternalShutdownException  # noqa: E402
from rclpy.lifecycle import TransitionCallbackReturn  # noqa: E402
from rclpy.signals import SignalHandlerOptions  # noqa: E402
from s2robot_msgs.msg import EmbeddingStamped  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402
from support.ros2_managed import Managed  # noqa: E402
from support.ros2_own import OwnNode, OwnNodes, stamped, threads  # noqa: E402
from support.ros2_rig import IMAGE, Rig2, eventually  # noqa: E402
from support.ros_doubles import header, numbered  # noqa: E402

from s2robot.plugins.ros import ros2_support  # noqa: E402
from s2robot.plugins.ros.ros2 import main  # noqa: E402

CONFIGURE, CLEANUP, ACTIVATE, DEACTIVATE = 1, 2, 3, 4
SHUTDOWN = 5
"""From unconfigured; from inactive and active it has the next numbers."""
SUCCESS, FAILURE, ERROR = (
    TransitionCallbackReturn.SUCCESS,
    TransitionCallbackReturn.FAILURE,
    TransitionCallbackReturn.ERROR,
)
PUBLISHED = ["/embedding", "/diagnostics", "/s2robot/encoder"]


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


def check_parts(own: OwnNode) -> None:
    """Check that a node, which is not lazy, holds what its state needs and no more."""
    active, configured = own.state == "active", own.state in ("active", "inactive")
    assert threads() == (["s2robot-encoder"] if active else [])
    assert own.subscribed == (["/image"] if active else [])
    assert own.timers == (2 if active else 0)
    assert own.published == (PUBLISHED if configured else [])
    services = [each.service_name.endswith("/enable") for each in own.node.services]
    assert sum(services) == configured


# --------------------------------------------------------------------------- transitions
@pytest.mark.parametrize("seed", range(3))
def test_transitions_in_any_order(own: OwnNodes, seed: int) -> None:
    one = own.make(lazy=False)
    seen = set()
    for number in [1, 3, 4, 2, *random.Random(seed).choices((1, 2, 3, 4), k=30)]:
        before = one.state
        possible = {1: "unconfigured", 2: "inactive", 3: "inactive", 4: "active"}[number] == before
        assert one.change(number) == possible
        assert possible or one.state == before
        check_parts(one)
        seen.add(possible)
    assert seen == {True, False}
    refused = "Unable to start transition"  # Kilted's rclpy logs what is impossible
    assert not [text for text in own.logged("ERROR") if not text.startswith(refused)]


@pytest.mark.parametrize("steps", [(), (CONFIGURE,), (CONFIGURE, ACTIVATE)])
def test_shutdown_from_every_state(own: OwnNodes, steps: tuple[int, ...]) -> None:
    one = own.make(lazy=False)
    for number in steps:
        assert one.change(number)
    assert one.change(SHUTDOWN + len(steps))
    assert one.state == "finalized"
    check_parts(one)
    for number in range(1, 8):
        assert not one.change(number)


def test_destroying_an_active_node_leaves_no_thread(own: OwnNodes) -> None:
    own.active(lazy=False)
    assert threads()
    own.close()
    assert not threads()


def test_errors_in_a_transition_lead_to_a_clean_node(
    own: OwnNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = own.make(lazy=False)
    with monkeypatch.context() as patch:
        assert one.node.trigger_configure() == SUCCESS
        patch.setattr(one.node, "create_timer", failing(KeyError("a timer")))
        assert one.node.trigger_activate() == FAILURE
    assert one.state == "inactive"
    check_parts(one)
    (text,) = own.logged("ERROR")
    assert text.startswith("the node cannot be activated: Traceback")
    assert "KeyError: 'a timer'" in text
    with monkeypatch.context() as patch:
        assert one.node.trigger_activate() == SUCCESS
        patch.setattr(one.node, "destroy_timer", failing(KeyError("a timer")))
        assert one.node.trigger_deactivate() == ERROR
    assert one.state == "unconfigured"
    assert (threads(), one.subscribed, one.published) == ([], [], [])
    assert own.logged("ERROR")[-1].startswith("the node cannot be deactivated: Traceback")
    assert one.node.start()


# ------------------------------------------------------------------------- what may fail
def test_a_timer_that_raises_does_not_end_the_node(
    own: OwnNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = own.active(diagnostics_hz=5.0)
    monkeypatch.setattr(one.core, "diagnostics", failing(KeyError("counts")))
    one.spin()
    eventually("it is logged", lambda: own.logged("ERROR"))
    assert not one.subscribed
    received = own.rig.subscribe("/embedding", EmbeddingStamped)
    eventually("the other timer goes on", lambda: one.subscribed)
    (text,) = own.logged("ERROR")
    assert text.startswith("diagnose failed: KeyError: 'counts'")
    received.close()


def test_a_failed_subscription_is_logged(own: OwnNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    one = own.make(lazy=False)
    monkeypatch.setattr(one.node, "create_subscription", failing(RuntimeError("a wrong type")))
    assert one.node.start()
    (text,) = own.logged("ERROR")
    assert text.startswith("image cannot be subscribed to")
    assert "a wrong type" in text


def test_a_header_that_rclpy_cannot_publish_does_not_stop_the_node(own: OwnNodes) -> None:
    one = own.active(lazy=False)
    now = one.node.get_clock().now().nanoseconds
    odd = numbered(0, now)
    odd.header = header(now)
    odd.header.frame_id = None
    one.receive(odd)
    eventually("it is counted", lambda: one.counts.failures)
    assert one.counts.failed == {"publish": 1}
    one.encoded(2)
    eventually("the next is published", lambda: one.counts.published == 1)


def test_publishing_while_the_process_ends(own: OwnNodes) -> None:
    context = rclpy.Context()
    rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
    one = own.make(context=context, lazy=False)
    assert one.node.start()
    one.encoded(1)
    context.try_shutdown()
    if list(one.node.subscriptions):  # Kilted's shutdown ends them
        one.receive(stamped(one.node.get_clock().now().nanoseconds))
        eventually("it is encoded", lambda: one.counts.encoded == 2)
    counts = one.counts
    one.close()
    assert counts.failures == 0
    assert not own.logged("ERROR")


@pytest.mark.parametrize("still_there", [False, True])
def test_ros_may_end_elsewhere_a_moment_before(
    still_there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As rclpy's thread for signals ends it; then any call raises, that of the end included."""
    raises = failing(RuntimeError("failed to shutdown: rcl_shutdown already called"))
    ended = SimpleNamespace(try_shutdown=raises, ok=lambda: still_there)
    monkeypatch.setattr(ros2_support, "rclpy", ended)
    for work in (lambda: None, raises):
        told = pytest.raises(RuntimeError, match="shutdown") if still_there else nullcontext()
        with told, ros2_support.until_ros_ends():
            work()


def test_the_end_of_the_work_ends_ros(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[str] = []
    ours = SimpleNamespace(try_shutdown=lambda: ends.append("ended"), ok=lambda: True)
    monkeypatch.setattr(ros2_support, "rclpy", ours)
    with ros2_support.until_ros_ends():
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="of the work"), ros2_support.until_ros_ends():
        raise ValueError("of the work")
    assert ends == ["ended", "ended"]


def test_a_node_that_nothing_wakes_sees_the_end_of_ros(own: OwnNodes) -> None:
    """rclpy's thread for signals may wake the node just before it ends ROS, and never again."""
    context = rclpy.Context()
    rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
    one = own.make(context=context)
    ended: list[bool] = []

    def run() -> None:
        with suppress(ExternalShutdownException):
            ros2_support.spin(one.node)
        ended.append(context.ok())

    threading.Thread(target=run, daemon=True).start()
    eventually("it spins", lambda: one.timers)
    time.sleep(0.1)
    with context.handle:
        context.handle.shutdown()  # what the thread does; `context.shutdown` would wake the node
    eventually("it has ended", lambda: ended == [False])


# ------------------------------------------------------------------- demand and the service
def test_the_camera_is_subscribed_to_while_somebody_listens(node: Managed) -> None:
    node.start(image_topics=[IMAGE])
    subscribers = node.rig.cameras_subscribers
    ends = [node.rig.subscribe("/embedding", EmbeddingStamped) for _ in range(2)]
    eventually("the node listens", subscribers)
    ends[0].close()
    time.sleep(1.0)  # several times as long as it takes to count
    assert subscribers()
    ends[1].close()
    for _ in range(3):
        eventually("the camera is let go", lambda: not subscribers())
        again = node.rig.subscribe("/embedding", EmbeddingStamped)
        eventually("the node listens again", subscribers)
        again.close()


def test_the_service_switches_an_active_node(node: Managed) -> None:
    """Activated again, it is as ``start_enabled`` says."""

    def enable(on: bool) -> tuple[bool, str]:
        answer = node.rig.call(SetBool, "enable", data=on)
        return answer.success, answer.message

    node.prepare(image_topics=[IMAGE], start_enabled=False, lazy=False, hardware_id="wrist camera")
    assert node.change(Transition.TRANSITION_CONFIGURE)
    done, text = enable(True)
    assert not done
    assert "ros2 lifecycle set /s2robot_encoder activate" in text
    assert node.change(Transition.TRANSITION_ACTIVATE)
    assert not node.rig.cameras_subscribers()
    for _ in range(2):
        assert enable(True) == (True, "switched on")
        eventually("the node listens", node.rig.cameras_subscribers)
    done, text = enable(False)
    assert done
    assert "nothing is published" in text
    eventually("the camera is let go", lambda: not node.rig.cameras_subscribers())
    enable(True)
    assert node.change(Transition.TRANSITION_DEACTIVATE)
    assert node.change(Transition.TRANSITION_ACTIVATE)
    eventually("the camera is let go", lambda: not node.rig.cameras_subscribers())
    eventually("it is named", lambda: node.status().get("hardware") == "wrist camera")


# ---------------------------------------------------------------------------- the process
def test_a_node_that_cannot_be_configured_stays_until_a_signal(ros2: Rig2) -> None:
    process = ros2.encoder("encoder:=no_such")
    eventually("it says so", lambda: "the node cannot be configured" in process.text)
    found = ros2.call(GetState, "get_state").current_state.id
    assert found == State.PRIMARY_STATE_UNCONFIGURED
    process.kill(signal.SIGTERM)  # other tests send SIGINT
    assert process.wait() == 0
    assert process.text.count("[ERROR]") == 1
    assert "Traceback" not in process.text


def test_help_and_unknown_words(capsys: pytest.CaptureFixture[str]) -> None:
    for words, code in ((["encoder", "--help"], 0), (["encoder", "--fast"], 2)):
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == code
    printed = capsys.readouterr()
    for words in ("ros2 run", "ros2 launch", "ros2 lifecycle set", "ros2 service call"):
        assert words in printed.out
    assert "--fast" in printed.err


def test_the_first_ctrl_c_ends_ros_and_raises_nowhere() -> None:
    """KeyboardInterrupt where a lock was just taken would leave it taken."""
    program = (
        "import os, signal, time, rclpy\n"
        "from s2robot.plugins.ros.ros2_support import begin_ros\n"
        "begin_ros(['program'])\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "time.sleep(1)\n"  # Python's own handler would raise here
        "print('goes on' if rclpy.ok() else 'ended')\n"
        "try:\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(5)\n"
        "except KeyboardInterrupt:\n    print('again')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["ended", "again"], done.stderr
