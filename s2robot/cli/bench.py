"""Work of ``s2robot bench``: encoders timed frame by frame, and the table of the times."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from s2robot.analysis.latency import WARM_UP_FRAMES, Row, make_paths, measure
from s2robot.cli.arguments import encoder_options
from s2robot.cli.parsers.bench import DEFAULTS, parse
from s2robot.data.frame_sources import frames_from
from s2robot.encoder.frame_encoder import FrameEncoder
from s2robot.utils.console import MESSAGES, OUTPUT, make_console
from s2robot.utils.io import write_json
from s2robot.utils.provenance import provenance

_PASS, _FAIL = Text("pass", "green"), Text("FAIL", "red")


def main(argv: list[str]) -> int:
    """Run the command; return 1 if a runtime is too slow for ``--hz`` or could not run."""
    options = parse(argv)
    console = make_console(stderr=options.json)
    encoder = FrameEncoder.from_name(
        options.encoder,
        weights=options.weights,
        device=options.device,
        runtime="eager",
        **{**DEFAULTS, **encoder_options(options)},
    )
    height, width = options.frame
    frames = frames_from(options.frames_from, height, width, options.count + WARM_UP_FRAMES)
    if options.calibrate:
        _calibrate(encoder, options, console)
    MESSAGES.print("preparing runtimes")
    paths, left_out = make_paths(encoder, options.runtime, options.reuse, (height, width))
    rows = measure(paths, frames, options.hz, show=not options.json)
    record = {
        "encoder": encoder.spec.to_dict(),
        "frame": [height, width],
        "frames_from": options.frames_from,
        "tiles": encoder.tiles_per_frame,
        "gflops": encoder.gflops_per_frame,
        "hz": options.hz,
        "threads": torch.get_num_threads(),
        "rows": [asdict(row) for row in rows],
        "left_out": left_out,
        "provenance": provenance(),
    }
    if options.out:
        write_json(options.out, record)
    if options.json:
        OUTPUT.print_json(data=record)
    else:
        _print(console, record, rows)
    checked = [row for row in rows if row.holds is not None and row.path != "eager (baseline)"]
    return int(bool(left_out) or not all(row.holds for row in checked))


def _calibrate(encoder: FrameEncoder, options: argparse.Namespace, console: Console) -> None:
    height, width = options.frame
    frames = frames_from(options.calibrate, height, width, 300)
    MESSAGES.print(f"calibrating int8 on {len(frames)} frames")
    made = encoder.calibrate(frames)
    for shape, record in made.items():
        console.print(
            f"int8 on tiles of {shape} px: {record.tiles} tiles; cosine of held-out tokens "
            f"{record.cosine_mean:.5f} on average, {record.cosine_min:.5f} at minimum; "
            f"--runtime openvino-int8:{record.identity}",
        )


def _print(console: Console, record: dict[str, Any], rows: Sequence[Row]) -> None:
    spec, (height, width), hz = record["encoder"], record["frame"], record["hz"]
    scales = ",".join(f"{scale:g}" for scale in spec["scales"])
    console.print(
        f"{spec['backbone']} ({scales}), {spec['readout']}: {record['tiles']} tiles, "
        f"{record['gflops']:.1f} GFLOPs a frame; frames {height} x {width} from "
        f"{record['frames_from']}; {record['provenance']['machine']['gpu'] or ''} "
        f"{record['provenance']['machine']['processor']}, {record['threads']} threads",
    )
    table = Table(box=None)
    columns = ["path", "p50 ms", "p95 ms", "p99 ms", "Hz at p95", "speed", "cosine", "difference"]
    columns += ["reused"] if any(row.hit_rate is not None for row in rows) else []
    columns += ["late", f"{hz:g} Hz"] if hz else []
    for name in columns:
        table.add_column(name, justify="left" if name == "path" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*_row_texts(row, columns))
    console.print(table)
    for name, reason in record["left_out"].items():
        console.print(f"left out: {name}: {reason}")


def _row_texts(row: Row, columns: Sequence[str]) -> list[str | Text]:
    latencies = (row.p50_ms, row.p95_ms, row.p99_ms)
    texts: list[str | Text] = [row.path, *(f"{value:.1f}" for value in latencies)]
    texts += [f"{1000 / row.p95_ms:.0f}", f"{row.speedup:.2f}x"]
    texts += [f"{row.cosine_min:.5f}", f"{row.difference:.1e}"]
    if "reused" in columns:
        texts.append("" if row.hit_rate is None else f"{100 * row.hit_rate:.0f} %")
    if row.holds is not None:
        texts += [str(row.late), _PASS if row.holds else _FAIL]
    return texts
