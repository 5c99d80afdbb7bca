"""The ROS 2 node's subscriptions, its service and its process."""

from __future__ import annotations

import itertools
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from support.fake_rclpy import ExternalShutdownException, Node
from support.fake_ros_world import World
from support.fake_rosidl import message_class, service_class
from support.ros2_bench import (
    DIAGNOSTICS,
    IMAGE,
    RELIABLE,
    Bench,
    node_module,
    write_policy,
)

ENABLE = "/s2robot_encoder/enable"


def enable(world: World, on: bool) -> Any:
    return world.call(ENABLE, service_class("std_srvs/srv/SetBool").Request(data=on))


# ------------------------------------------------------------------ demand and the service
def test_cameras_are_subscribed_to_on_demand(world: World, tiny: str) -> None:
    bench = Bench(world, tiny)
    bench.node.start()
    assert not bench.subscribed()
    subscriptions = [bench.subscribe(), bench.subscribe()]
    world.forward(0.25)
    assert bench.subscribed() == ["/image"]
    bench.peer.destroy_subscription(subscriptions[0])
    world.forward(0.25)
    assert bench.subscribed() == ["/image"]
    bench.peer.destroy_subscription(subscriptions[1])
    world.forward(0.25)
    assert not bench.subscribed()
    for _ in range(5):
        subscription = bench.subscribe()
        world.forward(0.25)
        assert bench.subscribed() == ["/image"]
        bench.peer.destroy_subscription(subscription)
        world.forward(0.25)
        assert not bench.subscribed()


def test_not_lazy_means_always(world: World, tiny: str) -> None:
    bench = Bench(world, tiny, lazy=False)
    bench.node.start()
    assert bench.subscribed() == ["/image"]


def test_the_enable_service(world: World, tiny: str) -> None:
    bench = Bench(world, tiny, start_enabled=False, lazy=False)
    bench.node.trigger_configure()
    answer = enable(world, True)
    assert not answer.success
    assert "ros2 lifecycle set /s2robot_encoder activate" in answer.message
    bench.node.trigger_activate()
    assert not bench.subscribed()
    answer = enable(world, True)
    assert (answer.success, answer.message) == (True, "switched on")
    assert bench.subscribed() == ["/image"]
    assert enable(world, True).success
    answer = enable(world, False)
    assert answer.success
    assert "nothing is published" in answer.message
    assert not bench.subscribed()
    enable(world, True)
    bench.node.trigger_deactivate()
    bench.node.trigger_activate()
    assert not bench.subscribed()  # as start_enabled says


def test_a_failed_subscription_is_logged(
    world: World, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(world, tiny, lazy=False)

    def fail(*_: Any) -> None:
        raise RuntimeError("incompatible type")

    monkeypatch.setattr(bench.node, "create_subscription", fail)
    assert bench.node.start()
    world.forward(1)
    (text,) = world.logged("error")
    assert text.startswith("image cannot be subscribed to")
    assert "incompatible type" in text


# -------------------------------------------------------------------------------- the process
def run_main(world: World, *words: str, ends: Any = KeyboardInterrupt, turns: int = 30) -> int:
    turn = itertools.count()

    def on_spin() -> None:
        if next(turn) == turns:
            raise ends
        world.steady_ns += 50_000_000

    world.on_spin = on_spin
    return node_module().main(["encoder", "--ros-args", *words])


@pytest.mark.parametrize("ends", [KeyboardInterrupt, ExternalShutdownException])
def test_the_process(world: World, tiny: str, ends: type[BaseException]) -> None:
    peer = Node("peer")
    received: list[Any] = []
    peer.create_subscription(message_class(DIAGNOSTICS), "/diagnostics", received.append, RELIABLE)
    camera = peer.create_publisher(message_class(IMAGE), "/camera/image_raw", RELIABLE)
    parameters = [f"encoder:={tiny}", "scales:=[1.0]", "readout:=mean", "lazy:=false"]
    words = [word for text in parameters for word in ("-p", text)]
    assert run_main(world, *words, "-r", "image:=/camera/image_raw", ends=ends) == 0
    assert not world.ok()
    assert world.nodes == [peer]
    assert received
    assert camera.topic_name == "/camera/image_raw"
    assert not world.logged("error")


def test_without_autostart_and_with_a_bad_one(
    world: World, tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    states: list[str] = []
    world.on_spin = lambda: states.append(world.nodes[0].state) or setattr(world, "is_ok", False)
    assert node_module().main(["encoder", "--ros-args", "-p", "autostart:=false"]) == 0
    assert states == ["unconfigured"]
    world.is_ok = True
    assert node_module().main(["encoder", "--ros-args", "-p", "autostart:=7"]) == 1
    assert "expected 'BOOL' got 'INTEGER'" in capsys.readouterr().err


def test_a_process_that_cannot_be_configured_stays(world: World) -> None:
    assert run_main(world, "-p", "encoder:=no_such", turns=3) == 0
    assert len(world.logged("error")) == 1


def test_the_module_runs_with_m(world: World, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spins: list[str] = []
    world.on_spin = lambda: spins.append(world.nodes[0].state) or setattr(world, "is_ok", False)
    words = ["encoder", "--ros-args", "-p", "autostart:=false"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("s2robot.plugins.ros.ros2", run_name="__main__")
    assert (caught.value.code, spins) == (0, ["unconfigured"])


def test_help_and_unknown_words(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    for words, code in ((["encoder", "--help"], 0), (["encoder", "--fast"], 2)):
        with pytest.raises(SystemExit) as caught:
            node_module().main(words)
        assert caught.value.code == code
    printed = capsys.readouterr()
    for words in ("ros2 run", "ros2 launch", "ros2 lifecycle set", "ros2 service call"):
        assert words in printed.out
    assert "--fast" in printed.err


def test_a_policy_is_never_lazy(world: World, tiny: str, tmp_path: Path) -> None:
    bench = Bench(world, tiny, policy=write_policy(tiny, tmp_path))
    bench.node.start()
    assert bench.subscribed() == ["/image", "/joint_states"]
