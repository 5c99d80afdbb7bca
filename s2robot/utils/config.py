"""From settings as a user gives them to frozen dataclasses, with errors in the user's words.

No code below this sees a ``DictConfig``. Errors name a setting by its dotted name, as a user types
it, with the value seen and what is allowed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Union

from s2robot.errors import unknown
from s2robot.utils.validation import numbers_in

if TYPE_CHECKING:
    from omegaconf import DictConfig

T = TypeVar("T")

MISSING = "???"
"""A mandatory setting without a value, as Hydra writes it."""
_UNIONS = (Union, types.UnionType)


def from_config(cls: type[T], config: DictConfig | Mapping[str, Any]) -> T:
    """Build the frozen dataclass ``cls`` from settings of the same shape.

    A list stands for a tuple, and so does a single value; a whole number stands for a fraction, and
    "1,2" or "[1,2]" for a list of numbers.

    Args:
        cls: the dataclass.
        config: its fields by name; interpolations are resolved. A nested dataclass may be built
            already.

    Raises:
        ValueError: a key is unknown or missing, or a value is of another type or out of range.

    Examples:
        >>> from s2robot.policies.config import PolicyConfig
        >>> from_config(PolicyConfig, {"kind": "gmm", "hidden": [64, 64]}).hidden
        (64, 64)
        >>> from_config(PolicyConfig, {"context": "many"})
        Traceback (most recent call last):
        ValueError: context is 'many'; allowed: a whole number
    """
    plain: Any = config
    if not isinstance(config, dict):
        from omegaconf import DictConfig, OmegaConf

        if isinstance(config, DictConfig):
            plain = OmegaConf.to_container(config, resolve=True)
    return _dataclass(cls, plain, "")


def converted(kind: Any, value: Any, name: str) -> Any:
    """Return the value of one setting in its type.

    Args:
        kind: annotation of a dataclass field, such as ``tuple[float, ...]`` or ``Path | None``.
        value: as YAML, Hydra or a parameter server gives it.
        name: of the setting, for the error.

    Raises:
        ValueError: the value is not of that type.

    Examples:
        >>> converted(tuple[float, ...], "[1,2]", "scales"), converted(int, 1e6, "views")
        ((1.0, 2.0), 1000000)
    """
    if isinstance(value, str) and value == MISSING:
        raise ValueError(f"{name} is missing; give it as {name}=VALUE")
    if typing.get_origin(kind) in _UNIONS:
        return _union(kind, value, name)
    if typing.get_origin(kind) is tuple:
        return _tuple(kind, value, name)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, name)
    plain = typing.get_origin(kind) or kind
    if plain is dict and typing.get_args(kind)[1] is not Any:
        return _by_name(kind, value, name)
    if plain in _READERS:
        found = _READERS[plain](value)
        if found is None:
            raise _wrong(name, value, kind)
        return found
    if plain is not Any and not isinstance(value, plain):
        raise _wrong(name, value, kind)
    return value


def allowed_values(kind: Any) -> str:
    """Return what a setting of a type may be, in words.

    Examples:
        >>> allowed_values(int | None), allowed_values(tuple[str, ...])
        ('a whole number, or null', 'a list of texts, such as [a,b]')
    """
    if typing.get_origin(kind) in _UNIONS:
        return ", or ".join(allowed_values(each) for each in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        if typing.get_origin(item) is tuple:
            return "a list of pairs, such as [[1,1],[2,3]]"
        if len(typing.get_args(kind)) == 2 and typing.get_args(kind)[1] is not Ellipsis:
            return "a pair, such as [1,2]"
        return {
            str: "a list of texts, such as [a,b]",
            int: "a list of whole numbers, such as [1,2]",
        }.get(item, "a list of numbers, such as [1,2]")
    plain = typing.get_origin(kind) or kind
    if plain is dict and typing.get_origin(typing.get_args(kind)[1]) is tuple:
        return "lists by name, such as {wrist:[1,2]}"
    if plain is dict and typing.get_args(kind)[1] is str:
        return "texts by name, such as {front:render}"
    if isinstance(plain, type) and (dataclasses.is_dataclass(plain) or issubclass(plain, Mapping)):
        return "settings below it, given as NAME.SETTING=VALUE"
    return _WORDS.get(plain, "a value")


_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "a text",
    Path: "a path",
    types.NoneType: "null",
}


def _wrong(name: str, value: Any, kind: Any) -> ValueError:
    seen = "null" if value is None else repr(_as_list(value))
    return ValueError(f"{name} is {seen}; allowed: {allowed_values(kind)}")


def _as_list(value: Any) -> Any:
    return [_as_list(item) for item in value] if isinstance(value, tuple) else value


def _bool(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _int(value: Any) -> int | None:
    whole = isinstance(value, float) and value.is_integer()  # 1e6 is a float to YAML
    return int(value) if whole or (isinstance(value, int) and not isinstance(value, bool)) else None


def _float(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def _str(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _path(value: Any) -> Path | None:
    return Path(value) if isinstance(value, (str, Path)) and str(value) else None


_READERS: dict[Any, Callable[[Any], Any]] = {
    bool: _bool,
    int: _int,
    float: _float,
    str: _str,
    Path: _path,
}
"""Functions that return the value in the type, and None for a wrong one."""


def _union(kind: Any, value: Any, name: str) -> Any:
    kinds = typing.get_args(kind)
    if value is None and types.NoneType in kinds:
        return None
    found = [each for each in kinds if each is not types.NoneType]
    for each in found:
        try:
            return converted(each, value, name)
        except ValueError:
            if len(found) == 1 and _is_nested(each) and isinstance(value, Mapping):
                raise  # it names the setting below
    raise _wrong(name, value, kind)


def _is_nested(kind: Any) -> bool:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def _tuple(kind: Any, value: Any, name: str) -> tuple[Any, ...]:
    items = typing.get_args(kind)
    endless = items[-1] is Ellipsis
    if isinstance(value, str) and items[0] in (int, float):
        with contextlib.suppress(ValueError):
            value = [int(number) if number.is_integer() else number for number in numbers_in(value)]
    elif endless and isinstance(value, (str, int, float, Path)):
        value = [value]
    if not isinstance(value, (list, tuple)) or not (endless or len(value) == len(items)):
        raise _wrong(name, value, kind)
    kinds = [items[0]] * len(value) if endless else items
    try:
        return tuple(converted(each, v, name) for each, v in zip(kinds, value, strict=True))
    except ValueError:
        raise _wrong(name, value, kind) from None


def _by_name(kind: Any, value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(name, value, kind)
    item = typing.get_args(kind)[1]
    return {str(key): converted(item, each, f"{name}.{key}") for key, each in value.items()}


def _dataclass(cls: type[T], value: Any, name: str) -> T:
    if isinstance(value, cls):
        return value
    if not isinstance(value, Mapping):
        raise _wrong(name, value, cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # pyright: ignore[reportArgumentType]
    full = {key: f"{name}.{key}" if name else key for key in (*fields, *map(str, value))}
    for key in value:
        if key not in fields:
            raise unknown("setting", full[str(key)], (full[each] for each in fields))
    for key, field in fields.items():
        given = value.get(key, MISSING)
        required = field.default is field.default_factory is dataclasses.MISSING
        if required and isinstance(given, str) and given == MISSING:
            raise ValueError(f"{full[key]} is missing; give it as {full[key]}=VALUE")
    hints = typing.get_type_hints(cls)
    found = {key: converted(hints[key], v, full[key]) for key, v in value.items()}
    try:
        return cls(**found)
    except ValueError as error:
        raise ValueError(in_users_words(str(error), fields, name)) from None


def in_users_words(message: str, fields: Collection[str], name: str) -> str:
    """Return the message of nested settings with the dotted name that a user types.

    Args:
        message: of the object that is made of these settings.
        fields: names of the settings.
        name: of the settings together; "" where they have no prefix.

    Examples:
        >>> in_users_words("epochs is 0; it must be at least 1", ["epochs", "lr"], "train")
        'train.epochs is 0; it must be at least 1'
    """
    if not name:
        return message
    named = next((word for word in re.findall(r"\w+", message) if word in fields), None)
    if named is None:
        return f"{name}: {message}"
    if message.startswith(named):
        return f"{name}.{message}"
    return f"{name}.{named}: {message}"
