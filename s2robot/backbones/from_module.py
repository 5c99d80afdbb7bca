"""Backbones from models that other packages have loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from s2robot.backbones.backbone import Backbone
from s2robot.backbones.card import BackboneCard, Layout
from s2robot.backbones.checkpoints import load_strict
from s2robot.backbones.in_memory.adapters import unwrapped
from s2robot.backbones.in_memory.own_forward import (
    ModuleOptions,
    own_backbone,
    timm_backbone,
    torchvision_backbone,
)
from s2robot.backbones.registry import CARDS, get_card
from s2robot.backbones.state_dicts import apply_layout

_MVP_BY_WIDTH = {384: "mvp-vits-hoi", 768: "mvp-vitb-egosoup", 1024: "mvp-vitl-egosoup"}
_VC1_BY_WIDTH = {768: "vc1-vitb", 1024: "vc1-vitl"}
_SPA_BY_WIDTH = {768: "spa-vitb", 1024: "spa-vitl"}
_THEIA_BY_WIDTH = {192: "theia-tiny", 384: "theia-small", 768: "theia-base"}

# Name of the card by the package and the class of a module.
_KNOWN: dict[tuple[str, str], Callable[[Any], str | None]] = {
    ("r3m", "R3M"): lambda module: f"r3m-resnet{module.size}",
    ("vip", "VIP"): lambda module: f"vip-resnet{module.size}",
    ("liv", "LIV"): lambda module: "liv-resnet50",
    ("mvp", "VisionTransformer"): lambda module: _MVP_BY_WIDTH.get(module.embed_dim),
    ("vc_models", "VisionTransformer"): lambda module: _VC1_BY_WIDTH.get(module.embed_dim),
    ("spa", "ViTEncoder"): lambda module: _SPA_BY_WIDTH.get(module.embed_dim),
    ("theia", "RobotVisionFM"): lambda module: _THEIA_BY_WIDTH.get(
        module.backbone.model.config.hidden_size
    ),
}


def backbone_from_module(
    module: Any, name: str | None = None, options: ModuleOptions | None = None
) -> Backbone:
    """Return a backbone that computes the same as a loaded model, with a copy of its weights.

    Models of r3m, vip, liv, mvp, vc_models, spa and theia get the card of their published weights.
    Of any other model the own forward pass is run: of timm's and of torchvision's ResNet, ConvNeXt
    and vision transformer as it is, of others as ``options`` say.

    Args:
        module: a model, or the tuple that ``vc_models`` returns; also within DataParallel or
            ``torch.compile``.
        name: of the card whose weights the module holds, where the module does not show it (MVP's
            three small models share one architecture; "mvp-vits-hoi" is taken for them).
        options: how a module is called that does not tell it.

    Raises:
        ValueError: the module is not known, or options do not fit it.
        MismatchError: its weights are not those of the named backbone.
    """
    model, options = unwrapped(module), options or ModuleOptions()
    if name is None and options.layout is not None:
        return own_backbone(model, options)
    name = name or _known_card(model)
    if name is not None:
        _refuse(options, name)
        return _of_card(model, get_card(name))
    if type(model).__module__.split(".")[0] == "timm" and getattr(model, "pretrained_cfg", None):
        return timm_backbone(model, options)
    found = torchvision_backbone(model, options)
    if found is None:
        raise _not_known(model)
    return found


def _known_card(model: nn.Module) -> str | None:
    """Return the name of the card of a model of those packages that have one."""
    package, kind = type(model).__module__.split(".")[0], type(model).__name__
    name = _KNOWN[package, kind](model) if (package, kind) in _KNOWN else None
    return name if name in CARDS else None


def _refuse(options: ModuleOptions, name: str) -> None:
    """Raise a ValueError if a module of a card also gets options."""
    if options.given():
        raise ValueError(
            f"{', '.join(options.given())} cannot be given for {name}, whose card says how its "
            "frames are prepared; leave them out, or run the module's own forward without that "
            "name: from_module(module, layout='bchw', input_size=224)"
        )


def _of_card(model: nn.Module, card: BackboneCard) -> Backbone:
    """Return the backbone of a card with a copy of a model's weights."""
    origin = f"the {type(model).__name__} given"
    state = apply_layout(_as_published(card, model), card.layout or Layout(), origin)
    copies = {key: tensor.detach().cpu().clone() for key, tensor in state.items()}
    return Backbone(card, load_strict(card.architecture, copies, origin))


def _not_known(model: nn.Module) -> ValueError:
    package, kind = type(model).__module__.split(".")[0], type(model).__name__
    known = ", ".join(f"{p}.{k}" for p, k in _KNOWN)
    return ValueError(
        f"a {package}.{kind} could be several backbones or none; known are {known}, timm's models "
        "and torchvision's ResNet, ConvNeXt and VisionTransformer. Say what its forward returns: "
        "from_module(module, layout='bchw', input_size=224) for maps, else layout 'tokens' or "
        "'vector'; or name the backbone whose weights it holds: "
        "from_module(module, name='mcr-resnet50')"
    )


def _as_published(card: BackboneCard, model: nn.Module) -> Any:
    """Return the module's tensors as its published file would hold them."""
    layout = card.layout or Layout()
    state = model.state_dict()
    wrapped = layout.prefix.startswith("module.")
    tensors = {f"module.{key}" if wrapped else key: value for key, value in state.items()}
    if layout.prefix and not any(key.startswith(layout.prefix) for key in tensors):
        tensors = {layout.prefix + key: value for key, value in tensors.items()}
    for key in layout.keys[:1]:
        return {key: tensors} if isinstance(key, str) else (tensors,)
    return tensors
