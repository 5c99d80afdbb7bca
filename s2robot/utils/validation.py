"""Checks of settings and arguments, each with one wording of its error message.

A dataclass calls those named ``require`` in ``__post_init__`` with itself and the names of the
fields to check.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from s2robot.errors import unknown

Config = TypeVar("Config")


def require_at_least(config: object, least: float, *names: str) -> None:
    """Refuse fields of ``config`` that are smaller than ``least``, or NaN.

    Args:
        config: the dataclass to check.
        least: the smallest value that is allowed.
        names: the fields to check.

    Raises:
        ValueError: a field is smaller than ``least``.

    Examples:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Schedule:
        ...     epochs: int = 10
        ...
        ...     def __post_init__(self) -> None:
        ...         require_at_least(self, 1, "epochs")
        >>> Schedule(epochs=0)
        Traceback (most recent call last):
        ValueError: epochs is 0; it must be at least 1
    """
    for name in names:
        value = getattr(config, name)
        if not value >= least:
            raise ValueError(f"{name} is {value}; it must be at least {least}")


def require_finite(config: object, least: float, *names: str) -> None:
    """Refuse fields of ``config`` that are smaller than ``least``, infinite or NaN.

    Args:
        config: the dataclass to check.
        least: the smallest value that is allowed.
        names: the fields to check.

    Raises:
        ValueError: a field is smaller than ``least`` or not finite.
    """
    for name in names:
        value = getattr(config, name)
        if not (math.isfinite(value) and value >= least):
            raise ValueError(f"{name} is {value}; allowed: a finite number, {least} or more")


def require_positive(config: object, *names: str) -> None:
    """Refuse fields of ``config`` that are not positive.

    Args:
        config: the dataclass to check.
        names: the fields to check.

    Raises:
        ValueError: a field is zero, negative or NaN.
    """
    for name in names:
        value = getattr(config, name)
        if not value > 0:
            raise ValueError(f"{name} is {value}; it must be positive")


def require_integers(config: object, least: int, *names: str) -> None:
    """Refuse fields of ``config`` that are not integers of ``least`` or more.

    Args:
        config: the dataclass to check.
        least: the smallest value that is allowed.
        names: the fields to check.

    Raises:
        ValueError: a field is of another type, or smaller than ``least``.
    """
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} is {value!r}; allowed: an integer of {least} or more")


def checked_integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Return an integer in a range; numpy's integers are taken, booleans are not.

    Args:
        name: of the value, with its unit in brackets where it has one.
        value: to check.
        low: the smallest allowed.
        high: the largest allowed; None for no limit.

    Raises:
        ValueError: it is not an integer, or out of range.
    """
    allowed = f"an integer of {low} or more" if high is None else f"an integer of {low} to {high}"
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < low or number > (high or number):
        raise ValueError(f"{name} is {value!r}; allowed: {allowed}")
    return number


def check_place(name: str, index: int, count: int, of: str) -> None:
    """Refuse an index that picks none of so many things; -1 picks the last.

    Args:
        name: of the setting.
        index: its value.
        count: number of things.
        of: what they are, in the plural.

    Raises:
        ValueError: it picks none.

    Examples:
        >>> check_place("column", 3, 2, "columns")
        Traceback (most recent call last):
        ValueError: column 3 picks none of 2 columns; allowed are -2 to 1
    """
    if not -count <= index < count:
        raise ValueError(
            f"{name} {index} picks none of {count} {of}; allowed are {-count} to {count - 1}"
        )


def numbers_in(text: str) -> tuple[float, ...]:
    """Return the numbers of a list that is written as text.

    Args:
        text: with commas, in one pair of brackets or without.

    Raises:
        ValueError: it holds something else than numbers, such as a bracket without its other.

    Examples:
        >>> numbers_in("[1,2]"), numbers_in("1, 2")
        ((1.0, 2.0), (1.0, 2.0))
    """
    inside = text.strip()
    if inside[:1] + inside[-1:] in ("[]", "()"):
        inside = inside[1:-1]
    return tuple(float(part) for part in inside.split(","))


def require_below_one(config: object, *names: str) -> None:
    """Refuse fields of ``config`` outside [0, 1).

    Args:
        config: the dataclass to check.
        names: the fields to check.

    Raises:
        ValueError: a field is negative, 1 or more, or NaN.
    """
    for name in names:
        value = getattr(config, name)
        if not 0 <= value < 1:
            raise ValueError(f"{name} is {value}; it must lie in [0, 1)")


def require_fractions(config: object, *names: str) -> None:
    """Refuse fields of ``config`` that do not lie between 0 and 1, both excluded.

    Args:
        config: the dataclass to check.
        names: the fields to check.

    Raises:
        ValueError: a field is 0 or less, 1 or more, or NaN.
    """
    for name in names:
        value = getattr(config, name)
        if not 0 < value < 1:
            raise ValueError(f"{name} is {value}; it must lie between 0 and 1")


def require_one_of(config: object, allowed: Mapping[str, Iterable[str]]) -> None:
    """Refuse fields of ``config`` whose value is not one of those allowed.

    Args:
        config: the dataclass to check.
        allowed: the allowed values by field.

    Raises:
        ValueError: a field has another value; the message names the nearest allowed one.
    """
    for name, values in allowed.items():
        if getattr(config, name) not in values:
            raise unknown(name, getattr(config, name), values)


def config_from_dict(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """Build a configuration dataclass from JSON-able values; lists become tuples.

    Args:
        kind: the dataclass.
        values: its fields by name.

    Raises:
        ValueError: a key names no field, or a value is not allowed.

    Examples:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Network:
        ...     hidden: tuple[int, ...] = (256, 256)
        >>> config_from_dict(Network, {"hidden": [64, 64]})
        Network(hidden=(64, 64))
    """
    names = [field.name for field in dataclasses.fields(kind)]  # pyright: ignore[reportArgumentType]
    for name in values:
        if name not in names:
            raise unknown(f"{kind.__name__} field", name, names)
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
