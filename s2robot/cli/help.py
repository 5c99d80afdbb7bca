"""Help of the command line: the overview, and the settings of the commands that Hydra runs."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

import s2robot
from s2robot.cli.settings.listing import setting_lines
from s2robot.cli.verbs import VERBS, Verb
from s2robot.utils.console import OUTPUT


def print_overview() -> None:
    """Print all commands with their summaries."""
    OUTPUT.print(f"s2robot {s2robot.__version__}: {_first_line()}\n")
    OUTPUT.print("usage: s2robot COMMAND ...\n")
    table = Table(box=None, show_header=False, padding=(0, 2))
    for verb in VERBS.values():
        table.add_row(Text(verb.name, "bold"), verb.summary)
    OUTPUT.print(table)
    OUTPUT.print("\nSettings and examples of a command: s2robot COMMAND --help")
    OUTPUT.print("First steps: s2robot doctor, then s2robot demo --quick")


def _first_line() -> str:
    return (s2robot.__doc__ or "").splitlines()[0]


def print_help(verb: Verb) -> None:
    """Print summary, examples and the commented settings of a command that Hydra runs."""
    lines = [f"{verb.summary}\n", *(f"  {example}" for example in verb.examples)]
    lines.append(
        "\nEvery setting with its default (set with NAME=VALUE; lists are written [1,2]):\n"
    )
    OUTPUT.print("\n".join([*lines, *setting_lines(verb.name)]))


def help_of(docstring: str | None) -> str:
    """Return the docstring of a command's module as the description in its help.

    Examples:
        >>> help_of("``s2robot doctor``: check this machine.")
        'Check this machine.'
    """
    text = (docstring or "").partition(": ")[2]
    return text[:1].upper() + text[1:]
