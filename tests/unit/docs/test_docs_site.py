"""The generated reference pages, and links to files of the repository."""

from __future__ import annotations

import docs_site
import pytest

from s2robot.cli.verbs import VERBS


def test_the_commands_page_shows_the_help_of_every_command() -> None:
    page = docs_site.commands_page()
    for name, verb in VERBS.items():
        assert f"\n## {name}\n" in page
        assert (verb.examples[0] if verb.hydra else f"usage: s2robot {name}") in page


def test_the_configuration_page_shows_every_file() -> None:
    page = docs_site.configuration_page()
    for path in (docs_site.ROOT / "configs").rglob("*.yaml"):
        assert path.read_text(encoding="utf-8").rstrip() in page


@pytest.mark.slow
def test_the_encoders_page_shows_what_the_command_prints_on_a_fresh_machine() -> None:
    page = docs_site.encoders_page()
    assert "r3m-resnet50" in page
    assert "s2robot encoders mvp-vits-hoi" in page
    assert "fetched" not in page.partition("## One encoder")[0]


def test_the_api_pages_hold_every_public_module() -> None:
    listed = {module for name in docs_site.PACKAGES for module in docs_site.api_modules(name)}
    package = docs_site.ROOT / "s2robot"
    for folder in (package, *(path for path in package.iterdir() if path.is_dir())):
        for path in folder.rglob("*.py") if folder != package else folder.glob("*.py"):
            name = ".".join(path.relative_to(docs_site.ROOT).with_suffix("").parts)
            left_out = "._" in name or "__" in name or name.startswith("s2robot.cli")
            assert left_out or name.startswith("s2robot.configs") or name in listed, name


@pytest.mark.parametrize(
    "link, source, page, expected",
    [
        (
            "../../benchmarks/results/easy.json",
            "docs/results/demo.md",
            "results/demo.md",
            "../repository/benchmarks/results/easy.json",
        ),
        (
            "../../CHANGELOG.md",
            "docs/contributing/index.md",
            "contributing/index.md",
            "changelog.md",
        ),
        (
            "docs/index.md#s2robot",
            "CONTRIBUTING.md",
            "contributing/contributing.md",
            "../index.md#s2robot",
        ),
        ("../index.md", "docs/results/demo.md", "results/demo.md", "../index.md"),
        ("https://arxiv.org/abs/1", "docs/index.md", "index.md", "https://arxiv.org/abs/1"),
    ],
)
def test_links_to_the_repository_lead_into_the_site(
    link: str, source: str, page: str, expected: str
) -> None:
    assert docs_site.rewrite_links(f"[a]({link})", source, page) == f"[a]({expected})"
