"""Ways to change a backbone's weights in memory."""

from __future__ import annotations

from collections.abc import Callable

import torch

from s2robot.backbones import Backbone


def load_others(backbone: Backbone) -> None:
    state = backbone.model.state_dict()
    backbone.model.load_state_dict({name: tensor + 0.01 for name, tensor in state.items()})


def train(backbone: Backbone) -> None:
    weight = next(backbone.model.parameters()).requires_grad_(True)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    weight.square().sum().backward()
    optimizer.step()
    weight.requires_grad_(False)


def scale_in_place(backbone: Backbone) -> None:
    next(backbone.model.parameters()).data.mul_(1.01)


def flip_in_place(backbone: Backbone) -> None:
    weight = next(w for w in backbone.model.parameters() if w.ndim > 1 and len(w) > 1)
    weight.data.copy_(weight.data.flip(0))


def replace(backbone: Backbone) -> None:
    weight = next(backbone.model.parameters())
    weight.data = weight.data + 0.01


CHANGES: tuple[Callable[[Backbone], None], ...] = (
    load_others,
    train,
    scale_in_place,
    flip_in_place,
    replace,
)
