"""Backbones from models that other packages have loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from s2robot.backbones.backbone import Backbone
from s2robot.backbones.card import BackboneCard, Layout
from s2robot.backbones.checkpoints import load_strict
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


def backbone_from_module(module: Any, name: str | None = None) -> Backbone:
    """Return a backbone that computes the same as a loaded model, with a copy of its weights.

    Args:
        module: a model of r3m, vip, liv, mvp, vc_models, spa, theia or timm, or the tuple that
            ``vc_models`` returns; any other model whose weights are those of the named backbone.
        name: of its card, where the module does not show it (MVP's three small models share one
            architecture; "mvp-vits-hoi" is taken for them).

    Raises:
        ValueError: the module is not known, so its backbone has to be named.
        MismatchError: its weights are not those of the named backbone.
    """
    model = module[0] if isinstance(module, tuple) else module
    model = model.module if isinstance(model, nn.DataParallel) else model
    if not isinstance(model, nn.Module):
        raise ValueError(f"module must be a torch.nn.Module; got {type(module).__name__}")
    card = get_card(name) if name else get_card(_recognize(model))
    origin = f"the {type(model).__name__} given"
    state = apply_layout(_as_published(card, model), card.layout or Layout(), origin)
    copies = {key: tensor.detach().cpu().clone() for key, tensor in state.items()}
    return Backbone(card, load_strict(card.architecture, copies, origin))


def _recognize(model: nn.Module) -> str:
    package, kind = type(model).__module__.split(".")[0], type(model).__name__
    if (package, kind) in _KNOWN:
        name = _KNOWN[package, kind](model)
        if name in CARDS:
            return name
    config = getattr(model, "pretrained_cfg", None)
    if package == "timm" and config:
        tag = f".{config['tag']}" if config.get("tag") else ""
        return f"timm/{config['architecture']}{tag}"
    known = ", ".join(f"{p}.{k}" for p, k in _KNOWN)
    raise ValueError(
        f"a {package}.{kind} could be several backbones or none; known are {known} and timm's "
        "models. Name the backbone, such as name='mcr-resnet50'"
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
