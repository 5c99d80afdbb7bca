from __future__ import annotations

import subprocess
from types import SimpleNamespace

import pip_settings_for_uv
import pytest


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the module makes of a configuration as `pip config list` prints it."""
    printed = "\n".join(
        [
            "global.extra-index-url='https://a.example/simple https://b.example/simple'",
            "global.find-links='/wheels /more'",
            "install.timeout='20'",
            "global.timeout='10'",
            ":env:.cert='/ca.pem'",
            "global.break-system-packages='true'",
        ]
    )
    answer = SimpleNamespace(stdout=printed)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)
    return pip_settings_for_uv.uv_variables(pip_settings_for_uv.pip_settings())


def test_several_values_are_separated_as_uv_wants_them(configured: dict[str, str]) -> None:
    assert configured["UV_INDEX"] == "https://a.example/simple https://b.example/simple"
    assert configured["UV_FIND_LINKS"] == "/wheels,/more"


def test_the_more_specific_section_wins(configured: dict[str, str]) -> None:
    assert configured["UV_HTTP_TIMEOUT"] == "20"


def test_settings_that_uv_lacks_are_left_out(configured: dict[str, str]) -> None:
    known = {"UV_INDEX", "UV_FIND_LINKS", "UV_HTTP_TIMEOUT", "UV_INDEX_STRATEGY", "SSL_CERT_FILE"}
    assert set(configured) == known
