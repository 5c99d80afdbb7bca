"""Types of command-line arguments, and the flags of encoder options, for ``argparse``."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Mapping
from typing import Any

from s2robot.encoder.options import Option
from s2robot.encoder.spec import ENCODER_OPTIONS, tiling

_METAVARS: dict[Any, str] = {int: "N", float: "X", tiling: "RxC"}


def frame_shape(text: str) -> tuple[int, int]:
    """Return (height, width) [px] of a text HEIGHTxWIDTH.

    Raises:
        argparse.ArgumentTypeError: the text has another form.

    Examples:
        >>> frame_shape("480x640")
        (480, 640)
    """
    sides = text.strip().lower().replace("×", "x").split("x")
    if len(sides) != 2 or not all(side.isdigit() and int(side) > 0 for side in sides):
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH in pixels, such as 480x640")
    return int(sides[0]), int(sides[1])


def count(text: str) -> int:
    """Return a whole number of at least 1.

    Raises:
        argparse.ArgumentTypeError: the text is no such number.
    """
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def fraction(text: str) -> float:
    """Return a number between 0 and 1, both excluded.

    Raises:
        argparse.ArgumentTypeError: the text is no such number.
    """
    value = _number(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1, such as 0.05")
    return value


def points(text: str) -> float:
    """Return the difference of two success rates that a text gives in percentage points.

    Raises:
        argparse.ArgumentTypeError: the text is no number above 0 and below 100.

    Examples:
        >>> points("5")
        0.05
    """
    value = _number(text)
    if not 0 < value < 100:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of percentage points above 0 and below 100, such as 5"
        )
    return value / 100


def positive(text: str) -> float:
    """Return a finite number above 0.

    Raises:
        argparse.ArgumentTypeError: the text is no such number.
    """
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _number(text: str) -> float:
    """Return the number of a text; NaN, which is in no range, where there is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def scale_set(text: str) -> tuple[float, ...]:
    """Return the scales of a text with commas, with or without brackets.

    Raises:
        argparse.ArgumentTypeError: the text is no such list.

    Examples:
        >>> scale_set("1,2"), scale_set("(1, 2)")
        ((1.0, 2.0), (1.0, 2.0))
    """
    try:
        scales = tuple(float(part) for part in text.strip("()[] ").split(","))
    except ValueError:
        scales = ()
    if not scales or not all(0 < scale < math.inf for scale in scales):
        raise argparse.ArgumentTypeError(f"{text!r} is not a set of scales, such as 1,2,3")
    return scales


def add_encoder_options(
    parser: argparse._ActionsContainer,
    names: Iterable[str] = tuple(ENCODER_OPTIONS),
    defaults: Mapping[str, Any] | None = None,
) -> None:
    """Add a flag for each option of an encoder, as ``EncoderChoice`` declares it.

    A flag that is not given leaves None, so that ``encoder_options`` finds the given ones.

    Args:
        parser: a parser or a group of its arguments.
        names: of the options.
        defaults: values that the command takes where nothing is given, for the help text; those of
            the options otherwise.
    """
    for name in names:
        described = ENCODER_OPTIONS[name]
        default = _words((defaults or {}).get(name, described.default))
        parser.add_argument(
            described.flag,
            type=described.item,
            nargs="+" if described.many else None,
            choices=described.user_choices or None,
            metavar=None if described.choices else _METAVARS.get(described.item),
            help=_help(described, default),
        )


def encoder_options(
    arguments: argparse.Namespace, names: Iterable[str] = tuple(ENCODER_OPTIONS)
) -> dict[str, Any]:
    """Return the options of an encoder that were given, by name.

    Args:
        arguments: as a parser with ``add_encoder_options`` returns them.
        names: of the options that were added.
    """
    given = {name: getattr(arguments, name, None) for name in names}
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in given.items()
        if value is not None
    }


def _help(described: Option, default: str) -> str:
    example = "" if described.example is None else f"; e.g. {_words(described.example)}"
    return f"{described.help}{example}" + (f" (default: {default})" if default else "")


def _words(value: Any) -> str:
    """Write a value as the words of a command line; a tuple of tuples as 1x1 2x3."""
    if not isinstance(value, tuple):
        return f"{value:g}" if isinstance(value, float) else str(value)
    pairs = ("x".join(map(str, item)) if isinstance(item, tuple) else item for item in value)
    return " ".join(_words(item) for item in pairs)
