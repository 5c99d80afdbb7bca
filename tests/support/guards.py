"""What a test does that unit tests of the fast tier must not: processes, servers, drawing."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from s2robot.envs.rendering import Renderer

KINDS = ("process", "render")
HARMLESS = {"git", "ldconfig", "gcc", "cc", "objdump", "ld", "uname", "lscpu", "nvidia-smi"}
"""Programs that libraries ask about the machine."""
_seen: set[str] = set()
_watching = False


@contextlib.contextmanager
def watched() -> Iterator[set[str]]:
    """Yield the kinds of work that are done meanwhile: some of ``KINDS``."""
    global _watching
    _install()
    _seen.clear()
    _watching = True
    try:
        yield _seen
    finally:
        _watching = False


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching:
        return
    if event == "subprocess.Popen":
        program = arguments[0] or arguments[1][0]
        if PurePath(str(program)).name not in HARMLESS:
            _seen.add("process")
    elif event in ("os.fork", "os.posix_spawn", "socket.bind"):
        _seen.add("process")


def _install() -> None:
    """Hook in, once a process."""
    if getattr(Renderer, "_watched_by_tests", False):
        return
    sys.addaudithook(_audit)
    canvas = Renderer._canvas

    def drawing(self: Renderer, *arguments: Any, **options: Any) -> Any:
        if _watching:
            _seen.add("render")
        return canvas(self, *arguments, **options)

    Renderer._canvas = drawing  # pyright: ignore[reportAttributeAccessIssue]
    Renderer._watched_by_tests = True  # pyright: ignore[reportAttributeAccessIssue]
