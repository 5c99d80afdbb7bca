"""Picture of a recommendation: error against milliseconds, the deadline as a line."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from s2robot.analysis.recommend.probing import MEASURES
from s2robot.analysis.recommend.results import Recommendation
from s2robot.utils.io import atomic_path
from s2robot.utils.plotting import GRAY, MARKERS, PALETTE


def draw(path: Path, found: Recommendation) -> None:
    """Draw the error of each candidate against its latency; nothing without errors.

    Args:
        path: of the PNG file.
        found: the recommendation.
    """
    if found.metric is None or not any(found.metric in c.errors for c in found.candidates):
        return
    measure = MEASURES[found.metric]
    figure = Figure(figsize=(7.5, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    encoders = list(dict.fromkeys(c.encoder for c in found.candidates))
    for number, name in enumerate(encoders):
        own = [c for c in found.candidates if c.encoder == name and found.metric in c.errors]
        if not own:
            continue
        own.sort(key=lambda c: c.latency.p95_ms)
        intervals = [c.errors[found.metric].interval() for c in own]
        ys = [interval.estimate for interval in intervals]
        reach = [interval.high - interval.estimate for interval in intervals]
        color = GRAY if name.startswith("random/") else PALETTE[number % len(PALETTE)]
        style = {"color": color, "marker": MARKERS[number % len(MARKERS)], "capsize": 2.5}
        axes.errorbar([c.latency.p95_ms for c in own], ys, reach, **style, lw=1.3, label=name)
        for candidate, y in zip(own, ys, strict=True):
            text = ",".join(f"{scale:g}" for scale in candidate.scales)
            place = {"xytext": (5, 5), "textcoords": "offset points"}
            axes.annotate(text, (candidate.latency.p95_ms, y), **place, color=color, fontsize=8)
    axes.axvline(found.deadline_ms, color=GRAY, ls="--", lw=1.2)
    axes.annotate(
        f"deadline {found.deadline_text}",
        (found.deadline_ms, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(-4, -4),
        textcoords="offset points",
        rotation=90,
        ha="right",
        va="top",
        color=GRAY,
        fontsize=9,
    )
    if found.metric in found.constant:
        _draw_constant(axes, found.constant[found.metric].mean)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5), numticks=12))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.set_xlabel("latency of a frame, 95th percentile [ms]")
    axes.set_ylabel(f"{measure.title} [{measure.unit}]")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=140)


def _draw_constant(axes: Axes, error: float) -> None:
    """Draw the error of the mean as a line, with room for its words."""
    axes.axhline(error, color=GRAY, ls=":", lw=1.2)
    low, high = axes.get_ylim()
    room = 0.08 * (high - low)
    axes.set_ylim(min(low, error - room), max(high, error + room))
    axes.annotate(
        "the mean, without a camera",
        (0.0, error),
        xycoords=("axes fraction", "data"),
        xytext=(4, 3),
        textcoords="offset points",
        color=GRAY,
        fontsize=9,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
    )
