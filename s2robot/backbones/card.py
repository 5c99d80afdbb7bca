"""Description of a backbone: architecture, preprocessing, output, license, sources of weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from s2robot.backbones.architectures import VIT_SIZES, Architecture, BuildsModel, vit_architecture
from s2robot.backbones.weight_sources import Source
from s2robot.errors import unknown
from s2robot.utils.validation import require_one_of

if TYPE_CHECKING:
    from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

ORIGINS = ("random", "package", "published", "timm", "hub", "file", "module")
OUTPUTS = ("cls", "mean", "grid", "head")
FITS = ("shorter", "both")
RESAMPLERS = ("uint8", "float", "rounded", "pil")
INTERPOLATIONS = ("bicubic", "bilinear")


@dataclass(frozen=True)
class Preprocessing:
    """Rules that bring a frame to the images of the training: resize, center crop, normalize.

    Examples:
        >>> rules = Preprocessing(224, resize=256)
        >>> rules.image_size, rules.resize, rules.fit
        (224, 256, 'shorter')
    """

    image_size: int
    """Side of the images at scale 1 [px]."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    """Of RGB in [0, 1]."""
    std: tuple[float, ...] = IMAGENET_STD
    resize: int = 0
    """Length of the frame before the center crop [px]; 0 is ``image_size``."""
    fit: str = "shorter"
    """"shorter": the shorter side gets that length; "both": both do, whatever the aspect ratio."""
    interpolation: str = "bicubic"
    """"bicubic" or "bilinear"."""
    resampler: str = "uint8"
    """Whose arithmetic: "uint8" (PyTorch's 8-bit kernel), "float" (nothing is rounded), "rounded"
    (float, then 8 bits: torchvision on tensors), "pil" (Pillow)."""
    antialias: bool = True
    """Whether a smaller image averages over the pixels it covers; Pillow always does."""
    keeps_base_size: bool = False
    """A frame that already is ``image_size`` square is taken whole, without the crop (R3M)."""
    floors_crop: bool = False
    """Whether the corner of the center crop is rounded down, as in transformers; torchvision rounds
    to even."""

    def __post_init__(self) -> None:
        if self.image_size < 1:
            raise ValueError(f"image_size must be at least 1 px; got {self.image_size}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(
                f"mean {self.mean} and std {self.std} need three numbers each, std above 0"
            )
        self._check_value_range()
        require_one_of(
            self, {"fit": FITS, "interpolation": INTERPOLATIONS, "resampler": RESAMPLERS}
        )
        if not self.resize:
            object.__setattr__(self, "resize", self.image_size)
        if self.resize < self.image_size:
            raise ValueError(
                f"resize {self.resize} must be at least the image_size {self.image_size} px, "
                "which is cut from it"
            )

    def _check_value_range(self) -> None:
        """Raise a ValueError if mean and std are those of 0-255 or of -1 to 1."""
        if max(*self.mean, *self.std) > 1:
            seen, mean, std = "0 to 255", *([x / 255 for x in v] for v in (self.mean, self.std))
        elif min(self.mean) < 0:
            seen, mean, std = "-1 to 1", [(x + 1) / 2 for x in self.mean], [x / 2 for x in self.std]
        else:
            return
        shown = [", ".join(f"{value:.4g}" for value in values) for values in (mean, std)]
        raise ValueError(
            f"mean {list(self.mean)} and std {list(self.std)} seem to be of values from {seen}; "
            f"they have to be of RGB in 0-1: mean [{shown[0]}] and std [{shown[1]}]"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the rules, JSON-able, as digests cover them.

        ``floors_crop`` is included only where it is set, so that backbones without it keep the
        digests from before this rule existed.
        """
        fields = dataclasses.asdict(self)
        return fields if self.floors_crop else {k: fields[k] for k in fields if k != "floors_crop"}


Convert = Callable[[dict[str, "Tensor"]], dict[str, "Tensor"]]


@dataclass(frozen=True)
class Layout:
    """Place and names of a backbone's tensors in a published file.

    Every tensor of the file has to be accounted for: it belongs to the backbone, or its name begins
    with one of ``dropped`` (or, ``within_module``, does not begin with ``prefix``).
    """

    keys: tuple[str | int, ...] = ()
    """Entry of the file that holds the tensors; of several, the first that is there. Empty: the
    file itself is the dictionary of tensors."""
    prefix: str = ""
    """Beginning of the backbone's names, cut off."""
    dropped: tuple[str, ...] = ()
    """Beginnings of whole names that are known and not needed (decoders, language heads)."""
    within_module: bool = False
    """Whether the file holds a whole training module; names without ``prefix`` are left out."""
    renamed: tuple[tuple[str, str], ...] = ()
    """(regular expression, replacement) pairs, applied in order to each name without ``prefix``."""
    convert: Convert | None = None
    """Last step, for what renaming cannot do."""


@dataclass(frozen=True)
class License:
    """Terms of the weights, in short; the authors' own text decides."""

    name: str
    """SPDX name where there is one."""
    non_commercial: bool = False
    gated: bool = False
    """The hub asks for an account that has accepted the terms."""


UNTRAINED = License("none needed")
MIT = License("MIT")
APACHE = License("Apache-2.0")


@dataclass(frozen=True)
class BackboneCard:
    """Description of one backbone: everything but the weights.

    Examples:
        >>> from s2robot.backbones import get_card
        >>> card = get_card("random/vits16-224")
        >>> card.dim, card.stride, card.grid_side(224), card.license.name
        (384, 16, 14, 'none needed')
    """

    name: str
    architecture: BuildsModel
    preprocessing: Preprocessing
    stride: int
    """Pixels a cell of the token grid."""
    num_prefix_tokens: int
    """Class and register tokens before the grid's."""
    dim: int
    """Channels of a token."""
    published: str
    """What the published model returns: "cls" (class token after the final norm), "mean" (of the
    grid), "grid" (all grid tokens) or "head" (a learned pooling or projection)."""
    origin: str
    """Where weights come from: one of ``ORIGINS``."""
    family: str = ""
    """Models of one training recipe in several sizes, such as "r3m"; empty: only this one."""
    head_dim: int | None = None
    """Width of the published output where that is "head"."""
    partial_cells: bool = False
    """Whether the last cell of a row may reach beyond the image, as with padded convolutions."""
    layout: Layout | None = None
    """Of the published file."""
    sources: tuple[Source, ...] = ()
    """Where the published file can be had, tried in order."""
    filename: str = ""
    """Its name in the cache of downloads."""
    license: License = UNTRAINED
    citation: str = ""
    note: str = ""
    """Differences to know before comparing numbers."""

    def __post_init__(self) -> None:
        if not self.family:
            object.__setattr__(self, "family", self.name)
        for field, allowed in (("origin", ORIGINS), ("published", OUTPUTS)):
            if getattr(self, field) not in allowed:
                raise unknown(f"{field} of {self.name}", getattr(self, field), allowed)
        if self.published == "cls" and not self.num_prefix_tokens:
            raise ValueError(f"{self.name} has no class token, so published cannot be 'cls'")
        if (self.published == "head") != (self.head_dim is not None):
            raise ValueError(f"{self.name}: head_dim goes with published 'head', and only with it")

    def grid_side(self, size: int) -> int:
        """Return the side of the token grid of a tile of ``size`` px.

        Raises:
            ValueError: the tile is not a multiple of the stride.
        """
        if size % self.stride and not self.partial_cells:
            raise ValueError(
                f"a tile of {size} px is not a multiple of the stride {self.stride} of "
                f"{self.name}; whole scales (1, 2, 3) give tiles of "
                f"{self.preprocessing.image_size} px"
            )
        return -(-size // self.stride)


def vit_card(
    name: str, architecture: Architecture, preprocessing: Preprocessing, origin: str, **fields: Any
) -> BackboneCard:
    """Return the card of a backbone from ``vit_architecture``; its output is the class token.

    Args:
        name: of the backbone.
        architecture: made by ``vit_architecture``.
        preprocessing: of frames.
        origin: one of ``ORIGINS``.
        fields: further fields of ``BackboneCard``.
    """
    options: Mapping[str, Any] = architecture.options
    return BackboneCard(
        name=name,
        architecture=architecture,
        preprocessing=preprocessing,
        stride=options["patch_size"],
        num_prefix_tokens=int(options.get("class_token", True)) + options.get("reg_tokens", 0),
        dim=options["embed_dim"],
        origin=origin,
        **{"published": "cls", **fields},
    )


def resnet_card(
    name: str, depth: int, preprocessing: Preprocessing, origin: str, **fields: Any
) -> BackboneCard:
    """Return the card of torchvision's ResNet; its output is the average pool.

    Args:
        name: of the backbone.
        depth: 18, 34 or 50.
        preprocessing: of frames.
        origin: one of ``ORIGINS``.
        fields: further fields of ``BackboneCard``.
    """
    return BackboneCard(
        name=name,
        preprocessing=preprocessing,
        stride=32,
        num_prefix_tokens=0,
        dim=2048 if depth >= 50 else 512,
        origin=origin,
        partial_cells=True,
        **{"architecture": Architecture(f"resnet{depth}"), "published": "mean", **fields},
    )


def own_cards() -> list[BackboneCard]:
    """Return the cards of the encoder that ships and of untrained baselines."""
    shipped = vit_card(
        "s2r-vitt16-128",
        vit_architecture(128, 16, *VIT_SIZES["vitt"]),
        Preprocessing(128),
        "package",
        family="s2r",
        license=MIT,
    )
    vits = [("vitt", 128), ("vits", 224), ("vitb", 224), ("vitl", 224)]
    untrained = [
        vit_card(
            f"random/{key}16-{size}",
            vit_architecture(size, 16, *VIT_SIZES[key]),
            Preprocessing(size),
            "random",
            family="random-vit",
        )
        for key, size in vits
    ]
    resnets = [
        resnet_card(
            f"random/resnet{depth}-224",
            depth,
            Preprocessing(224, resize=256),
            "random",
            family="random-resnet",
        )
        for depth in (18, 50)
    ]
    return [shipped, *untrained, *resnets]
