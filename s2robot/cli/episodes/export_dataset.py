"""Work of ``s2robot export-dataset``: demonstrations and rollouts in formats of other packages."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

from s2robot.cli.parsers.export_dataset import parse
from s2robot.cli.settings.task_of_demos import check_named
from s2robot.data.dataset_writers.lerobot import write_lerobot
from s2robot.data.dataset_writers.robomimic import write_robomimic
from s2robot.data.rendered_demonstrations import open_source, task_of_file
from s2robot.envs.tasks.loading import named_by_user
from s2robot.evaluation.episode_rows import RunFolder
from s2robot.experiments.replay.dataset import RunRollouts, is_run
from s2robot.utils.console import OUTPUT


def main(argv: list[str]) -> int:
    """Run the command and return the exit status."""
    options = parse(argv)
    frames = options.data / "frames"
    chosen = (options.camera, options.low_dim)
    _name_task(options)
    if is_run(options.source):
        _check_of_runs(options)
        data = RunRollouts(options.source, chosen[0], options.size, chosen[1], options.data)
    else:
        of_bags = (options.action, options.tolerance_s)
        data = open_source(options.source, *chosen, options.size, frames, *of_bags)
    with contextlib.closing(data):
        if options.out.suffix:
            write_robomimic(data, options.out)
        else:
            write_lerobot(data, options.out, images=options.images)
        frames_of = f"frames of {', '.join(data.cameras) or 'no camera'}"
        OUTPUT.print(
            f"{options.out}: {len(data.episode_ends)} episodes, {int(data.episode_ends[-1])} "
            f"{frames_of}",
            markup=False,
            highlight=False,
        )
        if isinstance(data, RunRollouts):
            OUTPUT.print(f"{len(data.masks['success'])} of them with success, as mask `success`")
    return 0


def _name_task(options: argparse.Namespace) -> None:
    """Let the task be imported that the user named; refuse one that is not that of the source."""
    source: Path = options.source
    if options.task is None or not source.exists():
        return
    named_by_user(options.task)
    if is_run(source):
        own = str(RunFolder(source, 1).record()["task"]["level"])
    else:
        own = task_of_file(source) if source.is_file() else None
    if own is None:
        raise ValueError(
            f"--task is of an evaluation or of demonstrations of `s2robot collect`, and "
            f"{source} is a recording; leave it out"
        )
    check_named("--task", options.task, own, source)


def _check_of_runs(options: argparse.Namespace) -> None:
    """Refuse options of bags for a run."""
    for name in ("action", "tolerance_s"):
        if getattr(options, name) is not None:
            raise ValueError(
                f"--{name.replace('_', '-')} is of ROS bags, and {options.source} is an "
                "evaluation, whose actions are stored; leave it out"
            )
