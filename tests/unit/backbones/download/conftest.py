"""Fixtures of the download tests: a local server, a local hub, no waiting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.downloads import DATA
from support.file_server import FileServer, use_hub, use_local_network

from s2robot.backbones.download import http as web


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
