"""Files that are complete or absent: atomic writes, digests, JSON lines, locks."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2robot.errors import CorruptFileError, DiskFullError

if TYPE_CHECKING:
    import filelock

_NO_ROOM_BYTES = 64 * 1024
_MEND_LINE = "delete that line, or the file, and rerun"


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path that replaces ``path`` on success and is deleted on an error.

    Data is flushed to disk before the rename, so a reader sees the old file or the complete new
    one. A file that was there keeps its permissions; a new one gets those of any new file. Folders
    above it are made where they are missing, and go again on an error.

    Raises:
        DiskFullError: the disk has no room left.
        OSError: the file cannot be made; ``filename`` is ``path``, not the temporary one.

    Examples:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "result.txt"
        >>> with atomic_path(target) as temporary:
        ...     _ = temporary.write_text("complete")
        >>> target.read_text()
        'complete'
    """
    final = Path(path)
    temporary = final.with_name(f".{final.stem}.{secrets.token_hex(4)}{final.suffix}")
    with _parents_of(final), _named(final, temporary):
        mode = _make_empty(temporary, like=final)
        try:
            yield temporary
            _fsync(temporary)
            _set_mode(temporary, mode)  # the writer may have put a file of its own there
            temporary.replace(final)
            _fsync(final.parent)
        except Exception as error:  # writers in C++ report a full disk in several ways
            if _disk_is_full(error, final.parent):
                raise _disk_full(final) from error
            raise
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def folder_beside(place: Path) -> Iterator[Path]:
    """Yield a temporary folder beside a place, from which what is complete can be renamed to it.

    It is deleted at the end. Folders above it are made where they are missing, and go again on an
    error.

    Args:
        place: that the content shall have in the end.

    Raises:
        DiskFullError: the disk has no room left.
        OSError: the folder cannot be made; ``filename`` is the place, not the temporary one.
    """
    temporary = place.with_name(f".{place.stem}.{secrets.token_hex(4)}")
    with _parents_of(place), _named(place, temporary):
        temporary.mkdir(mode=0o700)
        try:
            yield temporary
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise _disk_full(place) from error
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _parents_of(path: Path) -> Iterator[None]:
    """Make the folders above a path that are missing; on an error, those that are empty go."""
    missing = [each for each in path.parents if not os.path.exists(each)]  # the innermost first
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError):  # something else is in it, or it was not made
                folder.rmdir()
        raise


@contextlib.contextmanager
def _named(final: Path, temporary: Path) -> Iterator[None]:
    """Give errors of the system the name that a user knows, in place of the temporary one."""
    try:
        yield
    except OSError as error:
        if str(error.filename).startswith(str(temporary)):
            error.filename = str(final)
        raise


def _disk_is_full(error: Exception, folder: Path) -> bool:
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return True
    return shutil.disk_usage(folder).free < _NO_ROOM_BYTES


def _disk_full(path: Path) -> DiskFullError:
    return DiskFullError(
        f"the disk of {path.parent} is full, so {path.name} could not be written (what was there "
        "before is kept); make room and rerun the same command"
    )


def _make_empty(path: Path, like: Path) -> int:
    """Make an empty file and return the permissions that it shall get: of ``like``, if it exists.

    Until then its owner may read and write it, also where ``like`` or the umask is read-only.
    The system applies the umask, or the folder's own rule, to a new file. Asking for the umask
    would mean to change it for all threads.
    """
    wanted = stat.S_IMODE(like.stat().st_mode) & 0o777 if like.exists() else None
    os.close(
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if wanted is None else wanted)
    )
    mode = stat.S_IMODE(path.stat().st_mode) if wanted is None else wanted
    _set_mode(path, mode | 0o600)
    return mode


def _set_mode(path: Path, mode: int) -> None:
    if stat.S_IMODE(path.stat().st_mode) != mode:  # not every file system can change it
        path.chmod(mode)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: str | Path, obj: Any) -> None:
    """Write ``obj`` as indented JSON, atomically.

    Args:
        path: the file; its folder is made where it is missing.
        obj: any JSON-able object without NaN and infinities.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(obj, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def jsonable(obj: Any) -> Any:
    """Return ``obj`` as a JSON round trip would: tuples become lists, paths become strings.

    >>> jsonable({"scales": (1, 2), "out": Path("runs")})
    {'scales': [1, 2], 'out': 'runs'}
    """
    return json.loads(json.dumps(obj, default=str))


def read_json(path: str | Path, remedy: str = "delete it and rerun") -> Any:
    """Return the content of a JSON file.

    Args:
        path: the file.
        remedy: what a user can do where the file is damaged.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptFileError: the file is not valid JSON.
    """
    content = Path(path).read_bytes()
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:  # also bytes that are not text
        raise CorruptFileError(f"{path} is not valid JSON ({error}); {remedy}") from None


def append_jsonl(path: str | Path, rows: Iterable[dict[str, Any]]) -> None:
    """Append one JSON line a row and flush them to disk.

    A last line that a kill cut off is removed first, so that it does not run into the next row.

    Args:
        path: the file; it is made where it is missing.
        rows: JSON-able rows.

    Raises:
        DiskFullError: the disk has no room left.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("a+b") as file:
        _cut_torn_line(file)
        try:
            file.write("".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode())
            file.flush()
            os.fsync(file.fileno())
        except OSError as error:
            if _disk_is_full(error, target.parent):
                raise _disk_full(target) from error
            raise


def _cut_torn_line(file: Any) -> None:
    file.seek(0)
    content = file.read()
    whole = content.rfind(b"\n") + 1
    if whole != len(content):
        file.truncate(whole)
    file.seek(0, os.SEEK_END)


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """Return the complete lines of a JSON-lines file; without the file, none.

    A last line that a kill cut off is left out.

    Raises:
        CorruptFileError: another line is not a JSON object.
    """
    target = Path(path)
    if not target.exists():
        return []
    lines = target.read_bytes().split(b"\n")[:-1]
    return [
        _json_row(line, f"line {number} of {target}")
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]


def jsonl_length(path: str | Path) -> int:
    """Return the number of rows that ``read_jsonl`` would return, without reading their content."""
    target = Path(path)
    if not target.exists():
        return 0
    return sum(1 for line in target.read_bytes().split(b"\n")[:-1] if line.strip())


def _json_row(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(f"{where} is not JSON ({error}); {_MEND_LINE}") from None
    if not isinstance(row, dict):
        raise CorruptFileError(f"{where} is {line[:40]!r}, not a JSON object; {_MEND_LINE}")
    return row


def paths_below(folder: str | Path, name: str | None = None) -> list[Path]:
    """Return all files and folders below a folder, at any depth and through links, sorted.

    A folder that can be reached in several ways is listed once, so a link to a folder above it
    ends there. A folder that does not exist has nothing below it.

    Args:
        folder: the folder.
        name: only paths of this name.
    """
    seen: set[str] = set()
    found: list[Path] = []
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        found += [Path(place, each) for each in (*folders, *files) if name in (None, each)]
    return sorted(found)


def sha256_bytes(data: bytes) -> str:
    """Return the SHA-256 of ``data`` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal; the file is read in blocks."""
    return hash_file(path, "sha256")


def hash_file(path: str | Path, kind: str) -> str:
    """Return the hash of a file's content in hexadecimal; the file is read in blocks.

    Args:
        path: the file.
        kind: name of a hash in ``hashlib``, such as "sha256" or "md5".
    """
    digest = hashlib.new(kind, usedforsecurity=False)
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def digest_of(obj: Any) -> str:
    """Return the SHA-256 of an object's canonical JSON: sorted keys, no spaces.

    It is the key of content-addressed files: equal settings give equal names.

    >>> digest_of({"b": 1, "a": (2, 3)}) == digest_of({"a": [2, 3], "b": 1})
    True
    """
    text = json.dumps(obj, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return sha256_bytes(text.encode())


def locked(path: str | Path) -> filelock.BaseFileLock:
    """Return a lock between processes, as a context manager; ``<path>.lock`` stays on disk."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    import filelock

    return filelock.FileLock(f"{target}.lock")
