"""The guard of the fast tier sees what it is meant to see, and nothing else."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest
from support.guards import watched


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
