"""``s2robot recommend``: run the study, print its table, write its files."""

from __future__ import annotations

import argparse
import dataclasses
import os
from typing import cast

from rich.console import Console
from rich.table import Table
from rich.text import Text

from s2robot.analysis.recommend import Recommendation, RecommendConfig, recommend
from s2robot.analysis.recommend.plot import draw
from s2robot.analysis.recommend.probing import MEASURES
from s2robot.analysis.recommend.results import Candidate
from s2robot.analysis.recommend.sources import kind_of, open_source
from s2robot.analysis.recommend.study import check_candidates
from s2robot.cli.arguments import encoder_options
from s2robot.cli.parsers.recommend import (
    NO_ACCURACY,
    NOT_CONFIRMED,
    NOTHING_IN_TIME,
    OPTIONS,
    TASK_FLAG,
    parse,
)
from s2robot.cli.recommend.confirm import check_can_confirm, confirm
from s2robot.cli.settings.recorded import data_choice
from s2robot.cli.settings.task_of_demos import trust_task
from s2robot.encoder.spec import EncoderOptions
from s2robot.stats.intervals import Interval
from s2robot.utils.console import MESSAGES, OUTPUT, make_console
from s2robot.utils.distributed import usable_cores
from s2robot.utils.io import write_json

_SAME = ("metric", "positions", "frame", "probe_all", "device", "runtime", "data_dir", "out")
"""Settings that have the same name as their flag."""
_YES, _NO = Text("yes", "green"), Text("no", "red")


def main(argv: list[str]) -> int:
    """Run the command and return the exit status, as the help lists them."""
    options = parse(argv)
    config = _config(options)
    console = make_console(stderr=options.json, columns=160)
    check_candidates(config)
    trust_task(options, TASK_FLAG, options.source)
    _warn_if_busy()
    kind = kind_of(options.source, config.data, config.positions)
    if options.confirm:
        check_can_confirm(options.source, kind, config.data)
    data = open_source(options.source, config.data_dir, config.data, config.positions)
    found = recommend(data, config, MESSAGES.print, progress=not options.json)
    _write(found, config, console)
    if not options.json:
        _print(console, found)
    if options.confirm and data.demos_path is not None:
        found = dataclasses.replace(
            found, confirmation=confirm(found, data.demos_path, config, options)
        )
        _write(found, config, console)
    if options.json:
        OUTPUT.print_json(data=found.to_dict())
    return _status(found)


def _config(options: argparse.Namespace) -> RecommendConfig:
    return RecommendConfig(
        deadline_ms=options.ms if options.hz is None else 1000 / options.hz,
        encoders=tuple(options.encoder),
        scale_sets=tuple(options.scales),
        options=cast(EncoderOptions, encoder_options(options, OPTIONS)),
        frames=options.count,
        data=data_choice(options),
        **{name: getattr(options, name) for name in _SAME},
    )


def _warn_if_busy() -> None:
    """Say that other work slows the frames that are timed, where the system tells."""
    load, cores = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0, usable_cores()
    if load > 0.75 * cores:
        MESSAGES.print(
            f"note: this machine is busy (load {load:.1f} on {cores} cores), so latencies are "
            "larger than on a quiet one; stored ones of earlier commands are kept"
        )


def _status(found: Recommendation) -> int:
    if not any(map(found.meets, found.candidates)):
        return NOTHING_IN_TIME
    if found.confirmation is not None and found.confirmation["held"] is False:
        return NOT_CONFIRMED
    return 0 if found.is_told else NO_ACCURACY


def _write(found: Recommendation, config: RecommendConfig, console: Console) -> None:
    path = config.out / "recommend.json"
    write_json(path, found.to_dict())
    console.print(str(path))
    picture = config.out / "recommend.png"
    if found.metric is not None and found.choice is not None:
        draw(picture, found)
        console.print(str(picture))


def _print(console: Console, found: Recommendation) -> None:
    """Print the answer first, then the table and the reasons."""
    console.print(Text(found.headline, "bold"))
    result = found.result
    changes = {} if result is None else result.differences
    by_label = {found.candidates[i].label: change for i, change in changes.items()}
    table = Table(box=None, header_style="bold", padding=(0, 1))
    names = ["candidate", "GFLOPs", "p50 ms", "p95 ms", f"within {found.deadline_text}"]
    if found.metric is not None:
        measure = MEASURES[found.metric]
        names += [f"{found.metric} [{measure.unit}] ↓", "difference to the best"]
        names += [name for name in _others(found)]
    for name in names:
        table.add_column(name, justify="left" if name == "candidate" else "right", no_wrap=True)
    for candidate in found.ranked:
        table.add_row(*_row(found, candidate, by_label.get(candidate.label)))
    console.print(table)
    for line in found.reasons:
        console.print(line)
    for name, reason in found.skipped.items():
        console.print(f"left out: {name}: {reason.splitlines()[0]}")
    console.print(f"{found.frames} frames probed, {found.seconds:.0f} s")


def _others(found: Recommendation) -> list[str]:
    """Return the measures that do not decide, in their order."""
    present = {name for candidate in found.candidates for name in candidate.errors}
    return [name for name in MEASURES if name in present and name != found.metric]


def _choice_word(found: Recommendation) -> str:
    return "choice" if found.is_told else "least error"


def _row(found: Recommendation, candidate: Candidate, change: Interval | None) -> list[str | Text]:
    latency = candidate.latency
    texts: list[str | Text] = [candidate.label, f"{candidate.gflops:.1f}"]
    texts += [f"{latency.p50_ms:.1f}", f"{latency.p95_ms:.1f}"]
    texts.append(_YES if found.meets(candidate) else _NO)
    if found.metric is None:
        return texts
    if found.metric not in candidate.errors:
        return [*texts, "not probed", "", *("" for _ in _others(found))]
    texts.append(f"{candidate.errors[found.metric].mean:.{MEASURES[found.metric].digits}f}")
    texts.append(_choice_word(found) if candidate is found.choice else "")
    if change is not None:
        texts[-1] = found.interval_text(change)
    for name in _others(found):
        texts.append(f"{candidate.errors[name].mean:.{MEASURES[name].digits}f}")
    return texts
