"""The ROS 2 node: actions of a policy, diagnostics, several nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.fake_rclpy import Node, Parameter
from support.fake_ros_world import NS, World
from support.fake_rosidl import message_class, to_store, typestore
from support.ros2_bench import (
    ACTION,
    ARRAY,
    DIAGNOSTICS,
    LATCHED,
    RELIABLE,
    Bench,
    image,
    joint_message,
    started,
    write_policy,
)
from support.ros_doubles import wait_for
from support.small_encoders import picture

from s2robot.policies.checkpoint import load_policy


# ------------------------------------------------------------------------------------- policy
def feel(bench: Bench) -> None:
    if not hasattr(bench, "arm"):
        kind = message_class("sensor_msgs/msg/JointState")
        bench.arm = bench.peer.create_publisher(kind, "/joint_states", RELIABLE)  # pyright: ignore
    bench.arm.publish(joint_message(bench.now))  # pyright: ignore
    bench.world.spin_some()


def act_once(bench: Bench, seed: int = 0) -> None:
    """Deliver a frame and joints, and wait for the action."""
    before = len(bench.received["/action"])
    frame = picture(1, 40, 48, seed=seed)[0]
    published = bench.counts().published
    bench.show(image(bench.now, frame))
    bench.wait(lambda: bench.counts().published == published + 1)
    feel(bench)
    bench.world.forward(0.2)
    assert len(bench.received["/action"]) == before + 1


def test_joints_and_frames_make_actions(world: World, tiny: str, tmp_path: Path) -> None:
    path = write_policy(tiny, tmp_path)
    bench = started(world, tiny, policy=path)
    bench.subscribe("/action", ACTION)
    world.forward(1)
    assert not bench.received["/action"]
    for i in range(3):
        act_once(bench, i)
    first, second, _ = bench.received["/action"]
    _, head = load_policy(path)
    assert first.policy == "policy.safetensors"
    assert list(first.meaning) == head.action_space["meaning"]
    assert len(first.data) == len(first.meaning)
    assert first.period == pytest.approx(0.2)
    assert (first.anew, second.anew) == (True, False)
    assert first.header.frame_id == "left_camera_optical_frame"
    world.forward(1)
    assert len(bench.received["/action"]) == 3  # an embedding is acted on once


def test_the_watchdog(world: World, tiny: str, tmp_path: Path) -> None:
    bench = started(world, tiny, policy=write_policy(tiny, tmp_path), stale_s=20.0)
    bench.subscribe("/action", ACTION)
    bench.subscribe("/diagnostics", DIAGNOSTICS)
    act_once(bench)
    bench.show(image(bench.now))
    bench.wait(lambda: bench.counts().published == 2)
    world.steady_ns += 60 * NS  # the last frame and joints are old when the next tick comes
    world.forward(2)
    assert len(bench.received["/action"]) == 1
    (text,) = world.logged("error")
    assert text.startswith("no actions: by their stamps, frames are")
    status = bench.received["/diagnostics"][-1].status[-1]
    assert (status.name, status.level) == ("s2robot_encoder: policy", b"\2")
    act_once(bench, 7)
    assert any("actions again" in text for text in world.logged("info"))
    assert bench.received["/action"][-1].anew


def test_no_actions_after_switching_off(world: World, tiny: str, tmp_path: Path) -> None:
    bench = started(world, tiny, policy=write_policy(tiny, tmp_path))
    bench.subscribe("/action", ACTION)
    act_once(bench)
    bench.show(image(bench.now))
    bench.wait(lambda: bench.counts().published == 2)
    feel(bench)
    bench.node._parts.subscription.switch(False)
    world.forward(1)
    assert len(bench.received["/action"]) == 1
    bench.node._parts.subscription.switch(True)
    world.forward(1)
    assert len(bench.received["/action"]) == 1  # what was seen before is forgotten
    act_once(bench, 1)


def test_actions_as_arrays(world: World, tiny: str, tmp_path: Path) -> None:
    path = write_policy(tiny, tmp_path)
    bench = started(world, tiny, policy=path, output="float32multiarray")
    bench.subscribe("/action", ARRAY)
    act_once(bench)
    (found,) = bench.received["/action"]
    (dimension,) = found.layout.dim
    assert dimension.size == len(found.data) == len(dimension.label.split())


# -------------------------------------------------------------------------------- diagnostics
@pytest.mark.parametrize("hardware", ["", "wrist camera"])
def test_diagnostics(world: World, tiny: str, hardware: str) -> None:
    bench = started(world, tiny, diagnostics_hz=2.0, lazy=False, hardware_id=hardware)
    bench.subscribe("/diagnostics", DIAGNOSTICS)
    bench.subscribe()
    world.forward(1.0)
    assert len(bench.received["/diagnostics"]) == 2
    assert bench.received["/diagnostics"][-1].status[0].level == b"\1"  # no frame has arrived
    bench.show(image(bench.now))
    bench.wait_received(1)
    world.forward(0.5)
    found = bench.received["/diagnostics"][-1]
    assert abs(found.header.stamp.sec - bench.now // NS) <= 1
    (status,) = found.status
    assert status.name == "s2robot_encoder: encoder image"
    assert status.level == b"\0"
    assert status.hardware_id == (hardware or bench.node._parts.core.model)
    values = {pair.key: pair.value for pair in status.values}
    assert (values["received"], values["published"], values["dropped"]) == ("1", "1", "0")
    assert float(values["encode_p50_ms"]) > 0


def test_no_diagnostics(world: World, tiny: str) -> None:
    bench = started(world, tiny, diagnostics_hz=0.0)
    topics = [each.topic_name for each in bench.node._publishers]
    assert topics == ["/embedding", "/s2robot/encoder"]


def test_later_subscribers_receive_the_description_of_the_encoder(world: World, tiny: str) -> None:
    bench = started(world, tiny)
    world.forward(1)
    bench.subscribe("/s2robot/encoder", "std_msgs/msg/String", LATCHED)
    world.forward(0.1)
    (message,) = bench.received["/s2robot/encoder"]
    record = json.loads(message.data)
    assert record["model"] == bench.node._parts.core.model
    assert record["encoder"]["backbone"] == tiny
    assert record["image_topics"] == ["image"]


def test_a_timer_that_raises_does_not_end_the_node(
    world: World, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = started(world, tiny, diagnostics_hz=5.0)

    def fail(_: object) -> None:
        raise KeyError("counts")

    monkeypatch.setattr(bench.node._parts.core, "diagnostics", fail)
    world.forward(2)
    (text,) = world.logged("error")
    assert text.startswith("diagnose failed: KeyError: 'counts'")


def test_publishing_while_the_process_ends(world: World, tiny: str) -> None:
    bench = started(world, tiny, lazy=False)
    bench.show(image(bench.now))
    bench.wait(lambda: bench.counts().published == 1)
    world.is_ok = False
    bench.node._subscriptions[0].callback(image(bench.now))
    wait_for(lambda: bench.counts().encoded == 2)
    bench.node.destroy_node()
    assert bench.counts().failures == 0
    assert not world.logged("error")


def test_two_nodes_in_namespaces(world: World, tiny: str) -> None:
    names = ("left", "right")
    bench = Bench(world, tiny, lazy=False)
    nodes = [
        type(bench.node)(
            namespace=name,
            parameter_overrides=[Parameter(*pair) for pair in bench.parameters.items()],
        )
        for name in names
    ]
    for node in nodes:
        assert node.start()
    assert [node._subscriptions[0].topic_name for node in nodes] == ["/left/image", "/right/image"]
    services = [s.srv_name for node in nodes for s in node._services if "enable" in s.srv_name]
    assert services == [f"/{name}/s2robot_encoder/enable" for name in names]
    listener = Node("listener")
    received: list[Any] = []
    kind = message_class(DIAGNOSTICS)
    listener.create_subscription(kind, "/diagnostics", received.append, RELIABLE)
    world.forward(1.1)
    assert {message.status[0].name for message in received} == {
        f"{name}/s2robot_encoder: encoder image" for name in names
    }


def test_what_is_published_can_be_serialized(world: World, tiny: str, tmp_path: Path) -> None:
    bench = started(world, tiny, policy=write_policy(tiny, tmp_path))
    for topic, kind in (("/action", ACTION), ("/diagnostics", DIAGNOSTICS)):
        bench.subscribe(topic, kind)
    bench.subscribe()
    act_once(bench)
    world.forward(1)
    for messages in bench.received.values():
        message = messages[-1]
        assert len(typestore().serialize_cdr(to_store(message), message._name)) > 40
