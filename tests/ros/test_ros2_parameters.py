"""The ROS 2 node's parameters and names on rclpy: what it declares, takes and refuses.

Nodes are in the tests' own process. These run where rclpy is (`make test-ros2` makes that
environment) and are skipped elsewhere.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not in this environment: make test-ros2")

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rclpy.lifecycle import TransitionCallbackReturn  # noqa: E402
from std_msgs.msg import Float32MultiArray  # noqa: E402
from support.paths import ROOT  # noqa: E402
from support.ros2_own import OwnNode, OwnNodes, defaults  # noqa: E402
from support.ros2_rig import eventually  # noqa: E402

from s2robot.plugins.ros.core import NodeConfig  # noqa: E402
from s2robot.plugins.ros.parameters import CONFIG_PARAMETERS, OWN_PARAMETERS  # noqa: E402

FILE = ROOT / "ros" / "ros2" / "s2robot_ros" / "config" / "encoder.yaml"


def configure(one: OwnNode) -> bool:
    return one.node.trigger_configure() == TransitionCallbackReturn.SUCCESS


def value(one: OwnNode, name: str) -> Any:
    return one.node.get_parameter(name).value


# ---------------------------------------------------------------------------- what it has
def test_parameters_have_their_defaults(own: OwnNodes) -> None:
    one = own.plain()
    for name, default in {**CONFIG_PARAMETERS, "autostart": True, "hardware_id": ""}.items():
        assert value(one, name) == (list(default) if isinstance(default, tuple) else default), name
    for name in CONFIG_PARAMETERS:
        about = one.node.describe_parameter(name)
        assert about.dynamic_typing
        assert "configured" in about.additional_constraints
    assert one.node.describe_parameter("lazy").description.startswith("Whether cameras are sub")
    ours = {*CONFIG_PARAMETERS, *OWN_PARAMETERS}
    assert set(one.node._parameters) - ours <= {"use_sim_time", "start_type_description_service"}
    assert NodeConfig.from_parameters(dict(CONFIG_PARAMETERS)) == NodeConfig()


def test_the_file_of_parameters(own: OwnNodes, tmp_path: Path) -> None:
    one = own.plain(cli_args=["--ros-args", "--params-file", str(FILE)])
    assert not own.logged("WARN")
    assert value(one, "scales") is None  # [] to rcl
    assert list(value(one, "image_topics")) == ["image"]
    changed = FILE.read_text(encoding="utf-8").replace("lazy: true", "lasy: true")
    (tmp_path / "changed.yaml").write_text(changed, encoding="utf-8")
    own.plain(cli_args=["--ros-args", "--params-file", str(tmp_path / "changed.yaml")])
    (text,) = own.logged("WARN")
    assert "unknown parameter 'lasy'" in text
    assert "did you mean 'lazy'" in text


def test_values_of_the_types_that_ros_delivers(own: OwnNodes) -> None:
    one = own.make(scales=[1, 2], max_rate_hz=10, image_topics="camera/image")
    assert configure(one), own.log
    assert one.config.scales == (1.0, 2.0)
    assert one.config.max_rate_hz == 10.0
    assert one.config.image_topics == ("camera/image",)


def test_deleted_and_empty_parameters_are_defaults(own: OwnNodes) -> None:
    one = own.make(scales=None)
    one.set(joint_topic=None)
    assert not one.node.has_parameter("joint_topic")
    assert configure(one), own.log
    assert (one.config.scales, one.config.joint_topic) == ((), "joint_states")


# ------------------------------------------------------------------------ what it refuses
@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"output": "float"}, "unknown output 'float'"),
        ({"max_rate_hz": "ten"}, "max_rate_hz is 'ten'; allowed: a number"),
        ({"max_rate_hz": -1.0}, "max_rate_hz is -1"),
        ({"scales": ["one"]}, r"scales is \['one'\]; allowed: a list of numbers"),
        ({"scales": "abc"}, "scales is 'abc'; allowed: a list of numbers"),
        ({"image_topics": [1, 2]}, "allowed: a list of texts"),
        ({"lazy": 1}, "lazy is 1; allowed: true or false"),
        ({"encoder": 12}, "encoder is 12; allowed: a text"),
        ({"encoder": "no such"}, "no such"),
        ({"encoder": "s2r-vitt16"}, "did you mean 's2r-vitt16-128'"),
        ({"weights": "/no/such.safetensors"}, "no model card at /no/such.json"),
        ({"policy": "/no/such/file", "encoder": ""}, "/no/such/file"),
        ({"image_topics": ["1camera"]}, "image_topics has '1camera', which is no name of a topic"),
        ({"embedding_topic": "out//put"}, "embedding_topic has 'out//put'"),
        ({"image_topics": ["/a", "a"], "synchronize": False}, "two of them would be published"),
    ],
)
def test_wrong_parameters_are_refused_until_they_are_right(
    own: OwnNodes, parameters: dict[str, Any], words: str
) -> None:
    one = own.make(**parameters)
    assert not configure(one)
    assert one.state == "unconfigured"
    (text,) = own.logged("ERROR")
    assert re.search(words, text), text
    assert "Traceback" not in text
    good = {"encoder": own.encoder, "scales": [1.0], "readout": "mean"}
    right = {**defaults(parameters), **good}
    assert all(answer.successful for answer in one.set(**right))
    assert configure(one), own.log


def test_parameters_are_fixed_while_it_is_configured(own: OwnNodes) -> None:
    one = own.make()
    assert one.set(max_rate_hz=3.0)[0].successful
    assert configure(one), own.log
    (refused,) = one.set(max_rate_hz=5)
    assert not refused.successful
    assert "max_rate_hz: parameters are read when the node is configured" in refused.reason
    assert value(one, "max_rate_hz") == 3.0
    assert one.set(use_sim_time=True)[0].successful
    assert not one.set(autostart=False)[0].successful
    one.node.trigger_cleanup()
    assert one.set(max_rate_hz=5)[0].successful
    assert configure(one), own.log
    assert one.config.max_rate_hz == 5.0


def test_the_old_name_of_a_parameter_still_works_with_a_warning(own: OwnNodes) -> None:
    one = own.make(image_topics=["left", "right"], synchronise=False)
    assert not own.logged("WARN")
    assert configure(one), own.log
    (text,) = own.logged("WARN")
    assert "parameter synchronise is now called synchronize" in text
    assert set(one.config.channels) == {"left", "right"}
    assert not one.set(synchronise=True)[0].successful
    one.node.trigger_cleanup()
    assert one.set(synchronise=True)[0].successful
    assert configure(one), own.log
    assert set(one.config.channels) == {"cameras"}


def test_an_old_name_that_was_not_given_is_no_parameter(own: OwnNodes) -> None:
    assert not own.make().node.has_parameter("synchronise")


def test_stamped_output_without_our_messages(
    own: OwnNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("s2robot_msgs", "s2robot_msgs.msg"):
        monkeypatch.setitem(sys.modules, name, None)
    one = own.make(output="stamped")
    assert not configure(one)
    (text,) = own.logged("ERROR")
    for words in ("s2robot_msgs cannot be imported", "colcon build", "output:=float32multiarray"):
        assert words in text
    one.set(output="float32multiarray")
    assert configure(one), own.log
    kinds = {each.topic_name: each.msg_type for each in one.node.publishers}
    assert kinds["/embedding"] is Float32MultiArray


# ---------------------------------------------------------------------------------- names
def test_two_nodes_in_namespaces(own: OwnNodes) -> None:
    received = own.rig.subscribe("/diagnostics", DiagnosticArray)
    nodes = {name: own.active(namespace=name, lazy=False) for name in ("left", "right")}
    for name, one in nodes.items():
        assert one.subscribed == [f"/{name}/image"]
        assert f"/{name}/embedding" in one.published
        services = [each.service_name for each in one.node.services]
        assert f"/{name}/s2robot_encoder/enable" in services
        one.spin()

    def told() -> set[str]:
        return {message.status[0].name for message in list(received.messages)}

    statuses = {f"{name}/s2robot_encoder: encoder image" for name in nodes}
    eventually("both publish diagnostics", lambda: told() == statuses)
    received.close()


@pytest.mark.parametrize(
    ("parameters", "subscribed", "published"),
    [
        ({}, [], ["/embedding", "/diagnostics", "/s2robot/encoder"]),
        ({"lazy": False, "diagnostics_hz": 0.0}, ["/image"], ["/embedding", "/s2robot/encoder"]),
        ({"lazy": False, "start_enabled": False, "diagnostics_hz": 0.0}, [], None),
        ({"policy": "POLICY"}, ["/image", "/joint_states"], None),
    ],
)
def test_topics_of_an_active_node(
    own: OwnNodes,
    policy: str,
    parameters: dict[str, Any],
    subscribed: list[str],
    published: list[str] | None,
) -> None:
    """With a policy the node is never lazy."""
    given = {**parameters, **({"policy": policy} if "policy" in parameters else {})}
    one = own.active(**given)
    assert one.subscribed == subscribed
    assert published is None or one.published == published
