"""Transfer of one file from the web: resumed, retried, checked, and never a web page in its place.

The file gets its name once it is complete and its digest fits; until then it is a ``Part``.
"""

from __future__ import annotations

import contextlib
import html.parser
import http.client
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from s2robot.backbones.download.partial_files import Part, TransientError
from s2robot.backbones.weight_sources import Source, is_web
from s2robot.errors import DownloadError
from s2robot.utils.console import MESSAGES

TIMEOUT_S = 30.0
"""Longest wait for a connection, and for the next bytes."""
TRIES = 4
"""Tries in a row without new bytes after which an address is given up."""
BACKOFF_S = 1.0
"""Wait before the second try; it doubles with each further one."""
DRIVE_URL = "https://drive.usercontent.google.com/download?id={id}&export=download&confirm=t"
"""Where Google Drive serves a file, large ones without asking about its virus scan first."""

_BLOCK_BYTES = 1 << 16
_PAGE_BYTES = 1 << 20


def fetch_from_web(source: Source, target: Path, progress: bool) -> None:
    """Download a file to ``target``; tries continue as long as they bring new bytes.

    A transfer that was killed or failed continues where it stopped.

    Args:
        source: of the file.
        target: path of the complete file.
        progress: show a progress bar on standard error.

    Raises:
        DownloadError: this source does not give it.
        OSError: it cannot be written.
    """
    _Transfer(source, target).run(progress)


class _Transfer:
    """Transfer of one file from the web to disk."""

    def __init__(self, source: Source, target: Path) -> None:
        self.source = source
        self.target = target
        self.part = Part(target, source)

    def run(self, progress: bool) -> None:
        """Download the file; tries continue as long as they bring new bytes."""
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
        """Receive the missing bytes; return a problem that another try may solve, else ``''``."""
        try:
            with _open(self.source, self.part.range_headers()) as response:
                self._receive(response, bar)
        except TransientError as error:
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
            raise TransientError(f"the connection ended after {self.part.size} of {total} bytes")

    def _finish(self) -> None:
        """Give the file its name once it is checked and flushed to disk."""
        try:
            if not self.part.size:
                raise DownloadError("the server sent an empty file")
            self.source.check_digest(self.part.path)
        except DownloadError:
            self.part.delete()
            raise
        with self.part.path.open("ab") as file:
            os.fsync(file.fileno())
        self.part.path.replace(self.target)
        self.part.delete()


def _open(source: Source, headers: dict[str, str]) -> http.client.HTTPResponse:
    """Request a file, through Google Drive's form about its virus scan where needed."""
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
    if not is_web(url):
        raise DownloadError(f"refused to go to {url}; only https:// and http:// are")
    request = urllib.request.Request(url, headers={"User-Agent": "s2robot", **headers})
    with _network():
        return opener.open(request, timeout=TIMEOUT_S)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Handler that follows redirects to the web only."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str):
        if not is_web(newurl):
            raise DownloadError(f"the server redirects to {newurl}; only https:// and http:// are")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Statuses(urllib.request.HTTPErrorProcessor):
    """Handler that returns status 416 (no bytes are missing) as a normal response."""

    def http_response(self, request: Any, response: Any) -> Any:
        return response if response.status == 416 else super().http_response(request, response)

    https_response = http_response


@contextlib.contextmanager
def _network() -> Iterator[None]:
    """Raise TransientError or DownloadError for errors of the network."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        raise _status_error(error.code, error.msg) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise DownloadError(f"the server's certificate is not trusted ({reason})") from None
        raise TransientError(f"the connection failed ({reason or error!r})") from None


def _status_error(status: int, message: str) -> Exception:
    if status in (408, 429) or status >= 500:
        return TransientError(f"the server is busy or broken (HTTP {status})")
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
    """Return the web page of a response; None if it is a file, of which nothing is read."""
    if response.status == 416:
        return None
    with _network():
        start = response.peek(512)[:512].lstrip().lower()
        kind = response.headers.get_content_type()
        if kind != "text/html" and not start.startswith((b"<!doctype html", b"<html")):
            return None
        with response:
            return _Page(response.read(_PAGE_BYTES).decode("utf-8", "replace"))


def _bar(shown: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=MESSAGES,
        disable=not shown,
    )
