"""Exceptions, and the wording of errors about names and about packages that are missing."""

from __future__ import annotations

import difflib
import re
import shlex
import warnings
from collections.abc import Iterable
from importlib import metadata
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


class CalibrationWarning(UserWarning):
    """Frames that are unlike those that an int8 model was calibrated on."""


class UnfitFramesError(S2RobotError):
    """Frames that are unlike those of an int8 calibration, where they must fit.

    Args:
        message: what to tell the user.
        share: of tiles that are out of the calibrated ranges.
    """

    def __init__(self, message: str, share: float) -> None:
        super().__init__(message)
        self.share = share


class PrecisionWarning(UserWarning):
    """A precision that this machine computes more slowly than float32, or not at all."""


def unknown(kind: str, value: object, allowed: Iterable[str]) -> ValueError:
    """Return the error for an unknown name, with the names that are allowed and the nearest one.

    The nearest one comes first where many are allowed.

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
    before, after = (hint, "") if len(names) > _FEW_NAMES else ("", hint)
    return ValueError(f"unknown {kind} {value!r}{before}; available: {', '.join(names)}{after}")


_FEW_NAMES = 12


def install_command(extra: str) -> str:
    """Return the command that installs the packages of an extra, however s2robot was installed.

    Args:
        extra: of this package, such as "runtimes".

    Returns:
        ``pip install`` with the requirements of the extra. Where the package's metadata is not
        found, the form with the place that s2robot is installed from.

    Raises:
        KeyError: the package has no such extra.

    Examples:
        >>> install_command("ros")
        "pip install 'rosbags>=0.11'"
    """
    try:
        lines = metadata.requires("s2robot") or []
    except metadata.PackageNotFoundError:
        return f"pip install 'PATH_OR_ADDRESS_OF_S2ROBOT[{extra}]'"
    wanted = [line.partition(";") for line in lines]
    found = [name.strip() for name, _, when in wanted if _marks_extra(when, extra)]
    if not found:
        raise KeyError(f"s2robot has no extra {extra!r}")
    return f"pip install {' '.join(map(shlex.quote, found))}"


def _marks_extra(marker: str, extra: str) -> bool:
    return re.fullmatch(rf"""extra == (['"]){re.escape(extra)}\1""", marker.strip()) is not None


def __getattr__(name: str) -> Any:
    if name == "LicenceWarning":  # the old name, for one release
        warnings.warn(f"{name} is now called LicenseWarning", FutureWarning, stacklevel=2)
        return LicenseWarning
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
