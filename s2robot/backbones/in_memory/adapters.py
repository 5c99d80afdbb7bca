"""Models in memory with the methods of timm's: ``forward_features`` and ``forward_head``."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

LAYOUTS = ("bchw", "tokens", "vector")
"""What a module returns for images ``(N, 3, h, w)``: maps ``(N, C, h', w')``, tokens
``(N, P + h'·w', C)`` with the grid row by row, or one vector ``(N, C)``."""
_DIMENSIONS = {"bchw": 4, "tokens": 3, "vector": 2}


def unwrapped(module: Any) -> nn.Module:
    """Return the module within wrappers of PyTorch, and within the tuple of ``vc_models``.

    Args:
        module: also one that ``torch.compile``, DataParallel or DistributedDataParallel made.

    Raises:
        ValueError: it is no module.
    """
    model: Any = module[0] if isinstance(module, tuple) and module else module
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif hasattr(model, "_orig_mod"):  # of torch.compile
            model = model._orig_mod
        else:
            break
    if not isinstance(model, nn.Module):
        raise ValueError(f"module must be a torch.nn.Module; got {type(model).__name__}")
    return model


def copied(model: nn.Module) -> nn.Module:
    """Return a frozen copy on the processor, in float32 and evaluation mode.

    Args:
        model: in memory.

    Raises:
        ValueError: it cannot be copied.
    """
    try:
        found = copy.deepcopy(model)
    except Exception as error:  # whatever the members of a user's class raise
        raise ValueError(
            f"a {type(model).__name__} cannot be copied ({error}); the encoder needs weights of "
            "its own: give a module that copy.deepcopy takes"
        ) from None
    return found.cpu().float().eval().requires_grad_(False)


def replaced_methods(model: nn.Module, names: Sequence[str]) -> list[str]:
    """Return those methods of a module that were set on the object itself.

    Args:
        model: in memory.
        names: of methods.
    """
    return [name for name in names if name in vars(model)]


class OwnForward(nn.Module):
    """A module's own forward pass, called as its user calls it.

    Args:
        model: in memory.
        layout: one of ``LAYOUTS``.
    """

    def __init__(self, model: nn.Module, layout: str) -> None:
        super().__init__()
        self.own = model
        self.layout = layout

    def forward_features(self, x: Tensor) -> Tensor:
        """Return maps ``(N, C, h, w)`` or tokens ``(N, P + n, C)``; a vector is one token.

        Raises:
            ValueError: the module returns something else than its layout says.
        """
        out = self.own(x)
        wanted = _DIMENSIONS[self.layout]
        if not isinstance(out, Tensor) or out.ndim != wanted or out.shape[0] != x.shape[0]:
            seen = tuple(out.shape) if isinstance(out, Tensor) else f"a {type(out).__name__}"
            raise ValueError(
                f"layout is {self.layout!r}, but for images {tuple(x.shape)} a "
                f"{type(self.own).__name__} returns {seen}; allowed are one tensor (N, C, h, w) "
                "for 'bchw', (N, tokens, C) for 'tokens', (N, C) for 'vector'. Wrap it in a module "
                "whose forward returns that"
            )
        return out[:, None] if self.layout == "vector" else out


class TorchvisionResNet(nn.Module):
    """A ResNet of torchvision up to its last maps, by its own layers."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.own = model
        model.fc = nn.Identity()

    @property
    def averages(self) -> bool:
        """Whether its own output is the mean of the last maps, as without changes."""
        pool: Any = self.own.avgpool
        return type(pool) is nn.AdaptiveAvgPool2d and pool.output_size in (1, (1, 1))

    def forward_features(self, x: Tensor) -> Tensor:
        """Return maps ``(N, C, h, w)``."""
        own: Any = self.own
        x = own.maxpool(own.relu(own.bn1(own.conv1(x))))
        return own.layer4(own.layer3(own.layer2(own.layer1(x))))

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Return the pooled output ``(N, C)``."""
        del pre_logits
        own: Any = self.own
        return own.avgpool(features).flatten(1)


class TorchvisionConvNeXt(nn.Module):
    """A ConvNeXt of torchvision; its own output is the pool with the norm after it."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.own = model
        head = model.classifier
        if isinstance(head, nn.Sequential) and len(head) and isinstance(head[-1], nn.Linear):
            head[-1] = nn.Identity()

    def forward_features(self, x: Tensor) -> Tensor:
        """Return maps ``(N, C, h, w)``."""
        own: Any = self.own
        return own.features(x)

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Return the output before the classifier ``(N, C)``."""
        del pre_logits
        own: Any = self.own
        return own.classifier(own.avgpool(features)).flatten(1)


class TorchvisionViT(nn.Module):
    """A vision transformer of torchvision, with all of its tokens."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.own = model
        model.heads = nn.Identity()

    def forward_features(self, x: Tensor) -> Tensor:
        """Return tokens ``(N, 1 + n, C)``, class token first."""
        own: Any = self.own
        tokens = own._process_input(x)
        first = own.class_token.expand(tokens.shape[0], -1, -1)
        return own.encoder(torch.cat([first, tokens], dim=1))
