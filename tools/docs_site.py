"""MkDocs hooks: generated reference pages, and links to files outside ``docs/``.

The pages under ``reference/`` about commands, configuration, encoders and the Python API are made
from the code when the site is built, so they cannot go stale. A link from a page to a file of the
repository, such as ``../../benchmarks/results/easy.json``, works on disk and in a code browser as
it is; in the site it leads to a copy of the file.

See one page without MkDocs: ``python tools/docs_site.py commands``.
"""

from __future__ import annotations

import contextlib
import io
import os
import posixpath
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
COPIES = "repository"
"""Folder of the site that holds copies of files of the repository."""
INCLUDED = {
    "contributing/contributing.md": "CONTRIBUTING.md",
    "contributing/changelog.md": "CHANGELOG.md",
    "contributing/findings.md": "findings/README.md",
    "results/benchmarks.md": "benchmarks/README.md",
}
"""Pages that are files outside ``docs/``: page of the site -> file."""
WIDTH = "100"
"""Columns of the terminal output that the reference pages show."""
LINK = re.compile(r"\[([^\[\]]*)\]\(([^()\s#:]+)(#[^()\s]*)?\)")
PACKAGES = {
    "encoder": "Frames to embeddings: tiles, tokens, pooling; streams and tile budgets.",
    "multiscale": "The S² operator as pure tensor functions.",
    "backbones": "Frozen vision backbones: registry, cards, checkpoints, downloads.",
    "preprocessing": "Camera frames to the images that a backbone was trained on.",
    "runtimes": "What executes the backbone: PyTorch, CUDA graphs, ONNX Runtime, OpenVINO, int8.",
    "export": "The whole encoder as one ONNX file.",
    "data": "Demonstrations, rendered frames, feature store, bags, ROS image messages.",
    "envs": "The pick-cube environments.",
    "policies": "Behavior-cloning policies on embeddings and proprioception.",
    "training": "Behavior cloning on stored embeddings; hyperparameter search.",
    "evaluation": "Fixed initial states, vector environments, rollouts, episode rows, videos.",
    "stats": "Intervals and paired tests as pure functions.",
    "pretraining": "Masked autoencoding of an encoder.",
    "experiments": "Variants and runs: from a configuration to an evaluated policy.",
    "analysis": "Probes, reconstruction, parity with the original packages, latency.",
    "reporting": "From runs on disk to comparisons, plots and the report page.",
    "plugins": "ROS nodes and their core without ROS.",
    "utils": "Small things without a domain.",
    "errors": "Exceptions.",
}


# Generated pages


def generated_pages() -> dict[str, Callable[[], str]]:
    """Return the maker of each generated page, by its path in the site."""
    pages: dict[str, Callable[[], str]] = {
        "reference/commands.md": commands_page,
        "reference/configuration.md": configuration_page,
        "reference/encoders.md": encoders_page,
        "reference/api/index.md": api_index,
    }
    for name in PACKAGES:
        pages[f"reference/api/{name}.md"] = lambda name=name: api_page(name)
    return pages


def commands_page() -> str:
    """Return the page of all commands: each one's ``--help``."""
    from s2robot.cli.verbs import VERBS

    parts = ["# Commands", "The output of `s2robot VERB --help`, for every command.\n"]
    for name in VERBS:
        parts += [f"## {name}\n", _block(help_text(name))]
    return "\n".join(parts)


def help_text(name: str) -> str:
    """Return what ``s2robot NAME --help`` prints."""
    from s2robot.cli.main import main

    with _terminal() as out, contextlib.suppress(SystemExit):
        main([name, "--help"])
    return _clean(out.getvalue())


def configuration_page() -> str:
    """Return the page of all Hydra configuration files with their comments."""
    folder = ROOT / "configs"
    parts = [
        "# Configuration",
        "The files of `configs/`, which Hydra composes. The comment beside a key is its",
        "documentation. Give a value as `key=value`, a nested one as `group.key=value`.\n",
        "A file has the name of its command; `variant.yaml` and `base.yaml` are shared by several",
        "commands. The folders `policy/`, `budget/` and `recipe/` are groups: choose one file of",
        "each, as in `policy=rnn_gmm budget=quick`.\n",
    ]
    for path in sorted(folder.glob("*.yaml")) + sorted(folder.glob("*/*.yaml")):
        name = path.relative_to(folder).as_posix()
        parts += [f"## {name}", _block(path.read_text(encoding="utf-8").rstrip(), "yaml")]
    return "\n".join(parts)


def encoders_page(example: str = "mvp-vits-hoi") -> str:
    """Return the page of all encoders: what ``s2robot encoders`` prints on a fresh machine."""
    return "\n".join(
        [
            "# Encoders",
            "What `s2robot encoders` prints on a machine without downloaded weights.\n",
            _block(encoders_text()),
            f"## One encoder in full\n\n`s2robot encoders {example}` prints:\n",
            _block(encoders_text(example)),
        ]
    )


def encoders_text(*names: str) -> str:
    """Return what ``s2robot encoders NAMES`` prints where no weights have been downloaded."""
    from s2robot.cli.encoders import main

    with tempfile.TemporaryDirectory() as home, _terminal(S2ROBOT_HOME=home, HF_HOME=home) as out:
        main(list(names))
    return _clean(out.getvalue())


def api_index() -> str:
    """Return the page that lists the packages."""
    import s2robot

    rows = [f"| [`s2robot.{name}`]({name}.md) | {text} |" for name, text in PACKAGES.items()]
    head = ["# Python API", "| package | what it holds |", "|---|---|"]
    public = ", ".join(f"`{name}`" for name in s2robot.__all__)
    note = f"`s2robot` itself offers {public}."
    return "\n".join([head[0], "", note, "", *head[1:], *rows])


def api_page(name: str) -> str:
    """Return the page of one package: every public module of it, rendered by mkdocstrings."""
    parts = [f"# s2robot.{name}", f"{PACKAGES[name]}\n"]
    for module in api_modules(name):
        parts += [
            f"## {module.removeprefix('s2robot.')}\n",
            f"::: {module}",
            "    options:",
            "      heading_level: 3\n",
        ]
    return "\n".join(parts)


def api_modules(name: str) -> list[str]:
    """Return the dotted names of the modules of a package, those of subpackages included."""
    base = ROOT / "s2robot" / name
    if not base.is_dir():
        return [f"s2robot.{name}"]
    found = []
    for path in _python_files(base):
        module = ".".join(["s2robot", name, *path.relative_to(base).with_suffix("").parts])
        found.append(module.removesuffix(".__init__"))
    return sorted(module for module in found if "._" not in module)


def _python_files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*.py"):
        # An __init__ that only re-exports would repeat what its modules show.
        if path.name != "__init__.py" and "__pycache__" not in path.parts:
            yield path


def _block(text: str, language: str = "text") -> str:
    return f"```{language}\n{text}\n```\n"


def _clean(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")


@contextlib.contextmanager
def _terminal(**environment: str) -> Iterator[io.StringIO]:
    """Catch standard output, as of a terminal with a fixed width and without colors."""
    settings = {"COLUMNS": WIDTH, "NO_COLOR": "1", "TERM": "dumb", **environment}
    with mock.patch.dict(os.environ, settings), contextlib.redirect_stdout(io.StringIO()) as out:
        yield out


# Links


def resolve(source: str, target: str) -> str:
    """Return the path in the repository that a relative link of a file leads to.

    Args:
        source: file with the link, relative to the repository's root.
        target: the link without its anchor.
    """
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), target))


def site_target(path: str) -> str | None:
    """Return the site's path for a path of the repository, or None where there is none."""
    pages = {file: page for page, file in INCLUDED.items()}
    if path in pages:
        return pages[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if (ROOT / path).is_file():
        return f"{COPIES}/{path}"
    return None


def rewrite_links(text: str, source: str, page: str) -> str:
    """Return a page's text with links to files of the repository led to their copies.

    Args:
        text: Markdown.
        source: file that holds the text, relative to the repository's root.
        page: the page's path in the site.
    """

    def change(match: re.Match[str]) -> str:
        path = resolve(source, match[2])
        if path.startswith("docs/") and source.startswith("docs/"):
            return match[0]
        target = site_target(path)
        if target is None:  # a folder, say, which a site cannot show
            return match[1]
        relative = posixpath.relpath(target, posixpath.dirname(page) or ".")
        return f"[{match[1]}]({relative}{match[3] or ''})"

    return LINK.sub(change, text)


def linked_files() -> set[str]:
    """Return the files outside ``docs/`` that pages link to, relative to the root."""
    found: set[str] = set()
    sources = [path.relative_to(ROOT).as_posix() for path in DOCS.rglob("*.md")]
    sources += INCLUDED.values()
    while sources:
        source = sources.pop()
        for match in LINK.finditer((ROOT / source).read_text(encoding="utf-8")):
            target = site_target(resolve(source, match[2])) or ""
            file = target.removeprefix(f"{COPIES}/")
            if file != target and file not in found:
                found.add(file)
                sources += [file] if file.endswith(".md") else []
    return found


# Hooks that MkDocs calls


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Add the generated pages, the included pages and the copies of linked files."""
    from mkdocs.structure.files import File, InclusionLevel

    for page, make in generated_pages().items():
        files.append(File.generated(config, page, content=make()))
    for page, file in INCLUDED.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / file)))
    for path in sorted(linked_files()):
        copy = File.generated(config, f"{COPIES}/{path}", abs_src_path=str(ROOT / path))
        copy.inclusion = InclusionLevel.NOT_IN_NAV
        files.append(copy)
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Lead links to files of the repository to their copies in the site."""
    uri = page.file.src_uri
    copied = uri.removeprefix(f"{COPIES}/")
    source = copied if copied != uri else INCLUDED.get(uri, f"docs/{uri}")
    return rewrite_links(markdown, source, uri)


if __name__ == "__main__":
    (wanted,) = sys.argv[1:]
    print(generated_pages()[f"reference/{wanted}.md"]())
