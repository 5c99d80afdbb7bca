"""Backbones of models in memory: any module, timm's and torchvision's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from s2robot.backbones.backbone import Backbone
from s2robot.backbones.card import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    BackboneCard,
    License,
    Preprocessing,
)
from s2robot.backbones.checkpoints import load_strict
from s2robot.backbones.in_memory import adapters
from s2robot.backbones.in_memory.description import InMemoryArchitecture, describe
from s2robot.backbones.introspection import described_card, pixels_of, timm_card
from s2robot.errors import MismatchError, unknown

UNKNOWN_LICENSE = License("not given")
_SAME = 1e-4
"""Largest difference between two models that are taken for the same, in standard deviations."""


@dataclass(frozen=True)
class ModuleOptions:
    """How a module in memory is called, where it does not tell that itself."""

    input_size: int | None = None
    """Side of its images [px]."""
    mean: Sequence[float] | None = None
    """Of RGB in 0-1; None: ImageNet's, or what timm says."""
    std: Sequence[float] | None = None
    """As ``mean``."""
    layout: str | None = None
    """One of ``adapters.LAYOUTS``; None: of a model that is known."""
    prefix_tokens: int = 0
    """Tokens before the grid's, of the layout "tokens"."""

    def given(self) -> list[str]:
        """Return the names of the options that are not at their default."""
        return [name for name, value in vars(self).items() if value not in (None, 0)]

    def preprocessing(self, size: int, **fields: Any) -> Preprocessing:
        """Return the rules of frames for images of a size."""
        mean = IMAGENET_MEAN if self.mean is None else tuple(map(float, self.mean))
        std = IMAGENET_STD if self.std is None else tuple(map(float, self.std))
        return Preprocessing(size, mean, std, **fields)


def own_backbone(model: nn.Module, options: ModuleOptions) -> Backbone:
    """Return a backbone that calls a module as it is.

    Args:
        model: in memory; it is copied.
        options: with layout and input size.

    Raises:
        ValueError: an option is missing or wrong, or the module does not return its layout.
    """
    layout = options.layout
    if layout not in adapters.LAYOUTS:
        raise unknown("layout", layout, adapters.LAYOUTS)
    if options.input_size is None:
        raise ValueError(
            f"input_size is missing: the side of the images that the {type(model).__name__} "
            f"takes, in px, such as from_module(module, layout={layout!r}, input_size=224)"
        )
    if options.prefix_tokens and layout != "tokens":
        raise ValueError(
            f"prefix_tokens is {options.prefix_tokens} with layout {layout!r}; only 'tokens' has "
            "tokens before its grid"
        )
    own = adapters.OwnForward(adapters.copied(model), layout)
    rules = options.preprocessing(options.input_size)
    return _backbone(own, model, rules, options.prefix_tokens, _output(layout, options))


def torchvision_backbone(model: nn.Module, options: ModuleOptions) -> Backbone | None:
    """Return a backbone of torchvision's ResNet, ConvNeXt or vision transformer; else None.

    torchvision's modules do not tell how their frames are prepared: the options do, else 224 px and
    ImageNet's mean and deviation are taken, and the shorter side of a frame becomes the image.

    Args:
        model: in memory; it is copied.
        options: without a layout.

    Raises:
        ValueError: the module does not run at the input size.
    """
    kind = f"{type(model).__module__}.{type(model).__name__}".removeprefix("torchvision.models.")
    known = {
        "resnet.ResNet": (adapters.TorchvisionResNet, 0, "mean"),
        "convnext.ConvNeXt": (adapters.TorchvisionConvNeXt, 0, "head"),
        "vision_transformer.VisionTransformer": (adapters.TorchvisionViT, 1, "cls"),
    }
    if kind not in known or adapters.replaced_methods(model, ("forward", "_forward_impl")):
        return None
    adapter, prefix, published = known[kind]
    size = options.input_size or int(getattr(model, "image_size", 224))
    rules = options.preprocessing(size, interpolation="bilinear")
    own = adapter(adapters.copied(model))
    if published == "mean" and not own.averages:
        published = "head"
    return _backbone(own, model, rules, prefix, published)


def timm_backbone(model: Any, options: ModuleOptions) -> Backbone:
    """Return a backbone of a timm model as it was made, whatever its options were.

    One that computes what ``timm/NAME`` does by default gets that name, so that policies find it
    again; any other is a module in memory.

    Args:
        model: of timm, in memory; it is copied.
        options: without a layout.

    Raises:
        ValueError: it gives no square grid of tokens, or its ``forward`` was replaced.
    """
    if adapters.replaced_methods(model, ("forward",)):
        raise ValueError(
            f"the forward of this {type(model).__name__} was replaced; say what it returns: "
            "from_module(module, layout='bchw', input_size=224) for maps, else layout 'tokens' or "
            "'vector'"
        )
    config = dict(model.pretrained_cfg)
    size = options.input_size or _timm_size(model, config)
    overrides = {"mean": options.mean, "std": options.std, "input_size": (3, size, size)}
    rules = pixels_of(config | {key: v for key, v in overrides.items() if v is not None})
    own: Any = adapters.copied(model)
    if hasattr(own, "reset_classifier"):
        own.reset_classifier(0)
    tag = f".{config['tag']}" if config.get("tag") else ""
    named = _as_named(f"timm/{config['architecture']}{tag}", own, rules)
    if named is not None:
        return named
    features = _run(own, size)
    name = f"module:{config['architecture']}"
    architecture = _architecture(own, {})
    card = described_card(
        name, architecture, own, features, rules, "module", license=UNKNOWN_LICENSE
    )
    return Backbone(card, own)


def check_tiles(backbone: Backbone, sizes: Sequence[int]) -> None:
    """Run a module in memory on each size of tiles that an encoder cuts.

    Args:
        backbone: of a module in memory.
        sizes: sides of tiles [px].

    Raises:
        ValueError: the module fails at a size, or gives another grid than its stride says.
    """
    base = backbone.card.preprocessing.image_size
    for size in sorted(set(sizes) - {base}):
        try:
            with torch.no_grad():
                backbone.forward_tokens(torch.zeros(1, 3, size, size))
        except Exception as error:  # whatever a user's module raises
            raise ValueError(
                f"{backbone.card.name} does not take the tiles of {size} px that these scales cut "
                f"({_first_line(error)}); whole scales (1, 2, 3) give tiles of {base} px"
            ) from None


def _backbone(
    own: nn.Module, model: nn.Module, rules: Preprocessing, prefix: int, published: str
) -> Backbone:
    """Return a backbone of an adapter, with shapes from a pass of one image."""
    name, size = f"module:{type(model).__name__}", rules.image_size
    features = _run(own.eval(), size)
    side, dim = _grid(name, features, prefix, size)
    width = None
    if published == "head":
        with torch.no_grad():
            width = int(own.forward_head(features).shape[-1])  # pyright: ignore[reportCallIssue]
    card = BackboneCard(
        name=name,
        architecture=_architecture(own, {"prefix_tokens": prefix, "output": published}),
        preprocessing=rules,
        stride=-(-size // side),
        num_prefix_tokens=prefix,
        dim=dim,
        published=published,
        origin="module",
        head_dim=width,
        partial_cells=True,
        license=UNKNOWN_LICENSE,
    )
    return Backbone(card, own)


def _architecture(own: nn.Module, fields: dict[str, Any]) -> InMemoryArchitecture:
    described = {**describe(own), **fields}
    empty = adapters.copied(own).to("meta")
    return InMemoryArchitecture(empty, described)


def _output(layout: str, options: ModuleOptions) -> str:
    """Return what the module's own output is: see ``BackboneCard.published``."""
    if layout == "vector":
        return "mean"  # of the one token that a tile gives
    return "cls" if options.prefix_tokens else "grid"


def _run(own: Any, size: int) -> Tensor:
    """Return the features of an image of ``size`` px."""
    try:
        with torch.no_grad():
            return own.forward_features(torch.zeros(1, 3, size, size))
    except Exception as error:
        kind = type(getattr(own, "own", own)).__name__
        if isinstance(error, ValueError) and "layout is" in str(error):
            raise
        raise ValueError(
            f"a {kind} does not run on an image (1, 3, {size}, {size}): {_first_line(error)}. "
            "Give the input_size that it takes; its forward gets one float tensor (N, 3, h, w)"
        ) from None


def _grid(name: str, features: Tensor, prefix: int, size: int) -> tuple[int, int]:
    """Return (side, channels) of the grid in a module's features."""
    if features.ndim == 4:
        dim, height, width = features.shape[1:]
    else:
        cells, dim = features.shape[1] - prefix, features.shape[2]
        height = math.isqrt(max(cells, 0))
        width = height if height * height == cells else 0
    if not height or height != width or -(-size // -(-size // height)) != height:
        raise ValueError(
            f"{name} gives {tuple(features.shape)} for an image of {size} px, with "
            f"{prefix} prefix tokens: no square grid whose cells tile the image. Allowed: maps "
            "(N, C, h, h), or tokens of a square grid after as many others as prefix_tokens says"
        )
    return height, dim


def _timm_size(model: Any, config: dict[str, Any]) -> int:
    """Return the size of a model's images, which may be another than that of its weights."""
    embed = getattr(model, "patch_embed", None)
    built = getattr(embed, "img_size", None)
    return int(built[-1]) if built else int(config["input_size"][-1])


def _as_named(name: str, own: Any, rules: Preprocessing) -> Backbone | None:
    """Return the backbone ``name`` with a model's weights, if it computes the same."""
    try:
        card = timm_card(name)
        if card.preprocessing != rules:
            return None
        state = {key: tensor.clone() for key, tensor in own.state_dict().items()}
        named: Any = load_strict(card.architecture, state, "the module given").eval()
        generator = torch.Generator().manual_seed(0)
        image = torch.randn(1, 3, rules.image_size, rules.image_size, generator=generator)
        with torch.no_grad():
            pairs = [(own.forward_features(image), named.forward_features(image))]
            pairs.append(tuple(m.forward_head(pairs[0][0]) for m in (own, named)))
    except (MismatchError, RuntimeError, ValueError):
        return None
    return Backbone(card, named) if all(_equal(*pair) for pair in pairs) else None


def _equal(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    return float((one - other).abs().max()) <= _SAME * float(one.std(correction=0)) + 1e-12


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].strip()
