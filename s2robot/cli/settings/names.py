"""Names that are no settings: what is near, and which command has them."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterable
from typing import Any

from s2robot.cli.settings.schema import JOBS, TAKEN, groups_of, settings_of

_MOST_LISTED = 8


def is_list(kind: Any) -> bool:
    """Return whether a setting of this annotation takes a list."""
    return typing.get_origin(kind) is tuple


def near_names(name: str, known: Iterable[str]) -> list[str]:
    """Return the settings that a wrong name may mean, the nearest first.

    Examples:
        >>> near_names("epochs", ["train.epochs", "search.epochs", "seed"])
        ['train.epochs', 'search.epochs']
    """
    names = list(known)
    below = [each for each in names if each.rsplit(".", 1)[-1] == name and each != name]
    if below:
        return below
    last = {each.rsplit(".", 1)[-1]: each for each in reversed(names)}
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    close += [last[each] for each in difflib.get_close_matches(name, list(last), n=1, cutoff=0.75)]
    return list(dict.fromkeys(close))


def unknown_setting(verb: str, name: str, value: str, schema: str) -> str:
    """Return the error for a name that is no setting of a command.

    Args:
        verb: name of the command, for the message.
        name: as it was typed.
        value: as it was typed.
        schema: command whose settings are allowed.
    """
    known = {**settings_of(schema), **groups_of(schema)}
    section, _, last = name.rpartition(".")
    inside = [each for each in known if section and each.rpartition(".")[0] == section]
    near = near_names(last, [each.rpartition(".")[2] for each in inside])
    near = [f"{section}.{each}" for each in near]
    text = f"{verb} has no setting {name} (its value here: {value})"
    others = [each for each in JOBS if each not in (verb, schema) and name in settings_of(each)]
    if name in TAKEN:
        text += f"; {TAKEN[name]}={value} sets it."
    elif others:
        text += f"; {', '.join(others)} {'has' if len(others) == 1 else 'have'} it."
    elif inside and not near:
        text += f"; {section} has {_listed(inside)}."
    elif near or (near := near_names(name, known)):
        text += f"; did you mean {' or '.join(near[:3])}?"
    else:
        text += "."
    return f"{text} All settings: s2robot {schema} --help"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_MOST_LISTED]) + (" ..." if len(names) > _MOST_LISTED else "")
