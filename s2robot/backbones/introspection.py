"""Cards of models that only their library describes: built without weights and inspected."""

from __future__ import annotations

import difflib
import functools
import math
import re
from collections.abc import Mapping
from typing import Any

import timm
import torch
from timm.models.beit import Beit
from timm.models.eva import Eva
from timm.models.resnet import ResNet
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from s2robot.backbones.architectures import Architecture, BuildsModel
from s2robot.backbones.card import BackboneCard, License, Preprocessing
from s2robot.backbones.general_models import timm_layout, timm_sources
from s2robot.errors import unknown

RASTER_ORDER = (VisionTransformer, Eva, Beit)
"""Classes whose tokens follow the prefix tokens row by row."""


@functools.cache
def timm_card(name: str) -> BackboneCard:
    """Return the card of ``timm/NAME`` from timm's own description of it.

    Raises:
        ValueError: timm has no such model, or it gives no square grid of tokens.
    """
    timm_name = name.removeprefix("timm/")
    models = timm.list_models()
    if timm_name.split(".")[0] not in models:
        near = difflib.get_close_matches(timm_name, models, n=8, cutoff=0)
        raise unknown("timm model", timm_name, near)
    pretrained = timm.get_pretrained_cfg(timm_name)
    if pretrained is None:
        raise ValueError(f"timm does not describe how frames are prepared for {timm_name!r}")
    config = pretrained.to_dict()
    return introspected_card(
        name,
        timm_name,
        pixels_of(config),
        "timm",
        layout=timm_layout(config.get("classifier") or ""),
        sources=timm_sources(config.get("hf_hub_id") or f"timm/{timm_name}"),
        filename=f"{timm_name}.safetensors",
        license=license_of(config.get("license") or "not given"),
        family=timm_family(config.get("architecture") or timm_name, config.get("tag") or ""),
        note="Published output: what timm's forward gives without a classifier.",
    )


_SIZES = re.compile(
    r"atto|femto|pico|nano|tiny|xsmall|small|medium|base|large|xlarge|xxlarge|huge|giant|gigantic"
    r"|so\d+m|patch\d+|\d+"
)
_DEPTH = re.compile(r"(res\w+?)\d+")


def timm_family(architecture: str, tag: str) -> str:
    """Return the family of a timm model: its name without sizes, and the tag of its training.

    Args:
        architecture: name in timm's registry, without the tag.
        tag: of the weights.

    Examples:
        >>> timm_family("vit_small_patch14_dinov2", "lvd142m")
        'timm/vit_dinov2.lvd142m'
        >>> timm_family("resnet18", "a1_in1k") == timm_family("resnet50", "a1_in1k")
        True
    """
    words = [word for word in architecture.split("_") if not _SIZES.fullmatch(word)]
    words[0] = _DEPTH.sub(r"\1", words[0])
    return f"timm/{'_'.join(words)}" + (f".{tag}" if tag else "")


def pixels_of(config: Mapping[str, Any]) -> Preprocessing:
    """Return timm's evaluation transform: Pillow, resize by the crop's share, center crop."""
    size = config["input_size"][-1]
    return Preprocessing(
        size,
        tuple(config["mean"]),
        tuple(config["std"]),
        resize=max(size, math.floor(size / config["crop_pct"])),
        fit="both" if config.get("crop_mode") == "squash" else "shorter",
        interpolation=config["interpolation"],
        resampler="pil",
    )


def license_of(name: str) -> License:
    """Return a license by its SPDX name, which shows where commercial use is forbidden."""
    return License(name, non_commercial="nc" in name.lower().split("-"))


def introspected_card(
    name: str,
    timm_name: str,
    preprocessing: Preprocessing,
    origin: str,
    options: Mapping[str, Any] | None = None,
    **fields: Any,
) -> BackboneCard:
    """Return the card of a timm model, with shapes from a pass without weights.

    Args:
        name: of the backbone.
        timm_name: in timm's registry.
        preprocessing: of frames.
        origin: of the weights, one of ``ORIGINS``.
        options: arguments of ``timm.create_model``.
        fields: further fields of ``BackboneCard``.

    Raises:
        ValueError: timm has no such model, or it gives no square grid of tokens.
    """
    architecture, model = _flexible(timm_name, dict(options or {}))
    features = _features(name, model, preprocessing.image_size)
    return described_card(name, architecture, model, features, preprocessing, origin, **fields)


def described_card(
    name: str,
    architecture: BuildsModel,
    model: nn.Module,
    features: Tensor,
    preprocessing: Preprocessing,
    origin: str,
    **fields: Any,
) -> BackboneCard:
    """Return the card of a timm model from the features of one image.

    Args:
        name: of the backbone.
        architecture: of the model.
        model: in evaluation mode.
        features: what its ``forward_features`` gives for one image of the size in the rules.
        preprocessing: of frames.
        origin: of the weights, one of ``ORIGINS``.
        fields: further fields of ``BackboneCard``.

    Raises:
        ValueError: the features are no square grid of tokens.
    """
    prefix = getattr(model, "num_prefix_tokens", 0)
    side, dim = _grid(name, model, features, prefix)
    stride = _stride(name, model, preprocessing.image_size, side)
    output, head_dim = _output(model, features, prefix)
    return BackboneCard(
        name=name,
        architecture=architecture,
        preprocessing=preprocessing,
        stride=stride,
        num_prefix_tokens=prefix,
        dim=dim,
        origin=origin,
        published=output,
        head_dim=head_dim,
        partial_cells=stride * side > preprocessing.image_size or isinstance(model, ResNet),
        **fields,
    )


def _flexible(timm_name: str, options: dict[str, Any]) -> tuple[Architecture, nn.Module]:
    """Return the architecture, taking tiles of several sizes where timm's class can."""
    with torch.device("meta"):
        for extra in ({"dynamic_img_size": True}, {}):
            architecture = Architecture(timm_name, {**extra, **options})
            try:
                return architecture, architecture.create()
            except TypeError:  # the class knows no such option
                continue
            except RuntimeError as error:
                raise ValueError(f"timm cannot build {timm_name!r}: {error}") from None
    raise ValueError(f"timm cannot build {timm_name!r} with {options}")


def _features(name: str, model: nn.Module, size: int) -> Tensor:
    """Return ``forward_features`` of a tile of ``size`` px without values, for its shape."""
    try:
        with torch.device("meta"):
            return model.eval().forward_features(torch.empty(1, 3, size, size))  # pyright: ignore[reportCallIssue]
    except Exception as error:  # whatever a model of another kind raises
        raise ValueError(f"{name} ({type(model).__name__}) does not run: {error}") from None


def _grid(name: str, model: nn.Module, features: Tensor, prefix: int) -> tuple[int, int]:
    """Return (side, channels) of the token grid."""
    shape = tuple(features.shape)
    if features.ndim == 4 and channels_last(model):
        height, width, dim = shape[1:]
    elif features.ndim == 4:
        dim, height, width = shape[1:]
    elif features.ndim == 3 and isinstance(model, RASTER_ORDER):
        height = width = math.isqrt(shape[1] - prefix)
        dim = shape[2] if height * width == shape[1] - prefix else 0
    else:
        height, width, dim = 0, 0, 0
    if height != width or not dim:
        raise ValueError(
            f"{name} is a {type(model).__name__} that returns {shape}: no square grid of tokens in "
            "known order; take a plain vision transformer (VisionTransformer, Eva, Beit) or a "
            "model that returns maps (ResNet, ConvNeXt, Swin)"
        )
    return height, dim


def _stride(name: str, model: nn.Module, size: int, side: int) -> int:
    """Return the pixels a cell; a ConvNet's last cells may reach beyond the image."""
    if size % side == 0:
        return size // side
    information = getattr(model, "feature_info", None)
    stride = int(information[-1]["reduction"]) if information else 0
    if not stride or -(-size // stride) != side:
        raise ValueError(f"{name} gives {side} cells for {size} px, which do not tile it")
    return stride


def channels_last(model: nn.Module) -> bool:
    """Return whether a timm model's maps are ``(N, h, w, C)``."""
    return str(getattr(model, "output_fmt", "NCHW")).endswith("NHWC")


def _output(model: nn.Module, features: Tensor, prefix: int) -> tuple[str, int | None]:
    """Return the kind of timm's own output without a classifier, and its width if it is learned."""
    pool = getattr(model, "global_pool", None)
    if isinstance(model, ResNet):
        pool = getattr(pool, "pool_type", pool)  # timm's module, or that of a given model
    plain = isinstance(getattr(model, "fc_norm", nn.Identity()), nn.Identity)
    of_grid = isinstance(model, RASTER_ORDER) and not getattr(model, "pool_include_prefix", False)
    if pool == "avg" and plain and (of_grid or isinstance(model, ResNet)):
        return "mean", None
    if pool == "token" and prefix and plain:
        return "cls", None
    if pool == "":
        return "grid", None
    with torch.no_grad(), torch.device(features.device):
        pooled = model.forward_head(features, pre_logits=True)  # pyright: ignore[reportCallIssue]
    return "head", int(pooled.shape[-1])
