"""The report's picture: success against the cost of encoding one frame."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from s2robot.reporting.generalization import Generalization
from s2robot.reporting.run_results import ComparisonGroup, VariantResults
from s2robot.utils.plotting import DODGE, GRAY, MARKERS, PALETTE

Box = np.ndarray  # x0, y0, x1, y1 [px]

INK = "#16181d"  # replaced by the page's own text colour in SVG
OFFSETS_PT = ((9, 5), (9, -5), (-9, 5), (-9, -5), (0, 11), (0, -11), (9, 14), (-9, 14), (9, -16))


@dataclass(frozen=True)
class Style:
    """How one encoder's points are drawn; interpolated input is hollow and dashed."""

    color: str
    marker: str
    name: str


def success_svg(group: ComparisonGroup, metric: str, narrow: bool = False) -> str:
    """Return the group's picture as an SVG element that takes its text colour from the page."""
    size = (4.3, 4.6) if narrow else (8.6, 4.4)
    with _look(f"{group.level}-{group.policy_kind}-{narrow}"):
        return _svg(_figure(size, [group], metric, columns=1 if narrow else 3))


def success_png(path: Path, groups: Sequence[ComparisonGroup], metric: str) -> None:
    """Draw every group's picture, one below the other, into a PNG file."""
    with _look("png"):
        figure = _figure((8.6, 4.6 * len(groups)), groups, metric, columns=3)
        figure.savefig(path, format="png", dpi=160, facecolor="white")


def generalization_svg(table: Generalization, metric: str, narrow: bool = False) -> str:
    """Return both levels' success rates, one row an arm, as an SVG element for the page."""
    size = (4.3 if narrow else 8.6, 1.2 + 0.42 * len(table.pairs))
    with _look(
        f"{table.nominal}-{table.perturbed}-{table.policy_kind}-{table.trained_on}-{narrow}"
    ):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        _draw_generalization(figure.subplots(), table, metric)
        return _svg(figure)


def _draw_generalization(axes: Axes, table: Generalization, metric: str) -> None:
    rows = np.arange(len(table.pairs))
    nominal, perturbed = ([getattr(p, side) for p in table.pairs] for side in ("first", "second"))
    _draw_rates(axes, rows - 0.12, nominal, PALETTE[0], table.nominal, metric)
    _draw_rates(axes, rows + 0.12, perturbed, PALETTE[1], table.perturbed, metric)
    axes.set_yticks(rows, [pair.first.label for pair in table.pairs])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(-3, 103)
    axes.set_xticks(range(0, 101, 20), [f"{tick} %" for tick in range(0, 101, 20)])
    axes.grid(axis="x", color=GRAY, alpha=0.25, lw=0.6)
    axes.set_axisbelow(True)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, fontsize=9)


def _draw_rates(
    axes: Axes,
    rows: np.ndarray,
    variants: Sequence[VariantResults],
    color: str,
    name: str,
    metric: str,
) -> None:
    """Success rates along the x axis, with their intervals; arm i at height ``rows[i]``."""
    rates = [variant.pooled(metric) for variant in variants]
    limits = np.array([[r.low, r.estimate, r.high] for r in rates]).T * 100  # (3, arms)
    axes.errorbar(
        limits[1],
        rows,
        xerr=np.diff(limits, axis=0).clip(min=0),
        fmt="o",
        color=color,
        markersize=6,
        capsize=3,
        lw=1.5,
        label=name,
    )


def _svg(figure: Figure) -> str:
    """The figure as an SVG element that takes its text colour from the page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :].replace(INK, "currentColor")


def _look(salt: str) -> Any:
    return matplotlib.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": salt,
            "font.size": 10,
            "text.color": INK,
            "axes.edgecolor": INK,
            "axes.labelcolor": INK,
            "axes.titlecolor": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )


def _figure(
    size: tuple[float, float], groups: Sequence[ComparisonGroup], metric: str, columns: int
) -> Figure:
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    all_axes = figure.subplots(len(groups), 1, squeeze=False)[:, 0]
    for axes, group in zip(all_axes, groups, strict=True):
        _draw(axes, group, metric, columns)
        if len(groups) > 1:
            axes.set_title(f"{group.level} · {group.policy_kind}", loc="left", fontsize=11)
    figure.draw_without_rendering()  # settles the layout, in which labels are then placed
    for axes, group in zip(all_axes, groups, strict=True):
        _place_labels(axes, group, metric)
    return figure


def _draw(axes: Axes, group: ComparisonGroup, metric: str, columns: int) -> None:
    styles = _styles(group)
    positions = _positions(group.encoders)
    for baseline in group.baselines:
        _draw_band(axes, baseline, metric)
    for line in _lines(group.encoders):
        xs, ys = zip(
            *[(positions[variant.label], _percent(variant, metric)) for variant in line],
            strict=True,
        )
        dashes = "--" if line[-1].input_mode == "interpolate" else "-"
        axes.plot(xs, ys, dashes, color=styles[_series(line[-1])].color, lw=1.3, alpha=0.55)
    for variant in group.encoders:
        _draw_point(axes, variant, positions[variant.label], styles[_series(variant)], metric)
    _dress(axes, positions.values(), metric)
    handles = _legend(group, styles)
    axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0, -0.16),
        ncols=columns,
        frameon=False,
        fontsize=9,
        borderaxespad=0,
    )


def _draw_band(axes: Axes, baseline: VariantResults, metric: str) -> None:
    rate = baseline.pooled(metric)
    axes.axhspan(100 * rate.low, 100 * rate.high, color=GRAY, alpha=0.22, lw=0)
    axes.axhline(100 * rate.estimate, color=GRAY, lw=1, ls=":")


def _draw_point(axes: Axes, variant: VariantResults, x: float, style: Style, metric: str) -> None:
    rate = variant.pooled(metric)
    y = 100 * rate.estimate
    below, above = y - 100 * rate.low, 100 * rate.high - y
    axes.errorbar(
        x,
        y,
        yerr=[[below], [above]],
        fmt=style.marker,
        color=style.color,
        markerfacecolor="none" if variant.input_mode == "interpolate" else style.color,
        markersize=7,
        capsize=3,
        lw=1.5,
    )


def _dress(axes: Axes, xs: Iterable[float], metric: str) -> None:
    costs = list(xs) or [1.0]
    axes.set_xscale("log")
    axes.set_xlim(min(costs) / 1.6, max(costs) * 1.9)
    axes.set_ylim(-3, 110)  # room for a label above a band at 100 %
    axes.set_yticks(range(0, 101, 20), [f"{tick} %" for tick in range(0, 101, 20)])
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.grid(axis="y", color=GRAY, alpha=0.25, lw=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("encoder cost per frame [GFLOP, log scale]")
    axes.set_ylabel({"success_at_end": "success at the end"}.get(metric, "success"))


def _place_labels(axes: Axes, group: ComparisonGroup, metric: str) -> None:
    """Put each label where it covers least: of points, intervals, lines and earlier labels."""
    taken = _obstacles(axes)
    styles, positions = _styles(group), _positions(group.encoders)
    for variant in group.encoders:
        point = positions[variant.label], _percent(variant, metric)
        color = styles[_series(variant)].color
        options = [_label(axes, variant.scales_text, point, offset, color) for offset in OFFSETS_PT]
        taken.append(_keep_best(options, taken, axes))
    for baseline in group.baselines:
        taken.append(_keep_best(_baseline_labels(axes, baseline, metric), taken, axes))


def _label(
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


def _baseline_labels(axes: Axes, baseline: VariantResults, metric: str) -> list[Text]:
    """A control's name at either edge of its band, at the right, the left and the middle."""
    rate = baseline.pooled(metric)
    text = f"{baseline.label} {100 * rate.estimate:.0f} %"
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
        for y, gap, edge in ((100 * rate.high, 2, "bottom"), (100 * rate.low, -2, "top"))
    ]


def _keep_best(options: list[Text], taken: list[Box], axes: Axes) -> Box:
    """Remove all options but the one that covers least (the first of equals); return its box."""
    boxes = [np.array(option.get_window_extent().extents) for option in options]
    frame = np.array(axes.bbox.extents)
    best = min(range(len(options)), key=lambda i: _cost(boxes[i], taken, frame))
    for i, option in enumerate(options):
        if i != best:
            option.remove()
    return boxes[best]


def _obstacles(axes: Axes) -> list[Box]:
    """Small boxes [px] along everything drawn at data coordinates."""
    boxes = []
    for line in axes.get_lines():
        if line.get_linestyle() == ":":  # a control's own line
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
    covered = _overlap(box, np.array(taken)).sum() if taken else 0.0
    whole = (box[2] - box[0]) * (box[3] - box[1])
    return float(covered + 20 * (whole - _overlap(box, frame[None]).sum()))


def _overlap(box: Box, others: np.ndarray) -> np.ndarray:
    """Areas that a box (4,) shares with others (n, 4), each x0, y0, x1, y1: (n,)."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    return sides.clip(min=0).prod(axis=1)


def _series(variant: VariantResults) -> tuple[str, str]:
    return variant.backbone, variant.readout


def _styles(group: ComparisonGroup) -> dict[tuple[str, str], Style]:
    """One colour for each backbone and readout (random weights grey), one marker a readout."""
    series = list(dict.fromkeys(_series(variant) for variant in group.encoders))
    readouts = list(dict.fromkeys(readout for _, readout in series))
    colors = itertools.cycle(PALETTE)
    styles = {}
    untrained = {_series(variant) for variant in group.encoders if variant.is_random}
    for backbone, readout in series:
        color = GRAY if (backbone, readout) in untrained else next(colors)
        marker = MARKERS[readouts.index(readout) % len(MARKERS)]
        name = f"{backbone} · {readout}" if len(readouts) > 1 else backbone
        styles[backbone, readout] = Style(color, marker, name)
    return styles


def _legend(group: ComparisonGroup, styles: dict[tuple[str, str], Style]) -> list[Line2D]:
    handles = [
        Line2D([], [], color=style.color, marker=style.marker, ls="none", label=style.name)
        for style in styles.values()
    ]
    if any(variant.input_mode == "interpolate" for variant in group.encoders):
        handles += [
            Line2D([], [], color=INK, marker="o", ls=dashes, markerfacecolor=fill, label=name)
            for dashes, fill, name in (("-", INK, "native"), ("--", "none", "interpolated"))
        ]
    return handles


def _lines(variants: Sequence[VariantResults]) -> list[list[VariantResults]]:
    """Runs of one encoder from few scales to many, for each input mode; both start at (1)."""
    lines = []
    for series in dict.fromkeys(_series(variant) for variant in variants):
        own = [variant for variant in variants if _series(variant) == series]
        for mode in ("native", "interpolate"):
            run = [
                variant for variant in own if variant.input_mode == mode or len(variant.scales) <= 1
            ]
            if len(run) > 1 and any(variant.input_mode == mode for variant in run[1:]):
                lines.append(sorted(run, key=lambda variant: variant.gflops))
    return lines


def _positions(variants: Sequence[VariantResults]) -> dict[str, float]:
    """Each arm's place on the cost axis, arms of equal cost side by side."""
    positions = {}
    by_cost: dict[float, list[VariantResults]] = {}
    for variant in variants:
        by_cost.setdefault(round(max(variant.gflops, 1e-3), 6), []).append(variant)
    for cost, same in by_cost.items():
        for i, variant in enumerate(same):
            positions[variant.label] = cost * DODGE ** (2 * i - (len(same) - 1))
    return positions


def _percent(variant: VariantResults, metric: str) -> float:
    return 100 * variant.pooled(metric).estimate
