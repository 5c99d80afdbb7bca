"""The words of a command line that are no settings: Hydra's options, and how to mend the rest."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from s2robot.cli.settings.names import is_list, near_names, unknown_setting
from s2robot.cli.settings.schema import SettingsError, settings_of

_SHOWING = ("--cfg", "-c", "--info", "-i", "--hydra-help", "--version", "--shell-completion", "-sc")
"""Options with which Hydra prints something and runs no job."""
_OTHER_FILES = ("--config-path", "-cp", "--config-name", "-cn", "--experimental-rerun")
"""Options with which the settings are not those of the package."""


class Words:
    """The words of a command line, sorted into settings and options of Hydra.

    Args:
        verb: name of the command.
        argv: its words.
        schema: command whose settings these are.

    Raises:
        SettingsError: a word is neither; the message shows how it is written.
    """

    def __init__(self, verb: str, argv: Sequence[str], schema: str = "") -> None:
        self.verb = verb
        self.schema = schema or verb
        self.settings: list[str] = []
        """Words ``NAME=VALUE``, ``+NAME=VALUE``, ``~NAME``."""
        self.options: list[str] = []
        """Hydra's options with their values."""
        arities = _arities()
        rest = list(argv)
        while rest:
            word = rest.pop(0)
            name = word.partition("=")[0] if word.startswith("--") else word
            if name in arities:
                self.options.append(word)
                if arities[name] and "=" not in word and rest:
                    self.options.append(rest.pop(0))
            elif word.startswith("-"):
                raise SettingsError(self._flag(word, rest))
            elif "=" not in word.lstrip("~") and not word.startswith("~"):
                raise SettingsError(self._without_value(word, rest))
            elif word.startswith("=") or (word.endswith("=") and word.count("=") == 1):
                raise SettingsError(self._empty(word, rest))
            else:
                self.settings.append(word)

    @property
    def has_other_files(self) -> bool:
        """Whether the settings come from other files than those of the package."""
        return any(_name(word) in _OTHER_FILES for word in self.options)

    @property
    def is_multirun(self) -> bool:
        """Whether Hydra runs a job for each of several values."""
        given = any(word in ("-m", "--multirun") for word in self.options)
        return given or "hydra.mode=MULTIRUN" in self.settings

    @property
    def config_dir(self) -> str | None:
        """Folder of further settings files."""
        following = [*self.options[1:], ""][: len(self.options)]
        for word, after in zip(self.options, following, strict=True):
            if _name(word) in ("--config-dir", "-cd"):
                return word.partition("=")[2] or after
        return None

    def _flag(self, word: str, rest: Sequence[str]) -> str:
        """Return the error for an option that Hydra has not, with the setting that is meant."""
        flag, _, value = word.partition("=")
        wanted = flag.lstrip("-").replace("-", "_")
        values = [value] if value else []
        for each in rest:
            if "=" in each or each.startswith("--"):
                break
            values.append(each)
        known = settings_of(self.schema)
        meant = wanted if wanted in known else next(iter(near_names(wanted, known)), None)
        text = f"{self.verb} has no option {flag}; its settings are written NAME=VALUE"
        if meant is None:
            return f"{text}. All settings: {_help(self.schema)}"
        return f"{text}: {_setting(known, meant, values)}"

    def _without_value(self, word: str, rest: Sequence[str]) -> str:
        known = settings_of(self.schema)
        if rest and rest[0].startswith("="):
            value = rest[0].lstrip("=") or (rest[1] if len(rest) > 1 else "VALUE")
            if word in known:
                return f"no space may stand around '='; write {_setting(known, word, [value])}"
            return unknown_setting(self.verb, word, value, self.schema)
        if word in known:
            value = rest[:1] if rest and "=" not in rest[0] and not rest[0].startswith("-") else []
            return f"{word} has no value; write {_setting(known, word, value)}"
        before = self.settings[-1].partition("=") if self.settings else ("", "", "")
        if before[0] in known and is_list(known[before[0]]):
            right = _setting(known, before[0], [before[2].rstrip(","), word.lstrip(",")])
            return f"{word!r} stands alone; a list is written in brackets: {right}"
        near = near_names(word, known)
        meant = f"; did you mean {near[0]}=VALUE?" if near else "."
        return (
            f"{word!r} is no setting; settings of {self.verb} are written NAME=VALUE{meant} "
            f"All settings: {_help(self.schema)}"
        )

    def _empty(self, word: str, rest: Sequence[str]) -> str:
        name = word.strip("=+~")
        known = settings_of(self.schema)
        if word.startswith("=") or name not in known:
            return f"{word!r} is no setting; settings of {self.verb} are written NAME=VALUE"
        value = [rest[0]] if rest and "=" not in rest[0] and not rest[0].startswith("-") else []
        return f"{name}= has no value; write {_setting(known, name, value)} without a space"


def only_shows(argv: Sequence[str]) -> bool:
    """Return whether Hydra prints something and runs no job.

    Examples:
        >>> only_shows(["seed=1", "--cfg", "job"])
        True
    """
    return any(_name(word) in _SHOWING for word in argv)


def _setting(known: Mapping[str, Any], name: str, values: Sequence[str]) -> str:
    """Return a setting with values as the shell takes it, such as 'scales=[1,2]'."""
    if not values:
        return f"{name}=[VALUE,VALUE]" if is_list(known[name]) else f"{name}=VALUE"
    if is_list(known[name]):
        inside = ",".join(value.strip("[]()") for value in values)
        return shlex.quote(f"{name}=[{inside}]")
    return shlex.quote(f"{name}={values[0]}")


def _name(word: str) -> str:
    return word.partition("=")[0] if word.startswith("--") else word


def _help(schema: str) -> str:
    return f"s2robot {schema} --help"


def _arities() -> dict[str, bool]:
    """Return whether each option of Hydra takes a value, by its flags."""
    from hydra._internal.utils import get_args_parser

    found = {}
    for action in get_args_parser()._actions:
        for flag in action.option_strings:
            found[flag] = action.nargs != 0
    return found
