"""Parameters of a node for the options of an encoder, as ``EncoderChoice`` declares them."""

from __future__ import annotations

import dataclasses
from typing import Any

from s2robot.encoder.options import Option
from s2robot.encoder.spec import ENCODER_OPTIONS


def _field(option: Option) -> tuple[str, str, Any]:
    """Return name, type and field of a parameter that is empty where it is not given.

    Lists of pairs, which ROS parameters cannot hold, are texts such as "2x3".
    """
    item = option.item.__name__ if option.item in (int, float) else "str"
    if option.many:
        return option.name, f"tuple[{item}, ...]", dataclasses.field(default=())
    empty: Any = "" if item == "str" else 0
    if option.default not in (option.choices or (option.default,)):
        empty = option.default  # "auto"
    return option.name, item, dataclasses.field(default=empty)


EncoderParameters: Any = dataclasses.make_dataclass(
    "EncoderParameters", map(_field, ENCODER_OPTIONS.values()), frozen=True, kw_only=True
)
"""Base of ``NodeConfig`` with a field for each option; "", 0 and () stand for "not given"."""
DESCRIPTIONS = {
    name: f"{option.line}; empty: the default, or a policy's own"
    for name, option in ENCODER_OPTIONS.items()
}
"""Description of each parameter by name."""


def given_options(parameters: Any) -> dict[str, Any]:
    """Return the options that parameters give, by name.

    Raises:
        ValueError: a text of a list is not of its form.
    """
    given = {name: getattr(parameters, name) for name in ENCODER_OPTIONS}
    return {name: _value(name, value) for name, value in given.items() if value}


def check_choices(parameters: Any) -> None:
    """Raise ValueError if a given option is none of its allowed values."""
    for name, value in given_options(parameters).items():
        if value != ENCODER_OPTIONS[name].default:
            ENCODER_OPTIONS[name].check(value)


def _value(name: str, value: Any) -> Any:
    if not (isinstance(value, tuple) and isinstance(value[0], str)):
        return value
    try:
        return tuple(ENCODER_OPTIONS[name].item(text) for text in value)
    except ValueError:
        raise ValueError(
            f"{name} is {list(value)}; allowed: a list of texts such as '1x1', '2x3'"
        ) from None
