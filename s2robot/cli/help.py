"""Help of the command line: the overview, and the settings of the commands that Hydra runs."""

from __future__ import annotations

from importlib import resources
from typing import Any

from rich.table import Table
from rich.text import Text

import s2robot
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
    lines.append("\nSettings and their defaults (set with NAME=VALUE or GROUP.NAME=VALUE):\n")
    text = (_settings_folder() / f"{verb.name}.yaml").read_text()
    if "  - variant\n" in text:
        lines.append(_without_defaults((_settings_folder() / "variant.yaml").read_text()))
    lines.append(_without_defaults(text))
    lines += [
        _group_help(group) for group in ("policy", "budget", "recipe") if f"  - {group}:" in text
    ]
    OUTPUT.print("\n".join(lines))


def _settings_folder() -> Any:
    return resources.files("s2robot.configs")


def _without_defaults(text: str) -> str:
    """Return a settings file without its first comment, Hydra's defaults and its own settings."""
    blocks = [block for block in text.split("\n\n") if not block.startswith("hydra:")]
    blocks[0] = "\n".join(
        line for line in blocks[0].splitlines() if not line.startswith(("#", "defaults:", "  - "))
    )
    return "\n".join(block for block in blocks if block.strip()).rstrip()


def _group_help(group: str) -> str:
    files = sorted((_settings_folder() / group).iterdir(), key=lambda path: path.name)
    rows = [f"  {group}={f.name[:-5]:12} {_headline(f.read_text())}" for f in files]
    return "\n".join(["", *rows])


def _headline(text: str) -> str:
    """Return the first comment that is not a directive to Hydra."""
    return next(line[2:] for line in text.splitlines() if not line.startswith("# @"))


def help_of(docstring: str | None) -> str:
    """Return the docstring of a command's module as the description in its help.

    Examples:
        >>> help_of("``s2robot doctor``: check this machine.")
        'Check this machine.'
    """
    text = (docstring or "").partition(": ")[2]
    return text[:1].upper() + text[1:]
