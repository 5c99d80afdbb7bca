"""What is known of each backbone: architecture, preprocessing, output, origin of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

VIT = "vision_transformer.VisionTransformer"
"""Name of the class that plain vision transformers are built from, spelled out in numbers."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

SOURCES = ("random", "package", "checkpoint", "timm", "file")
POOLINGS = ("cls", "mean")


@dataclass(frozen=True)
class Architecture:
    """A model that timm can build, without its weights."""

    timm: str
    """A name in timm's registry, or ``VIT``."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments: all that decides the function besides the weights."""

    def build(self) -> nn.Module:
        """Build the model with the same random weights each time; the global RNG is untouched."""
        generator_state = torch.random.get_rng_state()
        torch.default_generator.manual_seed(0)  # torch.manual_seed would reseed the GPUs too
        try:
            if self.timm == VIT:
                return VisionTransformer(
                    num_classes=0, global_pool="token", dynamic_img_size=True, **self.options
                )
            return timm.create_model(self.timm, num_classes=0, **self.options)
        finally:
            torch.random.set_rng_state(generator_state)

    def to_dict(self) -> dict[str, Any]:
        """The architecture as in a model card."""
        return {"timm": self.timm, **self.options}


@dataclass(frozen=True)
class Preprocessing:
    """From a frame to what the backbone was trained on."""

    image_size: int
    """Side of the images at scale 1 [px]."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    """Of RGB in [0, 1]."""
    std: tuple[float, ...] = IMAGENET_STD
    crop_fraction: float = 1.0
    """Side of the centre square that is kept, as a share of the frame's shorter side."""
    crop_at_base_size: bool = True
    """False: a frame that already has ``image_size`` is kept whole (as R3M does)."""

    def __post_init__(self) -> None:
        if self.image_size < 1:
            raise ValueError(f"image_size must be at least 1 px; got {self.image_size}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(
                f"mean {self.mean} and std {self.std} need three numbers each, std above 0"
            )
        if not 0 < self.crop_fraction <= 1:
            raise ValueError(f"crop_fraction must lie in (0, 1]; got {self.crop_fraction}")


@dataclass(frozen=True)
class CheckpointLayout:
    """Where a published file keeps the backbone."""

    url: str
    key: str
    """Entry of the file that holds the tensors."""
    prefix: str = ""
    """Beginning of the backbone's keys, cut off; keys without it belong to something else."""
    dropped: tuple[str, ...] = ()
    """Beginnings of keys that are known and not needed."""


@dataclass(frozen=True)
class BackboneCard:
    """One backbone: everything but the weights themselves."""

    name: str
    architecture: Architecture
    preprocessing: Preprocessing
    stride: int
    """Pixels a cell of the token grid."""
    num_prefix_tokens: int
    """Class and register tokens before the grid's."""
    dim: int
    published: str
    """What the authors feed to policies: "cls" or "mean" (of the grid)."""
    source: str
    """Where weights come from: one of ``SOURCES``."""
    layout: CheckpointLayout | None = None
    licence: str = ""

    def __post_init__(self) -> None:
        if self.source not in SOURCES or self.published not in POOLINGS:
            raise ValueError(
                f"{self.name}: source {self.source!r} must be one of {SOURCES} and "
                f"published {self.published!r} one of {POOLINGS}"
            )
        if self.published == "cls" and not self.num_prefix_tokens:
            raise ValueError(f"{self.name} has no class token, so published cannot be 'cls'")

    def grid_side(self, size: int) -> int:
        """Side of the token grid of a tile of ``size`` px.

        Raises:
            ValueError: the tile is no multiple of the stride.
        """
        if size % self.stride:
            raise ValueError(
                f"a tile of {size} px is no multiple of the stride {self.stride} of {self.name}; "
                f"whole scales (1, 2, 3) give tiles of {self.preprocessing.image_size} px"
            )
        return size // self.stride


def vit_architecture(size: int, patch: int, dim: int, depth: int, heads: int) -> Architecture:
    """A plain vision transformer with class token and final norm (eps 1e-6)."""
    options = {
        "img_size": size,
        "patch_size": patch,
        "embed_dim": dim,
        "depth": depth,
        "num_heads": heads,
    }
    return Architecture(VIT, options)


def vit_card(
    name: str,
    architecture: Architecture,
    preprocessing: Preprocessing,
    source: str,
    layout: CheckpointLayout | None = None,
    licence: str = "",
) -> BackboneCard:
    """Card of a backbone built by ``vit_architecture``."""
    options = architecture.options
    return BackboneCard(
        name=name,
        architecture=architecture,
        preprocessing=preprocessing,
        stride=options["patch_size"],
        num_prefix_tokens=1,
        dim=options["embed_dim"],
        published="cls",
        source=source,
        layout=layout,
        licence=licence,
    )


def _resnet_card(
    name: str, depth: int, source: str, layout: CheckpointLayout | None = None, licence: str = ""
) -> BackboneCard:
    # R3M: frames of other sizes than 224 go through Resize(256), CenterCrop(224).
    preprocessing = Preprocessing(224, crop_fraction=224 / 256, crop_at_base_size=False)
    return BackboneCard(
        name=name,
        architecture=Architecture(f"resnet{depth}"),
        preprocessing=preprocessing,
        stride=32,
        num_prefix_tokens=0,
        dim=2048 if depth >= 50 else 512,
        published="mean",
        source=source,
        layout=layout,
        licence=licence,
    )


_VIT_SIZES = {
    "vitt": (192, 12, 3),
    "vits": (384, 12, 6),
    "vitb": (768, 12, 12),
    "vitl": (1024, 24, 16),
}
"""(width, depth, heads)"""

# MVP's small model has 12 heads where timm's has 6: the shapes match and the result would not.
_MVP = {
    "mvp-vits-hoi": ((384, 12, 12), 224, "m93ynem558jo8vltlads5rcmnahgsyzr"),
    "mvp-vits-in": ((384, 12, 12), 224, "qlsjkv03nngu37eyvtjikfe7rz14k66d"),
    "mvp-vits-sup": ((384, 12, 12), 224, "95a4ncqrh1o7llne2b1gpsfip4dt65m4"),
    "mvp-vitb-egosoup": (_VIT_SIZES["vitb"], 224, "0ckepd2ja3pi570z89ogd899cn387yut"),
    "mvp-vitl-egosoup": (_VIT_SIZES["vitl"], 256, "6p0pc47mlpp4hhwlin2hf035lxlgddxr"),
}
_R3M = {
    18: "1A1ic-p4KtYlKXdXHcV2QV0cUzI4kn0u-",
    34: "15bXD3QRhspIRacOKyWPw5y2HpoWUCEnE",
    50: "1Xu0ssuG0N1zjZS54wmWzJ7-nb0-7XzbA",
}
_MAE_EXTRAS = ("decoder_", "mask_token", "head.")


def _random_cards() -> list[BackboneCard]:
    vits = [("vitt", 128), ("vits", 224), ("vitb", 224), ("vitl", 224)]
    cards = [
        vit_card(
            f"random/{key}16-{size}",
            vit_architecture(size, 16, *_VIT_SIZES[key]),
            Preprocessing(size),
            "random",
        )
        for key, size in vits
    ]
    return cards + [
        _resnet_card(f"random/resnet{depth}-224", depth, "random") for depth in (18, 50)
    ]


def _mvp_cards() -> list[BackboneCard]:
    return [
        vit_card(
            name,
            vit_architecture(size, 16, *shape),
            Preprocessing(size),
            "checkpoint",
            CheckpointLayout(
                f"https://berkeley.box.com/shared/static/{file}.pth", "model", dropped=_MAE_EXTRAS
            ),
            "none given",
        )
        for name, (shape, size, file) in _MVP.items()
    ]


def _vc1_cards() -> list[BackboneCard]:
    return [
        vit_card(
            f"vc1-{key}",
            vit_architecture(224, 16, *_VIT_SIZES[key]),
            Preprocessing(224, crop_fraction=224 / 256),
            "checkpoint",
            CheckpointLayout(
                f"https://dl.fbaipublicfiles.com/eai-vc/vc1_{key}.pth",
                "model",
                dropped=_MAE_EXTRAS,
            ),
            "CC-BY-NC-4.0",
        )
        for key in ("vitb", "vitl")
    ]


def _r3m_cards() -> list[BackboneCard]:
    return [
        _resnet_card(
            f"r3m-resnet{depth}",
            depth,
            "checkpoint",
            CheckpointLayout(
                f"https://drive.google.com/uc?id={file}", "r3m", prefix="module.convnet."
            ),
            "MIT",
        )
        for depth, file in _R3M.items()
    ]


_SHIPPED = vit_card(
    "s2r-vitt16-128",
    vit_architecture(128, 16, *_VIT_SIZES["vitt"]),
    Preprocessing(128),
    "package",
    licence="MIT",
)

CARDS: dict[str, BackboneCard] = {
    card.name: card
    for card in [_SHIPPED, *_random_cards(), *_mvp_cards(), *_r3m_cards(), *_vc1_cards()]
}
