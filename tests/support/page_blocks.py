"""Fenced blocks of README, CONTRIBUTING and other pages, and the commands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.paths import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "findings/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
SHOWN = "text"
"""Language of blocks that show output or a drawing, and nothing to type."""
LANGUAGES = ("python", "bash", "json", SHOWN)

_FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>```+|~~~+)(?P<language>[^\n]*)\n"
    r"(?P<text>.*?)^(?P=indent)(?P=fence) *$",
    re.MULTILINE | re.DOTALL,
)
_MARKER = re.compile(r"<!--\s*not run\b(?P<reason>.*?)-->\s*\Z", re.DOTALL)
_ENDS = {"&&", ";", "||", "&", "|"}
_WORDS_OF_LOOPS = {"do", "then"}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    """Of its first line of content, from 1."""
    language: str
    text: str
    reason: str | None
    """Why it is not run, from a comment ``<!-- not run: ... -->`` above; None: it is run."""

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(text: str, page: str = "page.md") -> list[Block]:
    """Return the blocks of a page in their order."""
    found = []
    for match in _FENCE.finditer(text):
        above = text[: match.start()].rstrip(" ")
        marker = _MARKER.search(above)
        reason = marker["reason"].lstrip(" :").strip() if marker else None
        indent = match["indent"]
        lines = [line.removeprefix(indent) for line in match["text"].splitlines(keepends=True)]
        number = text[: match.start("text")].count("\n") + 1
        found.append(Block(page, number, match["language"].strip(), "".join(lines), reason))
    return found


def page_blocks(path: Path) -> list[Block]:
    """Return the blocks of a file of the repository."""
    return blocks_of(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix())


def problems(block: Block) -> list[str]:
    """Say what makes a block neither run nor honestly left out."""
    if block.reason is not None:
        return [] if len(block.reason.split()) > 1 else [f"{block.place}: no reason is given"]
    if block.language not in LANGUAGES:
        return [f"{block.place}: {block.language or 'no language'!r} is none of {LANGUAGES}"]
    return []


@dataclass(frozen=True)
class Command:
    """One command of a shell block."""

    words: tuple[str, ...]
    environment: dict[str, str]


def commands_of(text: str) -> Iterator[Command]:
    """Yield the commands of a shell block; a loop's body is one command."""
    for line in text.replace("\\\n", " ").splitlines():
        reader = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        reader.whitespace_split = True
        words: list[str] = []
        for word in [*reader, ";"]:
            if word not in _ENDS:
                words.append(word)
                continue
            if words and words[0] in _WORDS_OF_LOOPS:
                del words[0]
            if words and words[0] != "done":
                yield _command(words)
            words = []


def _command(words: list[str]) -> Command:
    environment = {}
    while words and re.match(r"[A-Z_0-9]+=", words[0]):
        name, _, value = words.pop(0).partition("=")
        environment[name] = value
    return Command(tuple(words), environment)
