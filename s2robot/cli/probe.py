"""Work of ``s2robot probe``: a study of probes, its tables and pictures."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any, cast

from rich.console import Console
from rich.table import Table
from rich.text import Text

from s2robot.analysis.probes.pictures import draw_curves, draw_predictions
from s2robot.analysis.probes.recorded import RecordedConfig
from s2robot.analysis.probes.scenes import SceneConfig
from s2robot.analysis.probes.study import (
    NO_ENCODER,
    Row,
    Study,
    StudyConfig,
    differences,
    layers_label,
    mark_of,
    scales_label,
    variant_label,
    write_results,
)
from s2robot.analysis.probes.tasks import get_task
from s2robot.cli.arguments import encoder_options
from s2robot.cli.parsers.probe import DATA_TASK, OPTIONS, QUICK_EPISODES, QUICK_RESETS, parse
from s2robot.cli.settings.recorded import data_choice
from s2robot.cli.settings.task_of_demos import trust_task
from s2robot.encoder.spec import EncoderOptions
from s2robot.utils.console import OUTPUT, make_console

_STYLES = {"*": "green", "!": "red"}
"""Styles of the marks of a difference."""


def main(argv: list[str]) -> int:
    """Run the command and return the exit status."""
    options = parse(argv)
    config = _config(options)
    console = make_console(stderr=options.json, columns=160)
    study = Study(config, log=console.print, progress=not options.json)
    rows = study.run()
    paths = [write_results(config, rows), config.out / "probes.png"]
    draw_curves(paths[1], rows)
    paths += draw_predictions(study, rows)
    if options.json:
        OUTPUT.print_json(data=[{k: v for k, v in r.items() if k != "sums"} for r in rows])
    else:
        _print(console, rows)
    for path in paths:
        console.print(str(path))
    return 0


def _config(options: argparse.Namespace) -> StudyConfig:
    scenes = _recorded(options) if options.data else _scenes(options)
    same = {field.name for field in dataclasses.fields(StudyConfig)} & vars(options).keys()
    same -= {"encoders", "layers"}
    settings: dict[str, Any] = {name: getattr(options, name) for name in same}
    return StudyConfig(
        encoders=tuple(options.encoders),
        scale_sets=tuple(options.scales),
        layers=tuple(options.layers),
        tasks=tuple(options.task),
        scenes=scenes,
        options=cast(EncoderOptions, encoder_options(options, OPTIONS)),
        **settings,
    )


def _recorded(options: argparse.Namespace) -> RecordedConfig:
    trust_task(options, DATA_TASK, options.data)
    return RecordedConfig(options.data, data_choice(options), options.count)


def _scenes(options: argparse.Namespace) -> SceneConfig:
    quick = {"episodes": QUICK_EPISODES, "resets": QUICK_RESETS} if options.quick else {}
    given = {name: getattr(options, name) for name in ("episodes", "resets")}
    return SceneConfig(
        options.level,
        options.camera,
        options.size,
        options.label_size,
        **{**quick, **{name: value for name, value in given.items() if value is not None}},
    )


# ----------------------------------------------------------------------------------------- table
def _print(console: Console, rows: Sequence[Row]) -> None:
    """Print one row a variant and one column a task, its first measure with its interval."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    changes = {change["key"]: change for change in differences(rows)}
    table = Table(box=None, header_style="bold", padding=(0, 1))
    for name in ("encoder", "scales", "GFLOPs"):
        table.add_column(name, justify="right" if name == "GFLOPs" else "left", no_wrap=True)
    for task in tasks:
        measure = get_task(task).measures[0]
        arrow = "↑" if measure.higher_is_better else "↓"
        heading = f"{get_task(task).name}\n{measure.name} {arrow}"
        table.add_column(heading, justify="right", no_wrap=True)
    for label in dict.fromkeys(map(variant_label, rows)):
        own = {row["task"]: row for row in rows if variant_label(row) == label}
        table.add_row(
            *_first_columns(next(iter(own.values()))),
            *(_value_text(own[t], changes) for t in tasks),
        )
    console.print(table)
    for line in _footnotes(rows):
        console.print(line)


def _first_columns(row: Row) -> list[str]:
    if row["encoder"] == NO_ENCODER:
        return [NO_ENCODER, "", ""]
    mark = "+" if row["enlarged"] else ""
    name = f"{row['encoder']}{layers_label(row)}"
    return [name, scales_label(row) + mark, f"{row['gflops']:.1f}"]


def _value_text(row: Row, changes: dict[Any, Row]) -> str | Text:
    """Return estimate, interval, and a mark if it clearly differs from the first scale set."""
    measure = get_task(row["task"]).measures[0]
    value = row["measures"][measure.name]
    if value["estimate"] is None:
        return "undefined"
    change = changes.get(row["key"])
    digits = measure.digits
    text = f"{value['estimate']:.{digits}f}"
    if value["low"] is not None:
        text += f" ({value['low']:.{digits}f}-{value['high']:.{digits}f})"
    mark = mark_of(change) if change else ""
    return Text(text).append(mark or " ", _STYLES.get(mark, ""))


def _footnotes(rows: Sequence[Row]) -> list[str]:
    last = rows[-1]
    lines = [
        f"{last['train_frames']} training frames; {last['test_frames']} test frames of "
        f"{last['test_episodes']} other episodes. In brackets: 95 % interval over episodes. "
        "* better, ! worse than the encoder's first scale set (paired difference)"
    ]
    if any(row.get("enlarged") for row in rows):
        lines.append("+ the largest scale exceeds the frames (--size) and adds no pixels")
    seeded = [row for row in rows if "seed_std_mm" in row["details"]]
    lines += [
        f"{variant_label(row)}: {len(row['details']['seed_means_mm'])} training seeds, "
        f"standard deviation of their mean errors {row['details']['seed_std_mm']:.1f} mm"
        for row in seeded
    ]
    return lines
