"""Every example of README, CONTRIBUTING and other pages runs, or says above why it does not."""

from __future__ import annotations

import ast
import json
import re
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.page_blocks import PAGES, Block, blocks_of, commands_of, page_blocks, problems
from support.page_commands import run_command, torchrun
from support.page_files import FOLLOWED, MODULES, PREPARED, fill, make_cards_small, small_backbone
from support.page_shell import PageShell
from support.paths import ROOT

SHAPE = re.compile(r"#\s+(\((?:\d+|[A-Z])(?:, (?:\d+|[A-Z]))*,?\))(?: (float32|uint8|int64)\b)?")
VALUE = re.compile(r"#\s+(\(\(.*\)|[A-Z]\w+\(.*\))$")
WITH_BLOCKS = [path for path in PAGES if page_blocks(path)]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that examples read."""
    folder = tmp_path_factory.mktemp("files")
    fill(folder)
    return folder


@pytest.fixture
def workplace(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it for one page, and the current folder."""
    folder = tmp_path / "work"
    shutil.copytree(files, folder)
    monkeypatch.chdir(folder)
    return folder


class PageRun:
    """The examples of one page, one after the other, with their variables and files."""

    def __init__(self, page: str) -> None:
        self.page = page
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.shell = PageShell()
        self.programs = 0

    def __call__(self, block: Block) -> None:
        run = {"python": self.python, "bash": self.bash, "json": lambda b: json.loads(b.text)}
        if block.language in run:
            run[block.language](block)

    def python(self, block: Block) -> None:
        key = (self.page, self.programs)
        self.programs += 1
        self.names |= PREPARED.get(key, dict)()
        modules = self.names.pop(MODULES, {})
        lines = block.text.splitlines()
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            warnings.filterwarnings("error", ".* is now called ", FutureWarning)
            patch.setattr("s2robot.encoder.frame_encoder.load_backbone", small_backbone)
            make_cards_small(patch)
            for name, module in modules.items():
                patch.setitem(sys.modules, name, module)
            for node in ast.parse(block.text).body:
                last = lines[(node.end_lineno or 1) - 1]
                check_comment(run_statement(node, block, self.names), last)
        FOLLOWED.get(key, lambda names: None)(self.names)

    def bash(self, block: Block) -> None:
        for command in commands_of(block.text):
            program, *words = command.words
            if program == "torchrun":
                program, words = "s2robot", torchrun(words)
            if program == "train-policy":
                program, words = "s2robot", ["train", *words]
            if program == "s2robot":
                run_command(expanded(words))
            else:
                self.shell.check(command)


def expanded(words: list[str]) -> list[str]:
    """Return words with the files that a pattern stands for, as a shell passes them."""
    return [
        found
        for word in words
        for found in (sorted(map(str, Path().glob(word))) if "*" in word else [word])
    ]


def run_statement(node: ast.stmt, block: Block, names: dict[str, Any]) -> Any:
    """Run one statement of a block; return the value that it has or assigns."""
    ast.increment_lineno(node, block.line - 1)
    if isinstance(node, ast.Expr):
        return eval(compile(ast.Expression(node.value), block.page, "eval"), names)
    exec(compile(ast.Module([node], []), block.page, "exec"), names)
    target = node.targets[0] if isinstance(node, ast.Assign) else None
    if isinstance(target, ast.Tuple) and len(target.elts) == 1:
        target = target.elts[0]
    return names[target.id] if isinstance(target, ast.Name) else None


def check_comment(value: Any, line: str) -> None:
    """Compare what a comment says of a value, its shape and type or the value, with the value."""
    shape, text = SHAPE.search(line), VALUE.search(line)
    if shape and hasattr(value, "shape"):
        said = shape[1].strip("(),").split(", ")
        assert len(said) == len(value.shape), line
        for number, size in zip(said, value.shape, strict=True):
            assert not number.isdigit() or int(number) == size, f"{line}: {tuple(value.shape)}"
        assert shape[2] is None or str(value.dtype).endswith(shape[2]), f"{line}: {value.dtype}"
    elif text and value is not None:
        pattern = re.escape(text[1]).replace(r"\.\.\.", r"\d*")
        assert re.fullmatch(pattern, repr(value)), f"{line}: {value!r}"


@pytest.mark.parametrize("path", WITH_BLOCKS, ids=name_of)
def test_examples_of_a_page_run(path: Path, workplace: Path) -> None:
    run = PageRun(name_of(path))
    for block in page_blocks(path):
        if block.reason is not None:
            continue
        try:
            run(block)
        except (Exception, SystemExit) as error:
            raise AssertionError(f"{block.place}: {error}") from error


def test_every_block_is_run_or_says_why_not() -> None:
    assert [one for path in PAGES for block in page_blocks(path) for one in problems(block)] == []


def test_stand_ins_belong_to_blocks_that_are_there() -> None:
    programs = {
        (name_of(path), number)
        for path in WITH_BLOCKS
        for number, _ in enumerate(b for b in page_blocks(path) if b.language == "python")
    }
    assert set(PREPARED) | set(FOLLOWED) <= programs


@pytest.mark.parametrize(
    "text",
    [
        "```\nx = 1\n```\n",
        "```yaml\nlevel: easy\n```\n",
        "<!-- not run -->\n```bash\nls\n```\n",
        "<!-- not run: -->\n```bash\nls\n```\n",
    ],
)
def test_a_block_that_is_neither_run_nor_explained_is_found(text: str) -> None:
    (block,) = blocks_of(text)
    assert problems(block)


def test_a_reason_stands_directly_above_its_block() -> None:
    text = "<!-- not run: needs a robot -->\n```bash\nls\n```\n\n```bash\nls\n```\n"
    first, second = blocks_of(text)
    assert (first.reason, second.reason) == ("needs a robot", None)
    assert not problems(first)


@pytest.mark.parametrize(
    "line",
    [
        "ffmpeg -i run1.mp4 run2.mp4",
        "make nothing",
        "make demo DEMO_ARGUMENTS=--quick",
        "source elsewhere/bin/activate",
        "elsewhere/bin/pip install torch",
        "pip install 'path/to/s2robot[robots]'",
        "pip install dist/s2robot-0.0.1-py3-none-any.whl",
        "pip install '=='",
        "python benchmarks/encoders_compared.py runs --into x.json",
        "VIEW=3 bash benchmarks/ladder.sh",
        "findings/run_all.sh nothing",
        "export S2ROBOT_ONLINE=1",
        "roslaunch s2robot_ros encoder.launch picture:=/image_raw",
        "ros2 launch s2robot_ros encoder.launch.py picture:=/image_raw",
        "ros2 run s2robot_ros decoder",
        "ros2 run s2robot_ros encoder --ros-args -p max_rate:=10",
        "ros2 param get /s2robot_encoder max_rate",
        "ros2 topic hz /embeddings",
        "ros2 interface show s2robot_msgs/msg/Embedding",
        'ros2 service call /s2robot_encoder/disable std_srvs/srv/SetBool "{data: false}"',
    ],
)
def test_a_command_that_names_what_is_not_there_is_found(line: str) -> None:
    (command,) = commands_of(line)
    with pytest.raises((AssertionError, FileNotFoundError)):
        PageShell().check(command)


@pytest.mark.parametrize(
    "words",
    [
        ["collect", "env.yaw=0.5"],
        ["bench", "mvp-vits-mae"],
        ["probe", "--size", "wide"],
        ["evaluate"],
        ["sweep", "seed=0,1", "hydra/launcher=joblib", "policies=mlp"],
    ],
)
def test_a_command_that_is_refused_is_found(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((AssertionError, ValueError)):
        run_command(words)


@pytest.mark.parametrize(
    "text",
    ["x = np.zeros((2, 3))  # (2, 4)", "x = np.zeros(3)  # (3,) uint8", "(1, (2,))  # ((1, 2))"],
)
def test_a_comment_that_is_not_true_is_found(text: str) -> None:
    run = PageRun("page.md")
    run.names["np"] = np
    with pytest.raises(AssertionError):
        run(Block("page.md", 2, "python", text, None))
