"""List the unit tests that `make test-fast` leaves out as they take long.

    python tools/long_tests.py                # runs the unit tests, which takes half an hour
    python tools/long_tests.py -k tiling      # these alone; what the list has of others stays

Processor seconds count, of a test and of the processes that it waited for, with the fixtures that
it was the first to need; other work on the machine changes them little.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIST = ROOT / "tests" / "support" / "long_tests.txt"
LONG_S = 0.25
"""Processor seconds from which on a test is left out."""


class Clock:
    """Plug-in of pytest that notes each test's processor seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Note the seconds of one test."""
        before = sum(os.times()[:4])
        result = yield
        self.seconds[item.nodeid] = sum(os.times()[:4]) - before
        return result


def main() -> int:
    """Run the unit tests and write the list; return pytest's exit status."""
    clock = Clock()
    os.chdir(ROOT)
    status = pytest.main(["tests/unit", "-q", *sys.argv[1:]], plugins=[clock])
    others = set(LIST.read_text(encoding="utf-8").splitlines()) - set(clock.seconds)
    long = {name for name, seconds in clock.seconds.items() if seconds >= LONG_S}
    names = sorted(long | others)
    LIST.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    print(f"{len(long)} of {len(clock.seconds)} tests take {LONG_S} s or more: {LIST}")
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
