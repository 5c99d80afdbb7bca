"""Published files arrive whole or not at all, from whichever source has them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
from support.file_server import DRIVE_PATH, FileServer, use_hub, use_local_network

from s2robot.backbones.download import http as web
from s2robot.backbones.download.download import download
from s2robot.backbones.weight_sources import Source
from s2robot.errors import DownloadError
from s2robot.utils import paths as home

DATA = np.random.default_rng(0).bytes(1_000_000)
SHA256 = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
MD5 = f"md5:{hashlib.md5(DATA).hexdigest()}"
HUB_URL = "hf:lab/encoder/weights/vit.safetensors"
DRIVE_LINKS = [
    "https://drive.google.com/uc?id=A_b-1",
    "https://drive.google.com/file/d/A_b-1/view?usp=sharing",
    "https://drive.google.com/open?usp=drive&id=A_b-1",
]


@pytest.fixture(autouse=True)
def _quick_and_local(monkeypatch: pytest.MonkeyPatch) -> None:
    use_local_network(monkeypatch)
    monkeypatch.setattr(web, "BACKOFF_S", 0.001)
    for name in ("S2ROBOT_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer({"/vit.pth": DATA}) as server:
        yield server


@pytest.fixture
def hub(server: FileServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FileServer:
    use_hub(monkeypatch, server, tmp_path / "hub")
    server.add_repo("lab/encoder", {"weights/vit.safetensors": DATA})
    return server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home"


def get(folder: Path, *sources: Source | str) -> Path:
    made = [source if isinstance(source, Source) else Source(source) for source in sources]
    return download(made, folder, "vit.pth", progress=False)


def problem(folder: Path, *sources: Source | str) -> str:
    """The message of a download that fails, which must leave nothing under the final name."""
    with pytest.raises(DownloadError) as caught:
        get(folder, *sources)
    assert not (folder / "vit.pth").exists()
    return str(caught.value)


def visible(folder: Path) -> list[str]:
    """Names in ``folder`` but for the locks."""
    return sorted(name for name in os.listdir(folder) if not name.endswith(".lock"))


def break_off(server: FileServer, folder: Path, after: int, *sources: Source | str) -> None:
    """Leave the first ``after`` bytes of /vit.pth behind, as a killed process does."""
    server.cut("/vit.pth", after)
    server.fail("/vit.pth", 404)
    problem(folder, *(sources or [server.url("/vit.pth")]))
    assert (folder / "vit.pth.part").read_bytes() == DATA[:after]
    server.requests.clear()


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("nets/", b"")
        for name, data in members.items():
            archive.writestr(f"nets/{name}.pth", data)
    return buffer.getvalue()


def test_a_file_arrives_whole_and_alone(server: FileServer, folder: Path) -> None:
    path = get(folder, Source(server.url("/vit.pth"), SHA256))
    assert path == folder / "vit.pth"
    assert path.read_bytes() == DATA
    assert visible(folder) == ["vit.pth"]


def test_a_file_already_there_needs_no_request(server: FileServer, folder: Path) -> None:
    first = get(folder, server.url("/vit.pth"))
    server.requests.clear()
    assert get(folder, server.url("/vit.pth")) == first
    assert not server.requests


def test_progress_goes_to_standard_error(
    server: FileServer, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    download([Source(server.url("/vit.pth"))], folder, "vit.pth")
    shown = capfd.readouterr()
    assert "vit.pth" in shown.err
    assert "1.0 MB" in shown.err
    assert not shown.out


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
def test_a_refusal_is_told_at_once(
    server: FileServer, folder: Path, status: int, words: str
) -> None:
    server.fail("/vit.pth", status)
    message = problem(folder, server.url("/vit.pth"))
    assert words in message
    assert f"by hand from {server.url('/vit.pth')} and give it as weights=PATH" in message
    assert len(server.requests) == 1


@pytest.mark.parametrize("kept", ["ETag", "Last-Modified"])
def test_the_version_begun_is_asked_for(server: FileServer, folder: Path, kept: str) -> None:
    server.send_validators("/vit.pth", kept)
    break_off(server, folder, 300_000)
    get(folder, server.url("/vit.pth"))
    (request,) = server.seen("/vit.pth")
    assert request.if_range.startswith('"' if kept == "ETag" else "Wed")
    assert request.status == 206


def test_a_weak_etag_is_not_used_for_ranges(server: FileServer, folder: Path) -> None:
    server.rule("/vit.pth").weak = True
    break_off(server, folder, 300_000)
    get(folder, server.url("/vit.pth"))
    assert server.seen("/vit.pth")[0].if_range.startswith("Wed")


def test_a_file_that_changed_starts_over(server: FileServer, folder: Path) -> None:
    break_off(server, folder, 300_000)
    server.files["/vit.pth"] = DATA[::-1]
    assert get(folder, server.url("/vit.pth")).read_bytes() == DATA[::-1]
    assert [request.status for request in server.requests] == [200]


def test_a_changed_file_is_noticed_where_the_server_ignores_if_range(
    server: FileServer, folder: Path
) -> None:
    break_off(server, folder, 300_000)
    server.files["/vit.pth"] = DATA[::-1]
    server.rule("/vit.pth").if_range = False
    assert get(folder, server.url("/vit.pth")).read_bytes() == DATA[::-1]
    assert [request.status for request in server.requests] == [206, 200]


def test_a_server_that_ignores_ranges_starts_over(server: FileServer, folder: Path) -> None:
    break_off(server, folder, 300_000)
    server.ignore_ranges("/vit.pth")
    assert get(folder, server.url("/vit.pth")).read_bytes() == DATA
    assert [request.status for request in server.requests] == [200]


def test_without_validator_only_a_digest_lets_it_resume(server: FileServer, folder: Path) -> None:
    server.send_validators("/vit.pth")
    break_off(server, folder, 300_000)
    assert get(folder, server.url("/vit.pth")).read_bytes() == DATA
    assert [request.range for request in server.requests] == [""]
    checked = Source(server.url("/vit.pth"), SHA256)
    break_off(server, folder / "checked", 300_000, checked)
    assert get(folder / "checked", checked).read_bytes() == DATA
    assert [request.range for request in server.requests] == ["bytes=300000-"]


def test_the_beginning_from_elsewhere_is_not_gone_on_with(server: FileServer, folder: Path) -> None:
    server.send_validators("/vit.pth")
    server.send_validators("/other.pth")
    break_off(server, folder, 300_000)
    server.files["/other.pth"] = DATA[::-1]
    other = Source(server.url("/other.pth"), f"md5:{hashlib.md5(DATA[::-1]).hexdigest()}")
    assert get(folder, other).read_bytes() == DATA[::-1]


@pytest.mark.parametrize("note", [None, '{"url": '])
def test_a_part_of_unknown_origin_starts_over(
    server: FileServer, folder: Path, note: str | None
) -> None:
    folder.mkdir()
    (folder / "vit.pth.part").write_bytes(b"of another file")
    if note:
        (folder / "vit.pth.part.json").write_text(note)
    assert get(folder, server.url("/vit.pth")).read_bytes() == DATA
    assert visible(folder) == ["vit.pth"]


def test_a_complete_part_needs_no_more_bytes(server: FileServer, folder: Path) -> None:
    break_off(server, folder, 300_000)
    (folder / "vit.pth.part").write_bytes(DATA)  # killed before it was renamed
    assert get(folder, Source(server.url("/vit.pth"), SHA256)).read_bytes() == DATA
    assert [(request.status, request.sent) for request in server.requests] == [(416, 0)]


def test_a_part_longer_than_the_file_starts_over(server: FileServer, folder: Path) -> None:
    break_off(server, folder, 300_000)
    (folder / "vit.pth.part").write_bytes(DATA + b"more")
    assert get(folder, server.url("/vit.pth")).read_bytes() == DATA
    assert [request.status for request in server.requests] == [416, 200]


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


def test_google_drive_quota_is_told(
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


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://host/a", "vit.pth", "hf:owner/a"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=url):
        Source(url)


@pytest.mark.parametrize("digest", ["abcdef12", "sha1:abcdef12", "md5:xyz", "sha256:AB12"])
def test_malformed_digests_are_refused(digest: str) -> None:
    with pytest.raises(ValueError, match=digest):
        Source("https://host/vit.pth", digest)


@pytest.mark.parametrize("name", ["", "..", "a/b.pth", "/b.pth"])
def test_file_names_with_folders_are_refused(folder: Path, name: str) -> None:
    with pytest.raises(ValueError, match="plain file name"):
        download([Source("https://host/vit.pth")], folder, name)


def test_the_next_source_steps_in(server: FileServer, folder: Path) -> None:
    sources = [server.url("/moved.pth"), Source(server.url("/vit.pth"), SHA256)]
    assert get(folder, *sources).read_bytes() == DATA


def test_an_error_tells_of_every_source(server: FileServer, folder: Path) -> None:
    server.show_page("/page", "Removed")
    message = problem(folder, server.url("/moved"), Source(server.url("/page"), member="a.pth"))
    assert f"{server.url('/moved')}: the server has no such file" in message
    assert f"{server.url('/page')}: the server sent a web page (Removed)" in message
    assert f"from {server.url('/moved')} or {server.url('/page')} (unpack a.pth" in message


def test_a_folder_that_cannot_be_written_is_told(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DownloadError, match="S2ROBOT_HOME"):
        get(tmp_path / "file" / "folder", server.url("/vit.pth"))


def test_of_two_at_once_one_downloads(server: FileServer, folder: Path) -> None:
    paths: list[Path] = []
    threads = [
        threading.Thread(target=lambda: paths.append(get(folder, server.url("/vit.pth"))))
        for _ in range(2)
    ]
    with server.hold("/vit.pth") as asked:
        for thread in threads:
            thread.start()
        assert asked.wait(10)
    for thread in threads:
        thread.join()
    assert [path.read_bytes() == DATA for path in paths] == [True, True]
    assert len(server.requests) == 1


@pytest.mark.parametrize("name", ["S2ROBOT_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_makes_no_request(
    hub: FileServer, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "1")
    message = problem(folder, hub.url("/vit.pth"), HUB_URL)
    assert name in message
    assert "unset the variable" in message
    assert f"{hub.url()}/lab/encoder/blob/main/weights/vit.safetensors" in message
    assert not hub.requests


def test_offline_finds_what_is_there(
    hub: FileServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Source(hub.url("/nets.zip"), member="nets/a.pth")
    hub.files["/nets.zip"] = zipped(a=b"weights a", b=b"weights b")
    kept = [get(folder, archive), get(folder / "hub", HUB_URL)]
    hub.requests.clear()
    monkeypatch.setenv("S2ROBOT_OFFLINE", "1")
    kept[0].rename(folder / "away")
    assert [get(folder, archive), get(folder / "hub", HUB_URL)] == kept
    assert not hub.requests


def test_members_of_one_archive_need_one_download(server: FileServer, folder: Path) -> None:
    data = zipped(a=DATA, b=b"weights b")
    server.files["/nets.zip"] = data
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    for name, content in {"a": DATA, "b": b"weights b"}.items():
        source = Source(server.url("/nets.zip"), digest, member=f"nets/{name}.pth")
        path = download([source], folder, f"{name}.pth", progress=False)
        assert path.read_bytes() == content
    assert len(server.requests) == 1
    assert visible(folder) == ["a.pth", "b.pth", source.archive_name]


def test_archives_of_one_name_lie_apart() -> None:
    names = [Source(f"https://{host}/nets.zip").archive_name for host in ("a", "b")]
    assert names[0] != names[1]
    assert all(name.startswith("nets-") for name in names)


def test_a_missing_member_lists_those_there(server: FileServer, folder: Path) -> None:
    server.files["/nets.zip"] = zipped(a=b"a", b=b"b")
    message = problem(folder, Source(server.url("/nets.zip"), member="../a.pth"))
    assert "has no '../a.pth'; it holds nets/a.pth, nets/b.pth" in message


@pytest.mark.parametrize("where", [500_000, -22])  # in the member; in the table of contents
def test_a_damaged_archive_is_dropped(server: FileServer, folder: Path, where: int) -> None:
    damaged = bytearray(zipped(a=DATA))
    damaged[where] ^= 0xFF
    server.files["/nets.zip"] = bytes(damaged)
    source = Source(server.url("/nets.zip"), member="nets/a.pth")
    assert "no whole zip archive" in problem(folder, source)
    assert visible(folder) == []
    server.files["/nets.zip"] = zipped(a=DATA)
    assert get(folder, source).read_bytes() == DATA


def test_the_hub_keeps_its_files(hub: FileServer, folder: Path, tmp_path: Path) -> None:
    path = get(folder, Source(HUB_URL, SHA256))
    assert path.read_bytes() == DATA
    assert tmp_path / "hub" in path.parents
    assert not folder.exists()
    assert get(folder, Source(HUB_URL, SHA256)) == path
    assert [r.status for r in hub.requests if r.method == "GET"] == [200]


def test_the_hub_is_the_one_that_the_environment_names_now(
    hub: FileServer, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    constants = huggingface_hub.constants  # what the library saw when it was imported
    monkeypatch.setattr(constants, "ENDPOINT", hub.url("/old"))
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        hub.url("/old/{repo_id}/resolve/{revision}/{filename}"),
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "old"))
    path = get(folder, HUB_URL)
    assert path.read_bytes() == DATA
    assert tmp_path / "hub" / "hub" in path.parents
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    assert tmp_path / "cache" in get(folder, HUB_URL).parents


def test_the_hub_gives_a_revision(hub: FileServer, folder: Path) -> None:
    commit = hub.repos["lab/encoder"].commit
    assert get(folder, f"{HUB_URL}@{commit}").parts[-3] == commit


def test_the_hub_gives_archives(hub: FileServer, folder: Path) -> None:
    hub.add_repo("lab/nets", {"nets.zip": zipped(a=DATA)})
    assert get(folder, Source("hf:lab/nets/nets.zip", member="nets/a.pth")).read_bytes() == DATA
    assert visible(folder) == ["vit.pth"]


def test_the_hub_resumes(hub: FileServer, folder: Path) -> None:
    hub.cut("/lab/encoder/resolve/main/weights/vit.safetensors", 300_000)
    assert get(folder, HUB_URL).read_bytes() == DATA


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("hf:lab/encoder/other.safetensors", "lab/encoder has no file 'other.safetensors'"),
        ("hf:lab/other/vit.safetensors", "no repository lab/other, or a private one"),
        (f"{HUB_URL}@v2", "lab/encoder has no revision 'v2'"),
        ("hf:lab/a--b/vit.safetensors", "a--b"),
    ],
)
def test_what_the_hub_lacks_is_told(hub: FileServer, folder: Path, url: str, words: str) -> None:
    assert words in problem(folder, url)


def test_a_gated_repository_needs_its_license_accepted(
    hub: FileServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add_repo("lab/gated", {"vit.pth": DATA}, gated=True, token="hf_accepted")
    for token in ("", "hf_other"):  # 401 and 403
        monkeypatch.setenv("HF_TOKEN", token)
        message = problem(folder, "hf:lab/gated/vit.pth")
        assert f"accept the licence on {hub.url('/lab/gated')} and set HF_TOKEN" in message
    monkeypatch.setenv("HF_TOKEN", "hf_accepted")
    assert get(folder, "hf:lab/gated/vit.pth").read_bytes() == DATA


def test_the_hub_refusing_access_is_told_as_gated(hub: FileServer, folder: Path) -> None:
    hub.fail("/lab/encoder/resolve/main/weights/vit.safetensors", 403)
    assert "accept the licence" in problem(folder, HUB_URL)


def test_a_wrong_digest_from_the_hub_names_the_file(hub: FileServer, folder: Path) -> None:
    message = problem(folder, Source(HUB_URL, "sha256:000000"))
    assert f"{len(DATA)} bytes came with the sha256 {SHA256[7:]}" in message
    assert "/blobs/" in message


def test_the_notes_beside_a_part_name_its_version(server: FileServer, folder: Path) -> None:
    break_off(server, folder, 10)
    note = json.loads((folder / "vit.pth.part.json").read_text())
    assert note == {
        "url": server.url("/vit.pth"),
        "validator": f'"{hashlib.sha256(DATA).hexdigest()}"',
    }


def test_home_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("S2ROBOT_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert home.home() == Path.home() / ".cache" / "s2robot"
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert home.home() == Path("/caches/s2robot")
    monkeypatch.setenv("S2ROBOT_HOME", "~/weights")
    assert home.home() == Path.home() / "weights"


@pytest.mark.parametrize(("value", "expected"), [("1", 1), ("True", 1), ("on", 1), ("0", 0)])
def test_offline_reads_usual_words(
    monkeypatch: pytest.MonkeyPatch, value: str, expected: int
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert home.offline() == bool(expected)
