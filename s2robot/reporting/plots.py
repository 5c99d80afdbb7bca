"""Plots of a report: success rate against encoder cost, and nominal against perturbed scenes."""

from __future__ import annotations

import contextlib
import io
import itertools
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from s2robot.reporting.generalization import Generalization
from s2robot.reporting.label_placement import band_labels, keep_best, obstacles, point_labels
from s2robot.reporting.report import distinction
from s2robot.reporting.run_results import ComparisonGroup, VariantResults
from s2robot.utils.plotting import DODGE, GRAY, MARKERS, PALETTE
from s2robot.utils.process_state import one_at_a_time

INK = "#16181d"
"""Color of text and axes; an SVG takes the text color of the page instead."""

TITLE_LENGTH = 90
"""Characters of a plot's title."""


@dataclass(frozen=True)
class Style:
    """Color, marker and legend entry of one encoder."""

    color: str
    marker: str
    name: str


def success_svg(group: ComparisonGroup, metric: str, salt: str, narrow: bool = False) -> str:
    """Return success rates against encoder cost as an SVG element for the page.

    Args:
        group: the variants to draw; baselines are bands, encoders of unknown cost are left out.
        metric: one of ``METRICS``.
        salt: keeps the ids of several figures of one page apart.
        narrow: True for the layout for phones.
    """
    size = (4.3, 4.6) if narrow else (8.6, 4.4)
    with _plot_style(f"{salt}-{narrow}"):
        return _svg(_figure(size, [group], metric, columns=1 if narrow else 3))


def success_png(path: Path, groups: Sequence[ComparisonGroup], metric: str) -> None:
    """Write the plots of all groups, one below the other, as a PNG file.

    Args:
        path: of the file.
        groups: one plot each.
        metric: one of ``METRICS``.
    """
    with _plot_style("png"):
        figure = _figure((8.6, 4.6 * len(groups)), groups, metric, columns=3)
        figure.savefig(path, format="png", dpi=160, facecolor="white")


def generalization_svg(table: Generalization, metric: str, narrow: bool = False) -> str:
    """Return the success rates on both levels, one row a variant, as an SVG element.

    Args:
        table: the variants and both levels.
        metric: one of ``METRICS``.
        narrow: True for the layout for phones.
    """
    size = (4.3 if narrow else 8.6, 1.2 + 0.42 * len(table.pairs))
    with _plot_style(
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
    """Draw success rates and intervals along the x axis; variant i at height ``rows[i]``."""
    rates = [variant.rate(metric) for variant in variants]
    limits = np.array([[r.low, r.estimate, r.high] for r in rates]).T * 100  # (3, variants)
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
    """Return the figure as an SVG element that takes its text color from the page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :].replace(INK, "currentColor")


@contextlib.contextmanager
def _plot_style(salt: str) -> Iterator[None]:
    with (
        one_at_a_time(),
        matplotlib.rc_context(
            {
                "svg.fonttype": "none",
                "text.parse_math": False,  # a label may hold any character
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
        ),
    ):
        yield


def _figure(
    size: tuple[float, float], groups: Sequence[ComparisonGroup], metric: str, columns: int
) -> Figure:
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    all_axes = figure.subplots(len(groups), 1, squeeze=False)[:, 0]
    for axes, group in zip(all_axes, groups, strict=True):
        _draw(axes, group, metric, columns)
        if len(groups) > 1:
            words = [group.level, group.policy_kind, distinction(group, groups)]
            title = textwrap.shorten(" · ".join(filter(None, words)), TITLE_LENGTH)
            axes.set_title(title, loc="left", fontsize=11)
    figure.draw_without_rendering()  # fixes the layout before labels are placed
    for axes, group in zip(all_axes, groups, strict=True):
        _place_labels(axes, group, metric)
    return figure


def _draw(axes: Axes, group: ComparisonGroup, metric: str, columns: int) -> None:
    styles = _styles(group)
    positions = _positions(_drawn(group))
    for baseline in group.baselines:
        _draw_band(axes, baseline, metric)
    for line in _lines(_drawn(group)):
        xs, ys = zip(
            *[(positions[variant.label], _percent(variant, metric)) for variant in line],
            strict=True,
        )
        dashes = "--" if line[-1].input_mode == "interpolate" else "-"
        axes.plot(xs, ys, dashes, color=styles[_series(line[-1])].color, lw=1.3, alpha=0.55)
    for variant in _drawn(group):
        _draw_point(axes, variant, positions[variant.label], styles[_series(variant)], metric)
    _format_axes(axes, positions.values(), metric)
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
    rate = baseline.rate(metric)
    axes.axhspan(100 * rate.low, 100 * rate.high, color=GRAY, alpha=0.22, lw=0)
    axes.axhline(100 * rate.estimate, color=GRAY, lw=1, ls=":")


def _draw_point(axes: Axes, variant: VariantResults, x: float, style: Style, metric: str) -> None:
    rate = variant.rate(metric)
    y = 100 * rate.estimate
    below, above = max(0.0, y - 100 * rate.low), max(0.0, 100 * rate.high - y)
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


def _format_axes(axes: Axes, xs: Iterable[float], metric: str) -> None:
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
    """Place each label where it covers least of points, intervals, lines and earlier labels."""
    taken = obstacles(axes)
    styles, positions = _styles(group), _positions(_drawn(group))
    for variant in _drawn(group):
        point = positions[variant.label], _percent(variant, metric)
        color = styles[_series(variant)].color
        taken.append(keep_best(point_labels(axes, variant.scales_text, point, color), taken, axes))
    for baseline in group.baselines:
        rate = baseline.rate(metric)
        text = f"{baseline.label} {100 * rate.estimate:.0f} %"
        options = band_labels(axes, text, 100 * rate.low, 100 * rate.high)
        taken.append(keep_best(options, taken, axes))


def _drawn(group: ComparisonGroup) -> list[VariantResults]:
    """Return the encoders that have a place on the cost axis."""
    return [variant for variant in group.encoders if variant.gflops]


def _series(variant: VariantResults) -> tuple[str, str]:
    return variant.backbone, variant.readout


def _styles(group: ComparisonGroup) -> dict[tuple[str, str], Style]:
    """Return a color for each backbone and readout (random weights gray), a marker a readout."""
    series = list(dict.fromkeys(_series(variant) for variant in _drawn(group)))
    readouts = list(dict.fromkeys(readout for _, readout in series))
    colors = itertools.cycle(PALETTE)
    styles = {}
    untrained = {_series(variant) for variant in _drawn(group) if variant.is_random}
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
    if any(variant.input_mode == "interpolate" for variant in _drawn(group)):
        handles += [
            Line2D([], [], color=INK, marker="o", ls=dashes, markerfacecolor=fill, label=name)
            for dashes, fill, name in (("-", INK, "native"), ("--", "none", "interpolated"))
        ]
    return handles


def _lines(variants: Sequence[VariantResults]) -> list[list[VariantResults]]:
    """Return the variants to connect: one encoder and input mode, from few scales to many."""
    lines = []
    for series in dict.fromkeys(_series(variant) for variant in variants):
        own = [variant for variant in variants if _series(variant) == series]
        for mode in ("native", "interpolate"):
            chain = [
                variant for variant in own if variant.input_mode == mode or len(variant.scales) <= 1
            ]
            if len(chain) > 1 and any(variant.input_mode == mode for variant in chain[1:]):
                lines.append(sorted(chain, key=lambda variant: variant.gflops))
    return lines


def _positions(variants: Sequence[VariantResults]) -> dict[str, float]:
    """Return each variant's position on the cost axis; variants of equal cost stand apart."""
    positions = {}
    by_cost: dict[float, list[VariantResults]] = {}
    for variant in variants:
        by_cost.setdefault(round(max(variant.gflops, 1e-3), 6), []).append(variant)
    for cost, same in by_cost.items():
        for i, variant in enumerate(same):
            positions[variant.label] = cost * DODGE ** (2 * i - (len(same) - 1))
    return positions


def _percent(variant: VariantResults, metric: str) -> float:
    return 100 * variant.rate(metric).estimate
