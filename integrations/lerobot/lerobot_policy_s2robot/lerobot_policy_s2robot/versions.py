"""The range of LeRobot's versions with which this package was tested."""

from __future__ import annotations

import importlib.metadata

FIRST, BEFORE = (0, 6, 1), (0, 7)


def check_lerobot(version: str | None = None) -> None:
    """Raise an error for a LeRobot outside the tested range.

    Args:
        version: of LeRobot; None for the installed one.

    Raises:
        ImportError: the version is another.

    Examples:
        >>> check_lerobot("0.6.1")
        >>> check_lerobot("0.5.0")
        Traceback (most recent call last):
        ImportError: lerobot is 0.5.0; this package was tested with 0.6.1 and later, before 0.7. \
Install it with: pip install 'lerobot>=0.6.1,<0.7'
    """
    seen = importlib.metadata.version("lerobot") if version is None else version
    numbers = tuple(int(part) for part in seen.split(".")[:3] if part.isdigit())
    if not FIRST <= numbers < BEFORE:
        first, before = (".".join(map(str, each)) for each in (FIRST, BEFORE))
        raise ImportError(
            f"lerobot is {seen}; this package was tested with {first} and later, before {before}. "
            f"Install it with: pip install 'lerobot>={first},<{before}'"
        )
