"""The pages of the documentation: links, commands, imports and length."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docs_site
import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from s2robot.cli.settings.schema import SHORT
from s2robot.cli.verbs import VERBS

ROOT = docs_site.ROOT
PAGES = sorted(docs_site.DOCS.rglob("*.md"))
SOURCES = [
    ROOT / "README.md",
    *(ROOT / file for file in docs_site.INCLUDED.values()),
    *PAGES,
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:s2robot|train-policy) [a-z][^`\n]*)`")
ANY_LINK = re.compile(r"\]\(([^()\s]+)\)")
GROUPS = ("policy", "budget", "recipe")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path, language: str) -> Iterator[str]:
    for found, text in FENCE.findall(path.read_text(encoding="utf-8")):
        if found == language:
            yield text


def anchors(path: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub and the site make them."""
    found = set()
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            title = re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower())
            found.add(title.replace(" ", "-"))
    return found


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_links_lead_to_files_and_headings(path: Path) -> None:
    generated = docs_site.generated_pages()
    for link in ANY_LINK.findall(path.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        target, _, anchor = link.partition("#")
        found = docs_site.resolve(name_of(path), target) if target else name_of(path)
        if found.removeprefix("docs/") in generated:
            continue
        assert (ROOT / found).exists(), f"{name_of(path)}: {link}"
        if anchor and found.endswith(".md"):
            assert anchor in anchors(ROOT / found), f"{name_of(path)}: {link}"


def test_every_page_is_in_the_navigation_and_the_other_way_round() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"([\w./-]+\.md)$", text.partition("\nnav:")[2], re.MULTILINE))
    pages = {path.relative_to(docs_site.DOCS).as_posix() for path in PAGES}
    assert listed == pages | set(docs_site.generated_pages()) | set(docs_site.INCLUDED)


@pytest.mark.parametrize("path", [ROOT / "README.md", *PAGES], ids=name_of)
def test_a_page_has_at_most_a_thousand_words(path: Path) -> None:
    limit = 900 if path.name == "README.md" else 1000
    words = re.findall(r"[^\s|]+", path.read_text(encoding="utf-8"))
    assert len(words) <= limit, f"{name_of(path)} has {len(words)} words; split it"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_python_blocks_import_what_there_is(path: Path) -> None:
    for block in blocks(path, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("s2robot"):
                module = importlib.import_module(str(node.module))
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{name_of(path)}: {alias.name}"


def commands(path: Path) -> Iterator[list[str]]:
    """The words of each `s2robot` command of a page, without the program's name."""
    history = path.name == "CHANGELOG.md"  # which names old flags too
    inline = [] if history else INLINE.findall(path.read_text(encoding="utf-8"))
    for block in (*blocks(path, "bash"), *inline):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] == "train-policy":
                words[:1] = ["s2robot", "train"]
            if words and words[0] == "s2robot":
                yield words[1:]


def has_key(config: DictConfig, key: str) -> bool:
    node: Any = config
    for part in key.split("."):
        if part not in node.keys():
            return False
        node = node._get_node(part)
    return True


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_commands_have_the_settings_that_pages_show(path: Path) -> None:
    for verb, *words in commands(path):
        assert verb in VERBS, f"{name_of(path)}: s2robot {verb}"
        if VERBS[verb].hydra:
            words = [w for w in words if w.partition("=")[0] not in SHORT.get(verb, ())]
            with initialize_config_module("s2robot.configs", version_base="1.3"):
                chosen = [w for w in words if w.partition("=")[0] in GROUPS and "," not in w]
                config = compose(verb, overrides=chosen)
            for key in (word.partition("=")[0] for word in words):
                known = key in GROUPS or key.startswith("hydra") or has_key(config, key)
                assert known, f"{name_of(path)}: s2robot {verb} {key}="
        else:
            text = docs_site.help_text(verb)
            for option in (word for word in words if word.startswith("--")):
                assert re.search(rf"{option}\b", text), f"{name_of(path)}: {verb} {option}"
