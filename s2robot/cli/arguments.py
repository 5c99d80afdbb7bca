"""Types of command-line arguments, and the flags of encoder options, for ``argparse``."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from s2robot.encoder import spec
from s2robot.encoder.options import Option
from s2robot.encoder.spec import ENCODER_OPTIONS, tiling
from s2robot.runtimes import checked_name

_METAVARS: dict[Any, str] = {int: "N", float: "X", tiling: "RxC"}
_LIST_METAVARS: dict[Any, tuple[str, str]] = {
    int: ("[N,N]", "N"),
    float: ("[X,X]", "X"),
    tiling: ("[[R,C],[R,C]]", "RxC"),
}
"""A list, and the words that are accepted in its place."""


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


def runtime(text: str) -> str:
    """Return the name of a runtime, with a calibration where it takes one.

    Raises:
        argparse.ArgumentTypeError: no runtime has this name.

    Examples:
        >>> runtime("openvino-int8:0123456789ab")
        'openvino-int8:0123456789ab'
    """
    try:
        return checked_name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


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
        >>> scale_set("[1,2]"), scale_set("1,2")
        ((1.0, 2.0), (1.0, 2.0))
    """
    try:
        scales = spec.scale_set(text)
    except ValueError:
        scales = ()
    if not scales or not all(0 < scale < math.inf for scale in scales):
        raise argparse.ArgumentTypeError(f"{text!r} is not a set of scales, such as [1,2,3]")
    return scales


def check_encoders(*names: str | None) -> None:
    """Refuse names of encoders that there are not; those of hubs and files are left for later.

    Raises:
        ValueError: there is no such encoder; the nearest ones are named.

    Examples:
        >>> check_encoders("s2r-vitt16", "timm/resnet18")
        Traceback (most recent call last):
        ValueError: unknown backbone 's2r-vitt16' ...
    """
    from s2robot.backbones.registry import get_card

    for name in names:
        if name is not None and not {"/", ":"} & set(name):
            get_card(name)


class ScaleSets(argparse.Action):
    """Scale sets of a study, as '[1],[1,2]', or as the words 1 1,2."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        """Store a list of tuples."""
        try:
            texts = [part for word in values for part in self._parts(word)]
            setattr(namespace, self.dest, [scale_set(text) for text in texts])
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentError(self, str(error)) from None

    def _parts(self, word: str) -> list[str]:
        """Return the scale sets of a word as texts."""
        try:
            return _lists_in(word) or [word]
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"{word!r} is not a list of scale sets, such as [1],[1,2]"
            ) from None


class Names(argparse.Action):
    """Names as words, with commas or in brackets: front wrist, front,wrist, [front,wrist]."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        """Store a tuple of names."""
        text = ",".join(word[1:-1] if _BRACKETS.fullmatch(word) else word for word in values)
        if text.startswith("[") and text.endswith("]"):  # [front, wrist] as two words
            text = text[1:-1]
        parts = [part.strip() for part in text.split(",")]
        wrong = next((part for part in parts if part.count("[") != part.count("]")), None)
        if wrong is not None:
            raise argparse.ArgumentError(
                self,
                f"{' '.join(values)!r} is not a list of names, such as [front,wrist]: a bracket of "
                f"{wrong!r} has no other; write names with commas between them",
            )
        setattr(namespace, self.dest, tuple(part for part in parts if part))


class _List(argparse.Action):
    """A list of one option, as [1,2], as 1,2 or as the words 1 2."""

    def __init__(self, *, item: Any, **rest: Any) -> None:
        super().__init__(**rest)
        self.item = item

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        """Store a list of values."""
        text = ",".join(word.strip(",") for word in values).replace(" ", "")
        try:
            found = [self.item(part) for part in self._parts(text)]
        except ValueError:
            example = "[[1,1],[2,3]]" if self.item is tiling else "[1,2]"
            raise argparse.ArgumentError(
                self, f"{text!r} is not a list, such as {example}"
            ) from None
        setattr(namespace, self.dest, found)

    def _parts(self, text: str) -> list[str]:
        """Return the items of a list as texts."""
        if _BRACKETS.fullmatch(text):
            return text[1:-1].split(",")
        lists = _lists_in(text)
        if lists and self.item is not tiling:
            raise ValueError("a list of lists is none of numbers")
        return [pair[1:-1].replace(",", "x") for pair in lists] or text.split(",")


_BRACKETS = re.compile(r"\[[^\[\]()]*\]|\([^\[\]()]*\)")
"""A list without lists inside."""


def _lists_in(text: str) -> list[str]:
    """Return the lists in a text, each with its brackets; none where it has no brackets.

    Args:
        text: such as "[1],[1,2]", "[[1],[1,2]]" or "1,2".

    Raises:
        ValueError: something stands outside of the lists, or a bracket has no other.
    """
    if not set("[]()") & set(text):
        return []
    text = text.strip(" ,")
    if text[:1] + text[-1:] in ("[]", "()") and text[1:].lstrip()[:1] in ("[", "("):
        text = text[1:-1]
    if _BRACKETS.sub("", text).strip(" ,"):
        raise ValueError(f"{text!r} is not one list after the other")
    return _BRACKETS.findall(text)


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
        metavar = None if described.choices else _METAVARS.get(described.item)
        text = _help(described, default)
        if described.many:
            how: dict[str, Any] = {"action": _List, "item": described.item, "nargs": "+"}
            parser.add_argument(
                described.flag, metavar=_LIST_METAVARS[described.item], help=text, **how
            )
            continue
        parser.add_argument(
            described.flag,
            type=described.item,
            choices=described.user_choices or None,
            metavar=metavar,
            help=text,
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
    """Write a value as the word of a command line; an empty list as ""."""
    if not isinstance(value, tuple):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return f"[{','.join(_words(item) for item in value)}]" if value else ""
