"""The model that every runtime runs, tiles to tokens, and the interface of runtimes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from s2robot.backbones import Backbone
from s2robot.errors import S2RobotError

AGREEMENT = 1e-3
"""Largest difference between an exact runtime and eager PyTorch, as a share of the tokens' std."""


class RuntimeMissingError(S2RobotError):
    """A runtime's package is not installed, or it cannot run on that device."""


class RuntimeFailedError(S2RobotError):
    """A runtime could not take the model over, or gives other numbers than eager PyTorch."""


class TokenModel(nn.Module):
    """Model from tiles ``(N, 3, h, w)`` in 0-255 to float32 tokens ``(N, P + gh · gw, C)``.

    Normalization and backbone form one module, so that a runtime runs both. With the pooling
    "head" the model's own output is the only token.
    """

    def __init__(
        self,
        backbone: Backbone,
        pooling: str,
        layers: tuple[int, ...] = (),
        layers_merge: str = "concat",
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.layers, self.layers_merge = layers, layers_merge
        self.pooling = pooling
        pixels = backbone.card.preprocessing
        self.register_buffer("mean", _channels(pixels.mean), persistent=False)
        self.register_buffer("std", _channels(pixels.std), persistent=False)

    def forward(self, tiles: Tensor) -> Tensor:
        crops = (tiles.float() - self.get_buffer("mean")) / self.get_buffer("std")
        return self._run(crops).float()

    def _run(self, crops: Tensor) -> Tensor:
        if self.pooling == "head":
            return self.backbone.forward_head(crops).unsqueeze(1)
        if self.layers:
            return self.backbone.forward_intermediates(crops, self.layers, self.layers_merge)
        return self.backbone(crops)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.get_buffer("mean").device

    @property
    def trains(self) -> bool:
        """Whether gradients are needed: grad mode is on and a weight requires them."""
        return torch.is_grad_enabled() and any(p.requires_grad for p in self.parameters())


def _channels(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).view(3, 1, 1) * 255


def at_tile_size(model: TokenModel, shape: tuple[int, int]) -> TokenModel:
    """Return the model with its positions brought to tiles of ``shape``, for a graph of that size.

    timm resamples positions in the forward pass, with an antialiasing that other runtimes lack.
    """
    inner: Any = model.backbone.model
    base = model.backbone.card.preprocessing.image_size
    if shape == (base, base) or not (
        hasattr(inner, "set_input_size") and isinstance(getattr(inner, "pos_embed", None), Tensor)
    ):
        return model
    copied = copy.deepcopy(model)
    resize: Any = copied.backbone.model.set_input_size
    resize(img_size=shape)
    return copied


def refuse_gradients(name: str, model: TokenModel) -> None:
    """Raise S2RobotError if a weight asks for gradients, which only eager PyTorch gives."""
    if model.trains:
        raise S2RobotError(
            f"runtime {name} gives no gradients and a weight of the encoder asks for them; "
            "use runtime eager, or call it under torch.no_grad()"
        )


class Runtime(Protocol):
    """Interface of runtimes, which run a ``TokenModel`` on its device."""

    name: str
    exact: bool
    """Whether it computes what the spec says, up to float32 rounding; int8 does not."""

    def __call__(self, tiles: Tensor) -> Tensor:
        """Return the float32 tokens ``(N, P + g, C)`` of tiles ``(N, 3, h, w)`` in 0-255."""
        ...

    def describe(self) -> dict[str, object]:
        """Return a JSON-able description for results that the runtime computed."""
        ...


def tiles_like(shape: tuple[int, int], count: int = 2, seed: int = 0) -> Tensor:
    """Make test tiles ``(count, 3, *shape)`` float32 in 0-255, random and smooth in turn."""
    generator = np.random.default_rng(seed)
    tiles = generator.integers(0, 256, (count, 3, *shape)).astype(np.float32)
    ramp = np.linspace(0, 255, shape[1], dtype=np.float32).round()
    tiles[1::2] = ramp  # every other tile grows from left to right
    return torch.from_numpy(tiles)


def difference(found: Tensor, expected: Tensor) -> float:
    """Largest difference as a share of the expected tokens' std."""
    spread = float(expected.float().std()) or 1.0
    return float((found.float() - expected.float()).abs().max()) / spread


def check_agreement(
    name: str, run: Callable[[Tensor], Tensor], model: TokenModel, shape: tuple[int, int]
) -> None:
    """Compare a runtime with eager PyTorch on two tiles.

    Raises:
        RuntimeFailedError: they differ by more than ``AGREEMENT``, or the runtime's graph fails.
    """
    tiles = tiles_like(shape)
    with torch.no_grad():
        expected = model(tiles.to(model.device)).cpu()
    try:
        found = run(tiles.to(model.device)).cpu()
    except Exception as error:  # whatever the runtime's library raises
        reason = (str(error).splitlines() or [type(error).__name__])[0].strip()
        raise RuntimeFailedError(
            f"runtime {name} fails on {len(tiles)} tiles of {shape[0]} x {shape[1]} px of "
            f"{model.backbone.card.name} ({reason}). A forward pass that reads its batch as a "
            "number, as len(x) does, is taken over for that number of tiles alone: write "
            "x.shape[0], or use runtime eager"
        ) from error
    distance = difference(found, expected)
    if not distance <= AGREEMENT:
        raise RuntimeFailedError(
            f"runtime {name} differs from eager PyTorch by {distance:.1e} of the tokens' std on "
            f"tiles of {shape[0]} x {shape[1]} px; allowed is {AGREEMENT:.0e}: use runtime eager"
        )
