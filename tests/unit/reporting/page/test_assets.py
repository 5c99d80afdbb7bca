"""The plotting library that the page holds: unchanged, with its license, nothing to fetch."""

from __future__ import annotations

import hashlib
from importlib import resources

import pytest

from s2robot.reporting.page import assets


@pytest.mark.parametrize(("name", "digest"), assets.LIBRARIES.items())
def test_a_library_is_the_published_file(name, digest):
    content = resources.files(assets).joinpath(name).read_bytes()
    assert hashlib.sha256(content).hexdigest() == digest
    assert b"</script" not in content


def test_the_licenses_go_with_the_page():
    text = assets.scripts()[0]
    assert text.count("Permission to use, copy, modify") == 2
    assert "Mike Bostock" in text
    assert "Observable, Inc." in text


def test_the_page_is_small_enough_to_mail():
    assert sum(map(len, assets.scripts())) < 600_000
