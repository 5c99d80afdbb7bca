"""Figures of a probe study: quality against cost, and the predictions of dense probes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from s2robot.analysis.probes.study import (
    NO_ENCODER,
    Row,
    Study,
    differences,
    layers_label,
    mark_of,
    scales_label,
)
from s2robot.analysis.probes.tasks import Measure, Task, get_task
from s2robot.envs.scene import SEGMENTS
from s2robot.utils.io import atomic_path
from s2robot.utils.plotting import DODGE, GRAY, PALETTE
from s2robot.utils.records import read_array

SEGMENT_COLORS = ("#d5d9de", "#c8ab86", "#3d6fb4", "#f0b429", "#d62728")
"""Color of each class of ``SEGMENTS``."""
_DASHES = ("-", "--", "-.", ":")
_COLUMNS = 2


# ------------------------------------------------------------------------------ quality and cost
def draw_curves(path: Path, rows: Sequence[Row]) -> None:
    """Draw the first measure of each task against GFLOPs per frame, one line an encoder.

    Args:
        path: of the PNG file.
        rows: of the study.
    """
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    columns = min(len(tasks), _COLUMNS)
    lines = -(-len(tasks) // columns)
    series = list(dict.fromkeys(_series(row) for row in rows if row["encoder"] != NO_ENCODER))
    figure = _new_figure((4.9 * columns, 3.5 * lines + 0.35 + 0.2 * len(series)))
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes, name in zip(panels, tasks, strict=False):
        _draw_task(axes, get_task(name), [r for r in rows if r["task"] == name], series)
    for axes in panels[len(tasks) :]:
        axes.set_axis_off()
    _add_legend(figure, series)
    _save(figure, path)


def _draw_task(axes: Axes, task: Task, rows: Sequence[Row], series: Sequence[str]) -> None:
    measure = task.measures[0]
    variants = [row for row in rows if row["encoder"] != NO_ENCODER]
    marks = {change["key"]: mark_of(change) for change in differences(rows)}
    for number, name in enumerate(series):
        dodge = DODGE ** (2 * number - len(series) + 1)
        own = [row for row in variants if _series(row) == name]
        _draw_line(axes, measure, own, series, dodge, marks)
    for row in rows:
        value = row["measures"][measure.name]["estimate"]
        if row["encoder"] == NO_ENCODER and value is not None:
            _draw_baseline(axes, measure, value)
    costs = [row["gflops"] for row in variants] or [1.0]
    axes.set_xscale("log")
    axes.set_xlim(min(costs) / 1.7, max(costs) * 1.7)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.margins(y=0.16)
    axes.set_title(task.title, loc="left", fontsize=11)
    axes.set_xlabel("encoder, GFLOPs a frame")
    axes.set_ylabel(
        f"{measure.name}, {'higher' if measure.higher_is_better else 'lower'} is better"
    )
    axes.grid(axis="y", color=GRAY, alpha=0.25, lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_baseline(axes: Axes, measure: Measure, value: float) -> None:
    """Draw a dotted line, or a note at the edge if the line would compress the plot."""
    low, high = axes.dataLim.intervaly
    if low - (high - low) <= value <= high + (high - low) or not low < high:
        axes.axhline(value, color=GRAY, lw=1.2, ls=(0, (1, 2)), zorder=1)
        return
    above = value > high
    axes.annotate(
        f"no features: {value:.{measure.digits}f} {'↑' if above else '↓'}",
        (0.99, 0.98 if above else 0.02),
        xycoords="axes fraction",
        ha="right",
        va="top" if above else "bottom",
        color=GRAY,
        fontsize=9,
    )


def _draw_line(
    axes: Axes,
    measure: Measure,
    rows: Sequence[Row],
    series: Sequence[str],
    dodge: float,
    marks: Mapping[str, str],
) -> None:
    """Draw the points of an encoder in order of cost, with intervals and scale sets."""
    drawn = [row for row in rows if row["measures"][measure.name]["estimate"] is not None]
    drawn.sort(key=lambda row: row["gflops"])
    if not drawn:
        return
    color, dashes = _style(_series(drawn[0]), series)
    values = [row["measures"][measure.name] for row in drawn]
    xs = [row["gflops"] * dodge for row in drawn]
    ys = np.array([value["estimate"] for value in values])
    lows, highs = (np.array([value[side] for value in values], float) for side in ("low", "high"))
    axes.plot(xs, ys, dashes, color=color, lw=1.4, alpha=0.6)
    errors = np.abs(np.stack([ys - lows, highs - ys]))
    axes.errorbar(xs, ys, errors, fmt="o", color=color, ms=5, capsize=2.5, lw=1.2)
    for x, y, row in zip(xs, ys, drawn, strict=True):
        text = scales_label(row) + marks.get(row["key"], "")
        place = _label_place(series.index(_series(row)), len(series))
        axes.annotate(text, (x, y), **place, color=color, fontsize=8)


def _label_place(number: int, count: int) -> dict[str, Any]:
    """Return the place of an encoder's labels: left and right in turn, so that they are apart."""
    left = count > 1 and number % 2 == 0
    offset = (-6 if left else 6, 4 - 11 * (number // 2))
    return {"xytext": offset, "textcoords": "offset points", "ha": "right" if left else "left"}


def _series(row: Row) -> str:
    return f"{row['encoder']}{layers_label(row)}"


def _style(name: str, series: Sequence[str]) -> tuple[str, str]:
    """Return color and line style."""
    number = series.index(name)
    return PALETTE[number % len(PALETTE)], _DASHES[number // len(PALETTE) % len(_DASHES)]


def _add_legend(figure: Figure, series: Sequence[str]) -> None:
    handles = []
    for name in series:
        color, dashes = _style(name, series)
        handles.append(Line2D([], [], color=color, ls=dashes, marker="o", ms=5, label=name))
    handles.append(
        Line2D([], [], color=GRAY, ls=(0, (1, 2)), label="no features (best constant prediction)")
    )
    figure.legend(
        handles=handles,
        loc="outside lower left",
        ncols=2,
        frameon=False,
        fontsize=9,
        title="bars: 95 % over episodes; labels: scales;\n"
        "* better, ! worse than the first set (paired difference)",
        title_fontsize=9,
        alignment="left",
    )


# ----------------------------------------------------------------------------------- predictions
def draw_predictions(study: Study, rows: Sequence[Row]) -> list[Path]:
    """Draw frames with true and predicted segmentation and depth, one figure an encoder.

    Args:
        study: that made the rows.
        rows: of the study.

    Returns:
        Paths of the files in ``<out>``; none if no dense task was probed.
    """
    dense = [r for r in rows if r["encoder"] != NO_ENCODER and get_task(r["task"]).dense]
    paths = []
    for name in dict.fromkeys(_series(row) for row in dense):
        safe = re.sub(r"[^\w.-]+", "-", name).strip("-")
        paths.append(study.config.out / f"predictions-{safe}.png")
        _draw_page(paths[-1], study, name, [row for row in dense if _series(row) == name])
    return paths


def _draw_page(path: Path, study: Study, name: str, rows: Sequence[Row]) -> None:
    data, frames = study.data, study.parts.test[study.samples]
    depths = data.depth_m[frames]
    near_far = {"vmin": float(depths.min()), "vmax": float(depths.max()), "cmap": "viridis"}
    flat = {"vmin": -0.5, "vmax": len(SEGMENTS) - 0.5, "cmap": ListedColormap(SEGMENT_COLORS)}
    columns: list[tuple[str, np.ndarray, dict[str, Any]]] = [("frame", data.frames[frames], {})]
    for task, true, style in (
        ("segmentation", data.segments[frames], flat),
        ("depth", depths, near_far),
    ):
        own = [row for row in rows if row["task"] == task]
        if own:
            columns.append((f"{task},\ntrue", true, style))
        columns += [(f"predicted,\n({scales_label(r)})", _sample(study, r), style) for r in own]
    figure = _new_figure((1.55 * len(columns), 1.4 * len(frames) + 1.0))
    panels = figure.subplots(len(frames), len(columns), squeeze=False)
    for column, (title, images, style) in enumerate(columns):
        panels[0, column].set_title(title, fontsize=9)
        for line, image in enumerate(images):
            panels[line, column].imshow(image, interpolation="nearest", **style)
            panels[line, column].set(xticks=[], yticks=[])
        if style is near_far and title.endswith("true"):
            shown = panels[-1, column].images[0]
            figure.colorbar(
                shown, ax=panels[:, column:], label="depth [m]", shrink=0.8, aspect=30, pad=0.01
            )
    figure.suptitle(f"{name}: test frames", fontsize=10)
    patches = [Patch(color=c, label=n) for c, n in zip(SEGMENT_COLORS, SEGMENTS, strict=True)]
    if any(row["task"] == "segmentation" for row in rows):
        figure.legend(
            handles=patches, loc="outside lower center", ncols=5, frameon=False, fontsize=9
        )
    _save(figure, path)


def _sample(study: Study, row: Row) -> np.ndarray:
    path, remedy = study.sample_path(row["key"]), "delete it and run again"
    dtype = np.uint8 if row["task"] == "segmentation" else np.float32
    return read_array(path, remedy, dtype, (len(study.samples), None, None))


def _new_figure(size: tuple[float, float]) -> Figure:
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=140, facecolor="white", format="png")
