"""Exceptions, and the wording of errors about names."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable
from typing import Any


class S2RobotError(Exception):
    """Base of the errors that a user can fix; the command line prints them without a traceback."""


class CorruptFileError(S2RobotError):
    """A file that is truncated, altered, or not of the expected format."""


class MismatchError(S2RobotError):
    """Two things that must agree do not: a policy and an environment, a run and its inputs."""


class DivergedError(S2RobotError):
    """A training loss that became NaN or infinite; the last good checkpoint is kept."""


class NonFiniteError(S2RobotError):
    """Features that are NaN or infinite."""


class DiskFullError(S2RobotError):
    """A disk without room for a file; what was there before is kept."""


class DownloadError(S2RobotError):
    """A published file that none of its sources gives."""


class LicenseWarning(UserWarning):
    """Terms of downloaded weights that a user should know."""


def unknown(kind: str, value: object, allowed: Iterable[str]) -> ValueError:
    """Return the error for an unknown name, with the names that are allowed and the nearest one.

    Args:
        kind: what the name stands for, such as "level".
        value: the name seen.
        allowed: the names that are allowed.

    Examples:
        >>> unknown("level", "esy", ["easy", "precise"]).args[0]
        "unknown level 'esy'; available: easy, precise (did you mean 'easy'?)"
    """
    names = sorted(str(name) for name in allowed)
    near = difflib.get_close_matches(str(value), names, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return ValueError(f"unknown {kind} {value!r}; available: {', '.join(names)}{hint}")


def __getattr__(name: str) -> Any:
    if name == "LicenceWarning":  # the old name, for one release
        warnings.warn(f"{name} is now called LicenseWarning", FutureWarning, stacklevel=2)
        return LicenseWarning
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
