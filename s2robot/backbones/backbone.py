"""Backbones by name: frozen models that turn crops into tokens."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2robot.backbones.card import BackboneCard
from s2robot.backbones.card_files import (
    checked_weights_path,
    packaged_card,
    read_model_card,
)
from s2robot.backbones.checkpoints import (
    fingerprint,
    load_strict,
    model_digest,
    read_weights_file,
)
from s2robot.backbones.download.cache import Weights, published_weights
from s2robot.backbones.flops import gflops_of, parameters_of
from s2robot.backbones.intermediate_layers import check_layers
from s2robot.backbones.introspection import channels_last
from s2robot.backbones.registry import get_card
from s2robot.backbones.state_dicts import apply_layout
from s2robot.errors import CorruptFileError, MismatchError


class Backbone(nn.Module):
    """A frozen model that returns all its tokens.

    It stays in evaluation mode even after ``train()``, and no parameter takes gradients.
    """

    def __init__(self, card: BackboneCard, model: nn.Module) -> None:
        super().__init__()
        self.card = card
        self.model = model.eval().requires_grad_(False)
        self._digest, self._digest_of = self._new_digest(), self._fingerprint()
        self.loaded_digest = self._digest
        """``weights_digest`` of the weights that the backbone was made with."""
        self._gflops: dict[int, float] = {}  # by tile size [px]

    @property
    def weights_digest(self) -> str:
        """SHA-256 of architecture, preprocessing and the weights as they are now.

        It is computed again where the weights were changed since, by training or by hand. To see
        whether they were, all weights are read once, which takes milliseconds.
        """
        found = self._fingerprint()
        if found != self._digest_of:
            self._digest, self._digest_of = self._new_digest(), found
        return self._digest

    def _new_digest(self) -> str:
        card = self.card
        rules = card.preprocessing.to_dict()
        return model_digest(card.architecture, rules, self.model.state_dict())

    def _fingerprint(self) -> tuple[Any, ...]:
        return fingerprint(self.model.state_dict())

    def train(self, mode: bool = True) -> Backbone:
        """Return this module, which stays in evaluation mode."""
        del mode
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the tokens ``(N, P + gh·gw, C)`` of normalized crops ``(N, 3, h, w)``."""
        return self._tokens(self._features(x))

    def _tokens(self, features: Tensor) -> Tensor:
        return features if features.ndim == 3 else self._rows(features)

    def _features(self, x: Tensor) -> Tensor:
        return self.model.forward_features(x)  # pyright: ignore[reportCallIssue]

    def _rows(self, maps: Tensor) -> Tensor:
        """Return maps of a ConvNet as tokens, row by row."""
        return maps.flatten(1, 2) if channels_last(self.model) else maps.flatten(2).transpose(1, 2)

    def forward_tokens(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return prefix and grid tokens of normalized crops ``(N, 3, h, w)``.

        Returns:
            Prefix ``(N, P, C)`` and grid ``(N, gh, gw, C)``.
        """
        rows, columns = (self.card.grid_side(side) for side in x.shape[-2:])
        prefix, grid = self.forward(x).tensor_split([self.card.num_prefix_tokens], dim=1)
        return prefix, grid.unflatten(1, (rows, columns))

    def forward_head(self, x: Tensor) -> Tensor:
        """Return the model's own pooled or projected output ``(N, head_dim)`` of crops."""
        return self._head(self._features(x))

    def forward_head_and_tokens(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``forward_head`` and ``forward`` of crops, of one pass through the model."""
        features = self._features(x)
        return self._head(features), self._tokens(features)

    def _head(self, features: Tensor) -> Tensor:
        classifies = int(getattr(self.model, "num_classes", 0) or 0) > 0
        return self.model.forward_head(features, pre_logits=not classifies)  # pyright: ignore[reportCallIssue]

    def forward_intermediates(
        self, x: Tensor, layers: Sequence[int], merge: str = "concat"
    ) -> Tensor:
        """Return outputs of intermediate layers, before any final norm.

        Args:
            x: normalized crops ``(N, 3, h, w)``.
            layers: indices of blocks (transformers) or stages (ConvNets); negative from the end.
            merge: "concat" (on channels, in the order of ``layers``) or "mean".

        Returns:
            Tokens ``(N, P + gh·gw, C')`` on the grid of the last layer, prefix first.
        """
        order = check_layers(self.card, layers)
        wanted = sorted(set(order))
        found = dict(zip(wanted, self._intermediates(x, wanted), strict=True))
        prefixes, maps = zip(*(found[index] for index in order), strict=True)
        size = maps[-1].shape[-2:]
        grids = [m if m.shape[-2:] == size else F.interpolate(m, size, mode="area") for m in maps]
        tokens = [
            torch.cat([prefix, grid.flatten(2).transpose(1, 2)], dim=1)
            for prefix, grid in zip(prefixes, grids, strict=True)
        ]
        return torch.cat(tokens, dim=-1) if merge == "concat" else torch.stack(tokens).mean(dim=0)

    def _intermediates(self, x: Tensor, indices: list[int]) -> list[tuple[Tensor, Tensor]]:
        """Return each layer's prefix ``(N, P, C)`` and map ``(N, C, gh, gw)``."""
        run: Any = self.model.forward_intermediates
        options: dict[str, Any] = {"indices": indices, "intermediates_only": True, "norm": False}
        known = inspect.signature(run).parameters
        options |= {key: True for key in ("return_prefix_tokens", "stop_early") if key in known}
        outputs = run(x, **options)
        pairs = [out if isinstance(out, (tuple, list)) else (out, None) for out in outputs]
        return [(m.new_empty(len(m), 0, m.shape[1]) if p is None else p, m) for m, p in pairs]

    @property
    def parameters_count(self) -> int:
        """Number of weights."""
        return parameters_of(self)

    def gflops(self, tiles: int = 1, tile_size: int | None = None) -> float:
        """Return the cost of some crops in 10⁹ floating-point operations.

        A multiply-add counts as two. Papers often give multiply-adds (GMACs) under the name of
        FLOPs, which are half of these.

        Args:
            tiles: number of crops.
            tile_size: side of a crop [px]; None is the model's image size.
        """
        size = tile_size or self.card.preprocessing.image_size
        if size not in self._gflops:
            self._gflops[size] = gflops_of(self.model, size)
        return tiles * self._gflops[size]


def load_backbone(
    name: str, weights: str | Path | None = None, digest: str | None = None
) -> Backbone:
    """Build a backbone by name and load its weights.

    Args:
        name: see ``s2robot.backbones.get_card``.
        weights: file with the weights: the published checkpoint (.pth, .safetensors), or a model
            card (.json) for the package's own encoder and for ``file:`` backbones. Without it,
            published weights are downloaded once and kept (see ``s2robot.utils.paths``).
        digest: ``Backbone.weights_digest`` of the weights that are wanted, where it is known: it
            finds weights that were once loaded from a file. The caller compares it.

    Raises:
        ValueError: there is no such backbone.
        FileNotFoundError: its weights are missing; the message names where to get them.
        DownloadError: the download failed.
        CorruptFileError: the file is damaged or not what the card describes.
        MismatchError: the weights do not fit the architecture.

    Examples:
        >>> backbone = load_backbone("random/vitt16-128")
        >>> prefix, grid = backbone.forward_tokens(torch.zeros(1, 3, 128, 128))
        >>> tuple(prefix.shape), tuple(grid.shape)
        ((1, 1, 192), (1, 8, 8, 192))
    """
    card = get_card(name, weights)
    if card.origin == "random":
        if weights is not None:
            raise ValueError(
                f"{name} is randomly initialized and takes no weights; given: {weights}"
            )
        return Backbone(card, card.architecture.build())
    if card.origin in ("published", "timm", "hub"):
        found = published_weights(card, weights, digest)
    else:
        found = _carded_weights(card, weights)
    backbone = Backbone(card, _model(card, found))
    found.verify(backbone.weights_digest)
    return backbone


def _model(card: BackboneCard, found: Weights) -> nn.Module:
    try:
        return load_strict(card.architecture, found.state, found.origin)
    except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError) as error:
        if card.origin != "file":
            raise
        raise CorruptFileError(
            f"the architecture in the model card {card.name} cannot be built ({error}); correct it"
        ) from error


def _carded_weights(card: BackboneCard, weights: str | Path | None) -> Weights:
    """Return weights that lie beside a model card."""
    if card.origin == "file":
        path = checked_weights_path(weights or card.name.removeprefix("file:"))
        layout = card.layout
        content = read_weights_file(path)
        return Weights(apply_layout(content, layout, path) if layout else content, str(path))
    model_card = weights or packaged_card()
    found = read_model_card(model_card, card.name, card.origin)
    if (found.architecture, found.preprocessing) != (card.architecture, card.preprocessing):
        raise MismatchError(
            f"{model_card} describes {found.architecture} with {found.preprocessing}; "
            f"{card.name} is {card.architecture} with {card.preprocessing}"
        )
    path = checked_weights_path(model_card)
    return Weights(read_weights_file(path), str(path))
