"""Work of ``s2robot reconstruct``: a study of recovered features, in words and pictures."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from s2robot.analysis.reconstruction.sources import Source, source_of
from s2robot.analysis.reconstruction.study import Recovery, Study, StudyConfig, reconstruct
from s2robot.cli.arguments import (
    encoder_options,
)
from s2robot.cli.parsers.reconstruct import FRAMES_TASK, OPTIONS, parse
from s2robot.cli.settings.recorded import data_choice
from s2robot.cli.settings.task_of_demos import trust_task
from s2robot.data.datasets.choice import DataChoice
from s2robot.data.frame_sources import expert_episode, frames_from, is_recorded, recorded_frames
from s2robot.data.rendered_demonstrations import task_of_file
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.envs.levels import get_level
from s2robot.stats.intervals import Interval
from s2robot.utils.console import OUTPUT, make_console
from s2robot.utils.io import atomic_path, write_json
from s2robot.utils.plotting import GRAY, MARKERS, PALETTE
from s2robot.utils.provenance import provenance

TOKENS_A_CHANNEL = 10
"""Minimum number of training tokens for each input channel; with fewer a map may overfit."""
FEW_BLOCKS = 10
"""Minimum number of test blocks; with fewer the intervals are too narrow."""


def main(argv: list[str]) -> int:
    """Run the command and return the exit status."""
    options = parse(argv)
    console = make_console(stderr=options.json, columns=130)
    config = StudyConfig(
        options.ridge, options.per_place, options.test_share, options.seed, options.batch
    )
    target, sources = _encoders(options)
    encoders = [target.encoder, *(source.encoder for source in sources)]
    height, width = options.frame or (_largest_side(encoders),) * 2
    choice, cache = data_choice(options), options.out / "cache"
    _trust_task(options)
    _check_cameras(options.frames, choice)
    numbers = (height, width, options.count, options.block)
    frames, blocks = frames_in_blocks(options.frames, *numbers, cache / "frames", choice)
    study = reconstruct(frames, blocks, target.encoder, sources, config, cache, not options.json)
    record = {
        "names": [target.name, *(source.name for source in sources)],
        "target": target.encoder.spec.to_dict(),
        "sources": [source.encoder.spec.to_dict() for source in sources],
        "frames": {
            "from": options.frames,
            **({"cameras": list(choice.cameras)} if choice.cameras else {}),
            "height": height,
            "width": width,
        },
        "blocks": {"frames": options.block, "test": study.test_blocks},
        "tokens": options.tokens,
        "config": asdict(config),
        **asdict(study),
        "words": in_words(study, target.name),
        "cautions": cautions(study),
        "provenance": provenance(),
    }
    write_json(options.out / "results.json", record)
    _draw(options.out / "information.png", study, target.name)
    if options.json:
        OUTPUT.print_json(data=record)
    else:
        _print(console, study, record, options)
    return 0


def _encoders(options: argparse.Namespace) -> tuple[Source, list[Source]]:
    how = {"tokens": options.tokens, "device": options.device, **encoder_options(options, OPTIONS)}
    layers = () if options.target_layer is None else (options.target_layer,)
    sources = [source_of(name, options.scales, **how) for name in dict.fromkeys(options.source)]
    if options.reference:
        sources.append(source_of(options.reference, reference=True, **how))
    target = source_of(options.target, layers=layers, **how)
    names = short_names([target.name, *(source.name for source in sources)])
    named = [replace(s, name=name) for s, name in zip([target, *sources], names, strict=True)]
    return named[0], named[1:]


def short_names(names: Sequence[str]) -> list[str]:
    """Return names to print: a card file's folder and stem, if the results are different."""
    parts = [Path(name.removeprefix("file:")).with_suffix("").parts[-2:] for name in names]
    short = [
        "/".join(part) if name.startswith("file:") else name
        for name, part in zip(names, parts, strict=True)
    ]
    return short if len(set(short)) == len(set(names)) else list(names)


def _largest_side(encoders: Sequence[FrameEncoder]) -> int:
    """Return the longest side of an image of any scale [px]."""
    parts = [part for encoder in encoders for part in encoder.layout.scales.values()]
    return max(max(part.image_shape) for part in parts)


def _trust_task(options: argparse.Namespace) -> None:
    """Allow the named task to be imported; of several sources, the last of demonstrations says."""
    files = [source for source in options.frames if Path(source).is_file()]
    of_task = [source for source in files if task_of_file(Path(source)) is not None]
    trust_task(options, FRAMES_TASK, (of_task or options.frames)[-1])


def _check_cameras(sources: Sequence[str], choice: DataChoice) -> None:
    """Refuse cameras where no source has any to choose from."""
    if choice.cameras and not any(is_recorded(source, choice) for source in sources):
        raise ValueError(
            f"--cameras {' '.join(choice.cameras)} chooses from recorded data, and "
            f"{', '.join(sources)} is none; leave it out"
        )


def frames_in_blocks(
    sources: Sequence[str],
    height: int,
    width: int,
    count: int,
    block: int,
    cache: Path,
    choice: DataChoice | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return frames of several sources, and the number of the block of each frame.

    Args:
        sources: names of sources for ``frames_from``, recorded data, or demonstrations of
            ``s2robot collect``.
        height: height of the frames [px].
        width: width of the frames [px].
        count: maximum number of frames of each source.
        block: number of consecutive frames in a block, for sources without episodes.
        cache: folder of frames that are drawn of demonstrations.
        choice: cameras of recorded data and demonstrations.

    Returns:
        ``(N, height, width, 3)`` uint8 and ``(N,)`` numbers of blocks: episodes of pick-cube, of
        recorded data and of demonstrations, or ``block`` consecutive frames of other sources.
    """
    choice = choice or DataChoice()
    frames, blocks, first = [], [], 0
    for source in sources:
        if source.partition("/")[0] == "pick-cube":
            found, numbers = _episodes(source.partition("/")[2] or "easy", (height, width), count)
        elif is_recorded(source, choice):
            found, numbers = recorded_frames(source, choice, height, width, count, cache)
        else:
            found = frames_from(source, height, width, count)
            numbers = np.arange(len(found)) // block
        frames.append(found)
        blocks.append(numbers + first)
        first += int(numbers.max()) + 1
    return np.concatenate(frames), np.concatenate(blocks)


def _episodes(level: str, shape: tuple[int, int], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ``count`` frames of the expert's episodes, and the number of each frame's episode."""
    frames: list[np.ndarray] = []
    numbers: list[int] = []
    while len(frames) < count:
        seed = numbers[-1] + 1 if numbers else 0
        episode = list(expert_episode(level, get_level(level).camera, shape, seed))
        frames += episode
        numbers += [seed] * len(episode)
    return np.stack(frames[:count]), np.array(numbers[:count])


# ------------------------------------------------------------------------------------- sentences
def in_words(study: Study, target: str) -> list[str]:
    """Return a sentence for each row but the reference.

    Args:
        study: the results.
        target: name of the target.
    """
    reference = next((row for row in study.rows if row.reference), None)
    lines = [_sentence(row, study, target, reference) for row in study.rows if not row.reference]
    if reference is None:
        lines.append(
            "Without --reference there is no ratio. Part of any model's features is random and no "
            "other model recovers it, so a low I alone does not show that much is missing."
        )
    return lines


def _sentence(row: Recovery, study: Study, target: str, reference: Recovery | None) -> str:
    bits = row.test_information
    explained = 100 * (1 - row.test_loss / study.test_baseline)
    text = f"{row.label} recovers I = {_interval(bits)} of {target}, {explained:.1f} % of variance"
    if bits.estimate <= 0:
        text = f"{row.label} recovers nothing of {target} on test frames: I = {_interval(bits)}"
    if reference and row.test_ratio:
        percent = Interval(*(100 * getattr(row.test_ratio, f) for f in ("estimate", "low", "high")))
        text += f", {_interval(percent, 1)} % of what {reference.label} recovers"
    if row is study.rows[0]:
        return f"{text}."
    more = row.more_than_first
    note = "" if more.excludes_zero() else " (not significant)"
    return f"{text}; {_interval(more, sign='+')} against {study.rows[0].label}{note}."


def _interval(value: Interval, digits: int = 3, sign: str = "") -> str:
    low, high = (f"{limit:{sign}.{digits}f}" for limit in (value.low, value.high))
    return f"{value.estimate:{sign}.{digits}f} [{low}, {high}]"


def cautions(study: Study) -> list[str]:
    """Return warnings about the reliability of the results."""
    found = []
    widest = max(study.rows, key=lambda row: row.width)
    if study.train_tokens < TOKENS_A_CHANNEL * widest.width:
        found.append(
            f"{study.train_tokens} training tokens are few for the {widest.width} channels of "
            f"{widest.label}: at least {TOKENS_A_CHANNEL} a channel are advised; give more frames"
        )
    if study.test_blocks < FEW_BLOCKS:
        found.append(
            f"the intervals come from {study.test_blocks} test blocks; below {FEW_BLOCKS} they are "
            "too narrow: give more episodes"
        )
    fitted = [r.label for r in study.rows if r.test_information.high < 0.8 * r.train_information]
    if fitted:
        found.append(
            f"{', '.join(fitted)} recover much less on test frames than on training frames: "
            "use the test columns, and give more frames"
        )
    above = [r.label for r in study.rows if r.test_ratio and r.test_ratio.low > 1.005]
    if above:
        found.append(
            f"{', '.join(above)} recover more than the reference, so it is no upper bound here; "
            "use a larger reference with the same pre-training"
        )
    return found


# ------------------------------------------------------------------------------ table and figure
def _print(
    console: Console, study: Study, record: dict[str, Any], options: argparse.Namespace
) -> None:
    places = "{} x {} tokens a frame".format(*study.grid) if study.grid else options.tokens
    console.print(
        f"target {record['names'][0]}, {places}; {study.train_frames} training and "
        f"{study.test_frames} test frames ({study.test_blocks} blocks) from "
        f"{', '.join(options.frames)}; ridge {options.ridge:g}; l0 {study.train_baseline:.4g} "
        f"(train), {study.test_baseline:.4g} (test)",
    )
    table = Table(box=None)
    heads = ["source", "width", "GFLOPs", "train loss", "info", "ratio"]
    for head in [*heads, "test loss", "info [95 %]", "ratio"]:
        table.add_column(head, justify="left" if head == "source" else "right", no_wrap=True)
    for row in study.rows:
        table.add_row(*_cells(row))
    console.print(table)
    for line in record["words"]:
        console.print(line)
    for line in record["cautions"]:
        console.print(f"caution: {line}")
    console.print(
        f"written: {options.out / 'results.json'}, {options.out / 'information.png'}",
    )


def _cells(row: Recovery) -> list[str]:
    mark = " (reference)" if row.reference else ""
    test_ratio = row.test_ratio.estimate if row.test_ratio else None
    return [
        row.label + mark,
        str(row.width),
        f"{row.gflops:.1f}",
        f"{row.train_loss:.4g}",
        f"{row.train_information:.3f}",
        _percent(row.train_ratio),
        f"{row.test_loss:.4g}",
        _interval(row.test_information),
        _percent(test_ratio),
    ]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _draw(path: Path, study: Study, target: str) -> None:
    """Draw information by scale set, one line a source: test frames filled, training hollow."""
    figure = Figure(figsize=(8.4, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    rows = [row for row in study.rows if not row.reference]
    sets = list(dict.fromkeys(row.scales for row in rows))
    sources = list(dict.fromkeys(row.source for row in rows))
    for number, source in enumerate(sources):
        own = [row for row in rows if row.source == source]
        aside = 0.06 * (number - (len(sources) - 1) / 2)  # so that intervals do not overlap
        _draw_source(axes, own, [sets.index(row.scales) + aside for row in own], number)
    for row in study.rows:
        if row.reference:
            axes.axhline(row.test_information.estimate, color=GRAY, label=f"{row.label}, reference")
            axes.axhline(row.train_information, color=GRAY, ls=":")
    axes.plot([], [], ls=":", marker="o", mfc="white", color=GRAY, label="on training frames")
    axes.set_xticks(range(len(sets)), [f"({', '.join(f'{s:g}' for s in each)})" for each in sets])
    axes.set(xlabel="scales", ylabel="I = -log2(l / l0)")
    axes.set_title(f"recovered of {target}: test frames, 95 % intervals", loc="left", fontsize=10)
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _draw_source(
    axes: Axes, rows: Sequence[Recovery], places: Sequence[float], number: int
) -> None:
    color, marker = PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
    test = [row.test_information for row in rows]
    bits = np.array([value.estimate for value in test])
    errors = [bits - [value.low for value in test], [value.high for value in test] - bits]
    style: dict[str, Any] = {"color": color, "marker": marker}
    axes.errorbar(places, bits, np.maximum(errors, 0), capsize=3, label=rows[0].source, **style)
    trained = [row.train_information for row in rows]
    axes.plot(places, trained, ls=":", mfc="white", **style)
