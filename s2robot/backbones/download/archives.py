"""One file out of a zip archive."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

from s2robot.errors import DownloadError
from s2robot.utils.io import atomic_path


def extract(
    archive: Path, member: str, target: Path, check: Callable[[Path], None] | None = None
) -> None:
    """Extract one file of a zip archive, which gets its name once it is complete.

    Args:
        archive: a zip archive; a wheel is one.
        member: path of the file inside.
        target: path of the extracted file.
        check: raises an error for a file that is not the right one.

    Raises:
        DownloadError: the archive has no such file.
        zipfile.BadZipFile: the archive is damaged.
    """
    with zipfile.ZipFile(archive) as content:
        files = [info.filename for info in content.infolist() if not info.is_dir()]
        if member not in files:
            raise DownloadError(f"{archive} has no {member!r}; it holds {', '.join(files)}")
        with atomic_path(target) as temporary:
            with content.open(member) as packed, temporary.open("wb") as file:
                shutil.copyfileobj(packed, file)
            if check is not None:
                check(temporary)
