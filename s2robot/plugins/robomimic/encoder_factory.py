"""Two changes of how robomimic builds its observation encoders, for ``S2Core`` alone.

robomimic drops entries of ``core_kwargs`` that a class does not know, without a word, and applies
its activation to the output of every core.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import robomimic.models.obs_nets as obs_nets
from torch import Tensor, nn

from s2robot.plugins.robomimic.core import S2Core

_CHANGED = "_s2robot_changed"


def install() -> None:
    """Replace a function and a method of ``robomimic.models.obs_nets``, once."""
    if getattr(obs_nets, _CHANGED, False):
        return
    obs_nets.extract_class_init_kwargs_from_dict = _checked(
        obs_nets.extract_class_init_kwargs_from_dict
    )
    obs_nets.ObservationEncoder.make = _without_activation(obs_nets.ObservationEncoder.make)
    setattr(obs_nets, _CHANGED, True)


def check_core_kwargs(given: Mapping[str, Any]) -> None:
    """Check the names of an ``S2Core``'s ``core_kwargs``.

    Args:
        given: entries, also robomimic's own ``input_shape``.

    Raises:
        ValueError: a name is unknown; the message gives the nearest one.
    """
    known = list(inspect.signature(S2Core.__init__).parameters)[1:]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ValueError(
                f"core_kwargs of S2Core has {name!r}, which robomimic would drop without a word."
                f"{hint} Known: {', '.join(known[1:])}"
            )


def _checked(original: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    @functools.wraps(original)
    def extract(cls: type, dic: dict[str, Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        if cls is S2Core:
            check_core_kwargs(dic)
        return original(cls, dic, *args, **kwargs)

    return extract


def _without_activation(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def make(encoder: Any) -> None:
        original(encoder)
        if any(isinstance(net, S2Core) for net in encoder.obs_nets.values()):
            encoder.activation = ActivationOfOthers(encoder.activation)

    return make


class ActivationOfOthers(nn.Module):
    """robomimic's activation, which leaves what an ``S2Core`` returns as it is."""

    def __init__(self, activation: nn.Module | None) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``, activated unless it is an embedding."""
        embedded = getattr(x, "_s2robot_embedding", False)
        return x if embedded or self.activation is None else self.activation(x)
