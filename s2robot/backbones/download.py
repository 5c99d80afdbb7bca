"""Published files: from the web, Google Drive or the Hugging Face hub; resumed, checked, whole.

A file from the web arrives as ``<name>.part`` and gets its name once it is complete and its digest
fits; ``<name>.part.json`` beside it tells which version of which address it is the beginning of.
"""

from __future__ import annotations

import contextlib
import html.parser
import http.client
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode, urljoin, urlsplit

import huggingface_hub
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from s2robot.errors import CorruptFileError, DownloadError
from s2robot.files import atomic_path, hash_file, locked, read_json, sha256_bytes, write_json
from s2robot.home import offline

TIMEOUT_S = 30.0
"""Longest wait for a connection, and for the next bytes."""
TRIES = 4
"""Tries in a row that bring nothing new before an address is given up."""
BACKOFF_S = 1.0
"""Wait before the second try; it doubles with each further one."""
DRIVE_URL = "https://drive.usercontent.google.com/download?id={id}&export=download&confirm=t"
"""Where Google Drive serves a file, large ones without asking about its virus scan first."""

_BLOCK_BYTES = 1 << 16
_PAGE_BYTES = 1 << 20
_DRIVE_ID = re.compile(
    r"https?://(?:drive|docs|drive\.usercontent)\.google\.com/.*?(?:[?&]id=|/d/)([\w-]+)"
)
_HUB_URL = re.compile(r"hf:(?P<repo>[^/@]+/[^/@]+)/(?P<path>[^@]+?)(?:@(?P<revision>[^@]+))?")
_DIGEST = re.compile(r"sha256:[0-9a-f]{6,64}|md5:[0-9a-f]{6,32}")


@dataclass(frozen=True)
class Source:
    """One place that a published file can be had from."""

    url: str
    """``https://...``, a Google Drive link (``.../uc?id=ID`` or ``.../file/d/ID/view``), or
    ``hf:OWNER/REPO/PATH[@REVISION]`` on the Hugging Face hub."""
    digest: str = ""
    """``sha256:HEX`` or ``md5:HEX`` of the download; HEX may be just its beginning."""
    member: str = ""
    """Path inside, where the download is a zip archive."""

    def __post_init__(self) -> None:
        if self.on_hub:
            if not _HUB_URL.fullmatch(self.url):
                raise ValueError(f"{self.url!r} is not of the form hf:OWNER/REPO/PATH[@REVISION]")
        elif not _is_web(self.url):
            raise ValueError(f"{self.url!r} must begin with https://, http:// or hf:")
        if self.digest and not _DIGEST.fullmatch(self.digest):
            raise ValueError(
                f"digest {self.digest!r} must be sha256: or md5: and at least 6 of its hexadecimal "
                "digits, in lower case"
            )

    @property
    def on_hub(self) -> bool:
        """Whether it is on the Hugging Face hub."""
        return self.url.startswith("hf:")

    @property
    def hub_parts(self) -> tuple[str, str, str]:
        """``(OWNER/REPO, path, revision)`` on the Hugging Face hub."""
        match = _HUB_URL.fullmatch(self.url)
        if match is None:
            raise ValueError(f"{self.url!r} is not on the hub")
        return match["repo"], match["path"], match["revision"] or "main"

    @property
    def drive_id(self) -> str:
        """Google Drive's name of the file; empty elsewhere."""
        match = _DRIVE_ID.match(self.url)
        return match[1] if match else ""

    @property
    def page(self) -> str:
        """Address from which a person gets the file with a browser."""
        if self.on_hub:
            repo, path, revision = self.hub_parts
            endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
            return f"{endpoint.rstrip('/')}/{repo}/blob/{revision}/{path}"
        if self.drive_id:
            return f"https://drive.google.com/file/d/{self.drive_id}/view"
        return self.url

    @property
    def archive_name(self) -> str:
        """File name for the zip archive on disk, shared by all who want a member of it."""
        name = re.sub(r"[^\w.-]", "_", unquote(urlsplit(self.url).path.rpartition("/")[2]))
        return f"{name.removesuffix('.zip')}-{sha256_bytes(self.url.encode())[:8]}.zip"


def download(
    sources: Sequence[Source], folder: str | Path, filename: str, progress: bool = True
) -> Path:
    """Get a published file, from the first of its sources that gives it; later calls find it.

    A killed or failed download goes on where it stopped. Of calls at once in several processes
    one works and the others wait. A file from the Hugging Face hub stays in the hub's own cache.

    Args:
        sources: where it can be had from, tried in order.
        folder: where to keep it, and the archives that it comes from.
        filename: its name there.
        progress: show a progress bar on standard error.

    Returns:
        ``folder/filename``, or the file in the hub's cache; whole, its digest checked.

    Raises:
        DownloadError: no source gives it, or its digest differs, or it cannot be written.
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
                f"cannot write {target} ({error}); mend that, or set S2ROBOT_HOME to a folder "
                "with space that you may write to"
            ) from error
    raise DownloadError("\n".join([f"cannot get {filename}:", *problems, _way_on(sources)]))


def _way_on(sources: Sequence[Source]) -> str:
    again = "unset the variable to download it" if offline() else "try again, which resumes"
    by_hand = " or ".join(
        f"{source.page} (unpack {source.member} from it)" if source.member else source.page
        for source in sources
    )
    return f"To go on, {again}; or get it by hand from {by_hand} and give it as weights=PATH"


def _get(source: Source, target: Path, progress: bool) -> Path:
    if not source.member:
        return _get_whole(source, target, progress)
    archive = _get_whole(source, target.with_name(source.archive_name), progress)
    try:
        _extract(archive, source.member, target)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        if not source.on_hub:
            archive.unlink()
        raise DownloadError(f"{archive} is no whole zip archive ({error})") from None
    return target


def _get_whole(source: Source, target: Path, progress: bool) -> Path:
    if source.on_hub:
        return _get_from_hub(source, progress)
    if target.exists():
        return target
    if offline():
        raise DownloadError(f"offline (S2ROBOT_OFFLINE or HF_HUB_OFFLINE is set), not at {target}")
    with locked(target):
        if not target.exists():  # another process may just have got it
            _Transfer(source, target).run(progress)
    return target


def _extract(archive: Path, member: str, target: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        files = [info.filename for info in content.infolist() if not info.is_dir()]
        if member not in files:
            raise DownloadError(f"{archive} has no {member!r}; it holds {', '.join(files)}")
        with atomic_path(target) as temporary, content.open(member) as packed:
            with temporary.open("wb") as file:
                shutil.copyfileobj(packed, file, _BLOCK_BYTES)


def _check_digest(path: Path, expected: str) -> None:
    """Raise DownloadError unless ``expected`` (see `Source.digest`) fits; empty fits all."""
    if not expected:
        return
    kind, _, digits = expected.partition(":")
    seen = hash_file(path, kind)
    if not seen.startswith(digits):
        raise DownloadError(
            f"{path.stat().st_size} bytes came with the {kind} {seen}, but "
            f"{digits} was published; the file was replaced or damaged"
        )


class _TransientError(Exception):
    """What another try may mend."""


class _Transfer:
    """One file on its way from the web to disk."""

    def __init__(self, source: Source, target: Path) -> None:
        self.source = source
        self.target = target
        self.part = _Part(target, source)

    def run(self, progress: bool) -> None:
        """Get the file, as long as tries bring something new.

        Raises:
            DownloadError: this source does not give it.
        """
        with _bar(progress) as bar:
            bar.add_task(self.target.name, total=None)
            failures, farthest = 0, 0
            while problem := self._try(bar):
                failures = 1 if self.part.size > farthest else failures + 1
                farthest = max(farthest, self.part.size)
                if failures >= TRIES:
                    raise DownloadError(f"{problem}; gave up after {failures} tries")
                time.sleep(BACKOFF_S * 2 ** (failures - 1))
        self._finish()

    def _try(self, bar: Progress) -> str:
        """Receive what is missing; tells what went wrong if it is worth another try."""
        try:
            with _open(self.source, self.part.range_headers()) as response:
                self._receive(response, bar)
        except _TransientError as error:
            return str(error)
        return ""

    def _receive(self, response: http.client.HTTPResponse, bar: Progress) -> None:
        total = self.part.accept(response)
        if response.status == 416:  # nothing was missing
            return
        task = bar.task_ids[0]
        bar.reset(task, completed=self.part.size, total=total)
        with self.part.path.open("ab") as file:
            for block in _blocks(response):
                file.write(block)
                bar.advance(task, len(block))
        if total is not None and self.part.size != total:
            raise _TransientError(f"the connection ended after {self.part.size} of {total} bytes")

    def _finish(self) -> None:
        """Give the file its name, once checked and flushed to disk."""
        try:
            if not self.part.size:
                raise DownloadError("the server sent an empty file")
            _check_digest(self.part.path, self.source.digest)
        except DownloadError:
            self.part.delete()
            raise
        with self.part.path.open("ab") as file:
            os.fsync(file.fileno())
        self.part.path.replace(self.target)
        self.part.delete()


class _Part:
    """The beginning of a file on disk, and which version of it that is."""

    def __init__(self, target: Path, source: Source) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.json")
        self._source = source

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.path.stat().st_size if self.path.exists() else 0

    def delete(self) -> None:
        """Remove it from disk."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def range_headers(self) -> dict[str, str]:
        """Headers that ask for the rest; none if the beginning is not known to be of this file.

        Without a validator from the server only a digest can tell that two pieces fit.
        """
        kept = self._validator()
        if not self.size or kept is None or not (kept or self._source.digest):
            return {}
        return {"Range": f"bytes={self.size}-", **({"If-Range": kept} if kept else {})}

    def accept(self, response: http.client.HTTPResponse) -> int | None:
        """Make ready for the body of ``response``.

        Returns:
            The whole file's size in bytes, None if the server does not tell it.

        Raises:
            _TransientError: the server has another file than the one begun; it is deleted.
        """
        seen = _validator(response.headers)
        if response.status not in (206, 416):
            self.path.write_bytes(b"")  # before the note: old bytes must not get a new validator
            write_json(self._note, {"url": self._source.url, "validator": seen})
            return int(response.headers.get("Content-Length") or 0) or None
        start, total = _content_range(response.headers)
        fits = self.size == (start if response.status == 206 else total)
        if not fits or (seen and seen != self._validator()):
            self.delete()
            raise _TransientError("the file on the server is not the one that was begun here")
        return total

    def _validator(self) -> str | None:
        """What names the version begun, empty if the server gave no name; None if unknown."""
        try:
            note = read_json(self._note)
        except (FileNotFoundError, CorruptFileError):
            return None
        return note.get("validator") if note.get("url") == self._source.url else None


def _validator(headers: Message) -> str:
    tag = headers.get("ETag", "")
    weak = not tag or tag.startswith("W/")  # must not be used with Range
    return headers.get("Last-Modified", "") if weak else tag


def _content_range(headers: Message) -> tuple[int | None, int | None]:
    """First byte and whole size in bytes that ``Content-Range`` tells."""
    match = re.match(r"bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)", headers.get("Content-Range", ""))
    if not match:
        return None, None
    start, total = (None if number is None else int(number) for number in match.groups())
    return start, total


def _open(source: Source, headers: dict[str, str]) -> http.client.HTTPResponse:
    """Ask for a file, through Google Drive's form about its virus scan if need be."""
    cookies = urllib.request.HTTPCookieProcessor()
    opener = urllib.request.build_opener(_Redirects, _Statuses, cookies)
    url = DRIVE_URL.format(id=source.drive_id) if source.drive_id else source.url
    response = _request(opener, url, headers)
    page = _read_page(response)
    if page and source.drive_id and page.action:
        url = f"{urljoin(response.url, page.action)}?{urlencode(page.inputs)}"
        response = _request(opener, url, headers)
        page = _read_page(response)
    if page:
        title = " ".join(page.title.split()) or "without a title"
        raise DownloadError(f"the server sent a web page ({title}) instead of the file")
    return response


def _request(
    opener: urllib.request.OpenerDirector, url: str, headers: dict[str, str]
) -> http.client.HTTPResponse:
    if not _is_web(url):
        raise DownloadError(f"refused to go to {url}; only https:// and http:// are")
    request = urllib.request.Request(url, headers={"User-Agent": "s2robot", **headers})
    with _network():
        return opener.open(request, timeout=TIMEOUT_S)


def _is_web(url: str) -> bool:
    return urlsplit(url).scheme in ("https", "http")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirects to the web only."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str):
        if not _is_web(newurl):
            raise DownloadError(f"the server redirects to {newurl}; only https:// and http:// are")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Statuses(urllib.request.HTTPErrorProcessor):
    """Lets 416 (nothing after the bytes already here) through as an answer."""

    def http_response(self, request: Any, response: Any) -> Any:
        return response if response.status == 416 else super().http_response(request, response)

    https_response = http_response


@contextlib.contextmanager
def _network() -> Iterator[None]:
    """Turns what the network does wrong into _TransientError or DownloadError."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        raise _status_error(error.code, error.msg) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise DownloadError(f"the server's certificate is not trusted ({reason})") from None
        raise _TransientError(f"the connection failed ({reason or error!r})") from None


def _status_error(status: int, message: str) -> Exception:
    if status in (408, 429) or status >= 500:
        return _TransientError(f"the server is busy or broken (HTTP {status})")
    if status in (404, 410):
        return DownloadError(f"the server has no such file (HTTP {status}); it moved or is gone")
    if status in (401, 403):
        return DownloadError(f"the server refuses access (HTTP {status})")
    return DownloadError(f"the server answered HTTP {status} ({message})")


def _blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        with _network():
            block = response.read(_BLOCK_BYTES)
        if not block:
            return
        yield block


class _Page(html.parser.HTMLParser):
    """Title of a web page, and Google Drive's form on it if there is one."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.title = ""
        self.action = ""
        self.inputs: dict[str, str] = {}
        self._within = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag in ("title", "form"):
            self._within = values.get("id", "") if tag == "form" else tag
        if self._within == "download-form":
            if tag == "form":
                self.action = values.get("action", "")
            elif tag == "input" and values.get("name"):
                self.inputs[values["name"]] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("title", "form"):
            self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within == "title":
            self.title += data


def _read_page(response: http.client.HTTPResponse) -> _Page | None:
    """The web page that ``response`` is; None if it is a file, of which nothing is read."""
    if response.status == 416:
        return None
    with _network():
        start = response.peek(512)[:512].lstrip().lower()
        kind = response.headers.get_content_type()
        if kind != "text/html" and not start.startswith((b"<!doctype html", b"<html")):
            return None
        with response:
            return _Page(response.read(_PAGE_BYTES).decode("utf-8", "replace"))


def _get_from_hub(source: Source, progress: bool) -> Path:
    path = _cached_by_hub(source) if offline() else _asked_of_hub(source, progress)
    try:
        _check_digest(path, source.digest)
    except DownloadError as error:
        raise DownloadError(f"{error}; delete {path.resolve()} to get it anew") from None
    return path


def _cached_by_hub(source: Source) -> Path:
    """Without hf_hub_download, which may ask the network something even with local_files_only."""
    repo, path, revision = source.hub_parts
    found = huggingface_hub.try_to_load_from_cache(repo, path, _hub_cache(), revision)
    if not isinstance(found, str):
        raise DownloadError(
            "offline (S2ROBOT_OFFLINE or HF_HUB_OFFLINE is set), not in the hub's cache"
        )
    return Path(found)


def _asked_of_hub(source: Source, progress: bool) -> Path:
    repo, path, revision = source.hub_parts
    endpoint = os.environ.get("HF_ENDPOINT") or None
    try:
        with _hub_bars(progress):
            found = huggingface_hub.hf_hub_download(
                repo, path, revision=revision, cache_dir=_hub_cache(), endpoint=endpoint
            )
    except Exception as error:  # what connections raise differs between the library's versions
        raise DownloadError(_hub_problem(error, source)) from error
    return Path(found)


def _hub_cache() -> str | None:
    """The hub's cache as the environment tells now; the library looks only when imported."""
    if cache := os.environ.get("HF_HUB_CACHE"):
        return cache
    return os.path.join(folder, "hub") if (folder := os.environ.get("HF_HOME")) else None


def _hub_problem(error: Exception, source: Source) -> str:
    repo, path, revision = source.hub_parts
    cause = error.__cause__ or error
    status = getattr(getattr(cause, "response", None), "status_code", None)
    if isinstance(error, GatedRepoError) or status == 403:
        page = source.page.partition("/blob/")[0]
        return f"access is gated; accept the licence on {page} and set HF_TOKEN to your token"
    if isinstance(error, RevisionNotFoundError):
        return f"{repo} has no revision {revision!r}"
    if isinstance(error, RepositoryNotFoundError) or status == 401:
        return f"the hub has no repository {repo}, or a private one; if private, set HF_TOKEN"
    if isinstance(error, LocalEntryNotFoundError):
        return f"the hub cannot be reached ({cause})"
    if isinstance(error, EntryNotFoundError):
        return f"{repo} has no file {path!r} at revision {revision!r}"
    return f"the hub's download failed ({type(error).__name__}: {error})"


@contextlib.contextmanager
def _hub_bars(shown: bool) -> Iterator[None]:
    """Hides the progress bars of the hub's library unless they are to be shown."""
    if shown or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _bar(shown: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not shown,
    )
