from __future__ import annotations

from pathlib import Path

import check_files
import pytest


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.toml", b"key = ", "does not parse"),
        ("a.yaml", b"key: [1", "does not parse"),
        ("a.py", b"<<<<<<< HEAD\n", "merge marker"),
        ("a.bin", bytes(1024 * 1024 + 1), "at most 1024 KB"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert [problem in line for line in check_files.problems_of(path)] == [True]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.toml", b"key = 1\n"), ("mkdocs.yml", b"slugify: !!python/object/apply:x.y {}\n")],
)
def test_a_good_file_passes(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert check_files.problems_of(path) == []
