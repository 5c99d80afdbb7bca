"""The guard of the fast tier sees what it is meant to see, and nothing else."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest
from support.guards import watched
from support.paths import ROOT, TESTS


@pytest.mark.process
def test_a_started_process_is_seen() -> None:
    with watched() as seen:
        subprocess.run([sys.executable, "-c", ""], check=True)
    assert seen == {"process"}


@pytest.mark.process
def test_a_bound_socket_is_seen() -> None:
    with watched() as seen, socket.socket() as server:
        server.bind(("127.0.0.1", 0))
    assert seen == {"process"}


def test_plain_work_and_questions_about_the_machine_are_not() -> None:
    with watched() as seen:
        sum(range(10))
        subprocess.run(["uname"], check=True, capture_output=True)
    assert seen == set()


def test_the_list_of_long_tests_names_tests_that_there_are() -> None:
    """One that is gone or has another name would be in the fast tier without a word."""
    listed = (TESTS / "support" / "long_tests.txt").read_text().splitlines()
    assert len(listed) > 100
    assert listed == sorted(set(listed))
    texts = {name: (ROOT / name).read_text() for name in {line.split("::")[0] for line in listed}}
    absent = [
        line
        for line in listed
        if f"def {line.split('::')[-1].split('[')[0]}(" not in texts[line.split("::")[0]]
    ]
    assert absent == []
