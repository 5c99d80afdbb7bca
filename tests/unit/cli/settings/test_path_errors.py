"""Errors of the system about a path: where it was given, and what is allowed."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from s2robot.cli import main as command_line
from s2robot.cli.main import main
from s2robot.cli.settings.path_errors import path_error
from s2robot.utils.io import write_json

WITHOUT = "/proc/s2robot"
"""A place where nobody can make anything."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").write_text("a file")
    return tmp_path


def told(number: int, path: str, *argv: str) -> str:
    return path_error(OSError(number, os.strerror(number), path), argv)


@pytest.mark.parametrize(
    "argv",
    [["runs_dir=/x/runs"], ["--out", "/x/runs"], ["--out=/x/runs"], ["/x/runs"]],
)
@pytest.mark.parametrize("path", ["/x", "/x/runs", "/x/runs/a/b.json"])
def test_the_word_that_gave_the_path_or_a_folder_around_it_is_named(
    argv: list[str], path: str
) -> None:
    text = told(errno.ENOENT, path, "eager", *argv, "level=easy")
    assert text.startswith(f"{' '.join(argv)}: {path} is not there and cannot be made in /; give")


def test_the_nearest_word_counts_and_a_default_has_none(folder: Path) -> None:
    assert told(errno.EACCES, "/x/y/z", "--data", "/x", "--out", "/x/y").startswith("--out /x/y: ")
    assert told(errno.EACCES, "runs/recommend", "noise").startswith("runs/recommend may not be")
    assert told(errno.EACCES, str(folder), "noise").startswith(f"{folder} may not be read or wri")


@pytest.mark.parametrize(
    "number, path, text",
    [
        (errno.ENOTDIR, "FILE/a/b", "FILE is a file, and a folder is needed there; give another"),
        (errno.EEXIST, "FILE", "FILE is a file, and a folder is needed there; give another place"),
        (errno.EEXIST, ".", ". is there already; give another place"),
        (errno.EISDIR, ".", ". is a folder, and a file is needed; give the name of a file"),
        (errno.EROFS, "a", "a is on a disk that can only be read; give a place that can be writ"),
        (errno.ENAMETOOLONG, "a", "a cannot be used (File name too long); give another name"),
    ],
)
def test_each_error_says_what_is_wrong_and_what_is_allowed(
    number: int, path: str, text: str
) -> None:
    assert told(number, path).startswith(text)


def test_braces_and_bytes_are_names_as_any_other() -> None:
    assert "{a}" in told(errno.EISDIR, "{a}")
    error = OSError(errno.EISDIR, "is a folder", b"bytes")
    assert path_error(error, []).startswith("bytes is a folder")


@pytest.mark.parametrize(
    "words, text",
    [
        (["recommend", "noise", "--ms", "9", "--out", "FILE"], "--out FILE: FILE is a file, and"),
        (["recommend", "noise", "--ms", "9", "--out", WITHOUT], f"--out {WITHOUT}: {WITHOUT} is"),
        (["train", "runs_dir=FILE"], "runs_dir=FILE: FILE is a file, and a folder is needed"),
        (["train", f"runs_dir={WITHOUT}"], f"runs_dir={WITHOUT}: {WITHOUT} is not there and"),
    ],
)
def test_commands_name_the_word(
    words: list[str],
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = words[-1].rpartition("=")[2]

    def load(_: str) -> object:
        return lambda *_: write_json(Path(place) / "made/result.json", {})

    monkeypatch.setattr(command_line, "load", load)
    if words[0] == "train":
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 2
    else:
        assert main(words) == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert f"error: {text}" in shown
    assert "[Errno" not in shown
    assert not re.search(r"\.result\.[0-9a-f]{8}", shown)


def test_errors_without_a_path_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: list[str]) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(command_line, "load", lambda _: fail)
    with pytest.raises(BrokenPipeError):
        main(["doctor"])
