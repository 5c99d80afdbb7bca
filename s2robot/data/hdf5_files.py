"""Opening of HDF5 files, with errors in plain words."""

from __future__ import annotations

import re
from pathlib import Path

import h5py

from s2robot.errors import CorruptFileError

_LOCKED = re.compile(r"unable to lock file|already open", re.IGNORECASE)
_TRUNCATED = re.compile(r"truncated file|unable to read superblock|addr overflow", re.IGNORECASE)


def open_hdf5(path: Path) -> h5py.File:
    """Open a file for reading.

    Args:
        path: the file.

    Raises:
        CorruptFileError: it is open for writing elsewhere, truncated, or another kind of file.
    """
    try:
        return h5py.File(path, "r")
    except OSError as error:
        text = str(error)
        if _LOCKED.search(text):
            raise CorruptFileError(
                f"{path} is open for writing elsewhere, so it may not be complete; close it there "
                "(end the program that records) and repeat the command"
            ) from None
        if isinstance(error, PermissionError):
            raise CorruptFileError(
                f"{path} cannot be read: this user may not read it; change its permissions"
            ) from None
        reason = "it is truncated" if _TRUNCATED.search(text) else "it is another kind of file"
        reason = reason if path.stat().st_size else "it is empty"
        raise CorruptFileError(
            f"{path} cannot be read as HDF5: {reason}. Copy it again from where it was made"
        ) from None
