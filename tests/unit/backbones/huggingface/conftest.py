"""A local hub with tiny models of every family."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.file_server import FileServer, use_hub

if TYPE_CHECKING:
    from support.tiny_hub import Hub


@pytest.fixture(scope="package")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with all tiny models."""
    from support.tiny_hub import TINY, WITH_HEADS, Hub  # skips where transformers is missing

    with FileServer() as server:
        hub = Hub(server, tmp_path_factory.mktemp("published"))
        for name, tiny in TINY.items():
            hub.publish(name, tiny)
        for name, tiny in WITH_HEADS.items():
            hub.publish(f"{name}-head", tiny)
        yield hub


@pytest.fixture
def hub(shared: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    """The hub, with an empty cache of this test's own."""
    use_hub(monkeypatch, shared.server, tmp_path / "cache")
    monkeypatch.setenv("S2ROBOT_HOME", str(tmp_path / "home"))
    return shared
