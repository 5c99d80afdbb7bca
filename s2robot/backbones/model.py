"""Backbones by name: frozen models that turn crops into tokens."""

from __future__ import annotations

import dataclasses
import difflib
from importlib import resources
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models.eva import Eva
from timm.models.resnet import ResNet
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from s2robot.backbones.cards import CARDS, Architecture, BackboneCard, Preprocessing
from s2robot.backbones.weights import (
    StateDict,
    load_strict,
    model_digest,
    read_checkpoint,
    read_model_card,
    read_model_weights,
)
from s2robot.errors import MismatchError, S2RobotError, unknown


class Backbone(nn.Module):
    """A frozen timm model that returns all its tokens.

    Frozen: it stays in evaluation mode whatever ``train()`` says, and no parameter takes gradients.
    """

    def __init__(self, card: BackboneCard, model: nn.Module) -> None:
        super().__init__()
        self.card = card
        self.model = model.eval().requires_grad_(False)
        self.weights_digest = model_digest(
            card.architecture, dataclasses.asdict(card.preprocessing), model.state_dict()
        )
        """SHA-256 of architecture, preprocessing and weights."""
        self._gflops: dict[int, float] = {}  # by tile size [px]

    def train(self, mode: bool = True) -> Backbone:
        del mode
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised crops ``(N, 3, h, w)`` to tokens ``(N, P + gh·gw, C)``, prefix first."""
        features = self.model.forward_features(x)  # pyright: ignore[reportCallIssue]
        if features.ndim == 4:  # (N, C, gh, gw) of a ConvNet
            features = features.flatten(2).transpose(1, 2)
        return features

    def forward_tokens(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised crops ``(N, 3, h, w)`` to prefix ``(N, P, C)`` and grid ``(N, gh, gw, C)``."""
        rows, columns = (self.card.grid_side(side) for side in x.shape[-2:])
        prefix, grid = self.forward(x).tensor_split([self.card.num_prefix_tokens], dim=1)
        return prefix, grid.unflatten(1, (rows, columns))

    @property
    def parameters_count(self) -> int:
        """Number of weights."""
        return sum(p.numel() for p in self.parameters())

    def gflops(self, tiles: int = 1, tile_size: int | None = None) -> float:
        """10⁹ floating-point operations for ``tiles`` crops; a multiply-add counts as two.

        Papers often give multiply-adds (GMACs) under the name of FLOPs: half of these.
        """
        size = tile_size or self.card.preprocessing.image_size
        if size not in self._gflops:
            self._gflops[size] = self._count_gflops(size)
        return tiles * self._gflops[size]

    def _count_gflops(self, tile_size: int) -> float:
        shapes = {name: tensor.to("meta") for name, tensor in self.state_dict().items()}
        crop = torch.empty(1, 3, tile_size, tile_size, device="meta")
        with FlopCounterMode(display=False) as counter:
            functional_call(self, shapes, (crop,))
        return counter.get_total_flops() / 1e9


def get_card(name: str, weights: str | Path | None = None) -> BackboneCard:
    """The card of a backbone by name; for timm's and files' it is derived from theirs.

    Args:
        name: as for ``load_backbone``.
        weights: model card that takes the place of the one in a "file:" name.

    Raises:
        ValueError: there is no such backbone.
        FileNotFoundError: ``file:`` names no model card.
    """
    if name in CARDS:
        return CARDS[name]
    if name.startswith("timm/"):
        return _timm_card(name)
    if name.startswith("file:"):
        return read_model_card(weights or name.removeprefix("file:"), name)
    raise unknown("backbone", name, [*CARDS, "timm/NAME", "file:MODEL_CARD.json"])


def load_backbone(name: str, weights: str | Path | None = None) -> Backbone:
    """Build a backbone by name and load its weights.

    Args:
        name: "s2r-vitt16-128", "random/…", "mvp-…", "r3m-…", "vc1-…" (see ``CARDS``), "timm/NAME"
            or "file:PATH" of a model card that ``s2robot pretrain`` wrote.
        weights: file to take the weights from: the published checkpoint (.pth, .safetensors), or a
            model card (.json) for the package's own and for ``file:`` backbones.

    Raises:
        ValueError: there is no such backbone.
        FileNotFoundError: its weights are not there; the message says where to get them.
        CorruptFileError: the file is damaged or not what the card describes.
        MismatchError: the weights do not fit the architecture.
    """
    card = get_card(name, weights)
    if card.source == "random" and weights is not None:
        raise ValueError(f"{name} is randomly initialised and takes no weights={weights}")
    if card.source == "timm" and weights is None:
        return Backbone(card, _pretrained(card))
    state = None if card.source == "random" else _read_weights(card, weights)
    model = card.architecture.build()
    if state is not None:
        load_strict(model, state, str(weights or name))
    return Backbone(card, model)


def _read_weights(card: BackboneCard, weights: str | Path | None) -> StateDict:
    if card.source in ("checkpoint", "timm"):
        if weights is None:
            url = card.layout.url if card.layout else ""
            raise FileNotFoundError(
                f"the weights of {card.name} are not in this package; download {url} "
                f"(licence: {card.licence}) and give its place as weights=PATH"
            )
        return read_checkpoint(weights, card.layout)
    if card.source == "file":
        return read_model_weights(weights or card.name.removeprefix("file:"))
    path = weights or packaged_card()
    found = read_model_card(path, card.name, card.source)
    if (found.architecture, found.preprocessing) != (card.architecture, card.preprocessing):
        raise MismatchError(
            f"{path} describes {found.architecture} with {found.preprocessing}; "
            f"{card.name} is {card.architecture} with {card.preprocessing}"
        )
    return read_model_weights(path)


def packaged_card() -> Path:
    """Path of the model card of the encoder that ships with the package."""
    return Path(str(resources.files("s2robot.backbones"))) / "weights" / "s2r-vitt16-128.json"


def _timm_card(name: str) -> BackboneCard:
    """Card of a backbone of timm's registry, from timm's own description of it."""
    timm_name = name.removeprefix("timm/")
    models = timm.list_models()
    if timm_name.split(".")[0] not in models:
        near = difflib.get_close_matches(timm_name, models, n=8, cutoff=0)
        raise unknown("timm model", timm_name, near)
    with torch.device("meta"):
        model: Any = timm.create_model(timm_name, num_classes=0)
    family = type(model)
    if not issubclass(family, (VisionTransformer, Eva, ResNet)):
        raise ValueError(
            f"{name} is a {family.__name__}; VisionTransformer, Eva and ResNet are supported"
        )
    config = model.pretrained_cfg
    convnet = issubclass(family, ResNet)
    prefix_tokens = 0 if convnet else model.num_prefix_tokens
    return BackboneCard(
        name=name,
        architecture=Architecture(timm_name, {} if convnet else {"dynamic_img_size": True}),
        preprocessing=Preprocessing(config["input_size"][-1], config["mean"], config["std"]),
        stride=32 if convnet else model.patch_embed.patch_size[0],
        num_prefix_tokens=prefix_tokens,
        dim=model.num_features,
        published="cls" if prefix_tokens else "mean",
        source="timm",
        licence=config.get("license") or "",
    )


def _pretrained(card: BackboneCard) -> nn.Module:
    architecture = card.architecture
    try:
        with torch.random.fork_rng(devices=[]):
            return timm.create_model(
                architecture.timm, pretrained=True, num_classes=0, **architecture.options
            )
    except Exception as error:  # every network layer below has exceptions of its own
        raise S2RobotError(
            f"timm could not get the weights of {card.name} ({error}); connect to its model hub, "
            "or download them elsewhere and give their place as weights=PATH"
        ) from error
