"""``s2robot probe``: measure what frozen features encode, and whether another scale helps.

Probes predict from frozen features what the simulator knows: the position of the cube, whether it
is grasped, the segmentation and the depth of each pixel. Every encoder is tested with every scale
set and every choice of layers on the same frames. Training and test frames come from different
episodes. Finished rows are stored: run the same command again to continue after an interruption.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.table import Table
from rich.text import Text

from s2robot.analysis.probes.pictures import draw_curves, draw_predictions
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
from s2robot.analysis.probes.tasks import LINEAR_TASKS, TASKS, get_task
from s2robot.cli.arguments import ScaleSets, add_encoder_options, encoder_options
from s2robot.cli.help import help_of
from s2robot.cli.settings.flags import CommandParser
from s2robot.encoder.spec import EncoderOptions
from s2robot.envs.levels import CAMERAS, LEVELS
from s2robot.runtimes import RUNTIMES
from s2robot.utils.console import OUTPUT, make_console

QUICK_EPISODES, QUICK_RESETS = 24, 100
_OPTIONS = [name for name in EncoderOptions.__annotations__ if name != "layers"]
"""Options of all encoders of a study; scales and layers are what it compares."""
_EXAMPLES = """\
examples:
  s2robot probe --quick                      a few minutes: shipped encoder, (1), (1,2), (1,2,3)
  s2robot probe s2r-vitt16-128 random/vitt16-128 --scales '[1],[1,2]' --level precise
  s2robot probe mvp-vitb-egosoup --size 672 --task segmentation depth --layers last 5 5,11
  s2robot probe file:runs/pretrain/encoder.json --task localization-head --head-seeds 8
"""

_STYLES = {"*": "green", "!": "red"}
"""Styles of the marks of a difference."""


def main(argv: list[str]) -> int:
    """Run the command and return the exit status."""
    options = _parse(argv)
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


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = CommandParser("probe", help_of(__doc__), _EXAMPLES)
    _add_variants(parser)
    _add_frames(parser)
    add = parser.add_argument
    add("--task", nargs="+", default=list(LINEAR_TASKS), metavar="TASK",
        help=f"some of {', '.join(TASKS)} (default: all but the last, which is slow)")  # fmt: skip
    add("--head-seeds", type=int, default=5, metavar="N",
        help="training seeds of localization-head (default: 5)")  # fmt: skip
    add("--device", default="auto", help="default: auto")
    add("--runtime", choices=RUNTIMES, default="auto", help="must be exact (default: auto)")
    add("--quick", action="store_true",
        help=f"{QUICK_EPISODES} episodes and {QUICK_RESETS} resets: wider intervals")  # fmt: skip
    add("--data-dir", type=Path, default=Path("data"), metavar="DIR",
        help="folder of frames and features (default: data)")  # fmt: skip
    add("--out", type=Path, default=Path("runs/probes"), metavar="DIR",
        help="folder of results (default: runs/probes)")  # fmt: skip
    add("--json", action="store_true", help="JSON instead of a table")
    return parser.parse(argv)


def _add_variants(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("encoders")
    add = group.add_argument
    add("encoders", nargs="*", default=["s2r-vitt16-128"], metavar="NAME",
        help="see `s2robot encoders` (default: s2r-vitt16-128)")  # fmt: skip
    add("--scales", nargs="+", action=ScaleSets, default=[(1,), (1, 2), (1, 2, 3)],
        metavar=("[S],[S,S]", "S,S"),
        help="scale sets, compared with the first (default: [1],[1,2],[1,2,3])")  # fmt: skip
    add("--layers", nargs="+", type=_layers, default=[()], metavar="LAYER,LAYER",
        help="intermediate layers, from 0 (default: last, after the final norm)")  # fmt: skip
    add_encoder_options(group, _OPTIONS)


def _add_frames(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("frames").add_argument
    add("--level", default="precise", help=f"{', '.join(LEVELS)} (default: precise)")
    add("--camera", default="", help=f"{', '.join(CAMERAS)} (default: that of the level)")
    add("--size", type=int, default=384, help="side of the frames [px] (default: 384)")
    add("--label-size", type=int, default=96, help="side of the label maps [px] (default: 96)")
    add("--episodes", type=int, help=f"episodes of the expert (default: {SceneConfig.episodes})")
    add("--resets", type=int, help=f"frames of random scenes (default: {SceneConfig.resets})")
    add("--split-seed", type=int, default=0, metavar="SEED",
        help="of the split into training and test episodes (default: 0)")  # fmt: skip


def _layers(text: str) -> tuple[int, ...]:
    if text == "last":
        return ()
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither 'last' nor numbers of layers, such as 5,11"
        ) from None


def _config(options: argparse.Namespace) -> StudyConfig:
    quick = {"episodes": QUICK_EPISODES, "resets": QUICK_RESETS} if options.quick else {}
    given = {name: getattr(options, name) for name in ("episodes", "resets")}
    scenes = SceneConfig(
        options.level,
        options.camera,
        options.size,
        options.label_size,
        **{**quick, **{name: value for name, value in given.items() if value is not None}},
    )
    same = {field.name for field in dataclasses.fields(StudyConfig)} & vars(options).keys()
    same -= {"encoders", "layers"}
    settings: dict[str, Any] = {name: getattr(options, name) for name in same}
    return StudyConfig(
        encoders=tuple(options.encoders),
        scale_sets=tuple(options.scales),
        layers=tuple(options.layers),
        tasks=tuple(options.task),
        scenes=scenes,
        options=cast(EncoderOptions, encoder_options(options, _OPTIONS)),
        **settings,
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
