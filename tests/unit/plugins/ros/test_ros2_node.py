"""The ROS 2 node: life cycle, parameters, subscriptions on demand, the service, the process."""

from __future__ import annotations

import itertools
import random
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from support.fake_rclpy import ExternalShutdownException, Node, Parameter, installed
from support.fake_ros_world import World
from support.fake_rosidl import message_class, service_class
from support.ros2_bench import (
    ARRAY,
    DIAGNOSTICS,
    IMAGE,
    RELIABLE,
    Bench,
    image,
    node_module,
    threads,
    write_policy,
)

from s2robot.plugins.ros.core import NodeConfig
from s2robot.plugins.ros.parameters import CONFIG_PARAMETERS, OWN_PARAMETERS

ENABLE = "/s2robot_encoder/enable"
CHANGE = "/s2robot_encoder/change_state"


def change(world: World, number: int) -> bool:
    """Ask for a transition by the service, as a lifecycle manager does."""
    kind = service_class("lifecycle_msgs/srv/ChangeState")
    request = kind.Request(transition=message_class("lifecycle_msgs/msg/Transition")(id=number))
    return world.call(CHANGE, request).success


def enable(world: World, on: bool) -> Any:
    return world.call(ENABLE, service_class("std_srvs/srv/SetBool").Request(data=on))


# ------------------------------------------------------------------------------- life cycle
def test_one_round_of_the_life_cycle(world: World, tiny: str) -> None:
    bench = Bench(world, tiny)
    node = bench.node
    assert node.trigger_configure().name == "SUCCESS"
    assert (node.state, threads(), bench.subscribed()) == ("inactive", [], [])
    bench.hear()
    bench.show(image(bench.now))
    world.forward(1)
    assert not bench.heard["/embedding"]  # inactive: nobody is listened to
    node.trigger_activate()
    assert (threads(), bench.subscribed()) == (["s2robot-encoder"], ["/image"])
    bench.show(image(bench.now))
    bench.wait_heard(1)
    node.trigger_deactivate()
    assert (threads(), bench.subscribed(), node._timers) == ([], [], [])
    bench.show(image(bench.now))
    assert node.trigger_activate().name == "SUCCESS"
    bench.show(image(bench.now))
    bench.wait_heard(2)
    node.trigger_deactivate()
    assert node.trigger_cleanup().name == "SUCCESS"
    assert [each.srv_name for each in node._services] == [CHANGE]
    assert (node._publishers, node._managed_entities) == ([], set())
    assert node.trigger_shutdown().name == "SUCCESS"
    assert not world.said("error")


@pytest.mark.parametrize("seed", range(6))
def test_transitions_in_any_order(world: World, tiny: str, seed: int) -> None:
    bench = Bench(world, tiny)
    bench.hear()
    for number in [1, 3, 4, 2, *random.Random(seed).choices((1, 2, 3, 4), k=40)]:
        change(world, number)
        state = bench.node.state
        assert threads() == (["s2robot-encoder"] if state == "active" else [])
        assert bool(bench.subscribed()) == (state == "active")
        assert bool(bench.node._publishers) == (state != "unconfigured")
        assert len(bench.node._timers) == (2 if state == "active" else 0)
    assert any("not possible now" in text for text in world.said("warning"))
    assert not world.said("error")


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


def test_a_wrong_transition_is_answered(world: World, tiny: str) -> None:
    bench = Bench(world, tiny)
    assert not change(world, 3)  # activate what is not configured
    assert bench.node.state == "unconfigured"
    (text,) = world.said("warning")
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
    (text,) = world.said("error")
    assert text.startswith("the node cannot be activated: Traceback")
    assert "KeyError: 'a timer'" in text
    with monkeypatch.context() as patch:
        bench.node.trigger_activate()
        patch.setattr(bench.node, "destroy_timer", fail)
        assert bench.node.trigger_deactivate().name == "ERROR"
    assert (bench.node.state, threads(), bench.node._publishers) == ("unconfigured", [], [])
    assert world.said("error")[-1].startswith("the node cannot be deactivated: Traceback")
    assert bench.node.start()


# ------------------------------------------------------------------------------- parameters
def test_parameters_are_declared_with_defaults_and_texts(world: World) -> None:
    node = node_module().EncoderNode()
    for name, default in CONFIG_PARAMETERS.items():
        value = node.get_parameter(name).value
        assert value == (list(default) if isinstance(default, tuple) else default), name
        about = node.describe_parameter(name)
        assert about.dynamic_typing
        assert "configured" in about.additional_constraints
    assert node.describe_parameter("lazy").description.startswith("Whether cameras are subscribed")
    assert set(node._parameters) == {*CONFIG_PARAMETERS, *OWN_PARAMETERS, "use_sim_time"}
    assert node.describe_parameter("autostart").read_only
    assert NodeConfig.from_parameters(dict(CONFIG_PARAMETERS)) == NodeConfig()


def test_values_as_they_come_by_ros(world: World, tiny: str) -> None:
    bench = Bench(
        world, tiny, scales=[1, 2], max_rate_hz=10, image_topics="camera/image", readout="mean"
    )
    assert bench.node.start()
    config = bench.node._parts.config
    assert config.scales == (1.0, 2.0)
    assert config.max_rate_hz == 10.0
    assert config.image_topics == ("camera/image",)


@pytest.mark.parametrize(
    "parameters, words",
    [
        ({"output": "float"}, "unknown output 'float'"),
        ({"max_rate_hz": "ten"}, "max_rate_hz is 'ten'; allowed: a number"),
        ({"scales": ["one"]}, r"scales is \['one'\]; allowed: a list of numbers"),
        ({"scales": "abc"}, "scales is 'abc'; allowed: a list of numbers"),
        ({"image_topics": [1, 2]}, "allowed: a list of texts"),
        ({"lazy": 1}, '"lazy" - should be "bool"'),
        ({"encoder": 12}, '"encoder" - should be "str"'),
        ({"encoder": "no such"}, "no such"),
        ({"policy": "/no/such/file", "encoder": ""}, "/no/such/file"),
        ({"image_topics": ["1camera"]}, "image_topics has '1camera', which is no name of a topic"),
        ({"embedding_topic": "out//put"}, "embedding_topic has 'out//put'"),
        ({"image_topics": ["/a", "a"], "synchronize": False}, "two of them would be published"),
    ],
)
def test_bad_parameters_and_a_second_try(
    world: World, tiny: str, parameters: dict[str, Any], words: str
) -> None:
    bench = Bench(world, tiny, **parameters)
    node = bench.node
    assert node.trigger_configure().name == "FAILURE"
    assert node.state == "unconfigured"
    assert len(world.said("error")) == 1
    assert re.search(words, world.said("error")[0]), world.said("error")
    good = {"encoder": tiny, "scales": [1.0], "readout": "mean", "policy": ""}
    mended = {name: CONFIG_PARAMETERS[name] for name in parameters if name != "scales"}
    mended = {k: list(v) if isinstance(v, tuple) else v for k, v in mended.items()} | good
    assert all(r.successful for r in node.set_parameters([Parameter(*p) for p in mended.items()]))
    assert node.trigger_configure().name == "SUCCESS"


def test_parameters_are_fixed_while_configured(world: World, tiny: str) -> None:
    bench = Bench(world, tiny)
    node = bench.node
    assert node.set_parameters([Parameter("max_rate_hz", 3.0)])[0].successful
    node.trigger_configure()
    (result,) = node.set_parameters([Parameter("max_rate_hz", 5)])
    assert not result.successful
    assert "max_rate_hz: parameters are read when the node is configured" in result.reason
    assert node.get_parameter("max_rate_hz").value == 3.0
    assert node.set_parameters([Parameter("use_sim_time", True)])[0].successful
    assert not node.set_parameters([Parameter("autostart", False)])[0].successful
    node.trigger_cleanup()
    assert node.set_parameters([Parameter("max_rate_hz", 5)])[0].successful
    node.trigger_configure()
    assert node._parts.config.max_rate_hz == 5.0


def test_deleted_and_empty_parameters_are_defaults(world: World, tiny: str) -> None:
    bench = Bench(world, tiny, scales=None)
    bench.node.set_parameters([Parameter("joint_topic", None)])
    assert not bench.node.has_parameter("joint_topic")
    assert bench.node.trigger_configure().name == "SUCCESS"
    config = bench.node._parts.config
    assert (config.scales, config.joint_topic) == ((), "joint_states")


def test_a_misspelt_parameter_is_told(world: World, tiny: str) -> None:
    Bench(world, tiny, image_topic="x")
    (text,) = world.said("warning")
    assert "unknown parameter 'image_topic'" in text
    assert "did you mean 'image_topics'" in text


def test_the_old_name_of_a_parameter_still_works_with_a_warning(world: World, tiny: str) -> None:
    bench = Bench(world, tiny, image_topics=["left", "right"], synchronise=False)
    assert not world.said("warning")
    assert bench.node.trigger_configure().name == "SUCCESS"
    (text,) = world.said("warning")
    assert "parameter synchronise is now called synchronize" in text
    assert set(bench.node._parts.config.channels) == {"left", "right"}
    (result,) = bench.node.set_parameters([Parameter("synchronise", True)])
    assert not result.successful
    bench.node.trigger_cleanup()
    assert bench.node.set_parameters([Parameter("synchronise", True)])[0].successful
    bench.node.trigger_configure()
    assert set(bench.node._parts.config.channels) == {"cameras"}


def test_an_old_name_that_was_not_given_is_no_parameter(world: World, tiny: str) -> None:
    assert not Bench(world, tiny).node.has_parameter("synchronise")


def test_stamped_output_without_our_messages(tiny: str) -> None:
    with installed(without=("s2robot_msgs",)) as world:
        bench = Bench(world, tiny)
        assert bench.node.trigger_configure().name == "FAILURE"
        (text,) = world.said("error")
        for words in (
            "No module named 's2robot_msgs'",
            "colcon build",
            "output:=float32multiarray",
        ):
            assert words in text
        bench.node.set_parameters([Parameter("output", "float32multiarray")])
        assert bench.node.start()
        bench.hear(kind=ARRAY)
        world.forward(0.3)
        bench.show(image(bench.now))
        bench.wait_heard(1)


# ------------------------------------------------------------------ demand and the service
def test_cameras_are_subscribed_to_on_demand(world: World, tiny: str) -> None:
    bench = Bench(world, tiny)
    bench.node.start()
    assert not bench.subscribed()
    ears = [bench.hear(), bench.hear()]
    world.forward(0.25)
    assert bench.subscribed() == ["/image"]
    bench.peer.destroy_subscription(ears[0])
    world.forward(0.25)
    assert bench.subscribed() == ["/image"]
    bench.peer.destroy_subscription(ears[1])
    world.forward(0.25)
    assert not bench.subscribed()
    for _ in range(5):
        ear = bench.hear()
        world.forward(0.25)
        assert bench.subscribed() == ["/image"]
        bench.peer.destroy_subscription(ear)
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


def test_a_subscription_that_fails_is_told(
    world: World, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(world, tiny, lazy=False)

    def fail(*_: Any) -> None:
        raise RuntimeError("incompatible type")

    monkeypatch.setattr(bench.node, "create_subscription", fail)
    assert bench.node.start()
    world.forward(1)
    (text,) = world.said("error")
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
    heard: list[Any] = []
    peer.create_subscription(message_class(DIAGNOSTICS), "/diagnostics", heard.append, RELIABLE)
    camera = peer.create_publisher(message_class(IMAGE), "/camera/image_raw", RELIABLE)
    parameters = [f"encoder:={tiny}", "scales:=[1.0]", "readout:=mean", "lazy:=false"]
    words = [word for text in parameters for word in ("-p", text)]
    assert run_main(world, *words, "-r", "image:=/camera/image_raw", ends=ends) == 0
    assert not world.ok()
    assert world.nodes == [peer]
    assert heard
    assert camera.topic_name == "/camera/image_raw"
    assert not world.said("error")


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
    assert len(world.said("error")) == 1


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
