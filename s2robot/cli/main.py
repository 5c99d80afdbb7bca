"""The command line: ``s2robot COMMAND ...``; ``train-policy`` is ``s2robot train``."""

from __future__ import annotations

import functools
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from rich.text import Text

import s2robot
from s2robot.cli.help import print_help, print_overview
from s2robot.cli.renamed_keys import with_new_flags, with_new_keys
from s2robot.cli.settings.path_errors import is_about_a_path, path_error
from s2robot.cli.verbs import VERBS, Verb, load
from s2robot.errors import (
    CalibrationWarning,
    LicenseWarning,
    PrecisionWarning,
    S2RobotError,
    unknown,
)
from s2robot.utils.console import MESSAGES
from s2robot.utils.deprecation import make_callable

USER_ERRORS = (
    S2RobotError,
    ValueError,
    KeyError,
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
"""Errors that a user can fix; printed without a traceback unless S2ROBOT_DEBUG is set."""


def main(argv: list[str] | None = None) -> int:
    """Run one command and return the exit status.

    Args:
        argv: arguments; default those of the process.

    Examples:
        >>> main(["--version"])
        s2robot ...
        0
    """
    # Torch's threads spin while they wait for each other. If anything else runs, that is five times
    # slower than sleeping (measured with two threads on a busy two-core machine).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    argv = sys.argv[1:] if argv is None else argv
    warnings.formatwarning = _format_warning
    if not argv or argv[0] in ("-h", "--help", "help"):
        print_overview()
        return 0
    if argv[0] == "--version":
        print(f"s2robot {s2robot.__version__}")
        return 0
    try:
        return _run(argv[0], argv[1:])
    except (*USER_ERRORS, OSError) as error:
        if not _is_users(error):
            raise
        _print_error(error, argv)
        return 2
    except KeyboardInterrupt:
        MESSAGES.print("interrupted; run the same command again to continue")
        return 130


_default_format = warnings.formatwarning


def _format_warning(message: Any, category: type[Warning], *where: Any, **rest: Any) -> str:
    """Return notes on licenses, runtimes and renamed options without a line of code."""
    if issubclass(category, (LicenseWarning, CalibrationWarning, PrecisionWarning, FutureWarning)):
        return f"note: {message}\n"
    return _default_format(message, category, *where, **rest)


def train_policy() -> int:
    """Run ``train-policy`` and return the exit status."""
    return main(["train", *sys.argv[1:]])


def _run(name: str, argv: list[str]) -> int:
    if name not in VERBS:
        raise unknown("command", name, VERBS)
    verb = VERBS[name]
    argv = with_new_keys(argv) if verb.hydra else with_new_flags(argv)
    if verb.hydra and not {"-h", "--help"}.isdisjoint(argv):
        print_help(verb)
        return 0
    if verb.hydra:
        return _run_hydra(verb, argv)
    if verb.parse:
        load(verb.parse)(argv)
    return int(load(verb.task)(argv) or 0)


def _run_hydra(verb: Verb, argv: list[str]) -> int:
    from s2robot.cli.settings.front import checked_words
    from s2robot.cli.settings.words import only_shows

    argv = checked_words(verb.name, argv, sweeps=verb.begin is not None)
    sys.argv = [f"s2robot {verb.name}", *argv]
    runs = not only_shows(argv)
    if verb.begin and runs:
        sys.argv += [*load(verb.begin)(argv), *([] if _is_multirun(argv) else ["--multirun"])]
    import hydra

    task = load(verb.task)
    decorate = hydra.main(
        version_base="1.3", config_path="pkg://s2robot.configs", config_name=verb.name
    )
    try:
        decorate(_guarded(task))()
    except SystemExit as stop:  # of Hydra, where a launcher lost a job
        if not (verb.finish and runs and stop.code == 1):
            raise
        MESSAGES.print("a job ended before its run did; others may still run")
        MESSAGES.print("s2robot progress shows them; repeat the command to finish what is left")
        load(verb.finish)(argv)
        return 1
    return load(verb.finish)(argv) if verb.finish and runs else 0


def _is_multirun(argv: list[str]) -> bool:
    return not {"-m", "--multirun"}.isdisjoint(argv)


def _guarded(task: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return a task that prints a user's error as one line; Hydra would print a traceback."""

    @functools.wraps(task)
    def run(config: Any) -> None:
        try:
            task(config)
        except (*USER_ERRORS, OSError) as error:
            if not _is_users(error):
                raise
            _print_error(error, sys.argv)
            raise SystemExit(2) from None

    return run


def _is_users(error: BaseException) -> bool:
    """Return whether an error is to be printed as one line."""
    return not os.environ.get("S2ROBOT_DEBUG") and (
        isinstance(error, USER_ERRORS) or is_about_a_path(error)
    )


def _print_error(error: BaseException, argv: Sequence[str]) -> None:
    message = error.args[0] if isinstance(error, KeyError) and error.args else str(error)
    if isinstance(error, OSError) and is_about_a_path(error):
        message = path_error(error, argv[1:])
    MESSAGES.print(Text("error:", style="red bold"), str(message))


make_callable(__name__, "main")

if __name__ == "__main__":
    sys.exit(main())
