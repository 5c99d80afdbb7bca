"""What a command says where the system refuses a path: which word gave it, and how to mend it."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

_REFUSED = (errno.EACCES, errno.EPERM)
_OF_PATHS = {
    *_REFUSED,
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY),
    *(errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP),
}
"""Errors that another path mends."""


def is_about_a_path(error: BaseException) -> bool:
    """Return whether an error is the system's own about a path, without a remedy.

    Args:
        error: what a command raised.
    """
    if not isinstance(error, OSError) or error.errno not in _OF_PATHS:
        return False
    return isinstance(error.filename, (str, bytes, os.PathLike))


def path_error(error: OSError, argv: Sequence[str]) -> str:
    """Return what is wrong with a path, where it was given, and what is allowed.

    Args:
        error: for which ``is_about_a_path`` is true.
        argv: the words of the command.

    Examples:
        >>> path_error(FileExistsError(errno.EEXIST, "exists", __file__), ["--out", __file__])
        '--out ...path_errors.py: ...path_errors.py is a file, and a folder is needed there; ...'
    """
    path = Path(os.fsdecode(error.filename))
    word = _given(path, argv)
    return f"{word}: {_problem(error, path)}" if word else _problem(error, path)


def _problem(error: OSError, path: Path) -> str:
    """Return what is wrong, and what is allowed."""
    above = [path, *path.parents]
    file = next((each for each in above if os.path.lexists(each) and not each.is_dir()), None)
    there = next((each for each in path.parents if each.is_dir()), Path(os.sep))
    if error.errno in (errno.ENOTDIR, errno.EEXIST) and file is not None:
        return f"{file} is a file, and a folder is needed there; give another place, or move it"
    if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
        return f"{path} is there already; give another place, or move what is there"
    if error.errno == errno.EISDIR:
        return f"{path} is a folder, and a file is needed; give the name of a file"
    if error.errno in _REFUSED:
        return f"{path} may not be read or written by this user; give another place, or allow it"
    if error.errno == errno.EROFS:
        return f"{path} is on a disk that can only be read; give a place that can be written"
    if error.errno == errno.ENOENT:
        return (
            f"{path} is not there and cannot be made in {there}; give one that exists, or for "
            "output a place in a folder that can be written"
        )
    return f"{path} cannot be used ({error.strerror}); give another name"


def _given(path: Path, argv: Sequence[str]) -> str:
    """Return the word that gave a path or a folder around it, with its flag; "" where none did.

    A folder around the given one counts too: the system names the first that it could not make.
    """
    wanted, found, longest = os.path.abspath(path), "", -1
    for before, word in zip(["", *argv], argv, strict=False):
        name, equal, value = word.partition("=")
        value = value if equal else name
        if not value or (name.startswith("-") and not equal):
            continue
        place = os.path.abspath(os.path.expanduser(value))
        shared = os.path.commonpath([wanted, place])
        is_around = shared == place
        is_within = shared == wanted and not Path.cwd().is_relative_to(wanted)
        if (is_around or is_within) and len(shared) > longest:
            flag = f"{before} " if before.startswith("--") and "=" not in before else ""
            found, longest = f"{flag}{word}", len(shared)
    return found
