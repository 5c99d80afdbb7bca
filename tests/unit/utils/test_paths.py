from __future__ import annotations

from pathlib import Path

import pytest

from s2robot.utils import paths


def test_home_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("S2ROBOT_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert paths.home() == Path.home() / ".cache" / "s2robot"
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert paths.home() == Path("/caches/s2robot")
    monkeypatch.setenv("S2ROBOT_HOME", "~/weights")
    assert paths.home() == Path.home() / "weights"


@pytest.mark.parametrize(("value", "expected"), [("1", 1), ("True", 1), ("on", 1), ("0", 0)])
def test_offline_reads_usual_words(
    monkeypatch: pytest.MonkeyPatch, value: str, expected: int
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert paths.offline() == bool(expected)
