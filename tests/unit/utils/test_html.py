from __future__ import annotations

import importlib
from pathlib import Path

import jinja2
import pytest

from s2robot.utils.html import render_page


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a package with one template."""
    (tmp_path / "pages" / "templates").mkdir(parents=True)
    (tmp_path / "pages" / "__init__.py").touch()
    (tmp_path / "pages" / "templates" / "page.html.j2").write_text(
        "<p>\n  {% if title %}\n  {{ title }}\n  {% endif %}\n</p>\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    return "pages"


def test_fills_a_template_in_and_escapes_text(package: str) -> None:
    assert render_page(package, "page.html.j2", title="a < b") == "<p>\n  a &lt; b\n</p>"


def test_refuses_a_template_with_a_missing_value(package: str) -> None:
    with pytest.raises(jinja2.UndefinedError, match="title"):
        render_page(package, "page.html.j2")
