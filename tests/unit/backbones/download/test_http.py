"""Transfer from the web: retries, web pages in place of files, Google Drive, redirects."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from support.downloads import DATA, MD5, SHA256, break_off, get, problem, visible
from support.file_server import DRIVE_PATH, FileServer

from s2robot.backbones.download import http as web
from s2robot.backbones.weight_sources import Source

DRIVE_LINKS = [
    "https://drive.google.com/uc?id=A_b-1",
    "https://drive.google.com/file/d/A_b-1/view?usp=sharing",
    "https://drive.google.com/open?usp=drive&id=A_b-1",
]


def test_a_broken_off_download_resumes(server: FileServer, folder: Path) -> None:
    break_off(server, folder, 300_000)
    assert get(folder, server.url("/vit.pth")).read_bytes() == DATA
    (request,) = server.seen("/vit.pth")
    assert (request.status, request.range) == (206, "bytes=300000-")
    assert request.sent == len(DATA) - 300_000


def test_a_short_body_is_asked_for_again_from_where_it_ended(
    server: FileServer, folder: Path
) -> None:
    server.cut("/vit.pth", 200_000, times=3)
    assert get(folder, server.url("/vit.pth")).read_bytes() == DATA
    starts = [request.range for request in server.seen("/vit.pth")]
    assert starts == ["", "bytes=200000-", "bytes=400000-", "bytes=600000-"]


def test_tries_that_bring_something_new_are_not_counted(server: FileServer, folder: Path) -> None:
    server.cut("/vit.pth", 50_000, times=3 * web.TRIES)
    assert get(folder, server.url("/vit.pth")).read_bytes() == DATA


def test_an_end_without_progress_is_an_error(server: FileServer, folder: Path) -> None:
    server.cut("/vit.pth", 0, times=100)
    message = problem(folder, server.url("/vit.pth"))
    assert "ended after 0 of 1000000 bytes" in message
    assert len(server.requests) == web.TRIES


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(server: FileServer, folder: Path, status: int) -> None:
    server.fail("/vit.pth", status, times=web.TRIES - 1)
    assert get(folder, server.url("/vit.pth")).read_bytes() == DATA


def test_a_server_that_stays_busy_is_given_up(server: FileServer, folder: Path) -> None:
    server.fail("/vit.pth", 503, times=100)
    message = problem(folder, server.url("/vit.pth"))
    assert "HTTP 503" in message
    assert "try again, which resumes" in message
    assert len(server.requests) == web.TRIES


def test_a_closed_port_is_an_error(folder: Path) -> None:
    with FileServer() as gone:
        url = gone.url("/vit.pth")
    assert "the connection failed (" in problem(folder, url)


def test_a_silent_server_is_an_error(
    server: FileServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "TIMEOUT_S", 0.05)
    with server.hold("/vit.pth"):
        assert "timed out" in problem(folder, server.url("/vit.pth"))


def test_a_server_that_falls_silent_is_asked_for_the_rest(
    server: FileServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "TIMEOUT_S", 0.5)
    server.cut("/vit.pth", 300_000, stall=True)
    assert get(folder, server.url("/vit.pth")).read_bytes() == DATA
    start = int(server.seen("/vit.pth")[1].range[6:-1])
    assert 200_000 < start <= 300_000


@pytest.mark.parametrize(
    ("status", "words"),
    [(404, "no such file (HTTP 404)"), (403, "refuses access (HTTP 403)"), (418, "HTTP 418")],
)
def test_a_refusal_is_reported_at_once(
    server: FileServer, folder: Path, status: int, words: str
) -> None:
    server.fail("/vit.pth", status)
    message = problem(folder, server.url("/vit.pth"))
    assert words in message
    assert f"by hand from {server.url('/vit.pth')} and give it as weights=PATH" in message
    assert len(server.requests) == 1


@pytest.mark.parametrize("digest", [SHA256, SHA256[:15], MD5, MD5[:12]])
def test_digests_may_be_just_their_beginning(server: FileServer, folder: Path, digest: str) -> None:
    assert get(folder, Source(server.url("/vit.pth"), digest)).read_bytes() == DATA


@pytest.mark.parametrize("digest", ["sha256:000000", "md5:" + "0" * 32])
def test_a_wrong_digest_leaves_nothing(server: FileServer, folder: Path, digest: str) -> None:
    message = problem(folder, Source(server.url("/vit.pth"), digest))
    kind, _, digits = digest.partition(":")
    assert digits in message  # expected
    assert hashlib.new(kind, DATA).hexdigest() in message  # seen
    assert visible(folder) == []


def test_an_empty_file_is_no_file(server: FileServer, folder: Path) -> None:
    server.files["/vit.pth"] = b""
    assert "empty" in problem(folder, server.url("/vit.pth"))
    assert visible(folder) == []


def test_a_web_page_is_not_saved(server: FileServer, folder: Path) -> None:
    server.show_page("/vit.pth", "Box | Shared file &amp; folder removed")
    message = problem(folder, server.url("/vit.pth"))
    assert "web page (Box | Shared file & folder removed)" in message
    assert visible(folder) == []


def test_a_web_page_that_only_its_type_betrays_is_not_saved(
    server: FileServer, folder: Path
) -> None:
    server.rule("/vit.pth").page = "<!-- no doctype --><p>Sorry</p>"
    assert "web page (without a title)" in problem(folder, server.url("/vit.pth"))


def test_a_web_page_under_another_type_is_not_saved(server: FileServer, folder: Path) -> None:
    server.files["/vit.pth"] = b"\n<html><title>Log in</title></html>"  # as octet-stream
    assert "web page (Log in)" in problem(folder, server.url("/vit.pth"))


def test_a_web_page_does_not_spoil_what_is_there(server: FileServer, folder: Path) -> None:
    break_off(server, folder, 300_000)
    server.show_page("/vit.pth", "Busy")
    problem(folder, server.url("/vit.pth"))
    assert (folder / "vit.pth.part").read_bytes() == DATA[:300_000]


@pytest.mark.parametrize("link", DRIVE_LINKS)
def test_google_drive_gives_the_file_behind_its_form(
    server: FileServer, folder: Path, monkeypatch: pytest.MonkeyPatch, link: str
) -> None:
    monkeypatch.setattr(web, "DRIVE_URL", server.drive_url("A_b-1", DATA))
    assert get(folder, Source(link, SHA256)).read_bytes() == DATA
    first, second = server.seen(DRIVE_PATH)
    assert first.query == {"id": "A_b-1", "confirm": "t"}
    assert second.query == {"id": "A_b-1", "confirm": "t&1", "uuid": "1234"}


def test_google_drive_resumes(
    server: FileServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "DRIVE_URL", server.drive_url("A_b-1", DATA))
    server.cut(DRIVE_PATH, 300_000, times=2)  # the form is shorter and comes whole
    assert get(folder, DRIVE_LINKS[0]).read_bytes() == DATA
    assert server.seen(DRIVE_PATH)[-1].range == "bytes=300000-"


def test_google_drive_quota_is_reported(
    server: FileServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "DRIVE_URL", server.drive_url("A_b-1", DATA))
    server.show_page(DRIVE_PATH, "Google Drive - Quota exceeded")
    message = problem(folder, DRIVE_LINKS[0])
    assert "Quota exceeded" in message
    assert "https://drive.google.com/file/d/A_b-1/view" in message


def test_a_form_elsewhere_is_not_followed(server: FileServer, folder: Path) -> None:
    server.drive_url("A_b-1", DATA)
    message = problem(folder, server.url(f"{DRIVE_PATH}?id=A_b-1"))
    assert "Virus scan warning" in message
    assert len(server.requests) == 1


def test_redirects_are_followed(server: FileServer, folder: Path) -> None:
    server.redirect("/shared/static/abc.pth", "/vit.pth")
    break_off(server, folder, 300_000, server.url("/shared/static/abc.pth"))
    assert get(folder, server.url("/shared/static/abc.pth")).read_bytes() == DATA
    assert server.seen("/vit.pth")[0].range == "bytes=300000-"


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/vit.pth", "file:///etc/hostname"])
def test_redirects_out_of_the_web_are_refused(
    server: FileServer, folder: Path, target: str
) -> None:
    server.redirect("/vit.pth", target)
    assert target in problem(folder, server.url("/vit.pth"))
    assert len(server.requests) == 1
