"""Types of command-line arguments that several commands take, for ``argparse``."""

from __future__ import annotations

import argparse
import math


def frame_shape(text: str) -> tuple[int, int]:
    """HEIGHTxWIDTH to (height, width) [px].

    >>> frame_shape("480x640")
    (480, 640)
    """
    sides = text.strip().lower().replace("×", "x").split("x")
    if len(sides) != 2 or not all(side.isdigit() and int(side) > 0 for side in sides):
        raise argparse.ArgumentTypeError(f"{text!r} is no HEIGHTxWIDTH in pixels, such as 480x640")
    return int(sides[0]), int(sides[1])


def count(text: str) -> int:
    """A whole number from 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1")
    return int(text)


def scale_set(text: str) -> tuple[float, ...]:
    """Scales with commas between them, in brackets or not.

    >>> scale_set("1,2"), scale_set("(1, 2)")
    ((1.0, 2.0), (1.0, 2.0))
    """
    try:
        scales = tuple(float(part) for part in text.strip("()[] ").split(","))
    except ValueError:
        scales = ()
    if not scales or not all(0 < scale < math.inf for scale in scales):
        raise argparse.ArgumentTypeError(f"{text!r} is no set of scales, such as 1,2,3")
    return scales
