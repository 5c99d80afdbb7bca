"""Published files arrive complete or not at all, from whichever source has them."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest
from support.downloads import DATA, HUB_URL, SHA256, get, problem, visible, zipped
from support.file_server import FileServer

from s2robot.backbones.download.download import download
from s2robot.backbones.weight_sources import Source
from s2robot.errors import DownloadError


def test_a_file_arrives_complete_and_alone(server: FileServer, folder: Path) -> None:
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


@pytest.mark.parametrize("name", ["", "..", "a/b.pth", "/b.pth"])
def test_file_names_with_folders_are_refused(folder: Path, name: str) -> None:
    with pytest.raises(ValueError, match="plain file name"):
        download([Source("https://host/vit.pth")], folder, name)


def test_the_next_source_steps_in(server: FileServer, folder: Path) -> None:
    sources = [server.url("/moved.pth"), Source(server.url("/vit.pth"), SHA256)]
    assert get(folder, *sources).read_bytes() == DATA


def test_an_error_lists_every_source(server: FileServer, folder: Path) -> None:
    server.show_page("/page", "Removed")
    message = problem(folder, server.url("/moved"), Source(server.url("/page"), member="a.pth"))
    assert f"{server.url('/moved')}: the server has no such file" in message
    assert f"{server.url('/page')}: the server sent a web page (Removed)" in message
    assert f"from {server.url('/moved')} or {server.url('/page')} (unpack a.pth" in message


def test_a_folder_that_cannot_be_written_is_reported(server: FileServer, tmp_path: Path) -> None:
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
    sources = {
        name: Source(server.url("/nets.zip"), digest, member=f"nets/{name}.pth") for name in "ab"
    }
    for name, content in {"a": DATA, "b": b"weights b"}.items():
        path = download([sources[name]], folder, f"{name}.pth", progress=False)
        assert path.read_bytes() == content
    assert len(server.requests) == 1
    assert visible(folder) == ["a.pth", "b.pth", sources["a"].archive_name]


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
    assert "not a complete zip archive" in problem(folder, source)
    assert visible(folder) == []
    server.files["/nets.zip"] = zipped(a=DATA)
    assert get(folder, source).read_bytes() == DATA
