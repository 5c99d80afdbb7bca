"""Parameters of a node, and the encoder that they describe."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.ros_policies import make_policy
from support.small_encoders import picture
from support.timed_runtimes import give_times
from support.tiny_models import write_tiny_model

from s2robot.encoder.spec import ENCODER_OPTIONS
from s2robot.errors import MismatchError
from s2robot.plugins.ros.core import (
    NodeConfig,
    build_channels,
    build_encoder,
    strides,
)
from s2robot.plugins.ros.core.config import embedding_topics
from s2robot.policies.checkpoint import save_policy


def test_a_node_may_name_the_calibration_of_its_camera() -> None:
    assert NodeConfig(runtime="openvino-int8:0123ab").runtime == "openvino-int8:0123ab"


def test_names_of_embedding_topics() -> None:
    def of(*topics: str, **more: Any) -> list[str]:
        return list(embedding_topics(NodeConfig(image_topics=topics, **more)).values())

    assert of("/camera/image_raw") == ["embedding"]
    assert of("a", "/b") == ["embedding"]
    assert of("a", "/b/c", synchronize=False) == ["embedding/a", "embedding/b/c"]
    assert of("~/a", "~b", synchronize=False) == ["embedding/a", "embedding/b"]
    assert of("a", "b", synchronize=False, embedding_topic="/e") == ["/e/a", "/e/b"]
    with pytest.raises(ValueError, match="two of them would be published on 'embedding/a'"):
        of("/a", "a", synchronize=False)
    with pytest.raises(ValueError, match="image_topics has '/'"):
        of("/", "a", synchronize=False)


@pytest.mark.parametrize("scales", ["[1,2]", "[1, 2]", "1,2"])
def test_scales_of_a_node_may_be_a_text(scales: str) -> None:
    assert NodeConfig.from_parameters({"encoder": "x", "scales": scales}).scales == (1.0, 2.0)


def test_parameters_as_ros_gives_them() -> None:
    config = NodeConfig.from_parameters(
        {"encoder": "x", "scales": [1, 2.5], "image_topics": ["l", "r"], "max_rate_hz": 10}
    )
    assert config.scales == (1.0, 2.5)
    assert config.channels == {"cameras": ("l", "r")}
    assert isinstance(config.max_rate_hz, float)
    apart = NodeConfig(image_topics=("l", "r"), synchronize=False)
    assert apart.channels == {"l": ("l",), "r": ("r",)}
    assert NodeConfig().channels == {"image": ("image",)}


@pytest.mark.parametrize(
    "parameters, words",
    [
        ({"outptu": 1}, "unknown parameter 'outptu'.*did you mean 'output'"),
        (
            {"output": "float"},
            "unknown output 'float'; available: auto, float32multiarray",
        ),
        ({"runtime": "fast"}, "unknown runtime 'fast'"),
        ({"generic_order": "grb"}, "unknown generic_order 'grb'"),
        ({"max_rate_hz": "ten"}, "max_rate_hz is 'ten'; allowed: a number"),
        ({"tolerance": True}, "tolerance is True"),
        ({"slop_s": -1.0}, "slop_s is -1.0"),
        ({"stale_s": float("nan")}, "stale_s is nan"),
        ({"max_rate_hz": float("inf")}, "max_rate_hz is inf"),
        ({"tolerance": 255.0}, "tolerance is 255.0"),
        ({"refresh_every": -1}, "refresh_every is -1"),
        ({"scales": [1, -2]}, r"scales are \(1"),
        ({"geometry": "half"}, "unknown geometry 'half'; available: full, padded, published"),
        ({"dtype": "float64"}, "unknown dtype 'float64'"),
        ({"layers": [1.5]}, "layers is .1.5.; allowed: a list of whole numbers"),
        ({"tilings": ["2 by 3"]}, "tilings is .'2 by 3'.; allowed: a list of texts such as '1x1'"),
        ({"policy": "p", "layers": [1]}, "leave layers out"),
        ({"image_topics": []}, r"image_topics are \(\)"),
        ({"image_topics": ["a", "a"]}, "different names"),
        ({"action_topic": ""}, "action_topic is empty"),
        ({"policy": "p", "encoder": "x", "scales": [1]}, "leave encoder, scales out"),
        ({"policy": "p", "image_topics": ["a", "b"]}, "uses one camera"),
        ({"policy": "p", "stale_s": 0}, "must not act on old frames"),
    ],
)
def test_bad_parameters(parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        NodeConfig.from_parameters(parameters)


def test_the_old_name_of_a_parameter_still_works_with_a_warning() -> None:
    log: list[str] = []
    assert not NodeConfig.from_parameters({"synchronise": False}, log.append).synchronize
    both = {"synchronise": False, "synchronize": True}  # the latter from a file of defaults
    assert not NodeConfig.from_parameters(both, log.append).synchronize
    assert [text.split(";")[0] for text in log] == [
        "parameter synchronise is now called synchronize"
    ] * 2
    with pytest.warns(FutureWarning, match="synchronise is now called synchronize"):
        assert not NodeConfig.from_parameters({"synchronise": False}).synchronize


def test_two_values_under_the_old_and_the_new_name_are_refused() -> None:
    with pytest.raises(ValueError, match="set synchronize only"):
        NodeConfig.from_parameters({"synchronise": True, "synchronize": False}, print)


@pytest.mark.parametrize(
    ("parameters", "always"), [({}, False), ({"lazy": False}, True), ({"policy": "p"}, True)]
)
def test_a_node_with_a_policy_or_without_lazy_is_always_subscribed(
    parameters: dict[str, Any], always: bool
) -> None:
    assert NodeConfig(**parameters).always_subscribed is always


def test_every_option_of_an_encoder_is_a_parameter(tiny: str) -> None:
    assert {field.name for field in dataclasses.fields(NodeConfig)} >= {*ENCODER_OPTIONS}
    parameters = {"geometry": "full", "tilings": ["1x1", "1x2"], "layers": [0, 1], "encoder": tiny}
    parameters |= {"readout": "mean", "device": "cpu", "scale_weights": [1, 2], "merge": "sum"}
    spec = build_encoder(NodeConfig.from_parameters(parameters)).spec
    assert (spec.tilings, spec.layers, spec.merge) == (((1, 1), (1, 2)), (0, 1), "sum")
    assert (spec.scale_weights, spec.resize_output_to_idx) == ((1, 2), 0)


def test_strides_of_multi_arrays() -> None:
    array = np.zeros((4, 5, 6), np.float32)
    assert strides(array.shape) == [120, 30, 6]
    assert strides(()) == []


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"file:{write_tiny_model(tmp_path_factory.mktemp('tiny'))}"


def test_encoder_of_a_configuration(tiny: str) -> None:
    config = NodeConfig(tiny, device="cpu", tolerance=2.0, refresh_every=7)
    encoder = build_encoder(config)
    spec = encoder.spec
    assert (spec.scales, spec.readout, spec.geometry) == ((1, 2), "spatial_softmax", "published")
    assert encoder.spec.tag == f"{tiny}@{encoder.spec.digest()[:16]}"
    (cameras,) = build_channels(config, encoder).values()
    cameras({"image": picture(1, 40, 40)[0]})
    (stream,) = cameras._streams.values()
    assert (stream.tolerance, stream.refresh_every) == (2.0, 7)
    other = build_encoder(NodeConfig(tiny, scales=(1,), readout="mean", device="cpu"))
    assert (other.spec.scales, other.spec.readout) == ((1,), "mean")


def test_a_policy_that_reads_no_frames_is_refused(tmp_path: Path) -> None:
    policy, head = make_policy()
    head.encoder.clear()
    head.encoder["backbone"] = "state"
    save_policy(tmp_path / "blind.safetensors", policy, head)
    with pytest.raises(MismatchError, match="reads 'state', not frames"):
        build_encoder(NodeConfig(policy=str(tmp_path / "blind.safetensors")))


def test_a_node_names_its_runtime_at_its_start(
    tiny: str, measured_runtimes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_times(monkeypatch, {"eager": lambda n: 2.0 * n, "openvino": lambda n: 1.0 * n})
    encoder = build_encoder(NodeConfig(tiny, scales=(1,), readout="mean", device="cpu"))
    assert encoder.runtime.name == "openvino"
