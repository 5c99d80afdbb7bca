"""Old keys and values of the command line, which still work for one release with a warning."""

from __future__ import annotations

from collections.abc import Sequence

from s2robot.utils.deprecation import warn_renamed

KEYS = {"taps": "layers", "taps_merge": "layers_merge"}
"""New Hydra keys by old key."""
VALUES = {"encoder": {"none": "blind", "state": "privileged_state"}}
"""New values by old value, by key. A sweep gives several values with commas."""
FLAGS = {
    "--tap": "--layers",
    "--taps": "--layers",
    "--taps-merge": "--layers-merge",
    "--target-tap": "--target-layer",
}
"""New flags by old flag."""


def with_new_keys(argv: Sequence[str]) -> list[str]:
    """Return Hydra overrides under their new keys, with a warning for each old one.

    Examples:
        >>> with_new_keys(["taps=[5]", "encoder=blind,s2r-vitt16-128"])
        ['layers=[5]', 'encoder=blind,s2r-vitt16-128']
    """
    return [_override(argument) for argument in argv]


def with_new_flags(argv: Sequence[str]) -> list[str]:
    """Return flags under their new names, with a warning for each old one.

    Examples:
        >>> with_new_flags(["--tap", "last", "5"])
        ['--layers', 'last', '5']
    """
    found = []
    for argument in argv:
        flag, equals, value = argument.partition("=")
        if flag in FLAGS:
            warn_renamed(flag, FLAGS[flag], stacklevel=4)
        found.append(FLAGS.get(flag, flag) + equals + value)
    return found


def _override(argument: str) -> str:
    key, equals, value = argument.partition("=")
    if not equals:
        return argument
    if key in KEYS:
        warn_renamed(f"{key}=", f"{KEYS[key]}=", stacklevel=5)
        key = KEYS[key]
    renamed = VALUES.get(key, {})
    choices = value.split(",")
    for choice in choices:
        if choice in renamed:
            warn_renamed(f"{key}={choice}", f"{key}={renamed[choice]}", stacklevel=5)
    return f"{key}={','.join(renamed.get(choice, choice) for choice in choices)}"
