"""The ROS 2 node's life cycle."""

from __future__ import annotations

import importlib
import random
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from support.fake_ros_world import World
from support.fake_rosidl import message_class, service_class
from support.ros2_bench import (
    Bench,
    image,
    threads,
)

CHANGE = "/s2robot_encoder/change_state"


def change(world: World, number: int) -> bool:
    """Ask for a transition by the service, as a lifecycle manager does."""
    kind = service_class("lifecycle_msgs/srv/ChangeState")
    request = kind.Request(transition=message_class("lifecycle_msgs/msg/Transition")(id=number))
    return world.call(CHANGE, request).success


# ------------------------------------------------------------------------------- life cycle
def test_one_round_of_the_life_cycle(world: World, tiny: str) -> None:
    bench = Bench(world, tiny)
    node = bench.node
    assert node.trigger_configure().name == "SUCCESS"
    assert (node.state, threads(), bench.subscribed()) == ("inactive", [], [])
    bench.subscribe()
    bench.show(image(bench.now))
    world.forward(1)
    assert not bench.received["/embedding"]  # inactive: nobody is listened to
    node.trigger_activate()
    assert (threads(), bench.subscribed()) == (["s2robot-encoder"], ["/image"])
    bench.show(image(bench.now))
    bench.wait_received(1)
    node.trigger_deactivate()
    assert (threads(), bench.subscribed(), node._timers) == ([], [], [])
    bench.show(image(bench.now))
    assert node.trigger_activate().name == "SUCCESS"
    bench.show(image(bench.now))
    bench.wait_received(2)
    node.trigger_deactivate()
    assert node.trigger_cleanup().name == "SUCCESS"
    assert [each.srv_name for each in node._services] == [CHANGE]
    assert (node._publishers, node._managed_entities) == ([], set())
    assert node.trigger_shutdown().name == "SUCCESS"
    assert not world.logged("error")


@pytest.mark.parametrize("seed", range(6))
def test_transitions_in_any_order(world: World, tiny: str, seed: int) -> None:
    bench = Bench(world, tiny)
    bench.subscribe()
    for number in [1, 3, 4, 2, *random.Random(seed).choices((1, 2, 3, 4), k=40)]:
        change(world, number)
        state = bench.node.state
        assert threads() == (["s2robot-encoder"] if state == "active" else [])
        assert bool(bench.subscribed()) == (state == "active")
        assert bool(bench.node._publishers) == (state != "unconfigured")
        assert len(bench.node._timers) == (2 if state == "active" else 0)
    assert any("not possible now" in text for text in world.logged("warning"))
    assert not world.logged("error")


@pytest.mark.parametrize("steps", [(), (1,), (1, 3)])
def test_shutdown_from_every_state(world: World, tiny: str, steps: tuple[int, ...]) -> None:
    bench = Bench(world, tiny)
    for number in steps:
        assert change(world, number)
    assert change(world, 5 + len(steps))
    assert (bench.node.state, threads()) == ("finalized", [])
    assert not bench.node._publishers
    for number in range(1, 8):
        assert not change(world, number)


def test_an_impossible_transition_is_answered_with_no_success(world: World, tiny: str) -> None:
    bench = Bench(world, tiny)
    assert not change(world, 3)  # activate what is not configured
    assert bench.node.state == "unconfigured"
    (text,) = world.logged("warning")
    assert "this transition is not possible now" in text
    assert bench.node.start()
    assert not change(world, 1)
    assert bench.node.state == "active"


def test_destroying_an_active_node_leaves_no_thread(world: World, tiny: str) -> None:
    bench = Bench(world, tiny, lazy=False)
    bench.node.start()
    assert threads()
    bench.node.destroy_node()
    assert not threads()


def test_errors_in_a_transition_lead_to_a_clean_node(
    world: World, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(world, tiny)

    def fail(*_: Any, **__: Any) -> None:
        raise KeyError("a timer")

    with monkeypatch.context() as patch:
        bench.node.trigger_configure()
        patch.setattr(bench.node, "create_timer", fail)
        assert bench.node.trigger_activate().name == "FAILURE"
    assert (bench.node.state, threads(), bench.subscribed()) == ("inactive", [], [])
    (text,) = world.logged("error")
    assert text.startswith("the node cannot be activated: Traceback")
    assert "KeyError: 'a timer'" in text
    with monkeypatch.context() as patch:
        bench.node.trigger_activate()
        patch.setattr(bench.node, "destroy_timer", fail)
        assert bench.node.trigger_deactivate().name == "ERROR"
    assert (bench.node.state, threads(), bench.node._publishers) == ("unconfigured", [], [])
    assert world.logged("error")[-1].startswith("the node cannot be deactivated: Traceback")
    assert bench.node.start()


@pytest.mark.parametrize("still_there", [False, True])
@pytest.mark.usefixtures("world")
def test_ros_may_end_elsewhere_a_moment_before(
    still_there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As rclpy's thread for signals ends it; then any call raises, that of the end included."""
    support = importlib.import_module("s2robot.plugins.ros.ros2_support")

    def raises() -> None:
        raise RuntimeError("failed to shutdown: rcl_shutdown already called")

    ended = SimpleNamespace(try_shutdown=raises, ok=lambda: still_there)
    monkeypatch.setattr(support, "rclpy", ended)
    for work in (lambda: None, raises):
        told = pytest.raises(RuntimeError, match="shutdown") if still_there else nullcontext()
        with told, support.until_ros_ends():
            work()


@pytest.mark.usefixtures("world")
def test_the_end_of_the_work_ends_ros(world: World) -> None:
    support = importlib.import_module("s2robot.plugins.ros.ros2_support")
    with support.until_ros_ends():
        raise KeyboardInterrupt
    assert not world.ok()
    with pytest.raises(ValueError, match="of the work"), support.until_ros_ends():
        raise ValueError("of the work")
