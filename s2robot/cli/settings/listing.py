"""List of every setting of a command, with default, unit and allowed values, for its help."""

from __future__ import annotations

import json

from s2robot.cli.settings.schema import config_folder, environment_defaults, groups_of

_COLUMN = 40


def setting_lines(verb: str) -> list[str]:
    """Return a line ``NAME=DEFAULT  meaning`` for each setting of a command, and those of groups.

    Args:
        verb: name of a command that Hydra runs.
    """
    text = (config_folder() / f"{verb}.yaml").read_text()
    shared = [name for name in ("variant", "training") if f"  - {name}\n" in text]
    rows: dict[str, str] = {}
    for name in (*shared, verb):
        rows.update(_rows((config_folder() / f"{name}.yaml").read_text(), ""))
    for name, value in environment_defaults().items() if verb == "collect" else ():
        rows[name] = _row(name, json.dumps(value), "argument of PickCubeEnv")
    rows.pop("env", None)
    return [*rows.values(), *(line for group in groups_of(verb) for line in _group(verb, group))]


def _group(verb: str, group: str) -> list[str]:
    """Return the choices of a group, each with the settings that it adds; the first has all lines.

    A file of the group at the root of the settings (recipe, budget) sets those named there.
    """
    lines, seen = [], set()
    for choice in groups_of(verb)[group]:
        text = (config_folder() / group / f"{choice}.yaml").read_text()
        own = "# @package _global_" in text
        lines += ["", f"  {f'{group}={choice}':{_COLUMN}}# {_headline(text)}"]
        if group == "budget":  # its settings are those of `training`
            continue
        rows = _rows(text, "" if own else f"{group}.")
        lines += [row for name, row in rows.items() if name not in seen]
        seen |= rows.keys()
    return lines


def _rows(text: str, prefix: str) -> dict[str, str]:
    """Return the line of each setting of a YAML file by its dotted name."""
    found, section = {}, ""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        name, colon, rest = line.partition(":")
        if not colon or line.startswith(("#", "  - ", "hydra", "defaults", "    ")):
            continue
        if not line.startswith("  "):
            section = ""
        value, _, comment = rest.partition("  #")
        value = value.split(" #")[0].strip() if "#" in value else value.strip()
        nested = number + 1 < len(lines) and lines[number + 1].startswith("  ") and not value
        if nested:
            section = f"{name.strip()}."
            if comment:  # a section that may be null
                found[prefix + name] = _row(prefix + name, "...", comment.strip())
            continue
        full = f"{prefix}{section if line.startswith('  ') else ''}{name.strip()}"
        found[full] = _row(full, value, comment.strip())
    return found


def _row(name: str, value: str, comment: str) -> str:
    shown = f"{name}={value.replace(', ', ',')}"
    return f"  {shown:{_COLUMN}}# {comment}" if comment else f"  {shown}"


def _headline(text: str) -> str:
    """Return the first comment that is not a directive to Hydra."""
    return next(line[2:] for line in text.splitlines() if not line.startswith("# @"))
