"""Descriptions of options: default, help text, allowed values and the type of one value.

An option is a field of a dataclass, made by ``option``. What shows options to a user (Hydra's
configuration, command-line flags, ROS parameters) reads them by ``options_of``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from s2robot.errors import unknown


@dataclasses.dataclass(frozen=True)
class Option:
    """Description of one option."""

    name: str
    default: Any
    """Value where a user gives none; "auto" for a choice that depends on the machine."""
    help: str
    """One line, in the words of the command line's help."""
    choices: tuple[str, ...]
    """Allowed values; empty where other checks apply."""
    item: Callable[[str], Any]
    """Parser of one word of a command line."""
    many: bool
    """True for options that hold a tuple of such values."""
    example: Any = None
    """A value other than the default, for help texts."""

    @property
    def flag(self) -> str:
        """Flag of the command line, such as ``--input-mode``."""
        return "--" + self.name.replace("_", "-")

    @property
    def line(self) -> str:
        """The help with all allowed values."""
        unnamed = [choice for choice in self.choices if choice not in self.help]
        return f"{self.help}: {' | '.join(self.choices)}" if unnamed else self.help

    @property
    def user_choices(self) -> tuple[str, ...]:
        """Allowed values of a user, "auto" among them where it is the default."""
        if not self.choices or self.default in self.choices:
            return self.choices
        return (self.default, *self.choices)

    def check(self, value: Any) -> None:
        """Raise ValueError if the option has ``choices`` and the value is none of them."""
        if self.choices and value not in self.choices:
            raise unknown(self.name, value, self.choices)


def option(
    default: Any,
    help: str,  # noqa: A002
    choices: tuple[str, ...] = (),
    item: Callable[[str], Any] = str,
    user_default: Any = None,
    example: Any = None,
) -> Any:
    """Return a dataclass field that ``options_of`` describes.

    Args:
        default: of the field; a tuple for options of several values.
        help: one line for the command line's help.
        choices: allowed values; empty where other checks apply.
        item: parser of one word of a command line.
        user_default: default of a user's choice where it differs from the field's, such as "auto".
        example: a value other than the default, for help texts.
    """
    metadata = {
        "help": help,
        "choices": choices,
        "item": item,
        "default": default if user_default is None else user_default,
        "example": example,
    }
    return dataclasses.field(default=default, metadata=metadata)


def options_of(cls: type) -> dict[str, Option]:
    """Return the options among the fields of a dataclass, by name.

    Examples:
        >>> @dataclasses.dataclass
        ... class Lens:
        ...     zoom: int = option(1, "enlargement", item=int)
        >>> options_of(Lens)["zoom"].help
        'enlargement'
    """
    return {
        field.name: Option(
            name=field.name,
            many=isinstance(field.default, tuple),
            **field.metadata,
        )
        for field in dataclasses.fields(cls)
        if "help" in field.metadata
    }
