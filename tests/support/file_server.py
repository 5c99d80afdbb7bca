"""A web server for tests, on this machine only: files, faults on demand, a small model hub."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import huggingface_hub.constants
import pytest

DRIVE_PATH = "/drive/download"
LAST_MODIFIED = "Wed, 01 Jan 2025 00:00:00 GMT"


@dataclass(frozen=True)
class Request:
    """A request as it was answered; ``sent`` counts the body's bytes."""

    method: str
    path: str
    query: dict[str, str]
    range: str
    if_range: str
    status: int
    sent: int


@dataclass(frozen=True)
class Fault:
    """What goes wrong once: a status in place of the file, or a body cut after some bytes.

    With ``stall`` the connection stays open after the cut, silent.
    """

    status: int = 0
    cut: int | None = None
    stall: bool = False


@dataclass
class Rules:
    """How one path departs from serving its file."""

    faults: list[Fault] = field(default_factory=list)
    """What goes wrong next, one a request."""
    redirect: str = ""
    page: str = ""
    ranges: bool = True
    validators: tuple[str, ...] = ("ETag", "Last-Modified")
    weak: bool = False
    if_range: bool = True
    gate: threading.Event | None = None
    asked: threading.Event = field(default_factory=threading.Event)


@dataclass
class Repo:
    """A model repository of the hub."""

    files: dict[str, bytes]
    gated: bool
    token: str

    @property
    def commit(self) -> str:
        """What stands for the commit: a digest of all files."""
        content = [(name, hashlib.sha1(data).hexdigest()) for name, data in self.files.items()]
        return hashlib.sha1(json.dumps(sorted(content)).encode()).hexdigest()


class FileServer:
    """Serves files from memory, with ETag, Range and If-Range, and logs what was asked.

    >>> with FileServer({"/vit.pth": b"weights"}) as server:
    ...     server.fail("/vit.pth", 503, times=2)
    ...     server.url("/vit.pth")  # the third GET brings b"weights"
    ...     server.requests  # every request so far

    Args:
        files: content by path. ``server.files`` may be changed at any time; the ETag follows.
    """

    def __init__(self, files: Mapping[str, bytes] | None = None) -> None:
        self.files = dict(files or {})
        self.repos: dict[str, Repo] = {}
        self.requests: list[Request] = []
        self.rules: dict[str, Rules] = {}
        self.closing = threading.Event()
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.files = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> FileServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()

    def url(self, path: str = "") -> str:
        """Address of ``path``, or of the server, which is also its hub's endpoint."""
        return f"http://127.0.0.1:{self._http.server_port}{path}"

    def seen(self, path: str) -> list[Request]:
        """Requests for ``path``, in order."""
        return [request for request in self.requests if request.path == path]

    def rule(self, path: str) -> Rules:
        """How ``path`` departs from serving its file, to be changed in place."""
        return self.rules.setdefault(path, Rules())

    def fail(self, path: str, status: int = 503, times: int = 1) -> None:
        """Answer the next ``times`` requests for ``path`` with ``status``."""
        self.rule(path).faults += [Fault(status)] * times

    def cut(self, path: str, after: int, times: int = 1, stall: bool = False) -> None:
        """Close the connection (or fall silent) after ``after`` bytes in the next ``times`` GETs.

        Faults of one path come in the order in which they were asked for.
        """
        self.rule(path).faults += [Fault(cut=after, stall=stall)] * times

    def redirect(self, path: str, to: str) -> None:
        """Redirect ``path`` to another path or address, as Box does for /shared/static/NAME."""
        self.rule(path).redirect = to

    def show_page(self, path: str, title: str) -> None:
        """Answer ``path`` with a web page and status 200, as file shares do for a lost file."""
        self.rule(path).page = f"<!DOCTYPE html><html><head><title>{title}</title></head></html>"

    def ignore_ranges(self, path: str) -> None:
        """Always send the whole file at ``path``."""
        self.rule(path).ranges = False

    @contextlib.contextmanager
    def hold(self, path: str) -> Iterator[threading.Event]:
        """Keep ``path`` unanswered inside the block; yields what is set by the first request."""
        rule = self.rule(path)
        rule.gate = threading.Event()
        try:
            yield rule.asked
        finally:
            rule.gate.set()

    def send_validators(self, path: str, *names: str) -> None:
        """Send only these of the headers ``ETag`` and ``Last-Modified`` for ``path``."""
        self.rule(path).validators = names

    def drive_url(self, file_id: str, data: bytes) -> str:
        """Serve a file as Google Drive does, behind its form about the virus scan.

        Returns:
            An address with ``{id}`` in it, as `s2robot.backbones.download.http.DRIVE_URL` is.
        """
        self.files[f"{DRIVE_PATH}/{file_id}"] = data
        return self.url(DRIVE_PATH) + "?id={id}&confirm=t"

    def add_repo(
        self, repo: str, files: Mapping[str, bytes], gated: bool = False, token: str = ""
    ) -> None:
        """Add a model repository to the hub.

        Args:
            repo: ``OWNER/NAME``.
            files: content by path in the repository.
            gated: refuse all, except who sends ``token``.
            token: the token of one who accepted the license.
        """
        self.repos[repo] = Repo(dict(files), gated, token)


def use_hub(monkeypatch: pytest.MonkeyPatch, server: FileServer, cache: Path) -> None:
    """Let `huggingface_hub` calls of this test go to ``server``, with a cache of their own."""
    use_local_network(monkeypatch)
    monkeypatch.setenv("HF_ENDPOINT", server.url())
    monkeypatch.setenv("HF_HOME", str(cache))
    for name in ("HF_HUB_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE", "S2ROBOT_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    # read at import: the environment comes too late for them
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)  # it asks the real hub
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", server.url())
    template = server.url("/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "token"))


def use_local_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reach this machine past any proxy that the environment names."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    files: FileServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """No trace of clients that went away."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        self._path = address.path
        self._query = {name: values[0] for name, values in parse_qs(address.query).items()}
        rules = self.server.files.rules.get(self._path, Rules())
        if rules.gate:
            rules.asked.set()
            rules.gate.wait()
        self._fault = Fault()
        if rules.faults and (rules.faults[0].status or self.command == "GET"):
            self._fault = rules.faults.pop(0)
        if self._fault.status:
            self._answer(self._fault.status)
        elif rules.redirect:
            self._answer(302, headers={"Location": rules.redirect})
        elif rules.page:
            self._answer(200, rules.page.encode(), {"Content-Type": "text/html; charset=utf-8"})
        elif self._path == DRIVE_PATH:
            self._drive(rules)
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._path):
            self._hub(match[1], match[2], match[3], rules)
        else:
            self._file(self._path, rules)

    do_HEAD = do_GET

    def _drive(self, rules: Rules) -> None:
        if self._query.get("uuid") == "1234" and "confirm" in self._query:
            self._file(f"{DRIVE_PATH}/{self._query['id']}", rules)
            return
        page = f"""<!DOCTYPE html><html><head>
            <title>Google Drive - Virus scan warning</title></head><body>
            <form action="/search"><input type="hidden" name="q" value="no"></form>
            <form id="download-form" action="{DRIVE_PATH}" method="get">
            <input type="submit" value="Download anyway">
            <input type="hidden" name="id" value="{self._query["id"]}">
            <input type="hidden" name="confirm" value="t&amp;1">
            <input type="hidden" name="uuid" value="1234"></form></body></html>"""
        self._answer(200, page.encode(), {"Content-Type": "text/html; charset=utf-8"})

    def _hub(self, name: str, revision: str, file: str, rules: Rules) -> None:
        repo = self.server.files.repos.get(name)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if repo is None:
            self._answer(401, headers={"X-Error-Code": "RepoNotFound"})
        elif repo.gated and not (token and token == repo.token):
            self._answer(403 if token else 401, headers={"X-Error-Code": "GatedRepo"})
        elif revision not in ("main", repo.commit):
            self._answer(404, headers={"X-Error-Code": "RevisionNotFound"})
        elif file not in repo.files:
            error = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": repo.commit}
            self._answer(404, headers=error)
        else:
            self._send(repo.files[file], rules, {"X-Repo-Commit": repo.commit})

    def _file(self, path: str, rules: Rules) -> None:
        data = self.server.files.files.get(path)
        if data is None:
            self._answer(404)
        else:
            self._send(data, rules, {})

    def _send(self, data: bytes, rules: Rules, headers: dict[str, str]) -> None:
        tag = f'"{hashlib.sha256(data).hexdigest()}"'
        validators = {"ETag": "W/" * rules.weak + tag, "Last-Modified": LAST_MODIFIED}
        headers |= {name: validators[name] for name in rules.validators}
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        asked = self.headers.get("If-Range", tag) if rules.if_range else tag
        if not (match and rules.ranges and asked in (tag, LAST_MODIFIED)):
            self._answer(200, data, headers)
        elif (start := int(match[1])) < len(data):
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self._answer(206, data[start:], headers)
        else:
            headers["Content-Range"] = f"bytes */{len(data)}"
            self._answer(416, headers=headers)

    def _answer(
        self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        cut = self._fault.cut
        sent = b"" if self.command == "HEAD" else body[:cut]
        request = Request(
            self.command,
            self._path,
            self._query,
            self.headers.get("Range", ""),
            self.headers.get("If-Range", ""),
            status,
            len(sent),
        )
        self.server.files.requests.append(request)
        self.send_response(status)
        headers = {"Content-Type": "application/octet-stream", **(headers or {})}
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(sent)
        if self._fault.stall:
            self.wfile.flush()
            self.server.files.closing.wait()
        self.close_connection = self.close_connection or cut is not None

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the terminal."""
