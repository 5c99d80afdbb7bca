"""The ROS 2 node's parameters."""

from __future__ import annotations

import re
from typing import Any

import pytest
from support.fake_rclpy import Parameter, installed
from support.fake_ros_world import World
from support.ros2_bench import (
    ARRAY,
    Bench,
    image,
    node_module,
)

from s2robot.plugins.ros.core import NodeConfig
from s2robot.plugins.ros.parameters import CONFIG_PARAMETERS, OWN_PARAMETERS


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


def test_parameter_values_of_the_types_that_ros_delivers(world: World, tiny: str) -> None:
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
        ({"lazy": 1}, "lazy is 1; allowed: true or false"),
        ({"encoder": 12}, "encoder is 12; allowed: a text"),
        ({"encoder": "no such"}, "no such"),
        ({"policy": "/no/such/file", "encoder": ""}, "/no/such/file"),
        ({"image_topics": ["1camera"]}, "image_topics has '1camera', which is no name of a topic"),
        ({"embedding_topic": "out//put"}, "embedding_topic has 'out//put'"),
        ({"image_topics": ["/a", "a"], "synchronize": False}, "two of them would be published"),
    ],
)
def test_bad_parameters_are_logged_and_can_be_corrected(
    world: World, tiny: str, parameters: dict[str, Any], words: str
) -> None:
    bench = Bench(world, tiny, **parameters)
    node = bench.node
    assert node.trigger_configure().name == "FAILURE"
    assert node.state == "unconfigured"
    assert len(world.logged("error")) == 1
    assert re.search(words, world.logged("error")[0]), world.logged("error")
    good = {"encoder": tiny, "scales": [1.0], "readout": "mean", "policy": ""}
    corrected = {name: CONFIG_PARAMETERS[name] for name in parameters if name != "scales"}
    corrected = {k: list(v) if isinstance(v, tuple) else v for k, v in corrected.items()} | good
    assert all(
        r.successful for r in node.set_parameters([Parameter(*p) for p in corrected.items()])
    )
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


def test_a_misspelt_parameter_is_logged(world: World, tiny: str) -> None:
    Bench(world, tiny, image_topic="x")
    (text,) = world.logged("warning")
    assert "unknown parameter 'image_topic'" in text
    assert "did you mean 'image_topics'" in text


def test_the_old_name_of_a_parameter_still_works_with_a_warning(world: World, tiny: str) -> None:
    bench = Bench(world, tiny, image_topics=["left", "right"], synchronise=False)
    assert not world.logged("warning")
    assert bench.node.trigger_configure().name == "SUCCESS"
    (text,) = world.logged("warning")
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
        bench = Bench(world, tiny, output="stamped")
        assert bench.node.trigger_configure().name == "FAILURE"
        (text,) = world.logged("error")
        for words in (
            "No module named 's2robot_msgs'",
            "colcon build",
            "output:=float32multiarray",
        ):
            assert words in text
        bench.node.set_parameters([Parameter("output", "float32multiarray")])
        assert bench.node.start()
        bench.subscribe(kind=ARRAY)
        world.forward(0.3)
        bench.show(image(bench.now))
        bench.wait_received(1)


def test_output_without_our_messages_is_arrays_with_one_warning(tiny: str) -> None:
    with installed(without=("s2robot_msgs",)) as world:
        bench = Bench(world, tiny)
        assert bench.node.start()
        (text,) = world.logged("warning")
        assert "without the header of their frame" in text
        assert "colcon build" in text
        bench.subscribe(kind=ARRAY)
        world.forward(0.3)
        bench.show(image(bench.now))
        bench.wait_received(1)
