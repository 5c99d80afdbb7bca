"""The spec of an encoder: every option that decides an embedding, without the weights."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, TypedDict, cast

from s2robot.backbones.intermediate_layers import LAYER_MERGES
from s2robot.encoder.options import option, options_of
from s2robot.errors import MismatchError, unknown
from s2robot.preprocessing import GEOMETRIES
from s2robot.utils.deprecation import renamed_keywords
from s2robot.utils.io import digest_of
from s2robot.utils.validation import check_place, numbers_in

INPUT_MODES = ("native", "interpolate")
DTYPES = ("float32", "bfloat16")
READOUTS = ("published", "cls", "mean", "spatial_softmax")
SCALE_MERGES = ("concat", "sum", "mean")
"""Ways to merge the features of all scales to one embedding."""
RENAMED = {"taps": "layers", "taps_merge": "layers_merge"}
"""Options by the names that they had before: stored specs hold these, and ``EncoderSpec`` takes
them with a warning."""
_ALWAYS_STORED = frozenset(
    "scales input_mode readout resize_output_to_idx dtype geometry layers layers_merge".split()
)
"""Options that every stored spec holds. A later option is stored only where its value is not the
default, so that specs without it keep the digest that they had before there was the option."""
PIXEL_PATH = 2
"""Version of the arithmetic; raised whenever the same frame would embed differently."""


def tiling(text: str) -> tuple[int, int]:
    """Return the (rows, columns) of a text.

    Raises:
        ValueError: the text is not ROWSxCOLUMNS.

    Examples:
        >>> tiling("2x3")
        (2, 3)
    """
    rows, _, columns = text.partition("x")
    return int(rows), int(columns)


def scale_set(scales: Any) -> tuple[Any, ...]:
    """Return scales as they may be given: numbers, one number, or a text with commas.

    Raises:
        ValueError: the text holds something else than numbers.

    Examples:
        >>> scale_set("[1,2]"), scale_set("1,2"), scale_set(2), scale_set([1, 2])
        ((1.0, 2.0), (1.0, 2.0), (2,), (1, 2))
    """
    if isinstance(scales, Real):
        return (scales,)
    found = (scales,) if isinstance(scales, str) else tuple(scales)
    if not any(isinstance(part, str) for part in found):
        return found
    text = ",".join(map(str, found))
    try:
        return numbers_in(text)
    except ValueError:
        raise ValueError(
            f"scales are {text!r}; allowed: a list of numbers, such as [1,2]"
        ) from None


MOST_COPIES = 16
"""Largest number of copies of an embedding's channels."""


@dataclass(frozen=True, kw_only=True)
class EncoderChoice:
    """The options of an encoder, in one place.

    ``EncoderSpec`` and the configuration of experiments inherit them; ``FrameEncoder.from_name``,
    command-line flags and ROS parameters follow from them. See "Add an encoder option" in
    CONTRIBUTING.md.
    """

    scales: tuple[float, ...] = option(
        (1,), "S² scales: the frame at 1x, 2x, ... the encoder's base size", item=float
    )
    """In the order of their channels. Where a size does not divide into equal tiles of whole cells
    of the backbone, the nearest size that does is taken; see ``tile_of``."""
    input_mode: str = option(
        "native",
        "larger scales from native: the camera's pixels | interpolate: the image at 1x (paper)",
        INPUT_MODES,
    )
    readout: str = option(
        "published",
        "spatial_softmax: the token grid | published: the model's own output | cls | mean",
        READOUTS,
    )
    resize_output_to_idx: int = option(
        0, "index of the scale whose grid all scales are resized to; -1: the last one", item=int
    )
    dtype: str = option(
        "float32",
        "auto: bfloat16 on a GPU, for policies also on CPUs that are faster with it (not for "
        "readout published), else float32",
        DTYPES,
        user_default="auto",
    )
    """Precision of the backbone's arithmetic; embeddings are always float32."""
    geometry: str = option(
        "published",
        "published: the authors' field of view | full: the whole frame | padded: aspect kept",
        GEOMETRIES,
    )
    """"published": the field of view of the authors' rule, at every scale; "full": the whole frame
    at any aspect ratio, both sides brought to the image size; "padded": the whole frame with its
    aspect ratio kept, on a square of the mean color. Padded, the readouts leave out tokens and
    tiles without any of the frame, and a token counts in a mean by its share of frame; within a
    tile, tokens of the frame still attend to those of the padding."""
    layers: tuple[int, ...] = option(
        (),
        "intermediate layers in place of the output; -1: the last one before its norm",
        item=int,
        example=(5, 11),
    )
    layers_merge: str = option("concat", "how several layers are merged", LAYER_MERGES)
    tilings: tuple[tuple[int, int], ...] = option(
        (),
        "(rows, columns) of tiles per scale; empty: squares; others need geometry full",
        item=tiling,
        example=((1, 1), (2, 3)),
    )
    """As in dynamic S² (NVILA): the whole frame is brought to as many tiles of the size that the
    scale has anyway."""
    merge: str = option("concat", "how scales are merged", SCALE_MERGES)
    """"concat" is on channels."""
    scale_weights: tuple[float, ...] = option(
        (),
        "factor of each scale before the merge; empty: all 1",
        item=float,
        example=(1, 0.5),
    )
    copies: int = option(
        1,
        "how often an embedding holds its channels: as wide as more scales, as a control",
        item=int,
        example=2,
    )
    """At ``scales=(1,)``, 2 copies have the width of ``scales=(1, 2)`` and nothing else of it, so
    a policy's gain from more channels can be told from one by another scale."""

    def keywords(self) -> EncoderOptions:
        """Return the options besides scales and readout, for ``FrameEncoder.from_name``."""
        names = EncoderOptions.__annotations__
        return cast(EncoderOptions, {name: getattr(self, name) for name in names})


class EncoderOptions(TypedDict, total=False):
    """Keywords of ``FrameEncoder.from_name``: the fields of ``EncoderChoice`` for type checkers.

    A test compares the two. Scales and readout are parameters of their own.
    """

    input_mode: str
    resize_output_to_idx: int
    dtype: str
    geometry: str
    layers: Sequence[int]
    layers_merge: str
    tilings: Sequence[tuple[int, int]]
    merge: str
    scale_weights: Sequence[float]
    copies: int


ENCODER_OPTIONS = options_of(EncoderChoice)
"""Description of each option by name."""


def check_option_names(names: Iterable[str]) -> None:
    """Raise an error for a keyword that is no option of an encoder.

    Args:
        names: of the keywords given.

    Raises:
        TypeError: a name is unknown; the nearest one is named.

    Examples:
        >>> check_option_names(["geometri"])
        Traceback (most recent call last):
        TypeError: unknown option 'geometri'...did you mean 'geometry'...available: ...device, dtype, ...
    """  # noqa: E501
    for name in names:
        if name not in ENCODER_OPTIONS:
            taken = [*ENCODER_OPTIONS, "weights", "device", "runtime"]
            raise TypeError(unknown("option", name, taken).args[0])


@dataclass(frozen=True)
class EncoderSpec(EncoderChoice):
    """Everything that decides the embedding of a frame; policies, stores and reports hold it.

    Raises:
        ValueError: an option is out of its range, or two options do not go together.
        MismatchError: the spec is of another version of the pixel path.

    Examples:
        >>> spec = EncoderSpec("vc1-vitb", "0" * 64, scales=(1, 2), readout="mean")
        >>> spec.geometry
        'published'
        >>> EncoderSpec.from_dict(spec.to_dict()) == spec
        True
    """

    backbone: str
    """Name for ``load_backbone``."""
    weights_digest: str
    """``Backbone.weights_digest``: architecture, preprocessing and weights."""
    pixel_path: int = field(default=PIXEL_PATH, kw_only=True)

    def __post_init__(self) -> None:
        self._set(scales=tuple(_whole(scale) for scale in scale_set(self.scales)))
        self._set(layers=tuple(int(layer) for layer in self.layers))
        self._set(tilings=tuple(_pair(pair) for pair in self.tilings))
        self._set(scale_weights=tuple(_whole(weight) for weight in self.scale_weights))
        self._check_scales()
        for name, described in ENCODER_OPTIONS.items():
            described.check(getattr(self, name))
        if self.layers and self.readout == "published":
            raise ValueError(
                f"readout 'published' is the model's own output, not that of its layers "
                f"{self.layers}; take cls, mean or spatial_softmax"
            )
        self._check_tilings()
        self._check_weights()
        if self.pixel_path != PIXEL_PATH:
            raise MismatchError(
                f"this encoder was described by version {self.pixel_path} of the pixel path and "
                f"this is version {PIXEL_PATH}: features and policies must be made again"
            )

    def _set(self, **values: Any) -> None:
        """Set fields of this frozen object, while it is made."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _check_scales(self) -> None:
        scales = self.scales
        different = len(set(scales)) == len(scales)
        if not scales or not different or not all(0 < scale < math.inf for scale in scales):
            raise ValueError(
                f"scales are {list(scales)}; allowed: different positive numbers, such as [1,2]"
            )
        check_place("resize_output_to_idx", self.resize_output_to_idx, len(scales), "scales")

    def _check_tilings(self) -> None:
        tilings = self.tilings
        if not tilings:
            return
        if len(tilings) != len(self.scales) or not all(_is_tiling(tiling) for tiling in tilings):
            raise ValueError(
                f"tilings {tilings} must be one pair (rows, columns) of whole numbers from 1 for "
                f"each of the scales {self.scales}, such as ((1, 1), (2, 3)), or empty"
            )
        if self.geometry != "full" and any(rows != columns for rows, columns in tilings):
            raise ValueError(
                f"tilings {tilings} are not all square, which needs geometry 'full' (the whole "
                f"frame); geometry is {self.geometry!r}"
            )

    def _check_weights(self) -> None:
        weights = self.scale_weights
        right = all(0 <= weight < math.inf for weight in weights) and any(weights)
        if weights and (len(weights) != len(self.scales) or not right):
            raise ValueError(
                f"scale_weights {weights} must be one number from 0 for each of the scales "
                f"{self.scales}, not all 0, or empty"
            )
        if not isinstance(self.copies, int) or not 1 <= self.copies <= MOST_COPIES:
            raise ValueError(
                f"copies is {self.copies!r}; allowed: a whole number from 1 to {MOST_COPIES}, the "
                "number of times that an embedding holds its channels"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as JSON-able values, under the names that stored specs have.

        Options that are not in ``_ALWAYS_STORED`` are left out at their default.
        """
        content: dict[str, Any] = {
            "backbone": self.backbone,
            "weights_digest": self.weights_digest,
        }
        old_names = {new: old for old, new in RENAMED.items()}
        for name, described in ENCODER_OPTIONS.items():
            value = getattr(self, name)
            if name in _ALWAYS_STORED or value != described.default:
                content[old_names.get(name, name)] = _as_lists(value)
        return {**content, "pixel_path": self.pixel_path}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> EncoderSpec:
        """Return the spec of what ``to_dict`` returned.

        Raises:
            ValueError: fields are unknown or missing.
        """
        content = {RENAMED.get(name, name): value for name, value in content.items()}
        fields = {field.name for field in dataclasses.fields(cls)}
        if not {"backbone", "weights_digest"} <= content.keys() <= fields:
            raise ValueError(
                f"an encoder spec has backbone, weights_digest and some of {sorted(fields)}; "
                f"got {sorted(content)}"
            )
        return cls(**content)

    def digest(self) -> str:
        """Return the SHA-256 of the spec."""
        return digest_of(self.to_dict())

    @property
    def tag(self) -> str:
        """Backbone and digest in short, ``name@0123456789abcdef``, to mark messages with."""
        return f"{self.backbone}@{self.digest()[:16]}"


EncoderSpec.__init__ = renamed_keywords(RENAMED)(EncoderSpec.__init__)


def _whole(scale: float) -> float:
    return int(scale) if float(scale).is_integer() else float(scale)


def _pair(tiling: Any) -> tuple[Any, ...]:
    return tuple(tiling) if isinstance(tiling, (list, tuple)) else (tiling,)


def _as_lists(value: Any) -> Any:
    return [_as_lists(item) for item in value] if isinstance(value, tuple) else value


def _is_tiling(tiling: Sequence[Any]) -> bool:
    return len(tiling) == 2 and all(isinstance(n, int) and n >= 1 for n in tiling)
