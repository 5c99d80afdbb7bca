"""Output as it is: in a pipe nothing is cut, broken or taken for markup."""

from __future__ import annotations

import ast
import io
import pickle

import pytest
from rich.table import Table
from support.source_files import library_files

from s2robot.utils.console import MESSAGES, OUTPUT, make_console

LONG = "/data/" + "/".join(f"runs[{number}]" for number in range(40)) + "/[bold]/:x:/policy.st"


def test_a_long_path_is_one_line_in_a_pipe(capsys: pytest.CaptureFixture) -> None:
    OUTPUT.print(f"evaluate it: s2robot eval checkpoint={LONG}")
    assert capsys.readouterr().out == f"evaluate it: s2robot eval checkpoint={LONG}\n"


def test_a_table_in_a_pipe_has_its_whole_cells(capsys: pytest.CaptureFixture) -> None:
    table = Table("path", "note", box=None)
    table.add_row(LONG, "needs 's2robot[ros]'")
    OUTPUT.print(table)
    assert capsys.readouterr().out.splitlines()[1].split() == [LONG, "needs", "'s2robot[ros]'"]


def test_messages_go_to_standard_error(capsys: pytest.CaptureFixture) -> None:
    MESSAGES.print("[red]no markup")
    assert capsys.readouterr() == ("", "[red]no markup\n")


def test_a_table_on_a_narrow_terminal_has_the_least_width() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    console = make_console(columns=160)
    console.file = Terminal()
    table = Table("name", box=None)
    table.add_row("x" * 150)
    console.print(table)
    assert "x" * 150 in console.file.getvalue()


def test_all_output_uses_the_shared_consoles() -> None:
    made = []
    for path in library_files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if name.split(".")[-1] in ("Console", "track") and path.name != "console.py":
                made.append(f"{path}:{name}")
    assert made == []


def test_a_console_reaches_the_processes_of_a_launcher() -> None:
    copies = [pickle.loads(pickle.dumps(each)) for each in (OUTPUT, MESSAGES)]
    assert [copy.stderr for copy in copies] == [False, True]
    assert pickle.loads(pickle.dumps(make_console(columns=130))).columns == 130
