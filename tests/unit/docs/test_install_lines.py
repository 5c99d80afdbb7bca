"""What people are told to install: a place that is ours, and names that mean what is meant."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

from s2robot.errors import install_command

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

PLACES = ("*.md", "*.py", "*.sh", "*.toml", "*.yml", "*.yaml", "*.ipynb", "*.xml", "*.launch")
OTHERS = ("Makefile", "ros/ros1/s2robot_ros/scripts/*")
NOT_ON_AN_INDEX = ("s2robot", "r3m", "mvp", "vip", "liv", "mcr", "theia", "vc[-_.]models")
"""Names that are another project's on a package index, or nobody's."""
FOREIGN = ("s2[-_.]?wrapper", "scaling-on-scales")
NAME = re.compile(
    rf"(?<![\w/.+#=-])(?:{'|'.join(NOT_ON_AN_INDEX + FOREIGN)})"
    r"(?:\[[\w,]+\]|(?!\[))(?![\w/.@-])(?!\s*@)"
)
COMMAND = re.compile(r"pip3?\s+install\s([^\n;|&`#)]*)")
EXTRAS = tuple(
    re.compile(pattern)
    for pattern in (
        r"s2robot\[([\w,]+)\]",
        r"\.whl\[([\w,]+)\]",
        r"-e ['\"]?\.\[([\w,]+)\]",
        r"install_command\(['\"](\w+)['\"]\)",
        r"extra `{1,2}(\w+)`",
    )
)


def sources() -> list[Path]:
    """Text files that are under version control, without tests and stored results."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", *PLACES, *OTHERS],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    left_out = ("tests/", "benchmarks/results/", "findings/")
    paths = [ROOT / name for name in listed if name and not name.startswith(left_out)]
    return [path for path in paths if path.is_file()]


def wrong_installs(text: str) -> list[str]:
    """Commands that install a name which is not ours, or not the authors'."""
    return [found[0] for found in COMMAND.finditer(text) if NAME.search(found[1])]


@pytest.mark.parametrize(
    "line",
    [
        "pip install s2robot",
        "pip install 's2robot[ros]'",
        "VENV/bin/pip install -U s2robot; next",
        "pip install r3m",
        "pip install torch vc_models",
        "pip install s2wrapper",
    ],
)
def test_a_name_alone_is_found(line: str) -> None:
    assert wrong_installs(line)


@pytest.mark.parametrize(
    "line",
    [
        "pip install path/to/s2robot",
        "pip install 'path/to/s2robot[ros]'",
        'pip install "s2robot @ git+REPOSITORY"',
        'pip install "s2robot[ros] @ git+REPOSITORY"',
        "pip install dist/s2robot-0.1.0-py3-none-any.whl",
        "pip install git+https://github.com/facebookresearch/r3m",
        "pip install -U timm  # for s2robot",
    ],
)
def test_a_place_is_no_name_alone(line: str) -> None:
    assert not wrong_installs(line)


def test_nothing_sends_people_to_a_name_that_is_not_ours() -> None:
    paths = sources()
    assert len(paths) > 200
    found = {
        path.relative_to(ROOT).as_posix(): wrong
        for path in paths
        if (wrong := wrong_installs(path.read_text(encoding="utf-8")))
    }
    assert found == {}


def test_every_extra_that_is_named_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = set(project["optional-dependencies"])
    named = set()
    for path in sources():
        text = path.read_text(encoding="utf-8")
        for pattern in EXTRAS:
            named |= {name for found in pattern.findall(text) for name in found.split(",")}
    assert named - {"NAME", "extra"} <= extras
    assert {"ros", "runtimes", "hf"} <= named


@pytest.mark.parametrize("extra", ["ros", "runtimes", "hf"])
def test_an_error_names_the_packages_of_the_extra_itself(extra: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    command = install_command(extra)
    for requirement in project["optional-dependencies"][extra]:
        assert f"'{requirement}'" in command
