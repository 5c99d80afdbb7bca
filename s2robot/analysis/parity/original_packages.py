"""The original packages, where they are installed: their own models with a published file.

Nothing else here needs them. They show whether our numbers equal theirs.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn

from s2robot.backbones.card import BackboneCard, Layout
from s2robot.backbones.checkpoints import read_weights_file
from s2robot.backbones.download.cache import convert
from s2robot.backbones.state_dicts import apply_layout
from s2robot.preprocessing.image_pyramid import image_of

OriginalModel = Callable[[np.ndarray], Tensor]

_REPOSITORIES = {
    "r3m": "git+https://github.com/facebookresearch/r3m",
    "mvp": "git+https://github.com/ir413/mvp",
    "vip": "git+https://github.com/facebookresearch/vip",
    "vc_models": '"git+https://github.com/facebookresearch/eai-vc#subdirectory=vc_models"',
    "theia": "git+https://github.com/bdaiinstitute/theia",
    "efficientnet_lite_pytorch": "efficientnet_lite_pytorch==0.1.0",
}


class NoOriginalPackageError(Exception):
    """There is no package to compare with; the message names what to install."""


def original_model(card: BackboneCard, path: Path) -> OriginalModel:
    """Return the original model of a card with the weights of its published file.

    Args:
        card: of the backbone.
        path: of its published file.

    Returns:
        Function from frames ``(B, H, W, 3)`` uint8 to the published output.

    Raises:
        NoOriginalPackageError: the package is not installed, or none is known.
    """
    package = PACKAGES.get(card.name, "")
    if package:
        _import(package)
        return _BUILDERS[package](card, path)
    if card.origin == "timm":
        return _timm(card, path)
    raise NoOriginalPackageError("no package of its authors is known to this command")


def _import(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except Exception as error:  # such packages fail in many ways on newer libraries
        raise NoOriginalPackageError(
            f"{package} cannot be imported ({type(error).__name__}: {error}); to compare with it: "
            f"pip install {_REPOSITORIES[package]}"
        ) from None


def _pixels(frames: np.ndarray) -> Tensor:
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


def _r3m(card: BackboneCard, path: Path) -> OriginalModel:
    """Return ``R3M.forward``, called with the shape of the frames so that it resizes them."""
    depth = int(card.name.removeprefix("r3m-resnet"))
    model = _import("r3m").R3M("cpu", lr=0.0, hidden_dim=1024, size=depth, langweight=0.0)
    content = read_weights_file(path)["r3m"]
    state = {k: v for k, v in content.items() if "lang_enc" not in k and "lang_rew" not in k}
    wrapped = nn.DataParallel(model)
    wrapped.load_state_dict(state)
    model.eval()
    return lambda frames: model(_pixels(frames), obs_shape=[3, *frames.shape[1:3]])


def _vip(card: BackboneCard, path: Path) -> OriginalModel:
    del card
    model = _import("vip").VIP(device="cpu", hidden_dim=1024, size=50)
    nn.DataParallel(model).load_state_dict(read_weights_file(path)["vip"])
    model.eval()
    return lambda frames: model(_pixels(frames))


def _mvp(card: BackboneCard, path: Path) -> OriginalModel:
    """Return ``mvp``'s model on images that are prepared here: the package takes prepared ones."""
    builder = f"vit_{card.name.split('-')[1][3]}16"
    vit = importlib.import_module("mvp.backbones.vit")
    size = card.preprocessing.image_size
    model = getattr(vit, builder)(pretrained=str(path), img_size=size)[0].eval()
    return lambda frames: model(_prepared(card, frames))


def _vc_models(card: BackboneCard, path: Path) -> OriginalModel:
    """Return the model and the transform of ``vc_models``, on frames as floats in 0-1."""
    vit = importlib.import_module("vc_models.models.vit.vit")
    transform = importlib.import_module("vc_models.transforms").vit_transforms()
    size = {"b": "base", "l": "large"}[card.name[-1]]
    model = getattr(vit, f"vit_{size}_patch16")(img_size=224, use_cls=True, drop_path_rate=0.0)
    state = read_weights_file(path)["model"]
    model.load_state_dict(
        {k: v for k, v in state.items() if "decoder" not in k and "mask_token" not in k}
    )
    model.eval()
    return lambda frames: model(transform(_pixels(frames) / 255))


def _theia(card: BackboneCard, path: Path) -> OriginalModel:
    """Return ``theia``'s backbone, which asks the hub for the configuration of its DeiT."""
    backbones = importlib.import_module("theia.models.backbones")
    size = card.name.removeprefix("theia-")
    model = backbones.DeiT(model_name=f"facebook/deit-{size}-patch16-224", pretrained=False)
    layout = Layout(prefix="backbone.", dropped=("translator.", "backbone.model.pooler."))
    model.load_state_dict(apply_layout(read_weights_file(path), layout, path))
    model.eval()
    return lambda frames: model(torch.from_numpy(frames))[:, 1:]


def _efficientnet_lite(card: BackboneCard, path: Path) -> OriginalModel:
    """Return the average of ``extract_features``, on images that are prepared here."""
    model = _import("efficientnet_lite_pytorch").EfficientNet.from_name(card.name).eval()
    model.load_state_dict(read_weights_file(path))
    return lambda frames: model.extract_features(_prepared(card, frames)).mean(dim=(2, 3))


def _timm(card: BackboneCard, path: Path) -> OriginalModel:
    """Return timm's own building and loading, on images that are prepared here."""
    options = dict(card.architecture.to_dict())
    name = options.pop("timm")
    state = dict(convert(card, read_weights_file(path), path))
    model: Any = timm.create_model(name, **{"num_classes": 0, **options}).eval()
    model.load_state_dict(state)

    def run(frames: np.ndarray) -> Tensor:
        features = model.forward_features(_prepared(card, frames))
        if card.published == "cls":
            return features[:, 0]
        if card.published == "grid":
            return features[:, card.num_prefix_tokens :]
        return model.forward_head(features, pre_logits=not model.num_classes)

    return run


def _prepared(card: BackboneCard, frames: np.ndarray) -> Tensor:
    pixels = card.preprocessing
    images = image_of(_pixels(frames), pixels, pixels.image_size) / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (pixels.mean, pixels.std))
    return (images - mean) / std


_BUILDERS: dict[str, Callable[[BackboneCard, Path], OriginalModel]] = {
    "r3m": _r3m,
    "vip": _vip,
    "mvp": _mvp,
    "vc_models": _vc_models,
    "theia": _theia,
    "efficientnet_lite_pytorch": _efficientnet_lite,
}

PACKAGES = {
    **{f"r3m-resnet{depth}": "r3m" for depth in (18, 34, 50)},
    "vip-resnet50": "vip",
    **{
        f"mvp-{kind}": "mvp"
        for kind in ("vits-hoi", "vits-in", "vits-sup", "vitb-egosoup", "vitl-egosoup")
    },
    **{f"vc1-{size}": "vc_models" for size in ("vitb", "vitl")},
    **{f"theia-{size}": "theia" for size in ("tiny", "small", "base")},
    **{f"efficientnet-lite{size}": "efficientnet_lite_pytorch" for size in range(3)},
}
"""The package of each encoder's authors, or of who converted its file."""
