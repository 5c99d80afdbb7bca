"""One word NAME=VALUE of a command line: its values, written as Hydra reads them."""

from __future__ import annotations

import os
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from s2robot.cli.settings.names import is_list, unknown_setting
from s2robot.cli.settings.schema import (
    SHORT,
    SettingsError,
    groups_of,
    nested_dataclass,
    settings_of,
)
from s2robot.cli.settings.words import Words
from s2robot.errors import unknown
from s2robot.utils.command_lines import quoted
from s2robot.utils.config import allowed_values, converted

_TOPIC_AND_FIELD = re.compile(r"""(?<=[{,])(\s*)(["']?)(/?[\w/]+):([\w.]+)\2(?=\s*:)""")
"""A name TOPIC:FIELD of a ROS bag, in quotes or not, before the colon that ends it."""
_PREFIX = re.compile(r"^(\+\+|\+|~)?")


@dataclass(frozen=True)
class GivenSetting:
    """A setting of a command line."""

    name: str
    word: str
    """As Hydra takes it."""
    choices: tuple[str, ...]
    """One override for each of its values; more than one in a sweep."""


def read_setting(words: Words, word: str, sweeps: bool) -> GivenSetting:
    """Return a setting with values that Hydra can read, or say what is wrong.

    Args:
        words: the command line.
        word: ``NAME=VALUE``, ``+NAME=VALUE`` or ``~NAME``.
        sweeps: several values are several jobs.

    Raises:
        SettingsError: the name is unknown, or the value is of another type.
    """
    name, _, text = word.partition("=")
    prefix = _PREFIX.match(name)[0]  # pyright: ignore[reportOptionalSubscript]
    name = name[len(prefix) :].strip().lstrip("/")
    groups, known = groups_of(words.schema), settings_of(words.schema)
    name = SHORT.get(words.schema, {}).get(name, name)
    if _is_foreign(name, words):
        return _of_hydra(name, word)
    if name not in known and name not in groups:
        raise SettingsError(unknown_setting(words.verb, name, text, words.schema))
    if prefix == "~":
        return GivenSetting(name, word, (word,))
    if name in groups and name not in known or name == "policy":
        return _of_group(words, name, text, groups[name], sweeps)
    _refuse_section(name, text, known)
    of_names = typing.get_origin(known[name]) is dict  # whose names the files do not have
    typed = f"++{name}" if of_names or name.split(".")[0] == "env" else name
    return _Reader(words, name, typed, known[name], sweeps).read(text)


def _is_foreign(name: str, words: Words) -> bool:
    """Return whether a name belongs to Hydra, or may belong to a folder of the user's own files."""
    if name.replace("/", ".").split(".")[0] == "hydra" or "@" in name:
        return True
    own = {**groups_of(words.schema), **settings_of(words.schema)}
    return words.config_dir is not None and name not in own


def _of_hydra(name: str, word: str) -> GivenSetting:
    parsed = _parsed(word)
    if isinstance(parsed, str):
        raise SettingsError(f"{word!r} cannot be read: {parsed}")
    if name == "hydra.mode" or parsed.is_sweep_override():
        return GivenSetting(name, word, ())
    return GivenSetting(name, word, (word,))


def _of_group(
    words: Words, name: str, text: str, options: Sequence[str], sweeps: bool
) -> GivenSetting:
    """Return the choice of a file of settings, such as policy=mlp."""
    parsed = _parsed(f"{name}={text}")
    if isinstance(parsed, str):
        raise unknown(name, text, options)
    chosen = split_at_commas(text)
    if parsed.is_sweep_override() and not sweeps:
        raise SettingsError(_several(words.verb, name, chosen))
    if "(" in text:  # choice(...) and glob(...), which Hydra resolves
        return GivenSetting(name, f"{name}={text}", (f"{name}={options[0]}",))
    for one in chosen:
        if one not in options and words.config_dir is None:
            raise SettingsError(str(unknown(name, one, options)))
    return GivenSetting(name, f"{name}={text}", tuple(f"{name}={one}" for one in chosen))


def _refuse_section(name: str, text: str, known: Mapping[str, Any]) -> None:
    """Refuse a value for a name with settings below it, such as camera=front."""
    below = [each for each in known if each.startswith(f"{name}.")]
    null_allowed = type(None) in typing.get_args(known[name])
    if below and not text.startswith("{") and not (null_allowed and text == "null"):
        shown = ", ".join(below[:8])
        also = f", or {name}=null" if null_allowed else ""
        raise SettingsError(
            f"{name} is {text!r}; allowed: settings of its own ({shown}), as in "
            f"{below[0]}=VALUE{also}"
        )


def _several(verb: str, name: str, values: Sequence[str]) -> str:
    return (
        f"{name} has several values ({', '.join(values)}); {verb} takes one. --multirun runs "
        f"{verb} with each of them; `s2robot sweep` trains and evaluates variants"
    )


def _parsed(word: str) -> Override | str:
    """Return the override of a word, or the first line of the parser's error."""
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException as error:
        return str(error).splitlines()[0]


def split_at_commas(text: str) -> list[str]:
    """Return the parts of a text between commas outside of brackets and quotes.

    Examples:
        >>> split_at_commas("[1,2],[3]")
        ['[1,2]', '[3]']
    """
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        depth += (letter in "[({") - (letter in "])}") if not quote else 0
        if letter == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def with_whole_keys(text: str) -> str:
    r"""Return names and values with the colons in names written as Hydra reads them.

    Args:
        text: such as "{TOPIC:FIELD: NAME}"; Hydra takes the name to end at the first colon.

    Examples:
        >>> with_whole_keys("{/joint_states:position: [a,b], state: c}")
        '{/joint_states\\:position: [a,b], state: c}'
    """
    return _TOPIC_AND_FIELD.sub(r"\1\3\\:\4", text)


class _Reader:
    """Reads the text of one setting.

    Args:
        words: the command line.
        name: of the setting.
        typed: the name with its prefix for Hydra.
        kind: annotation of the setting.
        sweeps: several values are several jobs.
    """

    def __init__(self, words: Words, name: str, typed: str, kind: Any, sweeps: bool) -> None:
        self.words = words
        self.name = name
        self.typed = typed
        self.kind = kind
        self.sweeps = sweeps
        single = typing.get_origin(kind) in (tuple, dict)
        kinds = {kind} if single else {kind, *typing.get_args(kind)}
        self.is_text = bool(kinds & {str, Path})
        self.is_path = Path in kinds

    def read(self, text: str) -> GivenSetting:
        """Return the setting, with its text in quotes and brackets where Hydra needs them."""
        if re.match(r"(choice|range|interval|glob|sort|shuffle|tag)\(", text):
            return self._of_function(text)
        if is_list(self.kind):
            values = self._lists(text)
        elif self.is_path and not self.sweeps:
            values = [text]
        else:
            values = split_at_commas(text)
        if len(values) > 1 and not self.sweeps:
            raise SettingsError(_several(self.words.verb, self.name, values))
        written = [self._written(value) for value in values]
        return GivenSetting(
            self.name,
            f"{self.typed}={','.join(written)}",
            tuple(f"{self.typed}={value}" for value in written),
        )

    def _lists(self, text: str) -> list[str]:
        """Return the lists of a text: [1,2] is one, and so is 1,2 where only one can be meant."""
        parts = split_at_commas(text)
        in_brackets = [part.strip().startswith(("[", "(")) for part in parts]
        if all(in_brackets):
            return parts
        if len(parts) > 1 and self.sweeps and not any(in_brackets):
            both = ",".join(f"[{part}]" for part in parts)
            raise SettingsError(
                f"{self.name}={text} can mean one list or several; write "
                f"'{self.name}=[{text}]' for one, '{self.name}={both}' for {len(parts)}"
            )
        if any(in_brackets):
            raise self._wrong(text)
        return [f"[{text}]"] if "${" not in text and text != "null" else [text]

    def _written(self, text: str) -> str:
        """Return one value as Hydra reads it; the value is checked."""
        text = text.strip()
        if self.is_path:
            text = os.path.expanduser(text)  # a shell leaves the ~ of NAME=~/folder to us
        if typing.get_origin(self.kind) is dict:
            text = with_whole_keys(text)
        if is_list(self.kind) and text.startswith("(") and text.endswith(")"):
            text = f"[{text[1:-1]}]"
        if self.is_text and text != "null" and not _is_quoted(text):
            parsed = _parsed(f"{self.name}={text}")
            plain = not isinstance(parsed, str) and not parsed.is_sweep_override()
            if not plain or not isinstance(parsed.value(), str):  # pyright: ignore[reportAttributeAccessIssue]
                text = quoted(text)
        parsed = _parsed(f"{self.name}={text}")
        if isinstance(parsed, str) and is_list(self.kind) and str in typing.get_args(self.kind):
            inside = text[1:-1] if text.startswith("[") and text.endswith("]") else text
            parts = split_at_commas(inside)
            plain = [part for part in parts if not _is_quoted(part)]
            if any(part.count("[") != part.count("]") for part in plain):
                raise self._wrong(text)
            text = f"[{','.join(one if _is_quoted(one) else quoted(one) for one in parts)}]"
            parsed = _parsed(f"{self.name}={text}")
        if isinstance(parsed, str) or parsed.is_sweep_override():
            raise self._wrong(text)
        self._check(parsed.value())
        return text

    def _check(self, value: Any) -> None:
        if "${" in str(value):  # known only when all settings are composed
            return
        try:
            nested = nested_dataclass(self.kind)
            if nested is None or not isinstance(value, Mapping):
                converted(self.kind, value, self.name)
        except ValueError as error:
            raise SettingsError(str(error)) from None

    def _of_function(self, text: str) -> GivenSetting:
        """Return a setting such as seed=range(0,8) or lr=interval(0,1), which Hydra evaluates."""
        word = f"{self.typed}={text}"
        parsed = _parsed(word)
        if isinstance(parsed, str) or not parsed.is_sweep_override():
            raise self._wrong(text)
        if not self.sweeps:
            raise SettingsError(_several(self.words.verb, self.name, [text]))
        if not parsed.is_discrete_sweep():
            return self._of_interval(word, text)
        values = tuple(f"{self.typed}={one}" for one in parsed.sweep_string_iterator())
        for one in values:
            again = _parsed(one.removeprefix("++"))
            if not isinstance(again, str):
                self._check(again.value())
        return GivenSetting(self.name, word, values)

    def _of_interval(self, word: str, text: str) -> GivenSetting:
        """Return a setting with infinitely many values, from which a sweeper draws."""
        if not any(one.startswith("hydra/sweeper=") for one in self.words.settings):
            raise SettingsError(
                f"{self.name}={text} has infinitely many values; write those to try, such as "
                f"{self.name}=VALUE,VALUE, or install a sweeper of Hydra (hydra/sweeper=NAME)"
            )
        return GivenSetting(self.name, word, ())

    def _wrong(self, text: str) -> SettingsError:
        return SettingsError(f"{self.name} is {text!r}; allowed: {allowed_values(self.kind)}")


def _is_quoted(text: str) -> bool:
    return len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
