"""Drawings in pages that repeat what a file of the repository says."""

from __future__ import annotations

import re
import sys

import pytest
from support.page_blocks import SHOWN, page_blocks
from support.paths import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]


def shown(page: str, word: str) -> str:
    """Return the text block of a page that has a word."""
    (text,) = [b.text for b in page_blocks(ROOT / page) if b.language == SHOWN and word in b.text]
    return text


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/concepts/architecture.md"])
def test_layers_are_those_that_are_enforced(page: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    (layers,) = [one["layers"] for one in contracts if one["name"] == "floors"]
    lines = shown(page, "\nexperiments\n").splitlines()
    assert [line.split() for line in lines] == [layer.split(" | ") for layer in layers]


@pytest.mark.parametrize("version", ["ros1", "ros2"])
@pytest.mark.parametrize("kind", ["EmbeddingStamped", "ActionStamped"])
def test_messages_have_the_fields_that_are_shown(kind: str, version: str) -> None:
    line = next(
        line
        for line in shown("docs/integrations/ros.md", kind).splitlines()
        if line.startswith(f"{kind}:")
    )
    fields = [field.split() for field in line.partition(":")[2].split(", ")]
    text = (ROOT / f"ros/{version}/s2robot_msgs/msg/{kind}.msg").read_text()
    there = [re.sub(r"#.*", "", line).split() for line in text.splitlines()]
    assert [words for words in there if words] == fields
