"""``s2robot bench``: does this encoder keep up with the camera, and with which runtime?

Frames go through each path one at a time, paths in turn after every 20 frames, so that a busy
machine slows all of them alike and none finds the caches of another. Time is from the uint8 frame
in memory to the embedding in memory. With --hz frames arrive at that rate, and a path passes if it
holds the period at the 95th percentile.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from s2robot.arguments import count, frame_shape
from s2robot.encoder import FrameEncoder
from s2robot.files import write_json
from s2robot.frame_sources import GENERATED, frames_from
from s2robot.provenance import provenance
from s2robot.reuse import FrameStream
from s2robot.runtimes import RUNTIMES, RuntimeFailedError, RuntimeMissingError, difference

WARM_UP_FRAMES = 10
BLOCK_FRAMES = 20
_EXAMPLES = """\
examples:
  s2robot bench                                         the shipped one at (1,2), fastest runtime
  s2robot bench s2r-vitt16-128 --scales 1 2 3 --hz 30   exit status 1 unless 30 Hz are held
  s2robot bench --runtime eager openvino openvino-int8 --calibrate episode.mp4
  s2robot bench --runtime openvino-int8 --calibrate pick-cube/precise --frame 384x384
  s2robot bench mvp-vits-mae --frame 480x640 --frames-from camera.mp4 --reuse --json
"""

EncodesFrame = Callable[[np.ndarray], Tensor]


@dataclass(frozen=True)
class Row:
    """What one path did on all frames."""

    path: str
    """Runtime, and whether tiles were reused."""
    frames: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    speedup: float
    """Median time of the first path, eager PyTorch, over that of this path."""
    cosine_min: float
    """Least cosine of an embedding with that of eager PyTorch."""
    difference: float
    """Largest difference from eager PyTorch, as a share of the embeddings' std."""
    hit_rate: float | None = None
    """Share of tiles reused."""
    late: int | None = None
    """Frames that took longer than the period."""
    holds: bool | None = None
    """Whether the 95th percentile is within the period."""


def main(words: list[str]) -> int:
    """Run the command; returns 1 where a named runtime does not hold ``--hz``."""
    options = _parse(words)
    console = Console(stderr=options.json)
    encoder = FrameEncoder.from_name(
        options.encoder,
        options.scales,
        options.readout,
        weights=options.weights,
        device=options.device,
        geometry=options.geometry,
    )
    height, width = options.frame
    frames = frames_from(options.frames_from, height, width, options.count + WARM_UP_FRAMES)
    if options.calibrate:
        _calibrate(encoder, options, console)
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
        Console().print_json(data=record)
    else:
        _print(console, record, rows)
    judged = [row for row in rows if row.holds is not None and row.path != "eager (baseline)"]
    return int(bool(left_out) or not all(row.holds for row in judged))


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="s2robot bench",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("encoder", nargs="?", default="s2r-vitt16-128", help="a name of `s2robot encoders`")
    add("--scales", nargs="+", type=float, default=[1, 2], metavar="S")
    add("--readout", default="spatial_softmax")
    add("--geometry", default="published")
    add("--weights", type=Path, help="the published file, where you have it")
    add("--device", default="auto")
    add(
        "--frame",
        type=frame_shape,
        default=(480, 640),
        metavar="HxW",
        help="size of the frames [px]",
    )
    add(
        "--frames-from",
        default="pick-cube",
        metavar="SOURCE",
        help=f"video, folder of pictures, or {', '.join(GENERATED)}; default pick-cube",
    )
    add("--count", type=count, default=200, help="most frames that are timed")
    add("--runtime", nargs="+", default=["auto"], choices=RUNTIMES, metavar="NAME",
        help=", ".join(RUNTIMES))  # fmt: skip
    add("--reuse", action="store_true", help="also with tiles reused from frame to frame")
    add(
        "--calibrate",
        metavar="SOURCE",
        help="make int8 from these first: frames of your task and camera",
    )
    add("--hz", type=_rate, help="rate that has to be held")
    add("--out", type=Path, help="JSON file for the result")
    add("--json", action="store_true", help="JSON instead of a table")
    return parser.parse_args(words)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no rate in Hz, such as 30")
    return rate


def _calibrate(encoder: FrameEncoder, options: argparse.Namespace, console: Console) -> None:
    height, width = options.frame
    frames = frames_from(options.calibrate, height, width, 300)
    with console.status(f"calibrating int8 on {len(frames)} frames"):
        made = encoder.calibrate(frames)
    for shape, record in made.items():
        console.print(
            f"int8 on tiles of {shape} px: {record.tiles} tiles, held-out tokens' cosine "
            f"{record.cosine_mean:.5f} on average, {record.cosine_min:.5f} at least",
            highlight=False,
        )


def make_paths(
    encoder: FrameEncoder, runtimes: Sequence[str], reuse: bool, shape: tuple[int, int]
) -> tuple[dict[str, EncodesFrame], dict[str, str]]:
    """Paths by name, eager PyTorch first, and why a runtime was left out, by its name."""
    paths: dict[str, EncodesFrame] = {}
    left_out: dict[str, str] = {}
    named = list(dict.fromkeys(runtimes))
    for name in ["eager", *(name for name in named if name != "eager")]:
        try:
            own = encoder.with_runtime(name)
        except (RuntimeMissingError, RuntimeFailedError) as error:
            left_out[name] = str(error)
            continue
        label = name if name in named else "eager (baseline)"
        if name == "auto":
            label = f"auto: {own.runtime.name}"
        paths[label] = own.single_frame(*shape)
        if reuse and name in named:
            paths[f"{label}, reuse"] = own.stream()
    return paths, left_out


def measure(
    paths: dict[str, EncodesFrame], frames: np.ndarray, hz: float | None = None, show: bool = False
) -> list[Row]:
    """Time every path on every frame, paths in turn by blocks; the first frames are a warm-up.

    Args:
        paths: frame ``(H, W, 3)`` to embedding ``(1, D)``; the first is what others are held to.
        frames: ``(T, H, W, 3)`` uint8.
        hz: frames arrive at this rate, each path's at its own time.
        show: a progress bar.
    """
    skipped = min(WARM_UP_FRAMES, len(frames) - 1)
    runs = {name: _Run() for name in paths}
    starts = range(0, len(frames), BLOCK_FRAMES)
    for start in track(starts, "frames", disable=not show, transient=True):
        for name, path in paths.items():
            for frame in frames[start : start + BLOCK_FRAMES]:
                waited = runs[name].take(path, frame)
                if hz:
                    time.sleep(max(0.0, 1 / hz - waited))
    baseline = next(iter(runs.values()))
    return [
        runs[name].row(name, baseline, skipped, hz, _hit_rate(path)) for name, path in paths.items()
    ]


def _hit_rate(path: EncodesFrame) -> float | None:
    return path.stats.hit_rate if isinstance(path, FrameStream) else None


@dataclass
class _Run:
    """Times and embeddings of one path, frame by frame."""

    seconds: list[float] = field(default_factory=list)
    embeddings: list[Tensor] = field(default_factory=list)

    def take(self, path: EncodesFrame, frame: np.ndarray) -> float:
        """Embed a frame; returns the seconds that it took."""
        started = time.perf_counter()
        embedding = path(frame)
        if embedding.is_cuda:
            torch.cuda.synchronize(embedding.device)
        self.seconds.append(time.perf_counter() - started)
        self.embeddings.append(embedding.cpu())
        return self.seconds[-1]

    def row(
        self, name: str, baseline: _Run, skipped: int, hz: float | None, hit_rate: float | None
    ) -> Row:
        seconds = np.array(self.seconds[skipped:])
        p50, p95, p99 = (float(np.percentile(seconds, q) * 1000) for q in (50, 95, 99))
        found, expected = torch.cat(self.embeddings), torch.cat(baseline.embeddings)
        cosine = torch.nn.functional.cosine_similarity(found.double(), expected.double(), dim=-1)
        return Row(
            path=name,
            frames=len(seconds),
            p50_ms=p50,
            p95_ms=p95,
            p99_ms=p99,
            speedup=float(np.median(baseline.seconds[skipped:]) / np.median(seconds)),
            cosine_min=float(cosine.min()),
            difference=difference(found, expected),
            hit_rate=hit_rate,
            late=None if hz is None else int((seconds > 1 / hz).sum()),
            holds=None if hz is None else p95 <= 1000 / hz,
        )


def _print(console: Console, record: dict[str, Any], rows: Sequence[Row]) -> None:
    spec, (height, width), hz = record["encoder"], record["frame"], record["hz"]
    scales = ",".join(f"{scale:g}" for scale in spec["scales"])
    console.print(
        f"{spec['backbone']} ({scales}), {spec['readout']}: {record['tiles']} tiles, "
        f"{record['gflops']:.1f} GFLOPs a frame; frames {height} x {width} from "
        f"{record['frames_from']}; {record['provenance']['machine']['gpu'] or ''} "
        f"{record['provenance']['machine']['processor']}, {record['threads']} threads",
        highlight=False,
    )
    table = Table(box=None)
    wide = console if console.is_terminal else Console(file=console.file, width=140)
    heads = ["path", "p50 ms", "p95 ms", "p99 ms", "Hz at p95", "speed", "cosine", "difference"]
    heads += ["reused"] if any(row.hit_rate is not None for row in rows) else []
    heads += ["late", f"{hz:g} Hz"] if hz else []
    for head in heads:
        table.add_column(head, justify="left" if head == "path" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*_cells(row, heads))
    wide.print(table)
    for name, reason in record["left_out"].items():
        console.print(f"left out: {name}: {reason}", highlight=False)


def _cells(row: Row, heads: Sequence[str]) -> list[str]:
    cells = [row.path, f"{row.p50_ms:.1f}", f"{row.p95_ms:.1f}", f"{row.p99_ms:.1f}"]
    cells += [f"{1000 / row.p95_ms:.0f}", f"{row.speedup:.2f}x"]
    cells += [f"{row.cosine_min:.5f}", f"{row.difference:.1e}"]
    if "reused" in heads:
        cells.append("" if row.hit_rate is None else f"{100 * row.hit_rate:.0f} %")
    if row.holds is not None:
        cells += [str(row.late), "[green]pass[/green]" if row.holds else "[red]FAIL[/red]"]
    return cells
