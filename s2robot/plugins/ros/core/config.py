"""Parameters of a node, and the encoder that they describe."""

from __future__ import annotations

import dataclasses
import math
import warnings
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from s2robot.data.ros_messages.images import ORDERS
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.errors import MismatchError, unknown
from s2robot.evaluation.agents.camera_encoders import CameraEncoders
from s2robot.evaluation.agents.loaded_policy import encoder_of
from s2robot.plugins.ros.core.camera_encoder import CameraEncoder
from s2robot.plugins.ros.core.encoder_parameters import (
    EncoderParameters,
    check_choices,
    given_options,
)
from s2robot.policies.checkpoint import PolicyHeader, read_header
from s2robot.runtimes import AUTO, checked_name
from s2robot.utils.config import from_config
from s2robot.utils.deprecation import REMOVED_IN
from s2robot.utils.validation import require_finite, require_one_of

DEFAULT_ENCODER = "s2r-vitt16-128"
DEFAULT_SCALES = (1.0, 2.0)
DEFAULT_READOUT = "spatial_softmax"
DEFAULTS: dict[str, Any] = {"scales": DEFAULT_SCALES, "readout": DEFAULT_READOUT}
"""Options of the encoder that a node has other defaults for."""
AUTO_OUTPUT = "auto"
OUTPUTS = (AUTO_OUTPUT, "stamped", "float32multiarray")
TRANSPORTS = ("auto", "raw", "compressed")
RELIABILITIES = ("auto", "best_effort", "reliable")
TOGETHER = "cameras"
"""Name of the channel of synchronized cameras."""
RENAMED_PARAMETERS = {"synchronise": "synchronize"}
"""New names of parameters by their old ones, which still work for one release."""


@dataclass(frozen=True)
class NodeConfig(EncoderParameters):
    """Parameters of a node; those of the encoder's options are inherited.

    ROS has no null value, so "", 0 and () stand for "not given".

    Raises:
        ValueError: a value is out of its range, or two values contradict each other.

    Examples:
        >>> config = NodeConfig(image_topics=("/left/image", "/right/image"), synchronize=True)
        >>> config.channels
        {'cameras': ('/left/image', '/right/image')}
        >>> NodeConfig(tolerance=300.0)
        Traceback (most recent call last):
        ValueError: tolerance is 300.0; allowed: levels of a pixel below 255
    """

    encoder: str = ""
    """Name of a backbone (`s2robot encoders`); "" is the shipped one, or the policy's."""
    policy: str = ""
    """A policy file: the node uses its encoder and publishes actions besides embeddings."""
    weights: str = ""
    """File of the encoder's weights; "" finds them by name and downloads them if necessary."""
    device: str = "auto"
    runtime: str = "auto"
    """See ``FrameEncoder.use_runtime``; auto measures for some seconds at its first start."""
    reuse: bool = True
    """Whether to encode only the tiles that changed since the last frame."""
    tolerance: float = 0.0
    """Difference of a pixel's level (0-255) that does not count as a change; 0 is exact."""
    refresh_every: int = 0
    """Encode an unchanged tile again after this many frames; 0 is never."""
    image_topics: tuple[str, ...] = ("image",)
    """Topics of one camera each; embeddings of several follow each other in this order."""
    joint_topic: str = "joint_states"
    embedding_topic: str = "embedding"
    action_topic: str = "action"
    output: str = AUTO_OUTPUT
    """Type of the published messages: "stamped" (EmbeddingStamped, ActionStamped, with the frame's
    header), "float32multiarray", which does not need s2robot_msgs but has no header, or "auto":
    stamped, and float32multiarray, with a warning, where s2robot_msgs is not built (ROS 2)."""
    transport: str = "auto"
    """Type of images: "raw" (Image), "compressed" (CompressedImage, JPEG or PNG), or "auto":
    compressed for topics named ".../compressed", else raw."""
    reliability: str = "auto"
    """Quality of service of images in ROS 2: reliable resends lost images, and receives none from a
    camera that offers best_effort only; best_effort works with every camera; auto is reliable where
    all publishers of the topic offer it, else best_effort."""
    lazy: bool = True
    """Whether cameras are subscribed to only while an embedding has a subscriber; with a policy
    they are always subscribed to."""
    start_enabled: bool = True
    """Whether the node is switched on at its start; the service ``enable`` switches it."""
    diagnostics_hz: float = 1.0
    """Rate of /diagnostics [Hz]; 0 publishes none."""
    synchronize: bool = True
    """Whether frames that several cameras took together make one embedding, or each its own."""
    slop_s: float = 0.015
    """Longest time between the stamps of such frames [s]; should be below half of the period."""
    max_rate_hz: float = 0.0
    """Highest rate of embeddings of each channel [Hz]; 0 is no limit."""
    stale_s: float = 0.5
    """Age from which frames and joint states are not used [s]; 0 is no limit."""
    generic_order: str = "bgr"
    """Order of the channels of 8UC3 and 8UC4 images, whose encoding does not define it."""
    joint_prefix: str = ""
    """Prefix of joint1 ... joint7 in joint states, such as "left_panda_"; "" detects it."""

    def __post_init__(self) -> None:
        allowed = {
            "output": OUTPUTS,
            "transport": TRANSPORTS,
            "reliability": RELIABILITIES,
            "generic_order": ORDERS,
        }
        require_one_of(self, allowed)
        checked_name(self.runtime)
        check_choices(self)
        self._check_numbers()
        self._check_topics()
        if self.policy:
            self._check_policy()

    def _check_numbers(self) -> None:
        rates = ("max_rate_hz", "diagnostics_hz")
        require_finite(self, 0, *rates, "slop_s", "stale_s", "tolerance", "refresh_every")
        if self.tolerance >= 255:
            raise ValueError(f"tolerance is {self.tolerance}; allowed: levels of a pixel below 255")
        if not all(math.isfinite(scale) and scale > 0 for scale in self.scales):
            raise ValueError(f"scales are {self.scales}; allowed: finite numbers above 0")

    def _check_topics(self) -> None:
        topics = self.image_topics
        if not topics or not all(topics) or len(set(topics)) < len(topics):
            raise ValueError(f"image_topics are {topics}; allowed: one or more different names")
        for name in ("joint_topic", "embedding_topic", "action_topic"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty; give the name of a topic")

    def _check_policy(self) -> None:
        given = [
            name
            for name in ("encoder", *given_options(self))
            if name != "dtype" and getattr(self, name)
        ]
        if given:
            raise ValueError(
                f"a policy has its own encoder: leave {', '.join(given)} out, or the policy"
            )
        if len(self.image_topics) > 1:
            raise ValueError(
                f"a policy uses one camera; image_topics are {self.image_topics}, so give one"
            )
        if not self.stale_s:
            raise ValueError(
                "stale_s is 0, but a policy must not act on old frames; allowed: above 0, such as "
                "0.5 (seconds)"
            )

    @classmethod
    def from_parameters(
        cls, parameters: Mapping[str, Any], warn: Callable[[str], None] | None = None
    ) -> NodeConfig:
        """Build a configuration from a node's parameters.

        Lists stand for tuples and whole numbers for fractions. Numbers may come as
        ``array.array``, and a list of one element without brackets. None, which ROS 2 makes of [],
        stands for the default.

        Args:
            parameters: values by name.
            warn: receives one text for each old name among them; without it they are warnings
                of Python.

        Returns:
            The configuration; parameters that are not given have their defaults.

        Raises:
            ValueError: a parameter is unknown, has another type, or has a bad value.
        """
        parameters = _with_new_names(parameters, warn)
        types = {field.name: field.type for field in dataclasses.fields(cls)}
        for name, value in parameters.items():
            if name not in types:
                raise unknown("parameter", name, types)
            if value is None or types[name] != "float":
                continue
            if isinstance(value, bool) or not isinstance(value, Real):
                raise ValueError(f"{name} is {value!r}; allowed: a number")
        given = {name: value for name, value in parameters.items() if value is not None}
        return from_config(cls, {name: _plain(name, value) for name, value in given.items()})

    def is_compressed(self, topic: str) -> bool:
        """Return whether a topic has messages of type CompressedImage."""
        if self.transport == "auto":
            return topic.rstrip("/").rsplit("/", 1)[-1] == "compressed"
        return self.transport == "compressed"

    @property
    def always_subscribed(self) -> bool:
        """True if the node subscribes to its cameras although nobody receives its embeddings."""
        return bool(self.policy) or not self.lazy

    @property
    def stamped(self) -> bool:
        """True if the published messages have headers."""
        return self.output != "float32multiarray"

    @property
    def channels(self) -> dict[str, tuple[str, ...]]:
        """Topics by the name of the worker's channel."""
        topics = self.image_topics
        if len(topics) > 1 and self.synchronize:
            return {TOGETHER: topics}
        return {topic: (topic,) for topic in topics}


def _with_new_names(
    parameters: Mapping[str, Any], warn: Callable[[str], None] | None
) -> dict[str, Any]:
    """Return parameters under their new names; an old name replaces a default value only."""
    found = {name: v for name, v in parameters.items() if name not in RENAMED_PARAMETERS}
    defaults = {field.name: field.default for field in dataclasses.fields(NodeConfig)}
    for old in parameters.keys() & RENAMED_PARAMETERS.keys():
        new, value = RENAMED_PARAMETERS[old], parameters[old]
        if found.get(new, defaults[new]) not in (defaults[new], value):
            raise ValueError(
                f"{new} is {found[new]!r} and its old name {old} is {value!r}; set {new} only"
            )
        text = f"parameter {old} is now called {new}; release {REMOVED_IN} drops the old name"
        if warn:
            warn(text)
        else:
            warnings.warn(text, FutureWarning, stacklevel=3)
        found[new] = value
    return found


def _plain(name: str, value: Any) -> Any:
    """Return a list with elements of the right type if the field is a tuple."""
    field = next(field for field in dataclasses.fields(NodeConfig) if field.name == name)
    if not isinstance(field.default, tuple):
        return value
    if isinstance(value, array):
        value = value.tolist()
    found = list(value) if isinstance(value, (list, tuple, bytes)) else [value]
    numbers = {"tuple[float, ...]": Real, "tuple[int, ...]": Integral}
    if isinstance(value, str) and str(field.type) in numbers:
        return value  # "[1,2]", which is read with the other types
    wanted = numbers.get(str(field.type), str)
    if not all(isinstance(each, wanted) and not isinstance(each, bool) for each in found):
        what = {Real: "numbers", Integral: "whole numbers"}.get(wanted, "texts")
        raise ValueError(f"{name} is {value!r}; allowed: a list of {what}")
    return found


def embedding_topics(config: NodeConfig) -> dict[str, str]:
    """Return the topic of each channel's embeddings, by the channel's name.

    A node with one channel (one camera, or several synchronized ones) publishes on
    ``embedding_topic``. With one channel a camera, the camera's topic is appended: embeddings of
    "/left/image_raw" are on "embedding/left/image_raw". A leading "~" of the camera's topic is
    dropped, as it is valid only at the beginning of a name.

    Raises:
        ValueError: two cameras would share a topic ("/image" and "image"), or a topic is empty.
    """
    channels = config.channels
    if len(channels) == 1:
        return dict.fromkeys(channels, config.embedding_topic)
    found: dict[str, str] = {}
    for channel in channels:
        name = channel.lstrip("~/")
        if not name:
            raise ValueError(f"image_topics has {channel!r}; allowed: names such as 'left/image'")
        topic = f"{config.embedding_topic}/{name}"
        if topic in found.values():
            raise ValueError(
                f"image_topics are {config.image_topics}: two of them would be published on "
                f"{topic!r}; write both with a leading '/', and give them different names"
            )
        found[channel] = topic
    return found


def build_encoder(config: NodeConfig) -> FrameEncoder:
    """Return the encoder of a node: the named one, or the one that the policy was trained on.

    Raises:
        ValueError: a name or a setting is invalid.
        FileNotFoundError: there is no such policy file.
        S2RobotError: a file is damaged, or weights or the runtime are not available; see
            ``FrameEncoder``.
        MismatchError: the policy does not read frames.
    """
    if config.policy:
        encoder = _encoder_of_policy(config, read_header(config.policy))
    else:
        encoder = _encoder_by_name(config)
    if encoder.runtime.name == AUTO:  # chosen and converted now, for one frame at a time
        encoder.use_runtime(encoder.for_batches_of(1).runtime.name)
    return encoder


def _encoder_by_name(config: NodeConfig) -> FrameEncoder:
    return FrameEncoder.from_name(
        config.encoder or DEFAULT_ENCODER,
        weights=config.weights or None,
        device=config.device,
        runtime=config.runtime,
        **{**DEFAULTS, **given_options(config)},
    )


def _encoder_of_policy(config: NodeConfig, header: PolicyHeader) -> FrameEncoder:
    encoder = encoder_of(
        header, config.weights or None, config.device, config.dtype, config.runtime
    )
    if encoder is None:
        raise MismatchError(
            f"the policy {config.policy} reads {header.encoder.get('backbone')!r}, not frames; "
            "a node needs a policy that was trained on an encoder"
        )
    if isinstance(encoder, CameraEncoders):
        raise MismatchError(
            f"the policy {config.policy} reads the cameras {', '.join(encoder.encoders)} at once; "
            "a node with a policy reads one. Train a policy of one camera for it"
        )
    return encoder


def build_channels(config: NodeConfig, encoder: FrameEncoder) -> dict[str, CameraEncoder]:
    """Return the encoder of each channel by its name; all belong to one thread.

    Args:
        config: parameters of the node.
        encoder: encoder that the channels share.
    """
    return {
        name: CameraEncoder(
            encoder, topics, config.reuse, config.tolerance, config.refresh_every or None
        )
        for name, topics in config.channels.items()
    }


def strides(shape: Sequence[int]) -> list[int]:
    """Return the strides of ``std_msgs/MultiArrayDimension`` for an array of this shape."""
    return [math.prod(shape[i:]) for i in range(len(shape))]
