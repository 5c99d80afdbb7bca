"""The page of a policy for recorded data: its errors, plots, and what they do not say."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from s2robot._version import __version__
from s2robot.data.datasets.contract import episode_name
from s2robot.experiments.recorded.held_out import EntryError, HeldOut
from s2robot.experiments.recorded.inputs import RecordedInputs
from s2robot.experiments.recorded.split import too_few
from s2robot.policies.checkpoint import PolicyHeader
from s2robot.stats.intervals import Interval
from s2robot.utils.html import render_page
from s2robot.utils.io import atomic_path
from s2robot.utils.plotting import GRAY, PALETTE

_SHOWN_ENTRIES = 16
"""Entries of an action that a plot of an episode has at most."""


def write_page(path: Path, inputs: RecordedInputs, header: PolicyHeader, found: HeldOut) -> None:
    """Write one self-contained page.

    Args:
        path: of the file.
        inputs: of the training.
        header: of the policy file; of several seeds, of the first one.
        found: its errors on held-out episodes.
    """
    page = render_page(
        "s2robot.experiments.recorded",
        "recorded.html.j2",
        title=inputs.label,
        facts=_facts(inputs, header, [seed for seed, _ in found.by_seed]),
        rows=[_row(entry) for entry in found.entries],
        seeds=[
            {"seed": seed, "errors": [interval_text(entry.error) for entry in own.entries]}
            for seed, own in found.by_seed
        ],
        episodes=len(found.episodes),
        few=too_few(len(found.episodes)),
        plots=[_plot_record(inputs, found, place, name) for place, name in _chosen(found)],
        version=__version__,
        commit=header.provenance.get("commit") or "unknown",
    )
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _row(entry: EntryError) -> dict[str, str]:
    return {
        "name": entry.name,
        "error": interval_text(entry.error),
        "share": "" if entry.share_of_range is None else f"{entry.share_of_range:.1%}",
        "constant": interval_text(entry.constant),
        "change": interval_text(entry.change, signed=True),
        "verdict": entry.verdict,
    }


def interval_text(found: Interval, signed: bool = False) -> str:
    """Return a number with its interval, such as "0.0123 (0.0101 to 0.0145)".

    Args:
        found: the interval; infinite limits are left out.
        signed: whether a plus is shown.
    """
    sign = "+" if signed else ""
    text = f"{found.estimate:{sign}.3g}"
    if not np.isfinite(found.low):
        return f"{text} (one episode: no interval)"
    return f"{text} ({found.low:{sign}.3g} to {found.high:{sign}.3g})"


def _facts(inputs: RecordedInputs, header: PolicyHeader, seeds: Sequence[int]) -> dict[str, str]:
    dataset = inputs.dataset
    cameras = ", ".join(f"{name} ({h} x {w} px)" for name, (h, w) in dataset.cameras.items())
    facts = {
        "data set": dataset.source,
        "episodes": inputs.episodes_text,
        "cameras": "none used" if inputs.is_blind else cameras,
        "observations": ", ".join(inputs.proprio_keys) or "none",
        "control rate": inputs.rate_text,
        "encoder": inputs.label,
        "policy": f"{header.policy_config.kind}, "
        + (
            f"training seeds {seeds[0]} to {seeds[-1]}" if seeds else f"training seed {header.seed}"
        ),
        "hyperparameters": "chosen on episodes of the training" if header.head else "as given",
    }
    return facts if dataset.task is None else {"task": dataset.task, **facts}


def _chosen(found: HeldOut) -> list[tuple[int, str]]:
    """Return the places of the best, middle and worst held-out episode, and what they are."""
    spans = np.array([max(entry.range[1] - entry.range[0], 1e-12) for entry in found.entries])
    varies = np.array([entry.range[1] > entry.range[0] for entry in found.entries])
    order = np.argsort((found.errors / spans * varies).mean(axis=1), kind="stable")
    names = {len(order) // 2: "middle", len(order) - 1: "largest", 0: "smallest"}
    return [(int(order[place]), f"{names[place]} error") for place in sorted(names)]


def _plot_record(inputs: RecordedInputs, found: HeldOut, place: int, name: str) -> dict[str, str]:
    figure = _figure(found, place)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, format="png")
    seed = f", policy of seed {found.by_seed[0][0]}" if found.by_seed else ""
    episode = episode_name(inputs.dataset, found.episodes[place])
    return {
        "title": f"Episode {episode}: {name} of the held-out episodes{seed}",
        "picture": base64.b64encode(buffer.getvalue()).decode(),
    }


def _figure(found: HeldOut, place: int) -> Figure:
    recorded, predicted = found.recorded[place], found.predicted[place]
    shown = found.entries[:_SHOWN_ENTRIES]
    rows = -(-len(shown) // 2)
    figure = Figure(figsize=(10, 1.2 + 1.7 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, 2 if len(shown) > 1 else 1, squeeze=False, sharex=True)
    for number, (entry, axis) in enumerate(zip(shown, axes.flat, strict=False)):
        axis.plot(recorded[:, number], color=GRAY, lw=2, label="recorded")
        axis.plot(predicted[:, number], color=PALETTE[0], lw=1.2, label="policy")
        axis.set_ylabel(entry.name)
        if entry.range[0] == entry.range[1]:  # differences of a hundredth would fill the plot
            axis.set_ylim(entry.range[0] - 1, entry.range[0] + 1)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    axes.flat[0].legend(frameon=False, fontsize=8)
    figure.supxlabel("control step")
    return figure
