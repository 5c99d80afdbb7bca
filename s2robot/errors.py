"""Exceptions, and the wording of errors about names."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable
from typing import Any


class S2RobotError(Exception):
    """Base of the errors a user can mend; the command line prints them without a traceback."""


class CorruptFileError(S2RobotError):
    """A file is truncated, altered, or not of the format that its reader expects."""


class MismatchError(S2RobotError):
    """Two things that must agree (a policy and an environment, a run and its inputs) do not."""


class DivergedError(S2RobotError):
    """A training loss became NaN or infinite; the last good checkpoint is kept."""


class NonFiniteError(S2RobotError):
    """Features came out as NaN or infinite."""


class DiskFullError(S2RobotError):
    """There is no room left for a file; what was there before is kept."""


class DownloadError(S2RobotError):
    """A published file could not be had from any of the places that offer it."""


class LicenseWarning(UserWarning):
    """Weights that were brought to this machine have terms one should know."""


def unknown(kind: str, value: object, allowed: Iterable[str]) -> ValueError:
    """Build the error for an unknown name: what was seen, what is allowed, the nearest name.

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
