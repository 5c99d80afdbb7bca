"""Parser of the commands with flags, whose every error is one line with the nearest name."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from rich.text import Text

from s2robot.cli.settings.names import near_names
from s2robot.cli.settings.schema import SettingsError, settings_of
from s2robot.cli.settings.words import Words
from s2robot.errors import unknown
from s2robot.utils.console import MESSAGES

_CHOICE = re.compile(r"argument ([^:]+): invalid choice: '?(.*?)'? \(choose from ", re.DOTALL)
_NUMBER = re.compile(r"argument ([^:]+): invalid (int|float) value: (.*)", re.DOTALL)
_WITHOUT_VALUE = re.compile(r"argument ([^:]+): expected (?:one|at least one) argument")
_REQUIRED = "the following arguments are required: "
_NUMBERS = {"int": "a whole number", "float": "a number"}


class CommandParser(argparse.ArgumentParser):
    """Parser of one command, which ends with status 2 and one line where a word is wrong.

    Args:
        verb: name of the command.
        description: for its help.
        epilog: examples, for its help.
        schema: command of Hydra whose settings NAME=VALUE are taken beside the flags.
    """

    def __init__(
        self, verb: str, description: str | None, epilog: str | None = None, *, schema: str = ""
    ) -> None:
        super().__init__(
            prog=f"s2robot {verb}",
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.verb = verb
        self.schema = schema

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Return the values of the words of a command line.

        Args:
            argv: the words after the command's name.

        Raises:
            SystemExit: a word is wrong (status 2), or the help was asked for (0).
        """
        self._check(argv)
        parse = self.parse_known_intermixed_args if self.schema else self.parse_known_args
        found, rest = parse(list(argv))
        if rest:
            self.error(f"{rest[0]!r} is one word too many; {self._help()}")
        for name, value in vars(found).items():
            if isinstance(value, Path):  # a shell leaves the ~ of --out=~/folder to us
                setattr(found, name, Path(os.path.expanduser(value)))
        return found

    def error(self, message: str) -> NoReturn:
        """Print what is wrong as one line and leave with status 2."""
        MESSAGES.print(Text("error:", style="red bold"), self._in_words(message))
        raise SystemExit(2)

    def _check(self, argv: Sequence[str]) -> None:
        """Refuse flags that do not exist, and settings in place of flags."""
        words = list(argv)
        for number, word in enumerate(words):
            before = words[number - 1] if number else ""
            name = word.partition("=")[0]
            if word == "--":
                return
            if re.match(r"--?[A-Za-z]", word):
                if not self._known(name):
                    self.error(self._unknown_flag(word, words[number + 1 :]))
            elif word != name and not self.schema and not before.startswith("-"):
                flag = f"--{name.replace('_', '-')}"
                if flag in self._option_string_actions:
                    value = shlex.quote(word.partition("=")[2] or "VALUE")
                    self.error(f"{self.verb} takes {flag} {value}, not {word}")

    def _known(self, flag: str) -> bool:
        """Return whether a flag exists or begins one or several, as argparse accepts it."""
        flags = list(self._option_string_actions)
        return flag in flags or (
            flag.startswith("--") and any(each.startswith(flag) for each in flags)
        )

    def _unknown_flag(self, word: str, rest: Sequence[str]) -> str:
        flag, equals, value = word.partition("=")
        wanted = flag.lstrip("-").replace("_", "-")
        flags = [each[2:] for each in self._option_string_actions if each.startswith("--")]
        near = difflib.get_close_matches(wanted, flags, n=1)
        text = f"{self.verb} has no flag {flag}"
        if near:
            return f"{text}; did you mean --{near[0]}{equals}{value}? S{self._help()[1:]}"
        if self.schema and near_names(wanted.replace("-", "_"), settings_of(self.schema)):
            try:
                Words(self.verb, [word, *rest], self.schema)
            except SettingsError as error:
                return str(error)
        return f"{text}; {self._help()}"

    def _help(self) -> str:
        return f"see s2robot {self.verb} --help"

    def _in_words(self, message: str) -> str:
        """Return an error of argparse in the words of the other commands' errors."""
        if found := _CHOICE.match(message):
            choices = self._action(found[1]).choices or ()
            return str(unknown(found[1], found[2], map(str, choices)))
        if found := _NUMBER.match(message):
            return f"{found[1]} is {found[3]}; allowed: {_NUMBERS[found[2]]}"
        if found := _WITHOUT_VALUE.match(message):
            return f"{found[1]} has no value; write {self._shown(found[1])}"
        if message.startswith(_REQUIRED):
            names = message.removeprefix(_REQUIRED).split(", ")
            shown = ", ".join(map(self._shown, names))
            return f"{self.verb} needs {shown}; {self._help()}"
        return re.sub(r"^argument ([^:]+): ", r"\1: ", message)

    def _action(self, flag: str) -> Any:
        name = flag.split("/")[-1]
        return self._option_string_actions.get(name) or next(
            each for each in self._actions if name in (each.dest, each.metavar)
        )

    def _shown(self, flag: str) -> str:
        """Return a flag with its value and meaning, as the help shows them."""
        name = flag.split("/")[-1]
        action = self._option_string_actions.get(name)
        if action is None:
            return name
        value = action.metavar or action.dest.upper()
        return f"{name} {value[0] if isinstance(value, tuple) else value}"
