"""Places of labels in a plot that cover as little as possible of what is drawn."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Text

Box = np.ndarray
"""x0, y0, x1, y1 [px]."""
OFFSETS_PT = ((9, 5), (9, -5), (-9, 5), (-9, -5), (0, 11), (0, -11), (9, 14), (-9, 14), (9, -16))
"""Offsets of a label from its point [pt], in the order of preference."""


def point_labels(axes: Axes, text: str, point: tuple[float, float], color: str) -> list[Text]:
    """Draw a label at every allowed offset from a point.

    Args:
        axes: of the plot.
        text: of the label.
        point: data coordinates.
        color: of the text.

    Returns:
        All of them; ``keep_best`` removes the others.
    """
    return [_point_label(axes, text, point, offset, color) for offset in OFFSETS_PT]


def _point_label(
    axes: Axes, text: str, point: tuple[float, float], offset: tuple[float, float], color: str
) -> Text:
    across, up = offset
    return axes.annotate(
        text,
        point,
        xytext=offset,
        textcoords="offset points",
        ha="left" if across > 0 else "right" if across < 0 else "center",
        va="bottom" if up > 0 else "top",
        color=color,
        fontsize=9.5,
        fontweight="bold",
    )


def band_labels(axes: Axes, text: str, low: float, high: float) -> list[Text]:
    """Draw the label of a horizontal band at both of its edges, right, left and in the middle.

    Args:
        axes: of the plot.
        text: of the label.
        low: lower edge of the band in data coordinates.
        high: upper edge of the band in data coordinates.

    Returns:
        All of them; ``keep_best`` removes the others.
    """
    return [
        axes.annotate(
            text,
            (x, y),
            xycoords=("axes fraction", "data"),
            xytext=(0, gap),
            textcoords="offset points",
            ha=align,
            va=edge,
            fontsize=8.5,
            style="italic",
        )
        for x, align in ((0.995, "right"), (0.01, "left"), (0.5, "center"))
        for y, gap, edge in ((high, 2, "bottom"), (low, -2, "top"))
    ]


def keep_best(options: Sequence[Text], taken: Sequence[Box], axes: Axes) -> Box:
    """Remove all labels but the one that covers least (the first of equals); return its box.

    Args:
        options: places of one label.
        taken: boxes that should stay free.
        axes: of the plot; labels should not leave them.
    """
    boxes = [np.array(option.get_window_extent().extents) for option in options]
    frame = np.array(axes.bbox.extents)
    best = min(range(len(options)), key=lambda i: _cost(boxes[i], taken, frame))
    for i, option in enumerate(options):
        if i != best:
            option.remove()
    return boxes[best]


def obstacles(axes: Axes) -> list[Box]:
    """Return small boxes [px] along everything drawn at data coordinates."""
    boxes = []
    for line in axes.get_lines():
        if line.get_linestyle() == ":":  # the line of a baseline
            continue
        corners = axes.transData.transform(line.get_xydata())
        boxes += [_dot(corner, radius=6) for corner in corners]
        for start, end in itertools.pairwise(corners):
            boxes += [_dot(point, radius=1.5) for point in np.linspace(start, end, 25)]
    for bars in axes.collections:
        for path in bars.get_paths():
            corners = axes.transData.transform(path.vertices)
            boxes.append(np.concatenate([corners.min(axis=0) - 2, corners.max(axis=0) + 2]))
    return boxes


def _dot(center: np.ndarray, radius: float) -> Box:
    return np.concatenate([center - radius, center + radius])


def _cost(box: Box, taken: Sequence[Box], frame: Box) -> float:
    """Return the area that a label covers, plus 20 times the area outside of the axes."""
    covered = overlap(box, np.array(taken)).sum() if taken else 0.0
    whole = (box[2] - box[0]) * (box[3] - box[1])
    return float(covered + 20 * (whole - overlap(box, frame[None]).sum()))


def overlap(box: Box, others: np.ndarray) -> np.ndarray:
    """Return the areas that a box shares with others.

    Args:
        box: ``(4,)`` x0, y0, x1, y1.
        others: ``(n, 4)``.

    Returns:
        ``(n,)`` areas.

    Examples:
        >>> overlap(np.array([0, 0, 2, 2]), np.array([[1, 1, 3, 3], [2, 2, 3, 3]]))
        array([1, 0])
    """
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    return sides.clip(min=0).prod(axis=1)
